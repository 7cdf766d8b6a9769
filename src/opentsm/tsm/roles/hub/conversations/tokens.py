"""Tokens and receipts for a provider's own TSM in the delegated mode, in a conversation of its own.

Source: GlobalPlatform Messaging, GenerateDMToken, VerifyDMReceipt.
"""

import hashlib
from collections.abc import Sequence

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.gp.content_commands import ContentKind, parse_content_command
from opentsm.tsm.domain.card_content import ObjectKind
from opentsm.tsm.domain.conversation import ConversationId, ConversationState, state_of
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.engine.content import claim
from opentsm.tsm.kernel.errors import ConflictError, NotFoundError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.delegation import ReceiptAnswer, ReceiptRequest, TokenIssuer, TokenRequest
from opentsm.tsm.roles.hub.case import Case, load_case
from opentsm.tsm.roles.hub.conversations.requests import ConversationEndedError, ConversationWaitingError
from opentsm.tsm.roles.hub.mandate import require
from opentsm.tsm.roles.hub.services import HubServices

_INSTALLS = (ContentKind.INSTALL, ContentKind.INSTALL_AND_MAKE_SELECTABLE)


class DelegatedTokens:
    """Passes requests for tokens to the party that holds the key."""

    def __init__(self, services: HubServices) -> None:
        self._s = services

    async def issue(
        self, principal: Principal, conversation_id: ConversationId, call: str, commands: Sequence[str]
    ) -> Sequence[str]:
        """Return commands with tokens; the same call again gives the same tokens.

        Args:
            principal: the service provider.
            conversation_id: its open conversation, about one instance.
            call: the caller's identifier of this call.
            commands: C-APDUs in clear (hex), without token.

        Raises:
            NotFoundError: the caller has no such conversation.
            ConflictError: it is not open, is about no instance, or no tokens are needed there.
            TokenRefusedError: the key's holder refuses a command.
        """
        require(principal, TenantKind.SERVICE_PROVIDER)
        case = await self._case(principal, conversation_id)
        assert case.instance is not None
        request = TokenRequest(
            request_id=_request_id(principal.tenant_id, call),
            provider_id=principal.tenant_id,
            operation_id=case.operation.id,
            se_id=case.se.id,
            security_domain=case.instance.description.sd_aid,
            commands=tuple(commands),
        )
        answer = await self._issuer(case).issue_tokens(request)
        await self._claim(case, commands)
        return answer.commands

    async def verify(
        self, principal: Principal, conversation_id: ConversationId, call: str, answers: Sequence[str]
    ) -> ReceiptAnswer:
        """Verify the receipts of an earlier call's commands.

        Args:
            principal: the service provider.
            conversation_id: the conversation of that call.
            call: the identifier of that call.
            answers: R-APDUs in hex after the secure channel was taken off, in the order of the commands.

        Raises:
            NotFoundError: there was no such call of the caller.
            ConflictError: no tokens are needed there.
        """
        require(principal, TenantKind.SERVICE_PROVIDER)
        case = await self._case(principal, conversation_id, ended=True)
        request = ReceiptRequest(
            request_id=_request_id(principal.tenant_id, call),
            provider_id=principal.tenant_id,
            answers=tuple(answers),
        )
        return await self._issuer(case).verify_receipts(request)

    async def _claim(self, case: Case, commands: Sequence[str]) -> None:
        """Note what the instance is about to bring on the card: it is its own from now on."""
        assert case.instance is not None
        digests = {file.aid: file.sha256 for file in case.description().load_files}
        objects: list[tuple[Aid, ObjectKind, str]] = []
        for raw in commands:
            command = parse_content_command(CommandApdu.parse(bytes.fromhex(raw)))
            if command.target is not None and command.kind is ContentKind.LOAD:
                objects.append((command.target, ObjectKind.LOAD_FILE, digests[command.target]))
            if command.target is not None and command.kind in _INSTALLS:
                objects.append((command.target, ObjectKind.APPLICATION, ""))
        if not objects:
            return
        async with self._s.storage.transaction() as tx:
            claims = await tx.secure_elements.claims(case.se.id)
            await tx.secure_elements.save_claims(case.se.id, claim(claims, case.instance.id, objects))
            await tx.commit()

    async def _case(
        self, principal: Principal, conversation_id: ConversationId, *, ended: bool = False
    ) -> Case:
        async with self._s.storage.transaction() as tx:
            found = await tx.conversations.get(principal.tenant_id, conversation_id)
            if found is None:
                raise NotFoundError("There is no such conversation.", field="/ConversationID")
            case = await load_case(tx, found.operation_id)
        state = state_of(case.operation)
        if state is ConversationState.WAITING:
            raise ConversationWaitingError()
        if state is ConversationState.ENDED and not ended:
            raise ConversationEndedError()
        if case.instance is None:
            raise ConflictError(
                "The conversation is about no instance.", advice="Name its service when it begins."
            )
        return case

    def _issuer(self, case: Case) -> TokenIssuer:
        profile = self._s.profiles.get(case.se.profile)
        owner = None if profile is None else case.topology(profile).tokens_by
        if owner is None:
            raise ConflictError("No tokens are needed on this secure element: it is not in delegated mode.")
        return self._s.peers.token_issuer(owner)


def _request_id(provider_id: TenantId, call: str) -> str:
    return hashlib.sha256(f"messaging:{provider_id}:{call}".encode()).hexdigest()
