"""Receipts: verified with the party's receipt key, recorded with their tokens, missing ones explained.

GPCS 2.3.1 §11.1.6 (confirmation), §C.5 (what a receipt signs), §9.1.3.6 (who makes it).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from opentsm.card.codec.apdu import ResponseApdu
from opentsm.card.errors import CardError, ReceiptError
from opentsm.card.gp import receipts as gp
from opentsm.card.gp.confirmations import Confirmation
from opentsm.card.profiles import SeProfile
from opentsm.tsm.domain.delegation import ProofKey, Token, TokenState
from opentsm.tsm.domain.secure_element import SecureElement
from opentsm.tsm.kernel.errors import ConflictError, NotFoundError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.kernel.wording import quoted
from opentsm.tsm.ports.delegation import ReceiptAnswer, ReceiptRequest
from opentsm.tsm.ports.keystore import Keystore
from opentsm.tsm.ports.unit_of_work import Storage
from opentsm.tsm.roles.hub.delegation.proof_keys import image_number, receipt_key

replace = msgspec.structs.replace

_ACTIONS = {
    TokenState.CONFIRMED: "receipt.verified",
    TokenState.DISPUTED: "receipt.disputed",
    TokenState.UNANSWERED: "receipt.lost",
    TokenState.UNUSED: "token.unused",
}
_SUCCESS = 0x9000


@dataclass(frozen=True, slots=True)
class Receipts:
    """The receipts of one party's tokens."""

    owner_id: TenantId
    storage: Storage
    keystore: Keystore
    profiles: Mapping[str, SeProfile]

    async def verify(self, request: ReceiptRequest) -> ReceiptAnswer:
        """Verify and record the receipts of a token request; what was recorded before stays as it is.

        Raises:
            NotFoundError: there was no such request of this provider.
            ConflictError: there are more or fewer answers than commands.
        """
        async with self.storage.transaction() as tx:
            tokens = await tx.tokens.of_request(self.owner_id, request.request_id)
            if not tokens or tokens[0].provider_id != request.provider_id:
                raise NotFoundError("No tokens were issued under this request's id.")
            se = await tx.secure_elements.get(tokens[0].se_id)
            last = await tx.tokens.last_counter(self.owner_id, tokens[0].se_id)
        if se is None:
            raise NotFoundError("The secure element of these tokens is gone.")
        if len(request.answers) != len(tokens):
            raise ConflictError("There are not as many answers as there were commands.")
        open_ones = [
            (token, answer)
            for token, answer in zip(tokens, request.answers, strict=True)
            if answer is not None and token.state is TokenState.ISSUED
        ]
        settled, reasons = [], []
        for token, answer in open_ones:
            found, reason = await self._judge(se, token, answer, last)
            last = found.counter if found.counter is not None else last
            settled.append(found)
            reasons.append(reason)
        await self._record(settled, reasons)
        done = {token.number: token for token in settled}
        return _answer([done.get(token.number, token) for token in tokens], settled, reasons)

    async def _judge(
        self, se: SecureElement, token: Token, answer: str, last: int | None
    ) -> tuple[Token, str]:
        """Return what became of a token, and why its receipt does not count if it does not."""
        if not answer:
            return replace(token, state=TokenState.UNANSWERED), "no answer came"
        try:
            response = ResponseApdu.parse(bytes.fromhex(answer))
            if response.sw != _SUCCESS:
                return replace(token, state=TokenState.UNUSED), f"the card answered {response.sw:04X}"
            confirmation = await self._confirmation(se, token, response.data, last)
        except (CardError, ValueError) as error:
            return replace(token, state=TokenState.DISPUTED), str(error) or "the receipt is wrong"
        return replace(token, state=TokenState.CONFIRMED, counter=confirmation.counter), ""

    async def _confirmation(
        self, se: SecureElement, token: Token, data: bytes, last: int | None
    ) -> Confirmation:
        expected = gp.ExpectedReceipt(
            context=token.context, token_number=token.identifier, counter_after=last
        )
        confirmation = gp.require_confirmation(data)
        message = gp.receipt_message(confirmation, expected)
        await self.keystore.verify_proof(self._key(se), message, confirmation.receipt)
        gp.require_match(confirmation, expected)
        if not confirmation.sd_unique_data.endswith(image_number(se)):
            raise ReceiptError("the receipt comes from another card")
        return confirmation

    def _key(self, se: SecureElement) -> ProofKey:
        profile = self.profiles.get(se.profile)
        if profile is None:
            raise NotFoundError(f"The card profile {quoted(se.profile)} is not known.")
        return receipt_key(self.owner_id, se, profile)

    async def _record(self, settled: Sequence[Token], reasons: Sequence[str]) -> None:
        async with self.storage.transaction() as tx:
            for token, reason in zip(settled, reasons, strict=True):
                await tx.tokens.save(token)
                details: dict[str, str | int] = {"number": token.number, "command": token.meaning}
                if token.counter is not None:
                    details["counter"] = token.counter
                if reason:
                    details["reason"] = reason
                await tx.audit.append(
                    self.owner_id,
                    actor=str(token.provider_id),
                    action=_ACTIONS[token.state],
                    subject=str(token.se_id),
                    details=details,
                )
            await tx.commit()


def _answer(tokens: Sequence[Token], settled: Sequence[Token], reasons: Sequence[str]) -> ReceiptAnswer:
    why = {token.number: reason for token, reason in zip(settled, reasons, strict=True)}
    disputed = tuple(
        f"{token.meaning} (token {token.number}): {why.get(token.number, 'disputed before')}"
        for token in tokens
        if token.state is TokenState.DISPUTED
    )
    return ReceiptAnswer(
        confirmed=sum(token.state is TokenState.CONFIRMED for token in tokens),
        unanswered=sum(token.state is TokenState.UNANSWERED for token in tokens),
        disputed=disputed,
    )
