"""The card's counter of a key set: which values it takes.

Source: ETSI TS 102 225 §5.1.1 (counter bits of the SPI), §5.1.4 (counter management).
"""

from typing import Final

from opentsm.vse.ota.packet import PacketRefusedError, Rsc

MAXIMUM: Final = 0xFFFFFFFFFF
HIGHER: Final = 2
NEXT: Final = 3


def accept_counter(mode: int, kept: int, received: int, window: int) -> int:
    """Return the counter to keep from now on.

    Args:
        mode: counter bits of the packet.
        kept: the counter of the last packet that was accepted.
        received: the counter of this one.
        window: how far a higher counter may leap; 0 for any distance.

    Raises:
        PacketRefusedError: 02, 03 or 04.
    """
    if mode not in {HIGHER, NEXT}:
        return kept
    if kept >= MAXIMUM:
        raise PacketRefusedError(Rsc.COUNTER_BLOCKED)
    if received <= kept:
        raise PacketRefusedError(Rsc.COUNTER_LOW)
    reach = 1 if mode == NEXT else window
    if reach and received - kept > reach:
        raise PacketRefusedError(Rsc.COUNTER_HIGH)
    return received
