"""The token desk of one party: checks what it is asked to sign, signs it once, and takes the receipts.

Each call is a reading, the keystore's work, and one transaction that stores what came of it: the keystore is
never called inside a transaction. GPCS 2.3.1 §9.2.3, §C.4, §C.5.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.errors import ApduError, CardError
from opentsm.card.gp.content_commands import (
    ContentCommand,
    parse_content_command,
    receipt_context,
    with_reference,
    without_reference,
)
from opentsm.card.gp.tokens import split_token, token_input, with_token
from opentsm.card.profiles import SeProfile
from opentsm.tsm.domain.delegation import ProofKey, Token
from opentsm.tsm.domain.secure_element import SecureElement
from opentsm.tsm.kernel.errors import ConflictError, StaleVersionError, TokenRefusedError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.delegation import ReceiptAnswer, ReceiptRequest, TokenAnswer, TokenRequest
from opentsm.tsm.ports.keystore import Keystore
from opentsm.tsm.ports.unit_of_work import Storage
from opentsm.tsm.ports.world import World
from opentsm.tsm.roles.hub.delegation.grounds import recorded_grounds
from opentsm.tsm.roles.hub.delegation.policy import Grounds, check_commands
from opentsm.tsm.roles.hub.delegation.proof_keys import receipt_key, reference, token_key
from opentsm.tsm.roles.hub.delegation.receipts import Receipts

replace = msgspec.structs.replace


@dataclass(frozen=True, slots=True)
class TokenDesk:
    """Implements `ports.delegation.TokenIssuer` for one party."""

    owner_id: TenantId
    storage: Storage
    keystore: Keystore
    world: World
    profiles: Mapping[str, SeProfile]

    async def issue_tokens(self, request: TokenRequest) -> TokenAnswer:
        """Check commands against the operation that asks for them, and return them with tokens."""
        async with self.storage.transaction() as tx:
            known = await tx.tokens.of_request(self.owner_id, request.request_id)
        if known:
            return await self._again(request, known)
        try:
            se, grounds = await self._checked(request)
        except TokenRefusedError as error:
            await self._refused(request, error)
            raise
        async with self.storage.transaction() as tx:
            numbers = await tx.tokens.numbers(len(request.commands))
        issued = [
            await self._token(request, se, grounds, position, number)
            for position, number in enumerate(numbers)
        ]
        await self._store(issued)
        return await self._answer(issued)

    async def verify_receipts(self, request: ReceiptRequest) -> ReceiptAnswer:
        """Verify and record the receipts of a token request."""
        return await Receipts(self.owner_id, self.storage, self.keystore, self.profiles).verify(request)

    # --- the check -------------------------------------------------------------------------------------

    async def _checked(self, request: TokenRequest) -> tuple[SecureElement, Grounds]:
        commands = [_parsed(command) for command in request.commands]
        if not commands:
            raise TokenRefusedError("There is no command to sign.")
        async with self.storage.transaction() as tx:
            se, grounds = await recorded_grounds(tx, self.owner_id, request, self.profiles)
        check_commands(grounds, request.security_domain, commands)
        for key in (
            token_key(self.owner_id, se, grounds.profile),
            receipt_key(self.owner_id, se, grounds.profile),
        ):
            if not await self.keystore.has(key.handle):
                raise TokenRefusedError(
                    "This party has no keys for tokens and receipts of such secure elements yet.",
                    advice="Build the arrangement on the secure element first: it puts them there.",
                )
        return se, grounds

    async def _refused(self, request: TokenRequest, error: TokenRefusedError) -> None:
        async with self.storage.transaction() as tx:
            await tx.audit.append(
                self.owner_id,
                actor=str(request.provider_id),
                action="token.refused",
                subject=str(request.se_id),
                details={"operation": str(request.operation_id), "reason": error.detail},
            )
            await tx.commit()

    # --- making them -----------------------------------------------------------------------------------

    async def _token(
        self, request: TokenRequest, se: SecureElement, grounds: Grounds, position: int, number: int
    ) -> Token:
        key = token_key(self.owner_id, se, grounds.profile)
        token = Token(
            number=number,
            owner_id=self.owner_id,
            request_id=request.request_id,
            position=position,
            se_id=request.se_id,
            provider_id=request.provider_id,
            operation_id=request.operation_id,
            security_domain=request.security_domain,
            meaning="",
            digest="",
            context=b"",
            sealed_command=b"",
            issued_at=self.world.now(),
        )
        asked = CommandApdu.parse(bytes.fromhex(request.commands[position]))
        command = with_reference(asked, reference(se, key, token.identifier))
        parsed = parse_content_command(command)
        app = None if parsed.target is None else grounds.applications.get(parsed.target)
        load_file = None if app is None else app.load_file
        signed = await self._signed(key, command)
        return replace(
            token,
            meaning=parsed.describe(),
            digest=hashlib.sha256(token_input(command)).hexdigest(),
            context=receipt_context(parsed, request.security_domain, load_file),
            sealed_command=await self.keystore.seal(signed.to_bytes(), context=_context(token)),
        )

    async def _signed(self, key: ProofKey, command: CommandApdu) -> CommandApdu:
        return with_token(command, await self.keystore.sign_proof(key, token_input(command)))

    async def _store(self, issued: Sequence[Token]) -> None:
        try:
            await self._add(issued)
        except ConflictError as error:
            raise StaleVersionError("Another worker asked for the same tokens at the same time.") from error

    async def _add(self, issued: Sequence[Token]) -> None:
        async with self.storage.transaction() as tx:
            await tx.tokens.add(issued)
            for token in issued:
                await tx.audit.append(
                    self.owner_id,
                    actor=str(token.provider_id),
                    action="token.issued",
                    subject=str(token.se_id),
                    details={
                        "number": token.number,
                        "command": token.meaning,
                        "digest": token.digest,
                        "security_domain": str(token.security_domain),
                        "operation": str(token.operation_id),
                    },
                )
            await tx.commit()

    # --- the same request again ------------------------------------------------------------------------

    async def _again(self, request: TokenRequest, known: Sequence[Token]) -> TokenAnswer:
        answer = await self._answer(known)
        before = [without_reference(CommandApdu.parse(bytes.fromhex(one))) for one in answer.commands]
        same = [one.to_bytes().hex().upper() for one in before] == [
            without_reference(CommandApdu.parse(bytes.fromhex(one))).to_bytes().hex().upper()
            for one in request.commands
        ]
        asked_by = (request.provider_id, request.operation_id, request.se_id, request.security_domain)
        first = known[0]
        given_to = (first.provider_id, first.operation_id, first.se_id, first.security_domain)
        if not same or asked_by != given_to:
            raise ConflictError("Tokens were issued under this request's id for something else.")
        return answer

    async def _answer(self, tokens: Sequence[Token]) -> TokenAnswer:
        opened = [await self.keystore.open(one.sealed_command, context=_context(one)) for one in tokens]
        return TokenAnswer(commands=tuple(command.hex().upper() for command in opened))


def _context(token: Token) -> str:
    return f"token:{token.owner_id}/{token.number}"


def _parsed(command: str) -> ContentCommand:
    try:
        apdu = CommandApdu.parse(bytes.fromhex(command))
        parsed = parse_content_command(apdu)
        _, token = split_token(apdu)
        if token or parsed.reference:
            raise ApduError("it has a token or a reference to one already")
    except (CardError, ValueError) as error:
        raise TokenRefusedError(f"A command cannot be signed: {error}.") from error
    return parsed
