"""How a conversation goes on when the TSM is to act: it opens, a script was answered, or it ends by itself.

It ends by itself when its time to live is over, when its operation is cancelled, and at the next safe point
when a report of loss waits for the secure element. A safe point is where no script is with a device.
"""

from datetime import datetime

import msgspec

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.conversation import (
    RESULT_KEPT,
    Conversation,
    ConversationId,
    Script,
    ScriptState,
    result_context,
)
from opentsm.tsm.domain.exchange import OrderAnswer, OrderState, StopReason
from opentsm.tsm.domain.operation import (
    LOSS_PRIORITY,
    Failure,
    Operation,
    OperationEvent,
)
from opentsm.tsm.kernel.documents import to_json
from opentsm.tsm.kernel.errors import InvariantError
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.case import Case
from opentsm.tsm.roles.hub.herald import Event, tell
from opentsm.tsm.roles.hub.ledger import Ledger, moved
from opentsm.tsm.roles.hub.order_answers import SealedOrders
from opentsm.tsm.roles.hub.services import HubServices

replace = msgspec.structs.replace

SCRIPT_ENDED = "conversation.script-ended"
OPENED = "conversation.opened"
_GOOD = ("90", "62", "63")
_ENDINGS = {
    "expired": "The conversation's time to live is over.",
    "cancelled": "The conversation was cancelled.",
    "loss_reported": "A report of loss took the secure element's turn.",
}


def conversation_number(operation: Operation) -> ConversationId:
    """Return the number of the conversation that an operation is."""
    return ConversationId(int(operation.parameters["conversation"]))


async def load_conversation(tx: UnitOfWork, operation: Operation) -> tuple[Conversation, Script | None]:
    """Return an operation's conversation, with the script in work."""
    found = await tx.conversations.get(operation.tenant_id, conversation_number(operation))
    if found is None:
        raise InvariantError("A conversation's record is missing.")
    if found.in_work is None:
        return found, None
    return found, await tx.conversations.script(found.tenant_id, found.id, found.in_work)


class Conversing:
    """Takes conversations on."""

    def __init__(self, services: HubServices, ledger: Ledger) -> None:
        self._s = services
        self._ledger = ledger
        self._sealed = SealedOrders(services.keystore)

    async def advance(self, case: Case) -> None:
        """Do what is to be done; nothing when the provider or the device is to act."""
        async with self._s.storage.transaction() as tx:
            conversation, script = await load_conversation(tx, case.operation)
            first = await tx.operations.next_queued(case.se.id)
        lost = first is not None and first.priority <= LOSS_PRIORITY
        in_flight = case.order is not None and case.order.state is OrderState.IN_FLIGHT
        if in_flight:
            await self._while_in_flight(case, conversation, script, lost=lost)
            return
        reason = self._reason_to_end(case, conversation, lost=lost)
        if case.order is not None and script is not None:
            conversation = await self._answered(case, conversation, script)
            if reason is None:
                await self._ledger.keep(case)
                return
        if reason is not None:
            await self.end(case, conversation, reason)
        elif conversation.opened_at is None:
            await self._open(case, conversation)

    async def end(self, case: Case, conversation: Conversation, reason: str | None) -> None:
        """End a conversation: well (None), or for a reason; what is known of the card is stale afterwards."""
        if conversation.scripts:
            case.content = replace(case.content, fresh=False)
        case.operation = replace(
            case.operation, result={**case.operation.result, "scripts": conversation.scripts}
        )
        if reason is None:
            await self._ledger.end(case, OperationEvent.SUCCEED, None)
        elif reason == "cancelled":
            await self._ledger.end(case, OperationEvent.CANCEL, None)
        else:
            advice = "Begin another conversation; read the card's content first."
            failure = Failure(code=reason, detail=_ENDINGS[reason], advice=advice)
            await self._ledger.end(case, OperationEvent.FAIL, failure)

    # --- what happens ----------------------------------------------------------------------------------

    async def _open(self, case: Case, conversation: Conversation) -> None:
        now = self._s.world.now()
        opened = replace(conversation, opened_at=now, expires_at=case.operation.valid_until)

        async def store(tx: UnitOfWork) -> None:
            await tx.conversations.save(opened)
            await tell(tx, self._s.world, [opened_event(opened)])

        case.also.append(store)
        case.note(OPENED, {"conversation": opened.id})
        await self._ledger.keep(case)

    async def _answered(self, case: Case, conversation: Conversation, script: Script) -> Conversation:
        """Take in a script's answers: they wait, sealed, for whoever sent it."""
        assert case.order is not None
        answer = _bounded(await self._sealed.answer(case.order), conversation)
        good = answer.stopped is None
        done = replace(
            script,
            state=ScriptState.ANSWERED,
            sealed_result=await self._s.keystore.seal(to_json(answer), context=result_context(script)),
        )
        if _keys_touched(script, answer):
            self._keep_keys_elsewhere(case, script)
        case.operation = replace(case.operation, changed_card=True, valid_until=conversation.expires_at)
        position = (script.selected, script.personalizing) if good else (None, False)
        return self._settle(case, conversation, done, position=position)

    async def _while_in_flight(
        self, case: Case, conversation: Conversation, script: Script | None, *, lost: bool
    ) -> None:
        """Withdraw a script that no device has, when it is of no use any more; wait for one that has it."""
        assert case.order is not None
        now = self._s.world.now()
        over = conversation.expires_at is not None and now >= conversation.expires_at
        delivered = bool(case.order.delivered)
        if script is None or not (over or (not delivered and (lost or case.operation.cancel_requested))):
            if script is not None and not delivered and _is_over(script, now):
                self._withdraw(case, conversation, script, ScriptState.EXPIRED)
                await self._ledger.keep(case)
            return
        state = ScriptState.UNKNOWN if delivered else ScriptState.WITHDRAWN
        left = self._withdraw(case, conversation, script, state)
        await self.end(case, left, self._reason_to_end(case, conversation, lost=lost))

    def withdraw(self, case: Case, conversation: Conversation, script: Script) -> Conversation:
        """Take back a script that no device has."""
        return self._withdraw(case, conversation, script, ScriptState.WITHDRAWN)

    def _withdraw(
        self, case: Case, conversation: Conversation, script: Script, state: ScriptState
    ) -> Conversation:
        case.operation = moved(moved(case.operation, OperationEvent.DOUBT), OperationEvent.RESOLVE)
        case.operation = replace(case.operation, valid_until=conversation.expires_at)
        position = (conversation.selected, conversation.personalizing)
        if state is ScriptState.UNKNOWN:
            case.operation = replace(case.operation, changed_card=True)
            position = (None, False)
            if script.key_commands:
                self._keep_keys_elsewhere(case, script)
        return self._settle(case, conversation, replace(script, state=state), position=position)

    def _settle(
        self, case: Case, conversation: Conversation, script: Script, *, position: tuple[Aid | None, bool]
    ) -> Conversation:
        now = self._s.world.now()
        ended = replace(script, ended_at=now, expires_at=now + RESULT_KEPT)
        left = replace(conversation, in_work=None, selected=position[0], personalizing=position[1])

        async def store(tx: UnitOfWork) -> None:
            await tx.conversations.save(left)
            await tx.conversations.save_script(ended)
            await tell(tx, self._s.world, [script_event(ended)])

        case.also.append(store)
        case.note(SCRIPT_ENDED, {"script": ended.reference, "state": ended.state.value})
        return left

    def _keep_keys_elsewhere(self, case: Case, script: Script) -> None:
        """The provider's own TSM has, or may have, put keys there that are not in any keystore of ours."""
        provider, domain = script.tenant_id, script.key_domain

        async def store(tx: UnitOfWork) -> None:
            for one in await tx.instances.on_secure_element(case.se.id):
                if (one.provider_id, one.description.sd_aid) == (provider, domain) and not one.keys_elsewhere:
                    # the case's own instance was saved a moment ago, so it is read anew here
                    await tx.instances.save(replace(one, keys_elsewhere=True))

        case.also.append(store)
        keys = {name: kvns for name, kvns in case.content.keys.items() if name != str(domain)}
        case.content = replace(case.content, keys=keys)
        case.note("conversation.keys-changed", {"domain": str(domain), "script": script.reference})

    def _reason_to_end(self, case: Case, conversation: Conversation, *, lost: bool) -> str | None:
        if case.operation.cancel_requested:
            return "cancelled"
        if lost:
            return "loss_reported"
        until = conversation.expires_at or case.operation.valid_until
        return "expired" if until is not None and self._s.world.now() >= until else None


def _is_over(script: Script, now: datetime) -> bool:
    return script.valid_until is not None and now >= script.valid_until


def _bounded(answer: OrderAnswer, conversation: Conversation) -> OrderAnswer:
    """Cut an answer that is longer than the script could bring: the device's word is not taken for it."""
    kept: list[str] = []
    room = conversation.limits.response_bytes
    for response in answer.responses:
        room -= len(response) // 2
        if room < 0:
            return OrderAnswer(responses=tuple(kept), stopped=StopReason.ANSWER_LOST, index=len(kept))
        kept.append(response)
    return answer


def _keys_touched(script: Script, answer: OrderAnswer) -> bool:
    """Say whether a command that changes keys was carried out, or may have been."""
    return any(_carried_out(number, answer) for number in script.key_commands)


def _carried_out(number: int, answer: OrderAnswer) -> bool:
    if number < len(answer.responses):
        return answer.responses[number][-4:-2] in _GOOD
    if answer.stopped is StopReason.MISMATCH:
        return False
    # after a card that was lost nothing was sent; all other reasons leave it open
    return answer.stopped is not StopReason.CARD_LOST or number == answer.index


def opened_event(conversation: Conversation) -> Event:
    """Return that a conversation may send scripts now; its provider is told."""
    return Event(
        type=OPENED,
        subject=conversation.operation_id,
        concerns=frozenset({conversation.tenant_id}),
        data={
            "conversation_id": str(conversation.id),
            "operation_id": conversation.operation_id,
            "secure_element_id": conversation.se_id,
        },
    )


def script_event(script: Script) -> Event:
    """Return that a script ended; its answers are fetched, not sent."""
    return Event(
        type=SCRIPT_ENDED,
        subject=script.reference,
        concerns=frozenset({script.tenant_id}),
        data={
            "conversation_id": str(script.conversation_id),
            "process_reference": script.reference,
            "state": script.state.value,
        },
    )
