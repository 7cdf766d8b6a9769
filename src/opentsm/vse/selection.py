"""SELECT by name, and what is selected without asking.

Source: GPCS 2.3.1 §6.4, §11.9.
"""

from collections.abc import Iterable

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.codec.tlv import encode_tlv
from opentsm.vse.card_data import recognition_data
from opentsm.vse.environment import Environment, LogicalChannel
from opentsm.vse.lifecycle import CardState, is_locked, is_selectable
from opentsm.vse.privileges import Privilege
from opentsm.vse.state import CardImage, Instance
from opentsm.vse.status import (
    SW_CARD_LOCKED,
    SW_CONDITIONS,
    SW_FILE_NOT_FOUND,
    SW_FUNCTION_NOT_SUPPORTED,
    SW_OK,
    SW_SECURE_MESSAGING_NOT_SUPPORTED,
    StatusError,
)

_CONTACT = 0x40
_CHANNEL_MASK = 0x1F
_NEXT = 0x02
_SECURE_MESSAGING_BITS = 0x0C


class NoMatchError(Exception):
    """No application has this AID: the SELECT goes to the one that is selected (§6.4.2.1.2)."""


def final_application(image: CardImage) -> Instance:
    """Return the holder of Final Application."""
    holders = (entry for entry in image.instances if entry.holds(Privilege.FINAL_APPLICATION))
    return next(holders, image.isd)


def implicit_application(image: CardImage, number: int = 0) -> Instance:
    """Return what is selected on a channel without asking: after a reset, or when it is opened.

    Args:
        image: the card.
        number: of the logical channel; one that nobody is registered for has what the basic channel has.
    Source: GPCS §6.4.2.1.1, §6.4.2.2.
    """
    if image.isd.state in {CardState.CARD_LOCKED, CardState.TERMINATED}:
        return final_application(image)
    registered = _registered(image, number) or _registered(image, 0) or image.isd
    return final_application(image) if _is_blocked(image, registered) else registered


def _registered(image: CardImage, number: int) -> Instance | None:
    return next((entry for entry in image.instances[1:] if _is_registered(entry, number)), None)


def _is_registered(entry: Instance, number: int) -> bool:
    """§6.4.1: by its parameters; without any, the holder of Card Reset on the basic channel."""
    if entry.implicit:
        return any(value & _CONTACT and value & _CHANNEL_MASK == number for value in entry.implicit)
    return number == 0 and entry.holds(Privilege.CARD_RESET)


def _is_blocked(image: CardImage, entry: Instance) -> bool:
    return entry is not image.isd and not is_selectable(entry.state)


def select(environment: Environment, channel: LogicalChannel, command: CommandApdu) -> ResponseApdu:
    """Select an application by its name.

    Args:
        environment: the card.
        channel: where to select.
        command: SELECT with P1 = 04; the data is an AID, the beginning of one, or nothing for the ISD.

    Raises:
        NoMatchError: first or only occurrence, and no AID matches.
        StatusError: 6A82 nothing selectable matches, 6A81 the card is locked, 6882 secure messaging.
    """
    if command.cla & _SECURE_MESSAGING_BITS:
        raise StatusError(SW_SECURE_MESSAGING_NOT_SUPPORTED)
    state = environment.image.isd.state
    if channel.number and state in {CardState.CARD_LOCKED, CardState.TERMINATED}:
        # §6.4.3.1.2: the channel closes.
        environment.close_channel(channel.number)
        raise StatusError(SW_FUNCTION_NOT_SUPPORTED)
    if state == CardState.TERMINATED:
        raise StatusError(SW_FUNCTION_NOT_SUPPORTED)
    matches = _matches(environment.image, channel, command)
    if state == CardState.CARD_LOCKED:
        return _select_in_locked_card(environment, channel, matches)
    if not matches:
        raise StatusError(SW_FILE_NOT_FOUND) if command.p2 & _NEXT else NoMatchError
    return _select_first(environment, channel, matches)


def _matches(image: CardImage, channel: LogicalChannel, command: CommandApdu) -> list[Instance]:
    if not command.data:
        return [image.isd]
    found = [entry for entry in image.instances if entry.aid.startswith(command.data)]
    if not command.p2 & _NEXT:
        return found
    after = next((at for at, entry in enumerate(image.instances) if entry is channel.selected), -1)
    rest = image.instances[after + 1 :]
    return [entry for entry in found if any(entry is later for later in rest)]


def _select_in_locked_card(
    environment: Environment, channel: LogicalChannel, matches: list[Instance]
) -> ResponseApdu:
    holder = final_application(environment.image)
    if all(entry is not holder for entry in matches):
        raise StatusError(SW_FUNCTION_NOT_SUPPORTED)
    return ResponseApdu(enter(environment, channel, holder), SW_CARD_LOCKED)


def _select_first(
    environment: Environment, channel: LogicalChannel, matches: Iterable[Instance]
) -> ResponseApdu:
    image, leave = environment.image, False
    for entry in matches:
        if _is_blocked(image, entry):
            leave |= entry is channel.selected and is_locked(entry.state)
            continue
        try:
            return ResponseApdu(enter(environment, channel, entry), SW_OK)
        except StatusError:
            continue
    if leave:
        enter(environment, channel, implicit_application(image))
    raise StatusError(SW_FILE_NOT_FOUND)


def enter(environment: Environment, channel: LogicalChannel, entry: Instance) -> bytes:
    """Ask an application whether it lets itself be selected, then end the session of the one before.

    Returns:
        Its FCI.

    Raises:
        StatusError: it refuses, or is active on another channel and cannot be on two.
    """
    _require_multiselection(environment, channel, entry)
    answer = domain_fci(environment, entry) if entry.domain else environment.applet(entry).select()
    if channel.selected is not entry:
        environment.leave(channel)
    channel.end_application_session()
    channel.selected = entry
    return answer


def _require_multiselection(environment: Environment, channel: LogicalChannel, entry: Instance) -> None:
    """§6.4.2.1.2; as on Java Card, applets of one package are active on several channels only if they can."""
    if entry.domain is not None:
        return
    for other in environment.channels.values():
        related = other.selected.domain is None and other.selected.load_file == entry.load_file
        if other is not channel and related and not environment.applet(entry).MULTISELECTABLE:
            raise StatusError(SW_CONDITIONS)


def domain_fci(environment: Environment, domain: Instance) -> bytes:
    """Return a security domain's FCI (Table 11-82)."""
    own = b""
    if domain is not environment.image.isd:
        own = recognition_data(environment, domain)
    limit = environment.profile.max_command_data
    length = limit.to_bytes((limit.bit_length() + 7) // 8, "big")
    proprietary = encode_tlv(0xA5, own + encode_tlv(0x9F65, length))
    return encode_tlv(0x6F, encode_tlv(0x84, domain.aid) + proprietary)
