"""What a conversation is asked for, what comes of a script, and how either is refused."""

from dataclasses import dataclass
from datetime import datetime

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.conversation import Script, ScriptFormat
from opentsm.tsm.domain.exchange import OrderAnswer
from opentsm.tsm.kernel.errors import ConflictError
from opentsm.tsm.kernel.ids import SeId


class ConversationWaitingError(ConflictError):
    """The conversation waits for the secure element's turn."""

    code = "conversation_waiting"


class ConversationEndedError(ConflictError):
    """The conversation has ended."""

    code = "conversation_ended"


class ScriptInWorkError(ConflictError):
    """A script of this conversation has not been answered yet."""

    code = "script_in_work"


@dataclass(frozen=True, slots=True)
class Opening:
    """What a conversation is to be about; `time_to_live_s` and `estimated_bytes` None: as we have it."""

    se_id: SeId
    target: Aid | None = None
    service_id: str | None = None
    qualifier: str = ""
    purpose: str = ""
    script_format: ScriptFormat = ScriptFormat.EXPANDED
    estimated_bytes: int | None = None
    time_to_live_s: int | None = None
    valid_until: datetime | None = None


@dataclass(frozen=True, slots=True, repr=False)
class ScriptResult:
    """A script and what the card answered; `answer` is None while it is in work, and when it is gone."""

    script: Script
    answer: OrderAnswer | None
