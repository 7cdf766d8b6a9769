"""Wakes waiting tasks of this process; another process is found again by polling."""

import asyncio
from collections import defaultdict


class LocalNotifier:
    """Topics with the tasks that wait for them; for use from one event loop."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[asyncio.Future[None]]] = defaultdict(set)

    def notify(self, topic: str) -> None:
        """Wake all who wait for the topic."""
        for waiter in self._waiting.pop(topic, ()):
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, topic: str, timeout_s: float) -> bool:
        """Wait for the topic; False when the time is over. A hint may be missed: look before and after."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting[topic].add(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except TimeoutError:
            return False
        else:
            return True
        finally:
            self._forget(topic, waiter)

    def _forget(self, topic: str, waiter: asyncio.Future[None]) -> None:
        waiters = self._waiting.get(topic)
        if waiters is not None:
            waiters.discard(waiter)
            if not waiters:
                del self._waiting[topic]
