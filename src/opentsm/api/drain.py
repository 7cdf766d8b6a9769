"""Requests that wait, and how they end early when the server stops."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from litestar.di import NamedDependency
from litestar.params import SkipValidation

from opentsm.tsm.ports.notifier import Notifier

MAX_WAIT_S = 25.0
_AGAIN_S = 0.05


class Drain:
    """Knows which topics requests wait for; `run` wakes them all, and nobody waits any more."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._waiting: Counter[str] = Counter()
        self.begun = False

    @contextmanager
    def waiting(self, topic: str, wait_s: float) -> Iterator[float]:
        """Announce a wait and give how long it may be."""
        self._waiting[topic] += 1
        try:
            yield 0.0 if self.begun else min(wait_s, MAX_WAIT_S)
        finally:
            self._waiting[topic] -= 1
            if not self._waiting[topic]:
                del self._waiting[topic]

    @property
    def held(self) -> int:
        """How many requests wait now."""
        return self._waiting.total()

    async def run(self) -> None:
        """Wake whoever waits, again and again until nobody does: a hint may be missed."""
        self.begun = True
        while self._waiting:
            for topic in tuple(self._waiting):
                self._notifier.notify(topic)
            await asyncio.sleep(_AGAIN_S)


Waits = NamedDependency[SkipValidation[Drain]]
