"""What the virtual card promises about every command, checked around each one.

It answers with a status word, never with the one of an internal fault (6F00); a refused command leaves the
saved image as it was, but for the counters that count refusals and uses; what is saved can be opened again.
"""

from typing import Final, Protocol

from opentsm.fuzz.target import BrokenPromiseError
from opentsm.vse.card import VirtualCard
from opentsm.vse.nvm import MemoryNvm
from opentsm.vse.state import CardImage, decode_image
from opentsm.vse.status import SW_INTERNAL

# Normal, warnings, and what the toolkit has waiting: all else is a refusal.
_ACCEPTED: Final = frozenset({0x90, 0x61, 0x62, 0x63, 0x91})
# Of applets: retry counters of badge and cardholder, uses, the bank card's transaction counter.
_APPLET_COUNTERS: Final = frozenset({"tries", "cvm/tries", "uses", "atc"})
_SELECT_DEFAULT: Final = bytes.fromhex("00A4040000")


class AnsweringCard(Protocol):
    """What is watched."""

    def transmit(self, raw: bytes) -> bytes:
        """Answer one command."""


class WatchedCard:
    """A card whose promises are checked at every command."""

    def __init__(self, card: AnsweringCard, nvm: MemoryNvm) -> None:
        self._card = card
        self._nvm = nvm
        self._first = nvm.load()

    def transmit(self, raw: bytes) -> bytes:
        """Send one command and check the answer.

        Raises:
            BrokenPromiseError: a promise is broken.
        """
        before = self._nvm.load()
        answer = self._card.transmit(raw)
        sw = int.from_bytes(answer[-2:], "big")
        if len(answer) < 2 or sw == SW_INTERNAL:
            raise BrokenPromiseError(f"internal fault at INS {raw[1:2].hex().upper()}")
        if sw >> 8 in _ACCEPTED:
            return answer
        if len(answer) > 2:
            raise BrokenPromiseError(f"data with a refusal {sw:04X} at INS {raw[1:2].hex().upper()}")
        after = self._nvm.load()
        if after != before and _content(before) != _content(after):
            raise BrokenPromiseError(f"refusal {sw:04X} with a change at INS {raw[1:2].hex().upper()}")
        return answer

    def reopen(self) -> None:
        """Check that a changed image makes a card again.

        Raises:
            BrokenPromiseError: it does not.
        """
        image = self._nvm.load()
        if image is self._first:
            return
        card = VirtualCard.open(MemoryNvm(image))
        card.power_on()
        if card.transmit(_SELECT_DEFAULT)[-2:] == SW_INTERNAL.to_bytes(2, "big"):
            raise BrokenPromiseError("internal fault of the card that opens the saved image")


def _content(image: bytes | None) -> CardImage | None:
    """Return an image without its counters."""
    if image is None:
        return None
    content = decode_image(image)
    for instance in content.instances:
        for name in _APPLET_COUNTERS & instance.store.keys():
            instance.store[name] = b""
        if instance.domain is not None:
            instance.domain.sequence.clear()
            instance.domain.failures.clear()
    return content
