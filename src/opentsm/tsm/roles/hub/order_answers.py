"""What a device answers to an order: compared with what was expected, stored, and made the conductor's turn.

The keystore works outside the transaction. The order's version guards what is stored: an order that was
withdrawn or answered meanwhile is left as it is.
"""

from dataclasses import dataclass

import msgspec

from opentsm.tsm.domain.device import DeviceSession
from opentsm.tsm.domain.exchange import Command, DeviceOrder, OrderAnswer, OrderState, StopReason
from opentsm.tsm.domain.operation import ENDED, OPERATION_STATES, OperationEvent, Traffic
from opentsm.tsm.kernel.documents import from_json, to_json
from opentsm.tsm.ports.keystore import Keystore
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.services import ADVANCE, HubServices, answer_context, commands_context

replace = msgspec.structs.replace


@dataclass(frozen=True, slots=True)
class Report:
    """What an agent reports: `sequence` names the order (None: an agent without the extension)."""

    polling: bool
    responses: tuple[str, ...] = ()
    sequence: int | None = None
    stopped: StopReason | None = None
    index: int | None = None


class SealedOrders:
    """Opens and seals what an order holds; never inside a transaction."""

    def __init__(self, keystore: Keystore) -> None:
        self._keystore = keystore

    async def commands(self, order: DeviceOrder) -> tuple[Command, ...]:
        """Return the order's commands."""
        context = commands_context(order.se_id, order.sequence)
        return from_json(
            tuple[Command, ...], await self._keystore.open(order.sealed_commands, context=context)
        )

    async def answer(self, order: DeviceOrder) -> OrderAnswer:
        """Return the answer on record; an empty one when there is none."""
        if not order.sealed_answer:
            return OrderAnswer()
        context = answer_context(order.se_id, order.sequence)
        return from_json(OrderAnswer, await self._keystore.open(order.sealed_answer, context=context))

    async def partial(self, order: DeviceOrder) -> tuple[str, ...]:
        """Return what an agent that takes slices has answered so far."""
        return (await self.answer(order)).responses

    async def seal(self, order: DeviceOrder, answer: OrderAnswer) -> bytes:
        """Seal an answer for its order."""
        return await self._keystore.seal(to_json(answer), context=answer_context(order.se_id, order.sequence))


class OrderAnswers:
    """Takes reports."""

    def __init__(self, services: HubServices) -> None:
        self._s = services
        self._sealed = SealedOrders(services.keystore)

    async def take(self, session: DeviceSession, report: Report) -> None:
        """Store what a report answers; one about another order, or of another device, changes nothing."""
        async with self._s.storage.transaction() as tx:
            order = await tx.orders.current(session.se_id)
        if order is None or order.state is not OrderState.IN_FLIGHT or not order.delivered:
            return
        if order.device_id != session.device_id:  # another device has it; this one may get it next
            return
        commands = await self._sealed.commands(order)
        if not session.extended:
            answer, complete = _slice_answer(order, commands, await self._sealed.partial(order), report)
        elif report.sequence == order.sequence:
            answer = OrderAnswer(responses=report.responses, stopped=report.stopped, index=report.index)
            complete = True
        else:
            return
        sealed = await self._sealed.seal(order, answer)
        async with self._s.storage.transaction() as tx:
            if complete:
                await self._answered(tx, session, order, commands, answer)
            state = OrderState.ANSWERED if complete else order.state
            await tx.orders.save(replace(order, state=state, sealed_answer=sealed))
            await tx.commit()

    async def _answered(
        self,
        tx: UnitOfWork,
        session: DeviceSession,
        order: DeviceOrder,
        commands: tuple[Command, ...],
        answer: OrderAnswer,
    ) -> None:
        operation = await tx.operations.get(order.operation_id)
        if operation is None or operation.state in ENDED:
            return
        await tx.operations.save(
            replace(
                operation,
                state=OPERATION_STATES.next(operation.state, OperationEvent.ANSWER),
                traffic=_with_order(operation.traffic, commands, answer),
                device_id=session.device_id,
            )
        )
        details: dict[str, str | int] = {"order": order.sequence, "answers": len(answer.responses)}
        if answer.stopped is not None:
            details["stopped"] = answer.stopped.value
        await tx.audit.append(
            operation.tenant_id,
            actor=f"device:{session.device_id}",
            action="operation.order-answered",
            subject=order.operation_id,
            details=details,
        )
        await tx.outbox.publish(ADVANCE, order.operation_id, {"operation": order.operation_id})


def _slice_answer(
    order: DeviceOrder, commands: tuple[Command, ...], earlier: tuple[str, ...], report: Report
) -> tuple[OrderAnswer, bool]:
    """Return all answers so far, and whether they are all there will be.

    An agent without the extension sent everything of the slice, whatever the card answered.
    """
    if report.polling and not report.responses:
        lost = OrderAnswer(responses=earlier, stopped=StopReason.ANSWER_LOST, index=len(earlier))
        return lost, True
    responses = (*earlier, *report.responses)
    wrong = _first_difference(commands, responses)
    if wrong is not None:
        return OrderAnswer(responses=responses, stopped=StopReason.MISMATCH, index=wrong), True
    if len(responses) < order.delivered or report.stopped is not None:
        lost = OrderAnswer(responses=responses, stopped=StopReason.CARD_LOST, index=len(responses))
        return lost, True
    return OrderAnswer(responses=responses), len(responses) >= len(commands)


def _first_difference(commands: tuple[Command, ...], responses: tuple[str, ...]) -> int | None:
    for number, (command, response) in enumerate(zip(commands, responses, strict=False)):
        if not _fits(command, response):
            return number
    return None


def _fits(command: Command, response: str) -> bool:
    word, patterns = response[-4:].upper(), command.expected.status_words
    if not response and command.apdu.startswith("00A404"):
        # SERAM 2.0.0, seRamResponse: the answer to a SELECT may not be available to the agent
        return True
    if len(word) != 4:
        return False
    return not patterns or any(
        all(p in ("?", ch) for p, ch in zip(pattern, word, strict=True)) for pattern in patterns
    )


def _with_order(traffic: Traffic, commands: tuple[Command, ...], answer: OrderAnswer) -> Traffic:
    sent = commands[: len(answer.responses)]
    size = sum(len(command.apdu) for command in sent) + sum(len(r) for r in answer.responses)
    return Traffic(
        apdus=traffic.apdus + len(answer.responses),
        bytes=traffic.bytes + size // 2,
        round_trips=traffic.round_trips + 1,
    )
