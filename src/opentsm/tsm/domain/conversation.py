"""A conversation: a provider's TSM sends scripts of its own to a secure element, one after the other.

The vocabulary is GlobalPlatform Messaging's (BeginConversation, SendScript, EndConversation). A conversation
is an operation that stays open: its state is the operation's, the secure element's turn belongs to it, and
each script is one order to the device.
"""

from datetime import datetime, timedelta
from enum import Enum
from typing import NewType

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.operation import Operation, OperationState
from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.ids import InstanceId, OperationId, SeId, TenantId

ConversationId = NewType("ConversationId", int)

ID_BITS = 52  # a JSON number of this size is exact in every reader (RFC 8259, section 6)
DEFAULT_TIME_TO_LIVE_S = 300
MAX_TIME_TO_LIVE_S = 900
# how long what a card answered is kept, sealed, for whoever asked
RESULT_KEPT = timedelta(hours=1)


class ScriptFormat(Enum):
    """How a script is meant (ETSI TS 102 226 has the words).

    EXPANDED: every command may ask for data. COMPACT: the last one alone may.
    """

    COMPACT = "COMPACT"
    EXPANDED = "EXPANDED"


class ScriptLimits(Record, frozen=True, kw_only=True):
    """How many scripts a conversation may have, and how large one may be: commands, bytes of all commands,
    bytes of all answers."""

    scripts: int = 1000
    apdus: int = 128
    script_bytes: int = 32_768
    response_bytes: int = 65_536


class ConversationState(Enum):
    """WAITING for the secure element's turn, OPEN for scripts, ENDED."""

    WAITING = "WAITING"
    OPEN = "OPEN"
    ENDED = "ENDED"


class Conversation(Record, frozen=True, kw_only=True):
    """What was agreed when a conversation began, and how far it has come.

    `selected` is what the card has selected on the basic channel as far as is known (None: not known);
    `personalizing` is True after INSTALL [for personalization] of that domain. `scripts` counts scripts,
    `in_work` is the number of the one that was sent and not answered yet.
    """

    id: ConversationId
    tenant_id: TenantId
    operation_id: OperationId
    se_id: SeId
    instance_id: InstanceId | None = None
    target: Aid | None = None
    qualifier: str = ""
    purpose: str = ""
    script_format: ScriptFormat = ScriptFormat.EXPANDED
    bearer: str = "SERAM"
    limits: ScriptLimits = ScriptLimits()
    time_to_live_s: int = DEFAULT_TIME_TO_LIVE_S
    selected: Aid | None = None
    personalizing: bool = False
    scripts: int = 0
    in_work: int | None = None
    opened_at: datetime | None = None
    expires_at: datetime | None = None
    version: int = 0


class ScriptState(Enum):
    """SENT: stored for the device. ANSWERED: by the card, well or not. UNKNOWN: sent, and never answered.

    WITHDRAWN: no device ever had it. EXPIRED: the same, because its validity was over.
    """

    SENT = "SENT"
    ANSWERED = "ANSWERED"
    UNKNOWN = "UNKNOWN"
    WITHDRAWN = "WITHDRAWN"
    EXPIRED = "EXPIRED"


class Script(Record, frozen=True, kw_only=True):
    """One script. `sealed_result` holds an OrderAnswer, sealed by the hub; it goes at `expires_at`.

    `key_commands` are the positions (from 0) of commands that change the keys of `key_domain`. `selected`
    and `personalizing` are what holds when all of it was carried out.
    """

    tenant_id: TenantId
    conversation_id: ConversationId
    number: int
    state: ScriptState = ScriptState.SENT
    order: int
    commands: int
    key_domain: Aid | None = None
    key_commands: tuple[int, ...] = ()
    selected: Aid | None = None
    personalizing: bool = False
    valid_until: datetime | None = None
    created_at: datetime
    ended_at: datetime | None = None
    expires_at: datetime | None = None
    sealed_result: bytes = b""
    version: int = 0

    @property
    def reference(self) -> str:
        """Return the name under which its result can be asked for."""
        return f"{self.conversation_id}.{self.number}"


def state_of(operation: Operation) -> ConversationState:
    """Return the state of the conversation that an operation is."""
    if operation.state in (OperationState.REQUESTED, OperationState.QUEUED):
        return ConversationState.WAITING
    if operation.state in (OperationState.SUCCEEDED, OperationState.FAILED, OperationState.CANCELLED):
        return ConversationState.ENDED
    return ConversationState.OPEN


def result_context(script: Script) -> str:
    """Return what a script's result is sealed for: it opens nowhere else."""
    return f"script:{script.tenant_id}/{script.reference}/result"
