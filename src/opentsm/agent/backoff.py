"""Patience with a server: exponential pauses, and an end to them."""

from collections.abc import Callable
from dataclasses import dataclass

from opentsm.agent.clock import Clock
from opentsm.agent.errors import ServerUnreachableError
from opentsm.agent.observer import Observer


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to go on trying.

    Args:
        first_s: upper bound of the first pause.
        cap_s: upper bound of every pause.
        give_up_after_s: this long after the first failure it is over; None never gives up.
    """

    first_s: float = 0.2
    cap_s: float = 30.0
    give_up_after_s: float | None = 300.0


class Backoff:
    """Counts the failures of one undertaking.

    Args:
        patience: the bounds.
        clock: measures and waits.
        random: a number in [0, 1), so that many agents do not come back together.
    """

    def __init__(self, patience: Patience, clock: Clock, random: Callable[[], float]) -> None:
        self._patience = patience
        self._clock = clock
        self._random = random
        self._failures = 0
        self._since = 0.0

    def succeeded(self) -> None:
        """Start afresh."""
        self._failures = 0

    async def pause(self, reason: str, observer: Observer, *, asked_s: float | None = None) -> None:
        """Count a failure and wait.

        Args:
            reason: what failed.
            observer: is told.
            asked_s: what the server asked for.

        Raises:
            ServerUnreachableError: the pause would end after the time to give up.
        """
        pause_s = self.next_pause_s(reason, asked_s=asked_s)
        observer.notice(f"{reason}; again in {pause_s:.1f} s")
        await self._clock.sleep(pause_s)

    def next_pause_s(self, reason: str, *, asked_s: float | None = None) -> float:
        """Count a failure and say how long to wait.

        Args:
            reason: what failed, for the error.
            asked_s: what the server asked for (Retry-After); it is kept within the cap.

        Raises:
            ServerUnreachableError: the pause would end after the time to give up.
        """
        now = self._clock.monotonic()
        if self._failures == 0:
            self._since = now
        bound = min(self._patience.cap_s, self._patience.first_s * (1 << min(self._failures, 16)))
        pause_s = bound * (0.5 + 0.5 * self._random())
        if asked_s is not None:
            pause_s = max(pause_s, min(asked_s, self._patience.cap_s))
        self._failures += 1
        waited_s = now - self._since
        limit_s = self._patience.give_up_after_s
        if limit_s is not None and waited_s + pause_s > limit_s:
            raise ServerUnreachableError(f"gave up after {waited_s:.0f} s: {reason}")
        return pause_s
