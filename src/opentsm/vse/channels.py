"""The second room of the card: which logical channel a command is for, opening and closing channels.

Behind this room a class byte has no channel: 00 or 80, with 04 (GlobalPlatform) or 08 (ISO) for secure
messaging.
Source: GPCS 2.3.1 §6.3, §6.4.2.2, §6.4.3.2, §11.1.4, §11.7; ISO/IEC 7816-4 §5.4.1.
"""

from dataclasses import replace
from typing import Final

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.vse.environment import Environment, LogicalChannel
from opentsm.vse.lifecycle import CardState
from opentsm.vse.selection import enter, implicit_application
from opentsm.vse.status import (
    SW_CHANNEL_NOT_OPEN,
    SW_CLA_NOT_SUPPORTED,
    SW_FUNCTION_NOT_SUPPORTED,
    SW_LOGICAL_CHANNEL_ALREADY_CLOSED,
    SW_OK,
    SW_SECURE_MESSAGING_NOT_SUPPORTED,
    SW_WRONG_LENGTH,
    SW_WRONG_P1P2,
    StatusError,
)

MANAGE_CHANNEL: Final = 0x70
SECURE_MESSAGING_BITS: Final = 0x0C

_INVALID_CLASS: Final = 0xFF
_FURTHER: Final = 0x40
_FURTHER_SECURED: Final = 0x20
_GLOBALPLATFORM: Final = 0x04
_FIRST_FURTHER_CHANNEL: Final = 4
_OPEN: Final = 0x00
_CLOSE: Final = 0x80


def is_reserved_class(cla: int) -> bool:
    """Tell whether a class byte has no defined structure (001xxxxx, 101xxxxx: left to applications)."""
    return cla & 0x60 == 0x20


def channel_number(cla: int) -> int:
    """Return the logical channel that a class byte names (Tables 11-11, 11-12)."""
    if is_reserved_class(cla):
        return 0
    return _FIRST_FURTHER_CHANNEL + (cla & 0x0F) if cla & _FURTHER else cla & 0x03


def _class_without_channel(cla: int) -> int:
    if is_reserved_class(cla):
        return cla
    if not cla & _FURTHER:
        return cla & ~0x03
    return cla & 0x90 | (_GLOBALPLATFORM if cla & _FURTHER_SECURED else 0)


def find_channel(environment: Environment, command: CommandApdu) -> tuple[LogicalChannel, CommandApdu]:
    """Return the open channel of a command, and the command without any trace of a channel.

    Raises:
        StatusError: 6881 the channel is not open, 6E00 class FF.
    """
    if command.cla == _INVALID_CLASS:
        raise StatusError(SW_CLA_NOT_SUPPORTED)
    channel = environment.channels.get(channel_number(command.cla))
    if channel is None:
        raise StatusError(SW_CHANNEL_NOT_OPEN)
    return channel, replace(command, cla=_class_without_channel(command.cla))


def manage_channel(environment: Environment, channel: LogicalChannel, command: CommandApdu) -> ResponseApdu:
    """Open or close a supplementary logical channel.

    Args:
        environment: the card.
        channel: where the command came.
        command: MANAGE CHANNEL with a class of ISO/IEC 7816.

    Raises:
        StatusError: 6882 secure messaging, 6A81 locked card or no channel left, 6A86, 6700, 6881 no such
            channel, 6985 the application cannot be selected twice.
    """
    if command.cla & SECURE_MESSAGING_BITS:
        raise StatusError(SW_SECURE_MESSAGING_NOT_SUPPORTED)
    if command.data:
        raise StatusError(SW_WRONG_LENGTH)
    if command.p1 == _OPEN:
        return _open(environment, channel, command.p2)
    if command.p1 == _CLOSE:
        return _close(environment, command.p2)
    raise StatusError(SW_WRONG_P1P2)


def _open(environment: Environment, origin: LogicalChannel, wanted: int) -> ResponseApdu:
    if environment.image.isd.state in {CardState.CARD_LOCKED, CardState.TERMINATED}:
        raise StatusError(SW_FUNCTION_NOT_SUPPORTED)
    number = _free_number(environment, wanted)
    # §6.4.2.2, §6.4.3.2: from the basic channel what is implicit on the new one, else what is selected here.
    entry = origin.selected if origin.number else implicit_application(environment.image, number)
    opened = LogicalChannel(number, entry)
    enter(environment, opened, entry)
    environment.channels[number] = opened
    return ResponseApdu(bytes([number]), SW_OK)


def _free_number(environment: Environment, wanted: int) -> int:
    """§11.7.2.2: the next free channel, or the one that the off-card entity names."""
    supported = environment.profile.logical_channels
    if wanted and wanted >= supported:
        raise StatusError(SW_CHANNEL_NOT_OPEN)
    if wanted and wanted in environment.channels:
        raise StatusError(SW_WRONG_P1P2)
    free = [wanted] if wanted else [n for n in range(1, supported) if n not in environment.channels]
    if not free:
        raise StatusError(SW_FUNCTION_NOT_SUPPORTED)
    return free[0]


def _close(environment: Environment, number: int) -> ResponseApdu:
    if number == 0:
        raise StatusError(SW_FUNCTION_NOT_SUPPORTED)
    if number >= environment.profile.logical_channels:
        raise StatusError(SW_CHANNEL_NOT_OPEN)
    if number not in environment.channels:
        return ResponseApdu(b"", SW_LOGICAL_CHANNEL_ALREADY_CLOSED)
    environment.close_channel(number)
    return ResponseApdu(b"", SW_OK)
