"""The worker: claims messages after their commit, at least once, and hands each to its use case."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

import structlog

from opentsm.tsm.domain.exchange import OutboxMessage
from opentsm.tsm.kernel.errors import StaleVersionError
from opentsm.tsm.ports.notifier import OUTBOX_TOPIC, Notifier
from opentsm.tsm.ports.unit_of_work import Storage
from opentsm.tsm.ports.world import World

Handler = Callable[[dict[str, str]], Awaitable[None]]

LEASE_S = 10.0
_BATCH = 32
_IDLE_S = 1.0
_SETTLE_AGAIN_S = 0.2
_MAX_BACK_OFF_S = 60.0

log = structlog.get_logger("opentsm.worker")


class OutboxWorker:
    """Takes messages from the outbox until it is stopped."""

    def __init__(
        self,
        storage: Storage,
        handlers: Mapping[str, Handler],
        world: World,
        notifier: Notifier,
        *,
        failures_raise: bool = False,
    ) -> None:
        """Say what to work with.

        Args:
            storage: where the outbox is.
            handlers: the use case for each kind of message.
            world: the clock.
            notifier: wakes the worker when a commit published messages.
            failures_raise: let an unexpected error of a handler through (tests), instead of trying again.
        """
        self._failures_raise = failures_raise
        self._storage = storage
        self._handlers = handlers
        self._world = world
        self._notifier = notifier
        self._running: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; messages in work are finished, others stay in the outbox."""
        while not stop.is_set():
            messages = await self._claim()
            for message in messages:
                task = asyncio.create_task(self._handle(message))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            if messages:
                await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            else:
                await self._rest(stop)
        if self._running:
            await asyncio.gather(*self._running, return_exceptions=True)

    async def release_leases(self) -> None:
        """Take over what a dead worker had leased; only for one who knows that no other worker lives."""
        async with self._storage.transaction() as tx:
            if await tx.outbox.release(self._world.now()):
                await tx.commit()
        self._notifier.notify(OUTBOX_TOPIC)

    async def drain(self) -> int:
        """Handle everything that is due now, and what follows from it; return how much that was."""
        handled = 0
        while messages := await self._claim():
            await asyncio.gather(*(self._handle(message) for message in messages))
            handled += len(messages)
        return handled

    async def _rest(self, stop: asyncio.Event) -> None:
        wakers = {
            asyncio.create_task(self._notifier.wait(OUTBOX_TOPIC, _IDLE_S)),
            asyncio.create_task(stop.wait()),
            *self._running,
        }
        _, pending = await asyncio.wait(wakers, return_when=asyncio.FIRST_COMPLETED)
        for task in pending - self._running:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _claim(self) -> list[OutboxMessage]:
        room = _BATCH - len(self._running)
        if room <= 0:
            return []
        messages: list[OutboxMessage] = []
        # A commit whose answer was lost may have leased them: handled twice they do no harm, but nobody
        # else would touch them before the lease is over.
        with contextlib.suppress(StaleVersionError):
            async with self._storage.transaction() as tx:
                messages += await tx.outbox.claim(self._world.now(), lease_s=LEASE_S, limit=room)
                if messages:
                    await tx.commit()
        return messages

    async def _handle(self, message: OutboxMessage) -> None:
        try:
            await self._handlers[message.kind](message.body)
        except StaleVersionError as error:
            await self._later(message, 0.0, error)
        except Exception as error:
            if self._failures_raise:
                raise
            log.error(
                "message failed",
                kind=message.kind,
                key=message.key,
                error=type(error).__name__,
                exc_info=error,
            )
            await self._later(message, min(2.0**message.attempts, _MAX_BACK_OFF_S), error)
        else:
            await self._settle(message, None, "")

    async def _later(self, message: OutboxMessage, delay_s: float, error: Exception) -> None:
        await self._settle(message, delay_s, type(error).__name__)

    async def _settle(self, message: OutboxMessage, delay_s: float | None, error: str) -> None:
        """Remove or postpone a message.

        While the database is away, try again; after the lease the message comes again by itself.
        """
        lease_ends = self._world.now() + timedelta(seconds=LEASE_S)
        while self._world.now() < lease_ends:
            try:
                await self._settle_once(message, delay_s, error)
                return
            except StaleVersionError:
                await asyncio.sleep(_SETTLE_AGAIN_S)

    async def _settle_once(self, message: OutboxMessage, delay_s: float | None, error: str) -> None:
        async with self._storage.transaction() as tx:
            if delay_s is None:
                await tx.outbox.done(message.id)
            else:
                not_before = self._world.now() + timedelta(seconds=delay_s)
                await tx.outbox.retry(message.id, not_before, error)
            await tx.commit()
