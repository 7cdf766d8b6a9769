"""The third room of the card: its own commands and SELECT; the rest goes on to the selected entity.

Source: GPCS 2.3.1 §6.3, §6.4.2.3.
"""

from collections.abc import Callable
from typing import Final

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.vse.channels import (
    MANAGE_CHANNEL,
    channel_number,
    find_channel,
    is_reserved_class,
    manage_channel,
)
from opentsm.vse.domain_commands import process
from opentsm.vse.environment import Environment, LogicalChannel
from opentsm.vse.lifecycle import CardState
from opentsm.vse.master_file import BY_IDENTIFIER, select_file
from opentsm.vse.selection import NoMatchError, select
from opentsm.vse.status import SW_CHANNEL_NOT_OPEN, SW_CLA_NOT_SUPPORTED, SW_CONDITIONS, StatusError

CardCommand = Callable[[Environment, LogicalChannel, CommandApdu], ResponseApdu]

_SELECT: Final = 0xA4
_BY_NAME: Final = 0x04
_PROPRIETARY: Final = 0x80
# What is left of a class byte for a security domain: 80 and 04.
_FOREIGN_CLASS_BITS: Final = 0x78

# Commands of the card itself, by INS, in the interindustry class.
CARD_COMMANDS: Final[dict[int, CardCommand]] = {MANAGE_CHANNEL: manage_channel}


def dispatch(environment: Environment, command: CommandApdu) -> ResponseApdu:
    """Answer one whole command.

    Raises:
        StatusError: it is refused.
    """
    toolkit = environment.toolkit
    if toolkit is not None and toolkit.takes(command):
        return toolkit.answer(command)
    if not environment.profile.logical_channels:
        return _select_or_hand_over(environment, environment.channels[0], command)
    channel, command = find_channel(environment, command)
    own = None if command.cla & _PROPRIETARY else CARD_COMMANDS.get(command.ins)
    if own is not None:
        # §11.1.5.1: the parts of a command follow each other directly.
        channel.series = None
        return own(environment, channel, command)
    return _select_or_hand_over(environment, channel, command)


def chains(environment: Environment, cla: int) -> bool:
    """Tell whether b5 of this class byte means chaining; a proprietary class is the application's affair."""
    if is_reserved_class(cla) or cla == 0xFF:
        return False
    channel = environment.channels.get(channel_number(cla))
    return not cla & _PROPRIETARY or channel is None or channel.selected.domain is not None


def _select_or_hand_over(
    environment: Environment, channel: LogicalChannel, command: CommandApdu
) -> ResponseApdu:
    selecting = not command.cla & _PROPRIETARY and command.ins == _SELECT
    if selecting and command.p1 == BY_IDENTIFIER and environment.profile.master_file:
        channel.series = None
        return select_file(environment, channel, command)
    if selecting and command.p1 == _BY_NAME:
        channel.series = None
        try:
            return select(environment, channel, command)
        except NoMatchError:
            pass
    return _to_selected(environment, channel, command)


def _to_selected(environment: Environment, channel: LogicalChannel, command: CommandApdu) -> ResponseApdu:
    selected = channel.selected
    if selected.domain is not None:
        if command.cla & 0x43 and not environment.profile.logical_channels:
            raise StatusError(SW_CHANNEL_NOT_OPEN)
        if command.cla & _FOREIGN_CLASS_BITS:
            raise StatusError(SW_CLA_NOT_SUPPORTED)
        return process(environment, channel, selected, command)
    if environment.image.isd.state == CardState.TERMINATED:
        raise StatusError(SW_CONDITIONS)
    environment.active = channel
    try:
        return environment.applet(selected).process(command)
    finally:
        environment.active = None
