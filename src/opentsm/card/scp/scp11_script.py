"""SCP11c sessions that are computed in advance, stored, and played to any card that holds the key.

In variant c the card contributes nothing fresh, so **whoever holds a script can play it again**: to the same
card, and to every card that shares the key. Nothing in the protocol prevents it.

* Safe: what leaves the card after the second time as after the first: STORE DATA of the same values, a
  lock, a deletion, the load of a version that is not on the card yet.
* Not safe: credit to a purse, counters, keys or values that may have been changed since by something newer,
  anything whose order with other scripts matters.
* Limits that the issuer has: the allow-list of certificates (take the script's certificate off it), one key a
  group of cards instead of one for all, and a new key for the group.

Source: GPCS Amendment F §3.1.2, §7.6.2.3, as published clients and traces show it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.codec.tlv import encode_tlv
from opentsm.card.crypto.mac import cmac
from opentsm.card.errors import ScriptError
from opentsm.card.scp.channel import WrappedCommand
from opentsm.card.scp.scp03 import Scp03Channel
from opentsm.card.scp.scp11 import (
    PUBLIC_KEY,
    RECEIPT,
    HostKeys,
    SessionParameters,
    Variant,
    authenticate,
    derive_keys,
)


class ReplaySafety(Enum):
    """What the maker of an SCP11c script has checked; a script is not made without it."""

    IDEMPOTENT = "playing the script twice leaves the card as playing it once"


@dataclass(frozen=True, slots=True)
class OfflineScript:
    """A session computed in advance: any card that holds the key takes it, as often as it is sent.

    `expected_answer` is what the card will say to `commands[authenticate_at]`.
    """

    commands: tuple[CommandApdu, ...]
    wrapped: tuple[WrappedCommand, ...]
    authenticate_at: int
    expected_answer: bytes
    channel: Scp03Channel

    def open_answers(self, answers: Sequence[ResponseApdu]) -> tuple[ResponseApdu, ...]:
        """Check the answers to the protected commands.

        Raises:
            ResponseMacError: one is not authentic.
        """
        links = (command.link for command in self.wrapped)
        return tuple(self.channel.unwrap(answer, link) for answer, link in zip(answers, links, strict=False))


def offline_script(
    parameters: SessionParameters,
    host: HostKeys,
    card_point: bytes,
    certificate_commands: Sequence[CommandApdu],
    commands: Sequence[CommandApdu],
    *,
    replay: ReplaySafety | None,
) -> OfflineScript:
    """Compute a whole SCP11c session without a card.

    Args:
        parameters: of the session, variant c.
        host: own keys; the ephemeral one belongs to this script.
        card_point: PK.SD.ECKA of the group of cards.
        certificate_commands: what `perform_security_operation` made.
        commands: plain commands in order.
        replay: the maker's statement that the script may be played again; None is refused.

    Raises:
        ScriptError: no statement, or not variant c.
    """
    if parameters.variant is not Variant.C:
        raise ScriptError("only SCP11c sessions can be computed without the card")
    if not isinstance(replay, ReplaySafety):
        raise ScriptError("an SCP11c script can be played again by whoever holds it: state that this is safe")
    command = authenticate(parameters, host.ephemeral.point)
    keys = derive_keys(parameters, host, card_point, card_point)
    key_object = encode_tlv(PUBLIC_KEY, card_point)
    receipt = cmac(keys.receipt.reveal(), command.data + key_object)
    level = parameters.protection.level
    channel = Scp03Channel.established(keys.session, level=level, chain=receipt, s16=parameters.s16)
    wrapped = tuple(channel.wrap(plain) for plain in commands)
    head = (*certificate_commands, command)
    return OfflineScript(
        (*head, *(entry.apdu for entry in wrapped)),
        wrapped,
        len(head) - 1,
        key_object + encode_tlv(RECEIPT, receipt),
        channel,
    )
