"""What a delegated-management token signs, and how it joins its command.

Specification: GlobalPlatform Card Specification 2.3.1, §C.4.
"""

from __future__ import annotations

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.tlv import encode_length, encode_tlv
from opentsm.card.errors import ApduError
from opentsm.card.gp.commands import Ins


def token_input(*commands: CommandApdu) -> bytes:
    """Return the bytes that a token signs: P1, P2, length and fields without the token.

    Args:
        commands: the INSTALL or DELETE command built without token; two for the combined
            load, install and make selectable (0E 01, then 0E 03).
    Raises:
        ApduError: another command, or one that already has a token.
    """
    return b"".join(_signed_part(command) for command in commands)


def with_token(command: CommandApdu, token: bytes) -> CommandApdu:
    """Return the command with its token in place."""
    fields = _fields(command)
    if command.ins == Ins.DELETE:
        return command.with_data(fields + encode_tlv(0x9E, token))
    return command.with_data(fields + encode_length(len(token)) + token)


def _signed_part(command: CommandApdu) -> bytes:
    fields = _fields(command)
    # A length above 255 has three bytes, 00 hi lo (§C.4).
    size = len(fields).to_bytes(1, "big") if len(fields) <= 255 else b"\x00" + len(fields).to_bytes(2, "big")
    return bytes((command.p1, command.p2)) + size + fields


def _fields(command: CommandApdu) -> bytes:
    if command.ins == Ins.DELETE:
        return command.data
    if command.ins != Ins.INSTALL:
        raise ApduError("only INSTALL and DELETE take a token")
    if command.data[-1:] != b"\x00":
        raise ApduError("the command already has a token")
    return command.data[:-1]
