"""The worker of deliveries: leases lanes that have something to send, and takes a turn of each.

A turn is one call. Lanes bound the calls of one target, on all nodes together; the room here bounds all
of one node. A slow target holds its own lanes up and nobody else's.
"""

import asyncio
import contextlib
from collections.abc import Callable

import structlog

from opentsm.tsm.domain.delivery import Delivery, Lane
from opentsm.tsm.kernel.errors import StaleVersionError
from opentsm.tsm.ports.notifier import Notifier
from opentsm.tsm.ports.sender import DELIVERY_TOPIC
from opentsm.tsm.roles.hub.dispatch import Dispatch

ROOM = 128
LEASE_S = 60.0  # far longer than a call may take
_IDLE_S = 1.0

Told = Callable[[Delivery], None]

log = structlog.get_logger("opentsm.deliveries")


def _nobody(_delivery: Delivery) -> None:
    """Tell nobody."""


class DeliveryWorker:
    """Sends until it is stopped."""

    def __init__(
        self, dispatch: Dispatch, notifier: Notifier, on_attempt: Told = _nobody, *, room: int = ROOM
    ) -> None:
        """Say what to work with.

        Args:
            dispatch: the use case.
            notifier: wakes the worker when a commit wrote deliveries.
            on_attempt: hears of every delivery after an attempt at it.
            room: calls at once, at most.
        """
        self._dispatch = dispatch
        self._notifier = notifier
        self._on_attempt = on_attempt
        self._room = room
        self._running: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; calls that are being made are waited for."""
        try:
            while not stop.is_set():
                lanes = await self._claim()
                for lane in lanes:
                    task = asyncio.create_task(self._turn(lane))
                    self._running.add(task)
                    task.add_done_callback(self._running.discard)
                if len(self._running) >= self._room:
                    await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
                elif not lanes:
                    await self._rest(stop)
        finally:
            if self._running:
                await asyncio.gather(*self._running, return_exceptions=True)

    async def drain(self) -> int:
        """Send everything that is due now; return how many attempts that were."""
        made = 0
        while lanes := await self._claim():
            outcomes = await asyncio.gather(*(self._dispatch.turn(lane) for lane in lanes))
            for one in outcomes:
                if one.delivery is not None:
                    self._tell(one.delivery)
                    made += 1
        return made

    async def _claim(self) -> list[Lane]:
        # a commit whose answer was lost may have leased them: they come again when the lease is over
        with contextlib.suppress(StaleVersionError):
            return await self._dispatch.claim(lease_s=LEASE_S, limit=self._room - len(self._running))
        return []

    async def _turn(self, lane: Lane) -> None:
        try:
            outcome = await self._dispatch.turn(lane)
        except StaleVersionError:
            return
        except Exception as error:
            log.error("delivery failed", target=lane.target_id, error=type(error).__name__, exc_info=error)
            return
        if outcome.delivery is not None:
            self._tell(outcome.delivery)

    def _tell(self, delivery: Delivery) -> None:
        attempt = delivery.attempts[-1]
        log.info(
            "delivery.attempt",
            delivery_id=delivery.id,
            kind=delivery.kind.value,
            target=delivery.target_id,
            delivery_event=delivery.event,
            state=delivery.state.value,
            tries=delivery.tries,
            status=attempt.status,
            reason=attempt.error,
        )
        self._on_attempt(delivery)

    async def _rest(self, stop: asyncio.Event) -> None:
        """Wait for something new, for a call to end, or a second; a lane's rest ends by itself."""
        wakers = {
            asyncio.create_task(self._notifier.wait(DELIVERY_TOPIC, _IDLE_S)),
            asyncio.create_task(stop.wait()),
            *self._running,
        }
        _, pending = await asyncio.wait(wakers, return_when=asyncio.FIRST_COMPLETED)
        for task in pending - self._running:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
