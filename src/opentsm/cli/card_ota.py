"""`opentsm card ota encode|decode`: secured packets (SCP80) and their short messages, without a card."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import CardError, OtaError, PacketChecksumError
from opentsm.card.ota.key_reference import Algorithm, PacketKeys
from opentsm.card.ota.scp80 import Policy
from opentsm.card.ota.sms import Address
from opentsm.card.ota.spi import CounterMode, Integrity, PorRequest, Spi
from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.ota_messages import (
    Security,
    decode_document,
    encode_document,
    key_octet,
    message_document,
    packet_in,
    script_data,
)
from opentsm.cli.output import CliError, JsonOption, print_json, say

ota_app = typer.Typer(help="Messages over the air: secured packets and short messages.", no_args_is_help=True)
_MAX_KEY_FILE_BYTES = 1024
_WARNING = (
    "warning: keys on the command line are seen by other users and kept in history; use @FILE or env:NAME"
)


class IntegrityWord(StrEnum):
    """Kinds of checksums."""

    NONE = "none"
    RC = "rc"
    CC = "cc"


class CounterWord(StrEnum):
    """What the card does with the counter."""

    NONE = "none"
    UNCHECKED = "unchecked"
    HIGHER = "higher"
    NEXT = "next"


class PorWord(StrEnum):
    """When a proof of receipt is wanted."""

    NEVER = "never"
    ALWAYS = "always"
    ON_ERROR = "on-error"


_POR = {
    PorWord.NEVER: PorRequest.NEVER,
    PorWord.ALWAYS: PorRequest.ALWAYS,
    PorWord.ON_ERROR: PorRequest.ON_ERROR,
}

KicOption = Annotated[str | None, typer.Option("--kic", help="Key for ciphering: HEX, @FILE or env:NAME.")]
KidOption = Annotated[str | None, typer.Option("--kid", help="Key for checksums: HEX, @FILE or env:NAME.")]
KicRefOption = Annotated[
    str, typer.Option("--kic-ref", help="KIc: VERSION:ALGORITHM (aes, 3des2, 3des3, implicit), or hex.")
]
KidRefOption = Annotated[
    str, typer.Option("--kid-ref", help="KID: as KIc; crc16 or crc32 with --integrity rc.")
]
SpiOption = Annotated[str | None, typer.Option("--spi", help="Both octets in hex, instead of the words.")]
IntegrityOption = Annotated[IntegrityWord, typer.Option(help="Checksum of the command.")]
CipherOption = Annotated[bool, typer.Option("--cipher/--no-cipher", help="Cipher the command.")]
CounterModeOption = Annotated[CounterWord, typer.Option(help="What the card checks of the counter.")]
PorOption = Annotated[PorWord, typer.Option(help="When a proof of receipt (PoR) is wanted.")]
PorIntegrityOption = Annotated[IntegrityWord, typer.Option(help="Checksum of the PoR.")]
PorCipherOption = Annotated[bool, typer.Option("--por-cipher/--no-por-cipher", help="Cipher the PoR.")]
PorSubmitOption = Annotated[
    bool, typer.Option("--por-submit", help="PoR as SMS-SUBMIT, else in the delivery report.")
]
ImplicitOption = Annotated[str | None, typer.Option(help="What an implicit algorithm means: aes, 3des2, …")]
WeakOption = Annotated[bool, typer.Option("--weak-des", help="Allow single DES, for old cards.")]


@ota_app.command("encode")
def encode_command_(
    *,
    apdus: Annotated[list[str] | None, typer.Argument(help="Commands, hex.", metavar="APDU...")] = None,
    tar: Annotated[str, typer.Option(help="Toolkit application reference, 3 bytes of hex.")] = "000000",
    counter: Annotated[
        int, typer.Option(min=0, max=0xFFFFFFFFFF, help="Counter; higher than any sent before.")
    ] = 0,
    form: Annotated[str, typer.Option("--script", help="compact, expanded or indefinite.")] = "compact",
    data: Annotated[str | None, typer.Option(help="Secured data in hex, instead of APDUs.")] = None,
    kic: KicOption = None,
    kid: KidOption = None,
    kic_ref: KicRefOption = "1:aes",
    kid_ref: KidRefOption = "1:aes",
    spi: SpiOption = None,
    integrity: IntegrityOption = IntegrityWord.CC,
    cipher: CipherOption = True,
    counter_mode: CounterModeOption = CounterWord.HIGHER,
    por: PorOption = PorWord.ALWAYS,
    por_integrity: PorIntegrityOption = IntegrityWord.CC,
    por_cipher: PorCipherOption = True,
    por_submit: PorSubmitOption = False,
    implicit: ImplicitOption = None,
    weak_des: WeakOption = False,
    replayable: Annotated[
        bool, typer.Option("--replayable", help="Allow AES without a counter that the card checks.")
    ] = False,
    sms: Annotated[
        bool, typer.Option("--sms", help="Also the short messages and ENVELOPE commands.")
    ] = False,
    originator: Annotated[str, typer.Option(help="Who sends the short messages.")] = "+10000000000",
    reference: Annotated[int, typer.Option(min=0, max=0xFFFF, help="Of a concatenated message.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Protect remote APDUs as a command packet, for a card that holds the keys."""
    words = _spi(spi, integrity, counter_mode, por, por_integrity, cipher, por_cipher, por_submit)
    try:
        keys = _keys(kic, kid, implicit)
        security = _security(words, kic_ref, kid_ref, keys, Policy(weak_des, replayable))
        secured = _hex(data) if data is not None else script_data([_hex(one) for one in apdus or []], form)
        document = encode_document(security, _hex(tar), counter, secured)
        if sms:
            sender, packet = Address.parse(originator), _hex(str(document["packet"]))
            document |= message_document(packet, sender, reference, wide=reference > 0xFF)
    except (CardError, ValueError, OSError) as error:
        raise _bad_input(error) from error
    _show(document, as_json=as_json)


@ota_app.command("decode")
def decode_command_(
    messages: Annotated[
        list[str],
        typer.Argument(help="Packet, user data, TPDU or ENVELOPE in hex; every part of one packet."),
    ],
    *,
    response: Annotated[
        bool, typer.Option("--response", help="A packet without user data header is a response.")
    ] = False,
    kic: KicOption = None,
    kid: KidOption = None,
    kic_ref: KicRefOption = "1:aes",
    kid_ref: KidRefOption = "1:aes",
    spi: SpiOption = None,
    por_integrity: PorIntegrityOption = IntegrityWord.CC,
    por_cipher: PorCipherOption = True,
    implicit: ImplicitOption = None,
    weak_des: WeakOption = False,
    as_json: JsonOption = False,
) -> None:
    """Open a packet and say in words what is in it.

    A command packet names its own security. A response does not: give --spi, --kic-ref and --kid-ref of the
    command, or --por-integrity and --por-cipher.
    """
    words = _spi(
        spi,
        IntegrityWord.CC,
        CounterWord.HIGHER,
        PorWord.ALWAYS,
        por_integrity,
        True,
        por_cipher,
        False,
    )
    try:
        keys = _keys(kic, kid, implicit)
        security = _security(words, kic_ref, kid_ref, keys, Policy(weak_des))
        kind, packet = packet_in([_hex(one) for one in messages], response=response)
        document = decode_document(kind, packet, security)
    except PacketChecksumError as error:
        raise CliError(
            str(error), advice="look at the keys, and at what was changed", code=ExitCode.WRONG_CRYPTOGRAM
        ) from error
    except (CardError, ValueError, OSError) as error:
        raise _bad_input(error) from error
    _show(document, as_json=as_json)


def _spi(
    octets: str | None,
    integrity: IntegrityWord,
    counter: CounterWord,
    por: PorWord,
    por_integrity: IntegrityWord,
    *flags: bool,
) -> Spi:
    if octets is not None:
        try:
            return Spi.from_bytes(_hex(octets))
        except (OtaError, ValueError) as error:
            raise _bad_input(error) from error
    ciphered, por_ciphered, por_submit = flags
    return Spi(
        Integrity[integrity.name],
        ciphered,
        CounterMode[counter.name],
        _POR[por],
        Integrity[por_integrity.name],
        por_ciphered,
        por_submit,
    )


def _security(spi: Spi, kic_ref: str, kid_ref: str, keys: PacketKeys, policy: Policy) -> Security:
    redundancy = spi.integrity is Integrity.RC
    return Security(spi, key_octet(kic_ref), key_octet(kid_ref, redundancy=redundancy), keys, policy)


def _keys(kic: str | None, kid: str | None, implicit: str | None) -> PacketKeys:
    given = [one for one in (kic, kid) if one is not None]
    if any(not one.startswith(("@", "env:")) for one in given):
        say(_WARNING)
    named = None if implicit is None else Algorithm(implicit.lower())
    return PacketKeys(_key("--kic", kic), _key("--kid", kid), named)


def _key(option: str, text: str | None) -> Secret | None:
    """Read a key; a message about it never repeats it."""
    if text is None:
        return None
    content = text.encode()
    if text.startswith("@"):
        with Path(text[1:]).open("rb") as stream:
            content = stream.read(_MAX_KEY_FILE_BYTES)
    elif text.startswith("env:"):
        content = os.environ.get(text[4:], "").encode()
        if not content:
            raise ValueError(f"{option}: the environment variable is not set")
    try:
        return Secret(bytes.fromhex(b"".join(content.split()).decode("ascii")))
    except ValueError:
        raise ValueError(f"{option} is not hex") from None


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text.replace(":", " "))
    except ValueError:
        raise ValueError(f"this is not hex: {text[:40]!r}") from None


def _bad_input(error: Exception) -> CliError:
    return CliError(str(error), code=ExitCode.BAD_INPUT)


def _show(document: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        print_json(document)
        return
    for line in _lines(document):
        typer.echo(line)


def _lines(document: dict[str, object], depth: int = 0) -> list[str]:
    indent, lines = "  " * depth, []
    for name, value in document.items():
        label = name.replace("_", " ")
        if isinstance(value, dict):
            lines += [f"{indent}{label}:", *_lines(value, depth + 1)]
        elif isinstance(value, list):
            for one in value:
                nested = _lines(one, depth + 1) if isinstance(one, dict) else []
                lines += [f"{indent}{label}:", *nested] if nested else [f"{indent}{label}: {one}"]
        else:
            lines.append(f"{indent}{label}: {'-' if value is None or value == '' else value}")
    return lines
