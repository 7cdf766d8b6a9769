"""Commands of a security domain that come in parts (P1 bit 8): DELETE, INSTALL, PUT KEY.

Protection is on the whole: nothing is checked before the last part has come.
Source: GPCS 2.3.1 §11.1.5.1.
"""

from dataclasses import replace
from typing import Final

from opentsm.card.codec.apdu import CommandApdu
from opentsm.vse.environment import CommandChain, Environment, LogicalChannel
from opentsm.vse.scp import Chained
from opentsm.vse.status import SW_WRONG_P1P2, StatusError

CHAINABLE: Final = frozenset({0xD8, 0xE4, 0xE6})

_MORE: Final = 0x80
_SHORT: Final = 256


def is_interrupted(channel: LogicalChannel, command: CommandApdu) -> bool:
    """Tell whether `command` is no part of the series that is open; the series is dropped then."""
    chain = channel.series
    if chain is None or chain.header == _header(command):
        return False
    channel.series = None
    return True


def is_part(command: CommandApdu) -> bool:
    """Tell whether more of the same command follows."""
    return command.ins in CHAINABLE and bool(command.p1 & _MORE)


def gather(
    environment: Environment, channel: LogicalChannel, command: CommandApdu
) -> tuple[CommandApdu, Chained | None] | None:
    """Take a command that may be a part of a series.

    Returns:
        The whole command, with how it came when it came in parts; None when more must come.

    Raises:
        StatusError: 6A86 the card knows no chaining, or the series is too long.
    """
    more = is_part(command)
    chain, channel.series = channel.series, None
    if chain is None and not more:
        return command, None
    profile = environment.profile
    chain = chain or CommandChain(_header(command))
    chain.data += command.data
    chain.parts += 1
    if not profile.command_chaining or len(chain.data) > profile.chain_limit:
        raise StatusError(SW_WRONG_P1P2)
    if more:
        channel.series = chain
        return None
    data = bytes(chain.data)
    whole = replace(command, data=data, extended=command.extended or len(data) >= _SHORT)
    steps_each = profile.chain_counter_steps == "part"
    return whole, Chained(chain.parts, profile.chain_mac_counted, steps_each)


def _header(command: CommandApdu) -> bytes:
    return bytes([command.cla, command.ins, command.p1 & ~_MORE, command.p2])
