"""Requests that wait for something to become so, without holding anything meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from opentsm.api.container import ApiContainer
from opentsm.api.drain import Drain

T = TypeVar("T")
LOOK_AGAIN_S = 1.0


class Waiter(Protocol):
    """With what to wait."""

    @property
    def container(self) -> ApiContainer:
        """Return the use cases and ports."""
        ...

    @property
    def drain(self) -> Drain:
        """Return what ends waits when the server stops."""
        ...


async def until(
    waiter: Waiter,
    topic: str,
    wait_s: float,
    look: Callable[[], Awaitable[T]],
    done: Callable[[T], bool],
) -> T:
    """Look again and again, on every hint and every second, until it is done or the time is over."""
    found = await look()
    if done(found) or wait_s <= 0:
        return found
    loop = asyncio.get_running_loop()
    with waiter.drain.waiting(topic, wait_s) as limit_s:
        end = loop.time() + limit_s
        while not done(found) and (remaining := end - loop.time()) > 0 and not waiter.drain.begun:
            # the wait begins before the look, so that no hint falls in between
            pause = min(remaining, LOOK_AGAIN_S)
            hint = asyncio.ensure_future(waiter.container.notifier.wait(topic, pause))
            try:
                await asyncio.sleep(0)
                found = await look()
                if not done(found):
                    await hint
            finally:
                hint.cancel()
    return found if done(found) else await look()
