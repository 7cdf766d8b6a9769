"""The applet of a module that this card cannot run.

It takes memory, can be selected, and keeps what it is given.
"""

from collections.abc import Callable

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.codec.tlv import encode_tlv
from opentsm.vse.applets.base import Applet
from opentsm.vse.status import SW_INS_NOT_SUPPORTED, StatusError


class OpaqueApplet(Applet):
    """Stands for any applet."""

    def select(self) -> bytes:
        """Return an FCI with nothing but the AID."""
        return encode_tlv(0x6F, encode_tlv(0x84, self.services.instance_aid) + encode_tlv(0xA5, b""))

    def process(self, command: CommandApdu) -> ResponseApdu:
        """Refuse every command of its own."""
        raise StatusError(SW_INS_NOT_SUPPORTED)

    def personalize(self, command: CommandApdu, decrypt: Callable[[bytes], bytes]) -> bytes:
        """Keep the block as it came, one entry a block number; a new series starts at block 00."""
        kept = f"block.{command.p2:02X}"
        # First: a block for which there is no room leaves the series before as it was.
        self.store[kept] = bytes([command.p1]) + command.data
        if command.p2 == 0:
            for name in [name for name in self.store if name.startswith("block.") and name != kept]:
                del self.store[name]
        return b""
