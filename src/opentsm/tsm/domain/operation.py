"""An operation on one secure element, from request to its named end."""

from datetime import datetime
from enum import Enum

from opentsm.tsm.domain.service import InstanceState
from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.ids import CampaignId, DeviceId, InstanceId, OperationId, SeId, TenantId
from opentsm.tsm.kernel.transitions import TransitionTable


class OperationType(Enum):
    """What was asked for. CLEAN_UP removes what instances left on a card whose provider is gone."""

    DEPLOY = "DEPLOY"
    SUSPEND = "SUSPEND"
    RESUME = "RESUME"
    TERMINATE = "TERMINATE"
    TOP_UP = "TOP_UP"
    ROTATE_KEYS = "ROTATE_KEYS"
    UPDATE = "UPDATE"
    PERSONALIZE = "PERSONALIZE"
    AUDIT = "AUDIT"
    CONFIGURE = "CONFIGURE"
    CLEAN_UP = "CLEAN_UP"
    CONVERSATION = "CONVERSATION"
    LOCK_CARD = "LOCK_CARD"
    UNLOCK_CARD = "UNLOCK_CARD"
    TERMINATE_CARD = "TERMINATE_CARD"
    ROTATE_MANAGER_KEYS = "ROTATE_MANAGER_KEYS"


class OperationState(Enum):
    """Who acts next: the TSM (REQUESTED, PREPARING), the queue, the device, or nobody any more."""

    REQUESTED = "REQUESTED"
    QUEUED = "QUEUED"
    PREPARING = "PREPARING"
    AWAITING_DEVICE = "AWAITING_DEVICE"
    IN_DOUBT = "IN_DOUBT"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class OperationEvent(Enum):
    """What moves an operation."""

    WAIT = "WAIT"
    START = "START"
    SEND = "SEND"
    ANSWER = "ANSWER"
    DOUBT = "DOUBT"
    RESOLVE = "RESOLVE"
    SUCCEED = "SUCCEED"
    FAIL = "FAIL"
    CANCEL = "CANCEL"
    GIVE_WAY = "GIVE_WAY"


_S, _E = OperationState, OperationEvent

OPERATION_STATES: TransitionTable[OperationState, OperationEvent] = TransitionTable(
    "operation",
    {
        (_S.REQUESTED, _E.WAIT): _S.QUEUED,
        (_S.QUEUED, _E.WAIT): _S.QUEUED,
        (_S.REQUESTED, _E.START): _S.PREPARING,
        (_S.QUEUED, _E.START): _S.PREPARING,
        (_S.PREPARING, _E.SEND): _S.AWAITING_DEVICE,
        (_S.AWAITING_DEVICE, _E.ANSWER): _S.PREPARING,
        (_S.PREPARING, _E.DOUBT): _S.IN_DOUBT,
        (_S.AWAITING_DEVICE, _E.DOUBT): _S.IN_DOUBT,
        # while in doubt the card is read; the doubt stays until an answer resolves it
        (_S.IN_DOUBT, _E.SEND): _S.IN_DOUBT,
        (_S.IN_DOUBT, _E.ANSWER): _S.IN_DOUBT,
        (_S.IN_DOUBT, _E.DOUBT): _S.IN_DOUBT,
        (_S.IN_DOUBT, _E.RESOLVE): _S.PREPARING,
        (_S.PREPARING, _E.SUCCEED): _S.SUCCEEDED,
        (_S.REQUESTED, _E.FAIL): _S.FAILED,
        (_S.QUEUED, _E.FAIL): _S.FAILED,
        (_S.PREPARING, _E.FAIL): _S.FAILED,
        (_S.IN_DOUBT, _E.FAIL): _S.FAILED,
        (_S.REQUESTED, _E.CANCEL): _S.CANCELLED,
        (_S.QUEUED, _E.CANCEL): _S.CANCELLED,
        (_S.PREPARING, _E.CANCEL): _S.CANCELLED,
        # a report of loss overtakes: what was begun goes back to the queue, and is planned anew from there
        (_S.PREPARING, _E.GIVE_WAY): _S.QUEUED,
        (_S.AWAITING_DEVICE, _E.GIVE_WAY): _S.QUEUED,
        (_S.IN_DOUBT, _E.GIVE_WAY): _S.QUEUED,
    },
)

ENDED = frozenset({OperationState.SUCCEEDED, OperationState.FAILED, OperationState.CANCELLED})

LOSS_PRIORITY = 0
NORMAL_PRIORITY = 100
BULK_PRIORITY = 200
AGEING_MS = 36_000  # a step of priority is worth so much waiting: NORMAL and BULK lie an hour apart


class Failure(Record, frozen=True, kw_only=True):
    """Why an operation failed: a stable code, words, and the card's own status word where it gave one."""

    code: str
    detail: str
    advice: str = ""
    status_word: str | None = None
    step: str | None = None


class Traffic(Record, frozen=True, kw_only=True):
    """What an operation cost: APDUs sent, bytes both ways, orders handed to the device."""

    apdus: int = 0
    bytes: int = 0
    round_trips: int = 0


class Operation(Record, frozen=True, kw_only=True):
    """A request and how far it has come.

    `plan` is the printable plan (one line a step); `plan_number` counts plans made, `session` is the index
    of the session in work; `progress` is how far it ever was, in percent.
    `refused_step` is the step a card refused, to tell a second refusal from a first.
    `undoing` is why the card is being brought back to what it was before; the operation then fails with it.
    `gives_way` is the report of loss that asked this operation for its turn.
    `campaign_position` is which member of its campaign it is for.
    `parameters` hold only what may be shown. `start_state` and `end_state` are its instance's when it began
    to work and when it ended; `changed_card` is True when the card was, or may have been, changed.
    """

    id: OperationId
    tenant_id: TenantId
    se_id: SeId
    type: OperationType
    instance_id: InstanceId | None = None
    state: OperationState = OperationState.REQUESTED
    priority: int = NORMAL_PRIORITY
    parameters: dict[str, str | int] = {}
    plan: tuple[str, ...] = ()
    plan_document: bytes = b""
    plan_number: int = 0
    session: int = 0
    attempts: int = 0
    progress: int = 0
    refused: Failure | None = None
    undoing: Failure | None = None
    changed_card: bool = False
    start_state: InstanceState | None = None
    end_state: InstanceState | None = None
    cancel_requested: bool = False
    gives_way: OperationId | None = None
    campaign_id: CampaignId | None = None
    campaign_position: int = 0
    device_id: DeviceId | None = None
    traffic: Traffic = Traffic()
    result: dict[str, str | int] = {}
    failure: Failure | None = None
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    valid_until: datetime | None = None
    version: int = 0


def turn_of(operation: Operation) -> int:
    """Return the place in the queue of a secure element; the lowest has its turn first.

    A report of loss is before everything. All else comes in the order in which it was asked for, put back by
    its priority: what waits long enough overtakes what is more urgent and new, so nothing starves.
    """
    if operation.priority <= LOSS_PRIORITY:
        return 0
    return int(operation.created_at.timestamp() * 1000) + operation.priority * AGEING_MS
