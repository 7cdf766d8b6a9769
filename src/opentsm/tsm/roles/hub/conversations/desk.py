"""What a provider's own TSM may ask for in conversations: begin, send a script, look at its result, end.

Source: GlobalPlatform Messaging, BeginConversation, SendScript, EndConversation.
"""

import dataclasses
from datetime import datetime, timedelta

import msgspec

from opentsm.tsm.domain.conversation import (
    DEFAULT_TIME_TO_LIVE_S,
    ID_BITS,
    MAX_TIME_TO_LIVE_S,
    RESULT_KEPT,
    Conversation,
    ConversationId,
    ConversationState,
    Script,
    ScriptLimits,
    result_context,
    state_of,
)
from opentsm.tsm.domain.exchange import Command, Expected, OrderAnswer
from opentsm.tsm.domain.operation import (
    LOSS_PRIORITY,
    Operation,
    OperationEvent,
    OperationState,
    OperationType,
)
from opentsm.tsm.domain.service import ServiceInstance
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.engine.script_rules import CheckedScript, Position, ScriptTooLargeError, check_script
from opentsm.tsm.kernel.documents import from_json
from opentsm.tsm.kernel.errors import InvalidInputError, NotFoundError, StaleVersionError
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.arrangements.next_plan import permission_of
from opentsm.tsm.roles.hub.arrangements.script_rights import check_rights
from opentsm.tsm.roles.hub.case import Case, load_case
from opentsm.tsm.roles.hub.conversations.bearers import route_to
from opentsm.tsm.roles.hub.conversations.conducting import Conversing, load_conversation
from opentsm.tsm.roles.hub.conversations.reach import own_instances, reach_of
from opentsm.tsm.roles.hub.conversations.requests import (
    ConversationEndedError,
    ConversationWaitingError,
    Opening,
    ScriptInWorkError,
    ScriptResult,
)
from opentsm.tsm.roles.hub.ledger import Ledger, moved
from opentsm.tsm.roles.hub.mandate import check_border, require
from opentsm.tsm.roles.hub.once import Claim, ClaimingStorage
from opentsm.tsm.roles.hub.requesting import Requesting
from opentsm.tsm.roles.hub.services import ADVANCE, HubServices

replace = msgspec.structs.replace

SCRIPT_SENT = "conversation.script-sent"
_TRIES = 4
_LONGEST_WAIT = timedelta(days=1)  # for the secure element's turn
# warnings are answers: whoever wrote the script knows what they mean
_WELL = Expected(status_words=("9000", "62??", "63??"))


class Conversations(Requesting):
    """The hub's door for conversations."""

    def __init__(self, services: HubServices) -> None:
        super().__init__(services)
        self._ledger = Ledger(services)
        self._conversing = Conversing(services, self._ledger)

    def once(self, claim: Claim) -> "Conversations":
        """Return the same use cases for one request that has an identifier of its own."""
        return Conversations(dataclasses.replace(self._s, storage=ClaimingStorage(self._s.storage, claim)))

    async def begin(self, principal: Principal, wanted: Opening) -> tuple[Conversation, Operation]:
        """Ask for a conversation; it opens when the secure element's turn is its own.

        Args:
            principal: the service provider; it has something on this secure element.
            wanted: what it is to be about.

        Raises:
            NotFoundError: there is no such secure element for this caller, or nothing of the caller on it.
            InvalidInputError: the time to live is out of range.
            ScriptTooLargeError: the scripts will be larger than is possible.
        """
        require(principal, TenantKind.SERVICE_PROVIDER)
        lifetime = wanted.time_to_live_s or DEFAULT_TIME_TO_LIVE_S
        if not 1 <= lifetime <= MAX_TIME_TO_LIVE_S:
            raise InvalidInputError(
                f"A conversation lives for 1 to {MAX_TIME_TO_LIVE_S} seconds.", field="/TimeToLive"
            )
        async with self._s.storage.transaction() as tx:
            instance = await self._target(tx, principal, wanted)
            se = await self._usable(tx, wanted.se_id)
            check_border(principal, se)
            bearer, limits = await route_to(tx, se)
            _check_estimate(wanted, limits)
            number = max(1, int.from_bytes(self._s.world.random(8), "big") >> (64 - ID_BITS))
            operation = self._operation(
                principal,
                OperationType.CONVERSATION,
                se.id,
                None if instance is None else instance.id,
                parameters={"conversation": number, "time_to_live_s": lifetime},
                valid_until=wanted.valid_until or self._s.world.now() + _LONGEST_WAIT,
            )
            made = _new(operation, wanted, ConversationId(number), lifetime)
            conversation = replace(made, bearer=bearer, limits=limits)
            await tx.conversations.add(conversation)
            await self._request(tx, operation)
            await tx.commit()
        return conversation, operation

    async def conversation(
        self, principal: Principal, conversation_id: ConversationId
    ) -> tuple[Conversation, Operation]:
        """Return a conversation of the caller, with its operation.

        Raises:
            NotFoundError: the caller has none of this number.
        """
        async with self._s.storage.transaction() as tx:
            found = await tx.conversations.get(principal.tenant_id, conversation_id)
            operation = None if found is None else await tx.operations.get(found.operation_id)
        if found is None or operation is None:
            raise NotFoundError("There is no such conversation.", field="/ConversationID")
        return found, operation

    async def send_script(
        self,
        principal: Principal,
        conversation_id: ConversationId,
        commands: tuple[bytes, ...],
        *,
        valid_until: datetime | None = None,
    ) -> Script:
        """Check a script and store it as the next order to the device.

        Args:
            principal: the service provider.
            conversation_id: an open conversation of its own.
            commands: command APDUs, each whole.
            valid_until: until when a device may fetch it.

        Raises:
            NotFoundError: the caller has no such conversation.
            ConversationWaitingError, ConversationEndedError, ScriptInWorkError: it takes no script now.
            ScriptTooLargeError, ScriptRefusedError: nothing was sent.
        """
        if valid_until is not None and valid_until <= self._s.world.now():
            raise InvalidInputError("The validity is over.", field="/ValidityPeriod")
        for attempt in range(_TRIES):
            try:
                return await self._send(principal, conversation_id, commands, valid_until)
            except StaleVersionError:
                if attempt == _TRIES - 1:
                    raise
        raise AssertionError  # never reached

    async def script(
        self, principal: Principal, conversation_id: ConversationId, number: int
    ) -> ScriptResult:
        """Return a script of the caller with what the card answered, as long as that is kept.

        Raises:
            NotFoundError: there is none, or its time is over.
        """
        async with self._s.storage.transaction() as tx:
            found = await tx.conversations.script(principal.tenant_id, conversation_id, number)
        now = self._s.world.now()
        if found is None or (found.expires_at is not None and found.expires_at <= now):
            raise NotFoundError("There is no such script, or its answers are not kept any more.")
        if not found.sealed_result:
            return ScriptResult(found, None)
        opened = await self._s.keystore.open(found.sealed_result, context=result_context(found))
        return ScriptResult(found, from_json(OrderAnswer, opened))

    async def end(
        self, principal: Principal, conversation_id: ConversationId, *, outcome: str = ""
    ) -> tuple[Conversation, Operation]:
        """End a conversation; a script that no device has fetched is withdrawn.

        Args:
            principal: the service provider.
            conversation_id: which.
            outcome: what the caller says of it; audited.

        Raises:
            NotFoundError: the caller has no such conversation.
            ConversationEndedError: it has ended before.
            ScriptInWorkError: a device has its script.
        """
        for attempt in range(_TRIES):
            try:
                await self._end(principal, conversation_id, outcome)
                break
            except StaleVersionError:
                if attempt == _TRIES - 1:
                    raise
        return await self.conversation(principal, conversation_id)

    # --- how -------------------------------------------------------------------------------------------

    async def _target(self, tx: UnitOfWork, principal: Principal, wanted: Opening) -> ServiceInstance | None:
        """Return the instance that the conversation is about, if it names one.

        Who has nothing on a secure element has nothing to say to it, and does not learn that it exists.
        """
        own = await own_instances(tx, principal.tenant_id, wanted.se_id)
        if not own:
            raise NotFoundError("There is no such secure element, or nothing of yours on it.")
        if wanted.service_id is not None:
            own = [one for one in own if one.description.service_id == wanted.service_id]
        if wanted.target is not None:
            own = [
                one
                for one in own
                if wanted.target
                in (one.description.sd_aid, *(a.instance_aid for a in one.description.applications))
            ]
        if not own:
            raise NotFoundError("You have no such service or application on this secure element.")
        named = wanted.service_id is not None or wanted.target is not None
        return own[0] if named and len(own) == 1 else None

    async def _send(
        self,
        principal: Principal,
        conversation_id: ConversationId,
        raw: tuple[bytes, ...],
        valid_until: datetime | None,
    ) -> Script:
        case, conversation = await self._open_case(principal, conversation_id)
        if conversation.scripts >= conversation.limits.scripts:
            raise ScriptTooLargeError(
                f"The conversation has had its {conversation.limits.scripts} scripts.",
                advice="End it and begin another one.",
                field="/ConversationID",
            )
        async with self._s.storage.transaction() as tx:
            own = await own_instances(tx, principal.tenant_id, case.se.id)
            key_sets = await tx.key_sets.list(case.se.issuer_id, case.se.id, case.se.isd_aid)
        arranged = () if case.arrangement is None else case.arrangement.domains
        others = [one.kvn for one in arranged if one.holder_id != principal.tenant_id]
        kvns = frozenset({*others, *(one.kvn for one in key_sets), case.se.isd_kvn})
        checked = check_script(
            raw,
            Position(conversation.selected, conversation.personalizing),
            reach_of(own, case.content, kvns),
            conversation.limits,
            conversation.script_format,
        )
        permission = permission_of(case, self._s.rights, principal.tenant_id)
        if permission is not None:
            check_rights(checked, principal.tenant_id, permission)
        script = self._script(conversation, case, checked, valid_until)
        until = min(filter(None, (conversation.expires_at, valid_until)), default=None)
        case.operation = replace(case.operation, valid_until=until)

        async def store(tx: UnitOfWork) -> None:
            await tx.conversations.save(replace(conversation, scripts=script.number, in_work=script.number))
            await tx.conversations.add_script(script)
            # the last entry: what the call's identifier stands for
            await tx.audit.append(
                script.tenant_id,
                actor=script.tenant_id,
                action=SCRIPT_SENT,
                subject=script.reference,
                details={"conversation": conversation.id, "commands": len(raw)},
            )

        case.also.append(store)
        orders = tuple(
            Command(
                apdu=one.hex().upper(), expected=_WELL, meaning=f"command {n} of script {script.reference}"
            )
            for n, one in enumerate(raw, 1)
        )
        await self._ledger.send(case, orders, len(orders))
        return script

    def _script(
        self, conversation: Conversation, case: Case, checked: CheckedScript, valid_until: datetime | None
    ) -> Script:
        now = self._s.world.now()
        return Script(
            tenant_id=conversation.tenant_id,
            conversation_id=conversation.id,
            number=conversation.scripts + 1,
            order=case.se.next_order,
            commands=len(checked.commands),
            key_domain=checked.key_domain,
            key_commands=checked.key_commands,
            selected=checked.position.selected,
            personalizing=checked.position.personalizing,
            valid_until=valid_until,
            created_at=now,
            # it goes even if nobody ever takes its end in
            expires_at=(conversation.expires_at or now) + RESULT_KEPT,
        )

    async def _open_case(
        self, principal: Principal, conversation_id: ConversationId
    ) -> tuple[Case, Conversation]:
        """Return an open conversation that takes a script now."""
        conversation, operation = await self.conversation(principal, conversation_id)
        state = state_of(operation)
        if state is ConversationState.WAITING or (
            state is ConversationState.OPEN and conversation.opened_at is None
        ):
            raise ConversationWaitingError(
                advice="Wait for the event conversation.opened, or ask for the process's result."
            )
        self._refuse_ended(state, conversation, operation)
        if conversation.in_work is not None or operation.state is not OperationState.PREPARING:
            raise ScriptInWorkError(advice="Ask for its result first.")
        async with self._s.storage.transaction() as tx:
            case = await load_case(tx, operation.id)
            first = await tx.operations.next_queued(case.se.id)
            if first is not None and first.priority <= LOSS_PRIORITY:
                await tx.outbox.publish(ADVANCE, operation.id, {"operation": operation.id})
                await tx.commit()
                raise ConversationEndedError("A report of loss takes the secure element's turn.")
        return case, conversation

    def _refuse_ended(
        self, state: ConversationState, conversation: Conversation, operation: Operation
    ) -> None:
        over = conversation.expires_at is not None and self._s.world.now() >= conversation.expires_at
        if state is ConversationState.ENDED or over or operation.cancel_requested:
            why = "" if operation.failure is None else f" {operation.failure.detail}"
            raise ConversationEndedError(f"The conversation has ended.{why}", advice="Begin another one.")

    async def _end(self, principal: Principal, conversation_id: ConversationId, outcome: str) -> None:
        _, operation = await self.conversation(principal, conversation_id)
        state = state_of(operation)
        if state is ConversationState.ENDED:
            raise ConversationEndedError()
        async with self._s.storage.transaction() as tx:
            case = await load_case(tx, operation.id)
            present, script = await load_conversation(tx, operation)
        details: dict[str, str | int] = {"conversation": present.id}
        if outcome:
            details["outcome"] = outcome
        if state is ConversationState.WAITING:
            await self._cancel_waiting(case, details)
            return
        if script is not None:
            if case.order is None or case.order.delivered or case.order.sealed_answer:
                raise ScriptInWorkError(
                    "A device has the conversation's script.", advice="Ask for its result."
                )
            present = self._conversing.withdraw(case, present, script)
        case.note("conversation.end-requested", details)
        await self._conversing.end(case, present, None)

    async def _cancel_waiting(self, case: Case, details: dict[str, str | int]) -> None:
        operation = case.operation
        async with self._s.storage.transaction() as tx:
            ended = replace(moved(operation, OperationEvent.CANCEL), ended_at=self._s.world.now())
            await tx.operations.save(ended)
            await tx.audit.append(
                operation.tenant_id,
                actor=operation.tenant_id,
                action="conversation.end-requested",
                subject=operation.id,
                details=details,
            )
            await tx.commit()


def _new(operation: Operation, wanted: Opening, number: ConversationId, lifetime: int) -> Conversation:
    return Conversation(
        id=number,
        tenant_id=operation.tenant_id,
        operation_id=operation.id,
        se_id=operation.se_id,
        instance_id=operation.instance_id,
        target=wanted.target,
        qualifier=wanted.qualifier,
        purpose=wanted.purpose,
        script_format=wanted.script_format,
        time_to_live_s=lifetime,
    )


def _check_estimate(wanted: Opening, limits: ScriptLimits) -> None:
    limit = limits.script_bytes
    if wanted.estimated_bytes is not None and wanted.estimated_bytes > limit:
        raise ScriptTooLargeError(
            f"Scripts have at most {limit} bytes.",
            advice="Cut the work into several scripts.",
            field="/EstimatedAPDUScriptSize",
        )
