"""BeginConversation, SendScript, EndConversation, and the result of what takes longer than a request."""

from typing import Annotated, Literal

from msgspec import Meta

from opentsm.api.messaging.finding import element_of
from opentsm.api.messaging.processes import ProcessAnswer, operation_reply, settled_operation
from opentsm.api.messaging.records import (
    AidText,
    HexText,
    Message,
    OnElement,
    Qualifier,
    RequestMessage,
    ServiceIdentifier,
)
from opentsm.api.messaging.table import Call, Reply, changing, reading
from opentsm.api.waiting import until
from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.conversation import (
    MAX_TIME_TO_LIVE_S,
    Conversation,
    ConversationId,
    ConversationState,
    ScriptFormat,
    ScriptState,
    state_of,
)
from opentsm.tsm.domain.exchange import StopReason
from opentsm.tsm.domain.operation import Operation
from opentsm.tsm.kernel.errors import NotFoundError
from opentsm.tsm.kernel.ids import OperationId
from opentsm.tsm.roles.hub.conversations.requests import Opening, ScriptResult
from opentsm.tsm.roles.hub.services import operation_topic

OPEN_WAIT_S = 10.0
SCRIPT_WAIT_S = 20.0
Number = Annotated[int, Meta(ge=1, le=(1 << 52) - 1)]


class BeginConversation(OnElement, frozen=True, kw_only=True):
    """Ask for a conversation with a secure element."""

    Service: ServiceIdentifier | None = None
    ServiceQualifier: Qualifier | None = None
    TargetIdentifier: AidText | None = None
    RequestedScriptFormat: Literal["COMPACT", "EXPANDED"] = "EXPANDED"
    EstimatedAPDUScriptSize: Annotated[int, Meta(ge=1)] | None = None
    RequestedOperation: Annotated[str, Meta(max_length=200)] | None = None
    TimeToLive: Annotated[int, Meta(ge=1, le=MAX_TIME_TO_LIVE_S)] | None = None


class ConversationAnswer(Message, frozen=True, kw_only=True):
    """A conversation; sizes in bytes, times in seconds."""

    ConversationID: int
    ConversationState: Literal["WAITING", "OPEN", "ENDED"]
    ProcessReference: str
    UsedBearer: str
    NumberOfScripts: int
    NumberOfAPDUs: int
    APDUScriptSize: int
    APDUResponseScriptSize: int
    ScriptFormat: Literal["COMPACT", "EXPANDED"]
    TimeToLive: int


class SendScript(RequestMessage, frozen=True, kw_only=True):
    """Command APDUs, each whole, in the order in which the card gets them."""

    ConversationID: Number
    CommandAPDU: Annotated[list[HexText], Meta(min_length=1, max_length=1000)]

    def __repr__(self) -> str:
        return "<SendScript>"


class ScriptAnswer(Message, frozen=True, kw_only=True):
    """What the card answered; `FailedAPDUIndex` counts from 1. Without answers it is still in work."""

    ConversationID: int
    ProcessReference: str
    ProcessState: Literal["PENDING", "ENDED"]
    ResponseAPDU: list[str] = []
    FailedAPDUIndex: int | None = None

    def __repr__(self) -> str:
        return "<ScriptAnswer>"


class EndConversation(RequestMessage, frozen=True, kw_only=True):
    """End a conversation; `Status` says how the caller's operation went, for the audit."""

    ConversationID: Number
    Status: Annotated[str, Meta(max_length=100)] | None = None


class GetProcessResult(RequestMessage, frozen=True, kw_only=True):
    """Ask for the result of an earlier call by the reference in its answer."""

    ProcessReference: Annotated[str, Meta(min_length=1, max_length=100)]


# --- conversations -----------------------------------------------------------------------------------------


async def _begin(call: Call, body: BeginConversation) -> str:
    se_id = await element_of(call, body)
    wanted = Opening(
        se_id=se_id,
        target=None if body.TargetIdentifier is None else Aid.from_hex(body.TargetIdentifier),
        service_id=None if body.Service is None else body.Service.ServiceId,
        qualifier="" if body.ServiceQualifier is None else body.ServiceQualifier.Qualifier,
        purpose=body.RequestedOperation or "",
        script_format=ScriptFormat(body.RequestedScriptFormat),
        estimated_bytes=body.EstimatedAPDUScriptSize,
        time_to_live_s=body.TimeToLive,
        valid_until=call.valid_until,
    )
    _, operation = await call.container.conversations.begin(call.principal, wanted)
    return operation.id


async def _begun(call: Call, subject: str) -> Reply:
    conversation, operation = await _of_operation(call, subject)

    async def look() -> tuple[Conversation, Operation]:
        return await call.container.conversations.conversation(call.principal, conversation.id)

    def opened(found: tuple[Conversation, Operation]) -> bool:
        return found[0].opened_at is not None or state_of(found[1]) is ConversationState.ENDED

    wait_s = OPEN_WAIT_S if call.wait_s is None else call.wait_s
    return _told(*await until(call, operation_topic(operation.id), wait_s, look, opened))


async def _of_operation(call: Call, subject: str) -> tuple[Conversation, Operation]:
    operation = await call.container.requests.operation(call.principal, OperationId(subject))
    number = operation.parameters.get("conversation")
    if not isinstance(number, int):
        raise NotFoundError("There is no such conversation.")
    return await call.container.conversations.conversation(call.principal, ConversationId(number))


def _told(conversation: Conversation, operation: Operation) -> Reply:
    state = state_of(operation)
    if state is ConversationState.OPEN and conversation.opened_at is None:
        state = ConversationState.WAITING
    data = ConversationAnswer(
        ConversationID=conversation.id,
        ConversationState=state.value,
        ProcessReference=operation.id,
        UsedBearer=conversation.bearer,
        NumberOfScripts=conversation.limits.scripts,
        NumberOfAPDUs=conversation.limits.apdus,
        APDUScriptSize=conversation.limits.script_bytes,
        APDUResponseScriptSize=conversation.limits.response_bytes,
        ScriptFormat=conversation.script_format.value,
        TimeToLive=conversation.time_to_live_s,
    )
    if state is ConversationState.WAITING:
        return Reply(data, http=202)
    return settled_operation(operation, data)


async def _end(call: Call, body: EndConversation) -> str:
    _, operation = await call.container.conversations.end(
        call.principal, ConversationId(body.ConversationID), outcome=body.Status or ""
    )
    return operation.id


async def _ended(call: Call, subject: str) -> Reply:
    conversation, operation = await _of_operation(call, subject)
    told = _told(conversation, operation)
    # one that was ended while it waited is cancelled, and that is what was asked for
    return Reply(told.data)


# --- scripts -----------------------------------------------------------------------------------------------


async def _send(call: Call, body: SendScript) -> str:
    sent = await call.container.conversations.send_script(
        call.principal,
        ConversationId(body.ConversationID),
        tuple(map(bytes.fromhex, body.CommandAPDU)),
        valid_until=call.valid_until,
    )
    return sent.reference


async def _sent(call: Call, subject: str) -> Reply:
    return await script_reply(call, subject, SCRIPT_WAIT_S if call.wait_s is None else call.wait_s)


async def script_reply(call: Call, reference: str, wait_s: float) -> Reply:
    """Return what became of a script, waiting for it if need be."""
    first, _, second = reference.partition(".")
    if not (first.isdecimal() and second.isdecimal() and len(reference) < 30):
        raise NotFoundError("There is no such process.", field="/ProcessReference")
    number, conversation_id = int(second), ConversationId(int(first))

    async def look() -> ScriptResult:
        return await call.container.conversations.script(call.principal, conversation_id, number)

    _, operation = await call.container.conversations.conversation(call.principal, conversation_id)
    found = await until(
        call,
        operation_topic(operation.id),
        wait_s,
        look,
        lambda one: one.script.state is not ScriptState.SENT,
    )
    return _script_told(found)


_NOT_ANSWERED = {
    ScriptState.UNKNOWN: ("Failed", "script_unknown", "A device had the script, and never answered."),
    ScriptState.WITHDRAWN: ("Failed", "script_withdrawn", "It was withdrawn before a device had it."),
    ScriptState.EXPIRED: ("Expired", "expired", "No device fetched it while it was valid."),
}


def _script_told(found: ScriptResult) -> Reply:
    script, answer = found.script, found.answer
    pending = script.state is ScriptState.SENT
    data = ScriptAnswer(
        ConversationID=script.conversation_id,
        ProcessReference=script.reference,
        ProcessState="PENDING" if pending else "ENDED",
        ResponseAPDU=[] if answer is None else list(answer.responses),
        FailedAPDUIndex=None if answer is None or answer.index is None else answer.index + 1,
    )
    if pending:
        return Reply(data, http=202)
    if answer is None:
        status, code, message = _NOT_ANSWERED[script.state]
        return Reply(data, status, code, script.reference, message)  # type: ignore[arg-type]
    if answer.stopped is None:
        return Reply(data)
    at = f"/CommandAPDU/{answer.index or 0}"
    if answer.stopped is StopReason.MISMATCH:
        return Reply(data, "Executed-WithWarning", "command_refused", at, "The card refused a command.")
    message = "The card was lost: whether the failed command was carried out is not known."
    return Reply(data, "Failed", "card_lost", at, message)


async def _result(call: Call, body: GetProcessResult) -> Reply:
    reference, wait_s = body.ProcessReference, call.wait_s or 0.0
    if "." in reference:
        return await script_reply(call, reference, wait_s)
    operation = await call.container.requests.operation(call.principal, OperationId(reference))
    if "conversation" in operation.parameters:
        return await _begun(call, reference)
    return await operation_reply(call, reference, wait_s)


FUNCTIONS = (
    changing(
        "BeginConversation",
        "Ask for a conversation with a secure element",
        BeginConversation,
        ConversationAnswer,
        _begin,
        _begun,
    ),
    changing("SendScript", "Send command APDUs in a conversation", SendScript, ScriptAnswer, _send, _sent),
    changing("EndConversation", "End a conversation", EndConversation, ConversationAnswer, _end, _ended),
    reading(
        "GetProcessResult",
        "Ask for the result of an earlier call",
        GetProcessResult,
        ProcessAnswer,
        _result,
    ),
)
