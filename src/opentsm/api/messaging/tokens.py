"""GenerateDMToken and VerifyDMReceipt: content commands of the delegated mode, in a conversation."""

from typing import Annotated

from msgspec import Meta

from opentsm.api.messaging.conversations import Number
from opentsm.api.messaging.records import CallIdentifier, HexText, Message, RequestMessage
from opentsm.api.messaging.table import Call, Reply, reading
from opentsm.tsm.domain.conversation import ConversationId
from opentsm.tsm.kernel.errors import InvalidInputError

Apdus = Annotated[list[HexText], Meta(min_length=1, max_length=64)]


class GenerateDMToken(RequestMessage, frozen=True, kw_only=True):
    """Commands in clear, without token; `FunctionCallIdentifier` is required, receipts name it."""

    ConversationID: Number
    CCMCommand: Apdus


class TokenAnswer(Message, frozen=True, kw_only=True):
    """The same commands with their tokens."""

    UpdatedCCMCommand: list[str]


class VerifyDMReceipt(RequestMessage, frozen=True, kw_only=True):
    """What the card answered to the commands of an earlier GenerateDMToken, in their order."""

    ConversationID: Number
    TokenCallIdentifier: CallIdentifier
    CCMCommandStatus: Apdus


class ReceiptAnswer(Message, frozen=True, kw_only=True):
    """How many commands the receipts prove, and for which they do not."""

    Confirmed: int
    Disputed: list[str] = []


async def _issue(call: Call, body: GenerateDMToken) -> Reply:
    if body.FunctionCallIdentifier is None:
        raise InvalidInputError("Tokens need an identifier of the call.", field="/FunctionCallIdentifier")
    commands = await call.container.delegated_tokens.issue(
        call.principal,
        ConversationId(body.ConversationID),
        body.FunctionCallIdentifier,
        [one.upper() for one in body.CCMCommand],
    )
    return Reply(TokenAnswer(UpdatedCCMCommand=list(commands)))


async def _verify(call: Call, body: VerifyDMReceipt) -> Reply:
    found = await call.container.delegated_tokens.verify(
        call.principal,
        ConversationId(body.ConversationID),
        body.TokenCallIdentifier,
        [one.upper() for one in body.CCMCommandStatus],
    )
    data = ReceiptAnswer(Confirmed=found.confirmed, Disputed=list(found.disputed))
    if found.disputed:
        return Reply(data, "Executed-WithWarning", "receipt_disputed", "", "A receipt is missing or wrong.")
    return Reply(data)


FUNCTIONS = (
    reading("GenerateDMToken", "Ask for tokens of the delegated mode", GenerateDMToken, TokenAnswer, _issue),
    reading(
        "VerifyDMReceipt", "Give receipts of the delegated mode", VerifyDMReceipt, ReceiptAnswer, _verify
    ),
)
