"""Readers and clocks for tests of the Local Agent: a card that counts, time that does not pass by itself."""

import asyncio
from dataclasses import dataclass, field

from opentsm.agent.errors import ReaderError


class PowerCutError(BaseException):
    """The process dies here: nothing of the agent may catch it."""


@dataclass
class ScriptedCard:
    """Answers by command; 9000 to all that it does not know.

    Args:
        answers: R-APDU by C-APDU, hexadecimal.
        lost_at: the card is gone when it gets its n-th command, counted from 1.
        killed_at: the process dies after the card has run its n-th command.
    """

    answers: dict[str, str] = field(default_factory=dict)
    lost_at: int | None = None
    killed_at: int | None = None
    seen: list[str] = field(default_factory=list)
    power_ons: int = 0

    async def connect(self) -> bytes:
        """Power on."""
        self.power_ons += 1
        return bytes.fromhex("3B00")

    async def transmit(self, apdu: bytes) -> bytes:
        """Run a command."""
        await asyncio.sleep(0)
        if self.lost_at == len(self.seen) + 1:
            self.lost_at = None
            raise ReaderError("the card was pulled out")
        self.seen.append(apdu.hex().upper())
        if self.killed_at == len(self.seen):
            self.killed_at = None
            raise PowerCutError
        return bytes.fromhex(self.answers.get(apdu.hex().upper(), "9000"))

    async def disconnect(self) -> None:
        """Power off."""


@dataclass
class FakeClock:
    """Time moves only by waiting, and waiting takes none of ours.

    Args:
        now: the reading at the start, both kinds.
    """

    now: float = 1_800_000_000.0
    slept: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        """Return the reading."""
        return self.now

    def epoch(self) -> float:
        """Return the reading."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Move on at once."""
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)
