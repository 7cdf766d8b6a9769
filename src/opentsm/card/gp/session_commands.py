"""Pure builders of the commands around a session: logical channels, R-MAC sessions, commands in parts.

Source: GPCS 2.3.1 §11.1.4, §11.1.5.1, §11.7, §E.5.3, §E.5.4; Amendment D §7.1.3, §7.1.4;
ISO/IEC 7816-4 §5.3.3.
"""

from dataclasses import replace

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.lv import lv
from opentsm.card.errors import ApduError
from opentsm.card.gp.instructions import CLA_GP, CLA_ISO, NE_ANY, Ins

CHAINABLE = frozenset({Ins.DELETE, Ins.INSTALL, Ins.PUT_KEY})

_MORE = 0x80
_ISO_CHAINING = 0x10
_SHORT_DATA = 255
_CLOSE = 0x80
_FURTHER = 0x40
_FIRST_FURTHER_CHANNEL = 4
_LAST_CHANNEL = 19
_BEGIN, _TELL, _END = 0x01, 0x01, 0x03
_R_MAC_DATA = 24


def open_channel(number: int = 0) -> CommandApdu:
    """Open the next free logical channel, or one by its number; the answer is the number (§11.7)."""
    return CommandApdu(CLA_ISO, Ins.MANAGE_CHANNEL, 0x00, number, ne=1)


def close_channel(number: int) -> CommandApdu:
    """Close a supplementary logical channel (§11.7)."""
    return CommandApdu(CLA_ISO, Ins.MANAGE_CHANNEL, _CLOSE, number)


def on_channel(command: CommandApdu, number: int) -> CommandApdu:
    """Return a command, not protected yet, for a logical channel (Tables 11-11, 11-12).

    Raises:
        ApduError: there are channels 0 to 19 only.
    """
    if not 0 <= number <= _LAST_CHANNEL:
        raise ApduError(f"there is no logical channel {number}")
    further = number >= _FIRST_FURTHER_CHANNEL
    bits = _FURTHER | number - _FIRST_FURTHER_CHANNEL if further else number
    return replace(command, cla=command.cla & 0x80 | bits)


def begin_r_mac_session(level: int, data: bytes = b"") -> CommandApdu:
    """Ask for more security of the answers (§E.5.3, Amendment D §7.1.3).

    Args:
        level: 10 for an R-MAC with each answer, 30 with encryption too (SCP03), 00 for one at the end
            (SCP02).
        data: 0 to 24 bytes that enter the R-MAC, such as a challenge.

    Raises:
        ApduError: no such level, or too much data.
    """
    if level not in (0x00, 0x10, 0x30) or len(data) > _R_MAC_DATA:
        raise ApduError(f"BEGIN R-MAC SESSION with level {level:02X} and {len(data)} bytes is impossible")
    return CommandApdu(CLA_GP, Ins.BEGIN_R_MAC_SESSION, level, _BEGIN, lv(data))


def end_r_mac_session(*, keep: bool = False) -> CommandApdu:
    """Fetch the R-MAC and end the R-MAC session, or `keep` it (SCP02 only) (§E.5.4, Amendment D §7.1.4)."""
    return CommandApdu(CLA_GP, Ins.END_R_MAC_SESSION, 0x00, _TELL if keep else _END, ne=NE_ANY)


def in_parts(command: CommandApdu, size: int = _SHORT_DATA) -> tuple[CommandApdu, ...]:
    """Cut DELETE, INSTALL or PUT KEY into commands with P1 bit 8 (§11.1.5.1); protection comes before this.

    Args:
        command: plain, or protected as a whole.
        size: most data bytes of a part, up to 255.

    Raises:
        ApduError: another command, or an impossible size.
    """
    if command.ins not in CHAINABLE:
        raise ApduError(f"a command {command.ins:02X} cannot be chained by P1")
    parts = _cut(command.data, size)
    return (
        *(replace(command, p1=command.p1 | _MORE, data=part, extended=False) for part in parts[:-1]),
        replace(command, data=parts[-1], extended=False),
    )


def in_iso_parts(command: CommandApdu, size: int = _SHORT_DATA) -> tuple[CommandApdu, ...]:
    """Cut any command into commands with the chaining bit of the class byte (ISO/IEC 7816-4 §5.3.3)."""
    parts = _cut(command.data, size)
    return (
        *(
            replace(command, cla=command.cla | _ISO_CHAINING, data=part, ne=None, extended=False)
            for part in parts[:-1]
        ),
        replace(command, data=parts[-1], ne=min(command.ne, NE_ANY) if command.ne else None, extended=False),
    )


def _cut(data: bytes, size: int) -> list[bytes]:
    if not 1 <= size <= _SHORT_DATA:
        raise ApduError(f"a part of {size} bytes is impossible")
    return [data[at : at + size] for at in range(0, len(data), size)] or [b""]
