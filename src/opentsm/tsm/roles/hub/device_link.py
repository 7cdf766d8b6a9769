"""What a device agent gets and brings: stored orders out, answers in. Opaque bytes; nothing is decided here.

GlobalPlatform SERAM 2.0.0; docs/reference/agent-protocol.md for the extension. An order is stored before
it is handed out, and handed out again, byte for byte, until its answer is stored.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from opentsm.tsm.domain.device import DeviceSession
from opentsm.tsm.domain.exchange import Command, DeviceOrder, OrderState
from opentsm.tsm.domain.tenant import Principal
from opentsm.tsm.kernel.errors import NotFoundError, StaleVersionError
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.order_answers import OrderAnswers, Report, SealedOrders
from opentsm.tsm.roles.hub.services import HubServices, device_topic
from opentsm.tsm.roles.hub.turns import may_take, take

replace = msgspec.structs.replace
T = TypeVar("T")

_TRIES = 3


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
        self._sealed = SealedOrders(services.keystore)
        self._answers = OrderAnswers(services)

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
            # bound to another device, or reserved for it, since the session was opened
            or not se.admits(session.device_id)
        ):
            raise NotFoundError("There is no such device session.")
        return session

    async def handshake(self, session: DeviceSession, *, extended: bool) -> None:
        """Remember what the agent can do; the next exchange begins with a start command."""
        async with self._s.storage.transaction() as tx:
            await tx.devices.save_session(replace(session, extended=extended, ready=False))
            await tx.commit()

    async def exchange(self, session: DeviceSession, report: Report, *, wait_s: float) -> Delivery:
        """Take a report, then return the next order, waiting for one up to `wait_s` seconds.

        The keystore opens and seals between the transactions; the order's version guards what is stored.
        """
        await _again_when_stale(lambda: self._answers.take(session, report))
        start = not session.ready
        # the wait begins before the look: a hint that comes in between is not missed
        hint = asyncio.ensure_future(self._s.notifier.wait(device_topic(session.se_id), wait_s))
        try:
            await asyncio.sleep(0)
            delivery = await _again_when_stale(lambda: self._deliver(session, start))
            if delivery.commands or start:
                return delivery
            await hint
        finally:
            hint.cancel()
        return await _again_when_stale(lambda: self._deliver(session, start))

    # --- orders out ------------------------------------------------------------------------------------

    async def _deliver(self, session: DeviceSession, start: bool) -> Delivery:
        async with self._s.storage.transaction() as tx:
            if await tx.devices.session(session.digest) is None:  # ended while it waited
                raise NotFoundError("There is no such device session.")
            order = await tx.orders.current(session.se_id)
            waiting = order is not None and order.state is OrderState.IN_FLIGHT
            allowed, bound = await self._allowed(tx, session, order) if waiting else (False, False)
        if order is None or not allowed:
            if start:
                await self._store(replace(session, ready=True), None)
            settled = 0 if order is None else order.sequence - (1 if waiting else 0)
            return Delivery(start=start, acknowledged=settled)
        commands = await self._sealed.commands(order)
        first, last = 0, len(commands)
        if not session.extended:
            first = len(await self._sealed.partial(order))
            last = _slice_end(commands, first)
        changed = order.delivered < last or order.device_id != session.device_id
        handed = replace(order, delivered=last, device_id=session.device_id) if changed else None
        taker = session if handed is not None and not bound else None
        await self._store(replace(session, ready=True) if start else None, handed, taker)
        return Delivery(
            start=start,
            acknowledged=order.sequence - 1,
            sequence=order.sequence if session.extended else None,
            commands=commands[first:last],
        )

    async def _allowed(
        self, tx: UnitOfWork, session: DeviceSession, order: DeviceOrder | None
    ) -> tuple[bool, bool]:
        """Say whether the device may have the order, and whether the secure element is bound to it."""
        se = await tx.secure_elements.get(session.se_id)
        if se is None or order is None:
            return False, False
        allowed = await may_take(tx, se, session, order.sequence, self._s.world.now())
        return allowed, se.device_id is not None

    async def _store(
        self, session: DeviceSession | None, order: DeviceOrder | None, taker: DeviceSession | None = None
    ) -> None:
        if session is None and order is None:
            return
        async with self._s.storage.transaction() as tx:
            if session is not None:
                await tx.devices.save_session(session)
            if order is not None:
                await tx.orders.save(order)
                if taker is not None:
                    await take(tx, taker, order.sequence, self._s.world.now())
            await tx.commit()


def _slice_end(commands: tuple[Command, ...], first: int) -> int:
    """Return where a slice ends: before the next command that needs all before it to have succeeded."""
    end = first + 1
    while end < len(commands) and not commands[end].barrier:
        end += 1
    return end


async def _again_when_stale(step: Callable[[], Awaitable[T]]) -> T:
    """Repeat a step from what is stored now; another exchange or the conductor was faster."""
    for _ in range(_TRIES - 1):
        with contextlib.suppress(StaleVersionError):
            return await step()
    return await step()
