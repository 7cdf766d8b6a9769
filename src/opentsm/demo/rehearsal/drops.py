"""Readers that lose their card, an answer, the agent or the link, once, at a point that was drawn before."""

import asyncio
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Final

from opentsm.agent.errors import ReaderError
from opentsm.demo.cards import DemoCard

_LAST_POINT: Final = 8  # this update exchanges so many commands
_SUCCESS: Final = b"\x90\x00"
_INSTALL: Final = 0xE6


class DropKind(Enum):
    """What is lost."""

    CARD_TORN = "the card, before it carries a command out"
    ANSWER_LOST = "the answer to a command that the card carried out"
    AGENT_KILLED = "the agent's process, with everything but its journal"
    LINK_LOST = "the link to the server, at the next request"


class AgentKilledError(BaseException):
    """The agent's process is to die here."""


@dataclass(frozen=True, slots=True)
class Drop:
    """What is lost at which command, counted from when the reader is armed."""

    kind: DropKind
    point: int


def draw_drops(cards: int, share: float, seed: int) -> dict[int, Drop]:
    """Choose which cards drop their connection, how, and where.

    Args:
        cards: how many there are.
        share: of them that drop, 0 … 1.
        seed: the same seed draws the same.
    """
    dice = Random(seed)  # noqa: S311  # a rehearsal is to be repeatable
    chosen = dice.sample(range(cards), round(cards * share))
    kinds = list(DropKind)
    return {card: Drop(dice.choice(kinds), dice.randint(1, _LAST_POINT)) for card in chosen}


class DroppingReader:
    """A reader in this process over a virtual card; counts what the card really carried out."""

    def __init__(self, card: DemoCard) -> None:
        self._card = card.card
        self._drop: Drop | None = None
        self._sent = 0
        self.fired = False
        self.apdus = 0
        self.installs = 0
        self.agent: asyncio.Task[None] | None = None

    def arm(self, drop: Drop | None) -> None:
        """Count commands and installations from now on, and lose the connection where the drop says."""
        self._drop, self._sent, self.installs, self.apdus = drop, 0, 0, 0

    async def connect(self) -> bytes:
        """Power the card on."""
        return self._card.power_on()

    async def transmit(self, apdu: bytes) -> bytes:
        """Send a command to the card, or lose something.

        Raises:
            ReaderError: the card, or its answer, is lost.
            AgentKilledError: the agent dies.
        """
        kind = self._due()
        if kind is DropKind.CARD_TORN:
            raise ReaderError("the card was torn from the field")
        if kind is DropKind.AGENT_KILLED:
            raise AgentKilledError
        answer = self._carried_out(apdu)
        if kind is DropKind.ANSWER_LOST:
            raise ReaderError("the answer was lost")
        if kind is DropKind.LINK_LOST and self.agent is not None:
            self.agent.cancel()  # takes effect where the agent next waits: at the server's door
        await asyncio.sleep(0)
        return answer

    async def disconnect(self) -> None:
        """Power the card off."""
        self._card.power_off()

    def _carried_out(self, apdu: bytes) -> bytes:
        answer = self._card.transmit(apdu)
        self.apdus += 1
        if apdu[1] == _INSTALL and apdu[2] & 0x04 and answer[-2:] == _SUCCESS:
            self.installs += 1
        return answer

    def _due(self) -> DropKind | None:
        self._sent += 1
        if self._drop is None or self.fired or self._sent != self._drop.point:
            return None
        self.fired = True
        return self._drop.kind
