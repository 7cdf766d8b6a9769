"""What a token signs, how it is made and how it joins its command.

Specification: GlobalPlatform Card Specification 2.3.1, §9.2.3 and §C.4.
"""

from __future__ import annotations

from dataclasses import replace

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.lv import read_ber_lv, read_lv
from opentsm.card.codec.tlv import encode_length, encode_tlv, parse_tlvs
from opentsm.card.crypto.signature import Signer
from opentsm.card.errors import ApduError, TlvError
from opentsm.card.gp.instructions import Ins, InstallKind

_TOKEN = 0x9E
_MORE_COMMANDS = 0x80
_COMBINED_FIRST = 0x01
_MAX_SHORT_DATA = 255


def token_control_template(
    *, number: bytes = b"", domain_provider: bytes = b"", domain_image: bytes = b"", provider: bytes = b""
) -> bytes:
    """Return the control reference template (tag B6) that goes into parameters with a token.

    Args:
        number: token identifier (93); the card repeats it in its receipt.
        domain_provider: identification number (42) of the security domain with Token Verification.
        domain_image: image number (45) of that security domain; binds the token to one card.
        provider: application provider identifier (5F20).
    """
    fields = ((0x42, domain_provider), (0x45, domain_image), (0x5F20, provider), (0x93, number))
    return encode_tlv(0xB6, b"".join(encode_tlv(tag, value) for tag, value in fields if value))


def token_input(*commands: CommandApdu) -> bytes:
    """Return the bytes that a token signs: P1, P2, length and fields without the token.

    Args:
        commands: the INSTALL or DELETE command built without token; two for the combined
            load, install and make selectable (0E 01, then 0E 03).
    Raises:
        ApduError: another command, or one that already has a token.
    """
    return b"".join(_signed_part(command) for command in commands)


def sign_command(command: CommandApdu, signer: Signer) -> CommandApdu:
    """Return an INSTALL or DELETE command with its token.

    Args:
        command: built without token.
        signer: holds the token key of the security domain with Token Verification.
    Raises:
        ApduError: another command, one that has a token, or the first of the combined process.
    """
    if (command.ins, command.p1, command.p2) == (Ins.INSTALL, InstallKind.COMBINED, _COMBINED_FIRST):
        raise ApduError("the token of the combined process goes with its last command")
    return with_token(command, signer.sign(token_input(command)))


def sign_combined(load: CommandApdu, install: CommandApdu, signer: Signer) -> CommandApdu:
    """Return the last command of a combined load, install and make selectable with its token (§C.4.7)."""
    return with_token(install, signer.sign(token_input(load, install)))


def with_token(command: CommandApdu, token: bytes) -> CommandApdu:
    """Return the command with its token in place."""
    fields = _fields(command)
    if command.ins == Ins.DELETE:
        data = fields + encode_tlv(_TOKEN, token)
    else:
        data = fields + encode_length(len(token)) + token
    return replace(command, data=data, extended=command.extended or len(data) > _MAX_SHORT_DATA)


def split_token(command: CommandApdu) -> tuple[bytes, bytes]:
    """Return the fields of an INSTALL or DELETE command without its token, and the token (may be empty).

    Raises:
        ApduError: another command, or malformed fields.
    """
    try:
        if command.ins == Ins.DELETE:
            return _split_delete(command.data)
        if command.ins == Ins.INSTALL:
            return _split_install(command)
    except TlvError as problem:
        raise ApduError(f"malformed fields: {problem}") from problem
    raise ApduError("only INSTALL and DELETE take a token")


def _split_delete(data: bytes) -> tuple[bytes, bytes]:
    objects = parse_tlvs(data)
    if not objects or objects[-1].tag != _TOKEN:
        return data, b""
    token = objects[-1].value
    return data[: -len(encode_tlv(_TOKEN, token))], token


def _split_install(command: CommandApdu) -> tuple[bytes, bytes]:
    """Three names before the parameters for a load, else four fields (Tables 11-42 to 11-48)."""
    kind = command.p1 & ~_MORE_COMMANDS
    loads = kind == InstallKind.LOAD or (kind == InstallKind.COMBINED and command.p2 == _COMBINED_FIRST)
    offset = 0
    for _ in range(3 if loads else 4):
        _, offset = read_lv(command.data, offset)
    _, offset = read_ber_lv(command.data, offset, eighty_is_128=True)
    token, end = read_ber_lv(command.data, offset, eighty_is_128=True)
    if end != len(command.data):
        raise ApduError("bytes follow the token field")
    return command.data[:offset], token


def _signed_part(command: CommandApdu) -> bytes:
    fields = _fields(command)
    # A length above 255 has three bytes, 00 hi lo (§C.4).
    size = len(fields).to_bytes(1, "big") if len(fields) <= 255 else b"\x00" + len(fields).to_bytes(2, "big")
    return bytes((command.p1, command.p2)) + size + fields


def _fields(command: CommandApdu) -> bytes:
    fields, token = split_token(command)
    if token:
        raise ApduError("the command already has a token")
    return fields
