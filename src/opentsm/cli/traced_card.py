"""A virtual card that tells what is said to it."""

from __future__ import annotations

from collections.abc import Callable

from opentsm.cli.trace import Trace, trace_lines
from opentsm.vse.faults import TornError
from opentsm.vse.profiles import VseProfile
from opentsm.vse.vpcd import ServedCard


class TracedCard:
    """Passes everything on, and explains each command and its answer.

    Args:
        card: the card.
        tell: takes one line.
    """

    def __init__(self, card: ServedCard, tell: Callable[[str], None]) -> None:
        self._card = card
        self._tell = tell
        self._trace = Trace()

    @property
    def profile(self) -> VseProfile:
        """The kind of card."""
        return self._card.profile

    def power_on(self) -> bytes:
        """Reset the card and return its ATR."""
        atr = self._card.power_on()
        self._tell(f"ATR {atr.hex().upper()}")
        return atr

    def power_off(self) -> None:
        """Take the power away."""
        self._card.power_off()

    def transmit(self, raw: bytes) -> bytes:
        """Answer one command and tell about it."""
        try:
            answer = self._card.transmit(raw)
        except TornError:
            self._say(raw, None)
            raise
        self._say(raw, answer)
        return answer

    def _say(self, raw: bytes, answer: bytes | None) -> None:
        for line in trace_lines(self._trace.pair(raw, answer)):
            self._tell(line)
