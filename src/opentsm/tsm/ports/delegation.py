"""Delegated management between parties: who holds the Token Verification key issues tokens, checks receipts.

None of these calls is made inside a transaction of the caller; each may be repeated under its request's id.
GPCS 2.3.1 §9.2.3, §C.4, §C.5; GlobalPlatform Messaging: GenerateDMToken, VerifyDMReceipt.
"""

from collections.abc import Sequence
from typing import Protocol

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.delegation import Token
from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.ids import OperationId, SeId, TenantId


class TokenRequest(Record, frozen=True, kw_only=True):
    """Commands that a provider wants to carry out in its security domain.

    `commands` are C-APDUs in clear (hex), without token and control reference template: their fields are what
    is to be signed (§C.4). `request_id` makes a repetition the same request.
    """

    request_id: str
    provider_id: TenantId
    operation_id: OperationId
    se_id: SeId
    security_domain: Aid
    commands: tuple[str, ...]


class TokenAnswer(Record, frozen=True, kw_only=True):
    """The same commands with control reference template and token, in the same order (hex)."""

    commands: tuple[str, ...]


class ReceiptRequest(Record, frozen=True, kw_only=True):
    """What the card answered to the commands of a token request, in their order.

    `answers` are R-APDUs in hex after the secure channel was taken off; of a load that of its last LOAD.
    Empty: no answer came, whether the card took the command is not known. None: nothing is told of it yet.
    """

    request_id: str
    provider_id: TenantId
    answers: tuple[str | None, ...]


class ReceiptAnswer(Record, frozen=True, kw_only=True):
    """What the receipts proved: `disputed` says in words for which commands they are missing or wrong."""

    confirmed: int = 0
    unanswered: int = 0
    disputed: tuple[str, ...] = ()


class TokenIssuer(Protocol):
    """The party that holds the keys of the domain with Token Verification and Receipt Generation."""

    async def issue_tokens(self, request: TokenRequest) -> TokenAnswer:
        """Check commands against the operation that asks for them, and return them with tokens.

        Raises:
            TokenRefusedError: they are not what the recorded operation asks for, or do not fit.
            ConflictError: the request's id was used for other commands.
        """
        ...

    async def verify_receipts(self, request: ReceiptRequest) -> ReceiptAnswer:
        """Verify and record the receipts of a token request.

        Raises:
            NotFoundError: there was no such request of this provider.
        """
        ...


class Tokens(Protocol):
    """Tokens that were issued; every query names the party that issued them."""

    async def numbers(self, count: int) -> Sequence[int]:
        """Return numbers that no token has, growing."""
        ...

    async def add(self, tokens: Sequence[Token]) -> None:
        """Add the tokens of a request; raise ConflictError when it has some already."""
        ...

    async def of_request(self, owner_id: TenantId, request_id: str) -> Sequence[Token]:
        """Return the tokens of a request in the order of its commands; none: there was no such request."""
        ...

    async def save(self, token: Token) -> None:
        """Store what became of a token."""
        ...

    async def last_counter(self, owner_id: TenantId, se_id: SeId) -> int | None:
        """Return the highest confirmation counter that was verified on a secure element."""
        ...

    async def on_secure_element(self, owner_id: TenantId, se_id: SeId, limit: int) -> Sequence[Token]:
        """Return the newest tokens for a secure element, newest first."""
        ...
