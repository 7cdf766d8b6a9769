"""What a device agent gets and brings: stored orders out, answers in. Opaque bytes; nothing is decided here.

GlobalPlatform SERAM 2.0.0; docs/reference/agent-protocol.md for the extension. An order is stored before
it is handed out, and handed out again, byte for byte, until its answer is stored.
"""

import asyncio
import hashlib
from dataclasses import dataclass

import msgspec

from opentsm.tsm.domain.device import DeviceSession
from opentsm.tsm.domain.exchange import Command, DeviceOrder, OrderAnswer, OrderState, StopReason
from opentsm.tsm.domain.operation import ENDED, OPERATION_STATES, OperationEvent, Traffic
from opentsm.tsm.domain.tenant import Principal
from opentsm.tsm.kernel.documents import from_json, to_json
from opentsm.tsm.kernel.errors import NotFoundError
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.services import (
    ADVANCE,
    HubServices,
    answer_context,
    commands_context,
    device_topic,
)

replace = msgspec.structs.replace


@dataclass(frozen=True, slots=True)
class Report:
    """What an agent reports: `sequence` names the order (None: an agent without the extension)."""

    polling: bool
    responses: tuple[str, ...] = ()
    sequence: int | None = None
    stopped: StopReason | None = None
    index: int | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """What goes to the agent: commands of one order (or a slice of it), and up to which order is settled."""

    start: bool
    acknowledged: int
    sequence: int | None = None
    commands: tuple[Command, ...] = ()


class DeviceLink:
    """Serves one kind of device link from the stored orders."""

    def __init__(self, services: HubServices) -> None:
        self._s = services

    async def session(self, principal: Principal, session_id: str) -> DeviceSession:
        """Return the session of this device.

        Raises:
            NotFoundError: unknown, over, or another device's: all look the same.
        """
        digest = hashlib.sha256(session_id.encode()).digest()
        async with self._s.storage.transaction() as tx:
            session = await tx.devices.session(digest)
            se = await tx.secure_elements.get(session.se_id) if session is not None else None
        if (
            session is None
            or se is None
            or session.device_id != principal.device_id
            or session.expires_at <= self._s.world.now()
            # bound to another device since the session was opened
            or se.device_id not in (None, session.device_id)
        ):
            raise NotFoundError("There is no such device session.")
        return session

    async def handshake(self, session: DeviceSession, *, extended: bool) -> None:
        """Remember what the agent can do; the next exchange begins with a start command."""
        async with self._s.storage.transaction() as tx:
            await tx.devices.save_session(replace(session, extended=extended, ready=False))
            await tx.commit()

    async def exchange(self, session: DeviceSession, report: Report, *, wait_s: float) -> Delivery:
        """Take a report, then return the next order, waiting for one up to `wait_s` seconds."""
        await self._take(session, report)
        start = not session.ready
        # the wait begins before the look: a hint that comes in between is not missed
        hint = asyncio.ensure_future(self._s.notifier.wait(device_topic(session.se_id), wait_s))
        try:
            await asyncio.sleep(0)
            delivery = await self._deliver(session, start)
            if delivery.commands or start:
                return delivery
            await hint
        finally:
            hint.cancel()
        return await self._deliver(session, start)

    # --- answers in ------------------------------------------------------------------------------------

    async def _take(self, session: DeviceSession, report: Report) -> None:
        async with self._s.storage.transaction() as tx:
            order = await tx.orders.current(session.se_id)
            if order is None or order.state is not OrderState.IN_FLIGHT or not order.delivered:
                return
            if order.device_id != session.device_id:  # another device has it; this one may get it next
                return
            if session.extended:
                if report.sequence != order.sequence:
                    return
                answer = OrderAnswer(responses=report.responses, stopped=report.stopped, index=report.index)
                await self._answered(tx, session, order, answer)
                return
            await self._take_slice(tx, session, order, report)

    async def _take_slice(
        self, tx: UnitOfWork, session: DeviceSession, order: DeviceOrder, report: Report
    ) -> None:
        """An agent without the extension sent everything of the slice, whatever the card answered."""
        commands = await self._commands(order)
        earlier = await self._partial(order)
        if report.polling and not report.responses:
            lost = OrderAnswer(responses=earlier, stopped=StopReason.ANSWER_LOST, index=len(earlier))
            await self._answered(tx, session, order, lost)
            return
        responses = (*earlier, *report.responses)
        wrong = _first_difference(commands, responses)
        if wrong is not None:
            answer = OrderAnswer(responses=responses, stopped=StopReason.MISMATCH, index=wrong)
            await self._answered(tx, session, order, answer)
        elif len(responses) < order.delivered or report.stopped is not None:
            answer = OrderAnswer(responses=responses, stopped=StopReason.CARD_LOST, index=len(responses))
            await self._answered(tx, session, order, answer)
        elif len(responses) >= len(commands):
            await self._answered(tx, session, order, OrderAnswer(responses=responses))
        else:
            sealed = await self._seal(order, OrderAnswer(responses=responses))
            await tx.orders.save(replace(order, sealed_answer=sealed))
            await tx.commit()

    async def _answered(
        self, tx: UnitOfWork, session: DeviceSession, order: DeviceOrder, answer: OrderAnswer
    ) -> None:
        operation = await tx.operations.get(order.operation_id)
        await tx.orders.save(
            replace(order, state=OrderState.ANSWERED, sealed_answer=await self._seal(order, answer))
        )
        if operation is not None and operation.state not in ENDED:
            commands = await self._commands(order)
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
        await tx.commit()

    # --- orders out ------------------------------------------------------------------------------------

    async def _deliver(self, session: DeviceSession, start: bool) -> Delivery:
        async with self._s.storage.transaction() as tx:
            order = await tx.orders.current(session.se_id)
            if start:
                await tx.devices.save_session(replace(session, ready=True))
            if order is None or order.state is not OrderState.IN_FLIGHT:
                await tx.commit()
                done = order.sequence if order is not None else 0
                return Delivery(start=start, acknowledged=done)
            commands = await self._commands(order)
            first, last = 0, len(commands)
            if not session.extended:
                first = len(await self._partial(order))
                last = _slice_end(commands, first)
            if order.delivered < last or order.device_id != session.device_id:
                await tx.orders.save(replace(order, delivered=last, device_id=session.device_id))
            await tx.commit()
        return Delivery(
            start=start,
            acknowledged=order.sequence - 1,
            sequence=order.sequence if session.extended else None,
            commands=commands[first:last],
        )

    async def _commands(self, order: DeviceOrder) -> tuple[Command, ...]:
        opened = await self._s.keystore.open(
            order.sealed_commands, context=commands_context(order.se_id, order.sequence)
        )
        return from_json(tuple[Command, ...], opened)

    async def _partial(self, order: DeviceOrder) -> tuple[str, ...]:
        if not order.sealed_answer:
            return ()
        opened = await self._s.keystore.open(
            order.sealed_answer, context=answer_context(order.se_id, order.sequence)
        )
        return from_json(OrderAnswer, opened).responses

    async def _seal(self, order: DeviceOrder, answer: OrderAnswer) -> bytes:
        return await self._s.keystore.seal(
            to_json(answer), context=answer_context(order.se_id, order.sequence)
        )


def _slice_end(commands: tuple[Command, ...], first: int) -> int:
    """Return where a slice ends: before the next command that needs all before it to have succeeded."""
    end = first + 1
    while end < len(commands) and not commands[end].barrier:
        end += 1
    return end


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
