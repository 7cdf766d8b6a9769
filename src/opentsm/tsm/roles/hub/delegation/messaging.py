"""What a provider's own TSM asks for in delegated mode: tokens for its commands, and the check of receipts.

It wraps its commands itself and sends them in a conversation; that conversation is the operation on record.
Source: GlobalPlatform Messaging, GenerateDMToken and VerifyDMReceipt.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.tlv import find, parse_tlvs
from opentsm.card.errors import CardError
from opentsm.card.gp.content_commands import ContentKind, parse_content_command
from opentsm.tsm.domain.arrangement import ContentMode
from opentsm.tsm.domain.card_content import ObjectKind
from opentsm.tsm.domain.operation import OperationType
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.engine import content as c
from opentsm.tsm.kernel.errors import InvalidInputError, NotFoundError, TokenRefusedError
from opentsm.tsm.kernel.ids import OperationId, SeId, TenantId
from opentsm.tsm.ports.delegation import ReceiptAnswer, ReceiptRequest, TokenRequest
from opentsm.tsm.roles.hub.case import Case, load_case
from opentsm.tsm.roles.hub.mandate import require
from opentsm.tsm.roles.hub.services import HubServices

_NUMBER = 0x93
_NO_CONVERSATION = "There is no conversation of yours on this secure element that names one of your services."


@dataclass(frozen=True, slots=True)
class TokensWanted:
    """GenerateDMToken.

    Args:
        se_id: the secure element.
        request_id: the caller's identifier of this request; a repetition gets the same tokens.
        commands: content management commands in clear, in the order in which they will be sent, without
            token and control reference template (B6).
        security_domain: that will carry them out; None: the service's own.
    """

    se_id: SeId
    request_id: str
    commands: tuple[bytes, ...]
    security_domain: Aid | None = None


@dataclass(frozen=True, slots=True)
class CommandStatus:
    """One command of VerifyDMReceipt, with its token, and the card's answer to it.

    Args:
        command: as it was returned by GenerateDMToken.
        answer: the R-APDU in clear; of a load that of its last LOAD. Empty: none came.
    """

    command: bytes
    answer: bytes


class DelegatedMessaging:
    """The hub's door for providers' own TSMs in delegated mode."""

    def __init__(self, services: HubServices) -> None:
        self._s = services

    async def generate_tokens(self, principal: Principal, wanted: TokensWanted) -> tuple[bytes, ...]:
        """Return the commands with control reference templates and tokens, in the same order.

        Args:
            principal: the service provider; it has an open conversation that names its service.
            wanted: for what.

        Raises:
            ForbiddenError: the caller is no service provider.
            TokenRefusedError: there is no such conversation, or the service does not ask for a command.
            ConflictError: the request's identifier was used for other commands.
        """
        require(principal, TenantKind.SERVICE_PROVIDER)
        case = await self._conversation(principal, wanted.se_id)
        owner = self._token_owner(case)
        domain = wanted.security_domain or case.description().sd_aid
        answer = await self._s.peers.token_issuer(owner).issue_tokens(
            TokenRequest(
                request_id=_request_id(principal, wanted.request_id),
                provider_id=principal.tenant_id,
                operation_id=case.operation.id,
                se_id=wanted.se_id,
                security_domain=domain,
                commands=tuple(one.hex().upper() for one in wanted.commands),
            )
        )
        await self._claim(case, wanted.commands)
        return tuple(bytes.fromhex(one) for one in answer.commands)

    async def verify_receipts(
        self, principal: Principal, se_id: SeId, request_id: str, statuses: Sequence[CommandStatus]
    ) -> ReceiptAnswer:
        """Verify and record the receipts for commands of one GenerateDMToken request.

        Args:
            principal: the service provider that asked for the tokens.
            se_id: the secure element.
            request_id: the identifier of the request that brought the tokens.
            statuses: commands of that request with their answers; those that are not named stay open.

        Raises:
            ForbiddenError: the caller is no service provider.
            NotFoundError: there was no such request of the caller for this secure element.
            InvalidInputError: a command is none of that request.
        """
        require(principal, TenantKind.SERVICE_PROVIDER)
        name = _request_id(principal, request_id)
        owner = await self._owner_on(principal, se_id)
        async with self._s.storage.transaction() as tx:
            tokens = await tx.tokens.of_request(owner, name)
        if not tokens or tokens[0].provider_id != principal.tenant_id or tokens[0].se_id != se_id:
            raise NotFoundError("You asked for no tokens under this identifier on this secure element.")
        answers = {_number(one.command): one.answer.hex().upper() for one in statuses}
        if not answers.keys() <= {token.number for token in tokens}:
            raise InvalidInputError("A command has no token of this request.", field="/CCMCommandStatus")
        return await self._s.peers.token_issuer(owner).verify_receipts(
            ReceiptRequest(
                request_id=name,
                provider_id=principal.tenant_id,
                answers=tuple(answers.get(token.number) for token in tokens),
            )
        )

    # --- how -------------------------------------------------------------------------------------------

    async def _conversation(self, principal: Principal, se_id: SeId) -> Case:
        async with self._s.storage.transaction() as tx:
            se = await tx.secure_elements.get(se_id)
            active = None if se is None else se.active_operation_id
            case = None if active is None else await load_case(tx, OperationId(active))
        if (
            case is None
            or case.operation.type is not OperationType.CONVERSATION
            or case.operation.tenant_id != principal.tenant_id
            or case.instance is None
        ):
            raise TokenRefusedError(
                _NO_CONVERSATION, advice="Begin a conversation with the service whose content you manage."
            )
        return case

    def _token_owner(self, case: Case) -> TenantId:
        topology = case.topology(self._s.profiles[case.se.profile])
        if topology.mode is not ContentMode.DELEGATED or topology.tokens_by is None:
            raise TokenRefusedError("You do not work in delegated mode on this secure element.")
        return topology.tokens_by

    async def _owner_on(self, principal: Principal, se_id: SeId) -> TenantId:
        """Return who issued tokens to a provider on a secure element."""
        async with self._s.storage.transaction() as tx:
            found = await tx.tokens.issuer_for(principal.tenant_id, se_id)
        if found is None:
            raise NotFoundError("You asked for no tokens on this secure element.")
        return found

    async def _claim(self, case: Case, commands: Sequence[bytes]) -> None:
        """Note what the instance is about to bring on the card: it is its own from now on."""
        if case.instance is None:
            return
        description = case.description()
        digests = {file.aid: file.sha256 for file in description.load_files}
        objects: list[tuple[Aid, ObjectKind, str]] = []
        for raw in commands:
            command = parse_content_command(CommandApdu.parse(raw))
            if command.kind is ContentKind.LOAD and command.target is not None:
                objects.append((command.target, ObjectKind.LOAD_FILE, digests[command.target]))
            if command.kind in _INSTALLS and command.target is not None:
                objects.append((command.target, ObjectKind.APPLICATION, ""))
        if not objects:
            return
        async with self._s.storage.transaction() as tx:
            claims = await tx.secure_elements.claims(case.se.id)
            await tx.secure_elements.save_claims(case.se.id, c.claim(claims, case.instance.id, objects))
            await tx.commit()


_INSTALLS = (ContentKind.INSTALL, ContentKind.INSTALL_AND_MAKE_SELECTABLE)


def _request_id(principal: Principal, request_id: str) -> str:
    """Identifiers are the provider's own: two of them may use the same."""
    return f"{principal.tenant_id}/{request_id}"


def _number(command: bytes) -> int:
    try:
        reference = parse_content_command(CommandApdu.parse(command)).reference
        return int.from_bytes(find(parse_tlvs(reference), _NUMBER) or b"", "big")
    except CardError as error:
        raise InvalidInputError(f"A command cannot be read: {error}.", field="/CCMCommandStatus") from error
