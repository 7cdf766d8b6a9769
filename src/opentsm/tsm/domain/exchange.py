"""Segments and orders: what one party wraps, and what travels to a device in one round trip."""

from enum import Enum

from opentsm.card.codec.aid import Aid
from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.ids import DeviceId, OperationId, SegmentId, SeId, TenantId


class Expected(Record, frozen=True, kw_only=True):
    """What the device compares before it goes on: status-word patterns (`?` any nibble; empty: any), data
    under a mask (None: any data). All in hex, as they travel."""

    status_words: tuple[str, ...] = ()
    data: str | None = None
    mask: str | None = None


class Command(Record, frozen=True, kw_only=True):
    """One C-APDU of an order (hex), what to expect, and what it is for.

    `barrier` is True when it must not be sent unless everything before it was seen to succeed: an agent
    that cannot compare gets it in an order of its own.
    """

    apdu: str
    expected: Expected
    meaning: str
    barrier: bool = True


class SegmentState(Enum):
    """A segment is opened, wrapped and checked by the owner of its keys, in this order."""

    PREPARED = "PREPARED"
    WRAPPED = "WRAPPED"
    CHECKED = "CHECKED"


class Segment(Record, frozen=True, kw_only=True):
    """The owner's record of one session with a card; `sealed` holds what is needed to go on, sealed."""

    id: SegmentId
    owner_id: TenantId
    se_id: SeId
    operation_id: OperationId
    sd_aid: Aid
    state: SegmentState
    sealed: bytes
    version: int = 0


class OrderState(Enum):
    """IN_FLIGHT: stored, perhaps delivered. ANSWERED: the report is stored. CONSUMED: it was acted upon."""

    IN_FLIGHT = "IN_FLIGHT"
    ANSWERED = "ANSWERED"
    CONSUMED = "CONSUMED"


class StopReason(Enum):
    """Why an agent did not run an order to its end."""

    MISMATCH = "MISMATCH"
    CARD_LOST = "CARD_LOST"
    INTERRUPTED = "INTERRUPTED"
    EXPIRED = "EXPIRED"
    ANSWER_LOST = "ANSWER_LOST"


class OrderAnswer(Record, frozen=True, kw_only=True):
    """What came back: R-APDUs in hex in the order sent; `stopped` when not all were answered well."""

    responses: tuple[str, ...] = ()
    stopped: StopReason | None = None
    index: int | None = None


class DeviceOrder(Record, frozen=True, kw_only=True):
    """One order to the device that reaches a secure element; `sequence` grows per secure element.

    `sealed_commands` and `sealed_answer` hold a tuple[Command, …] and an OrderAnswer, sealed by the hub.
    `body` is the number of commands that belong to the session in work; the rest opens the next session.
    `delivered` counts commands handed to an agent that takes them in slices, `device_id` who got them.
    """

    se_id: SeId
    sequence: int
    operation_id: OperationId
    state: OrderState
    sealed_commands: bytes
    body: int
    sealed_answer: bytes = b""
    delivered: int = 0
    device_id: DeviceId | None = None
    version: int = 0


class OutboxMessage(Record, frozen=True, kw_only=True):
    """A message of the bus: `kind` routes it, `body` is a small JSON document, `key` makes it unique."""

    id: str
    kind: str
    key: str
    body: dict[str, str]
    attempts: int = 0
