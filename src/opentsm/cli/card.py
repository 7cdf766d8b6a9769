"""`opentsm card`: card tools without a server; those of this module talk to no card either."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple, NoReturn

import typer

from opentsm.card.codec.aid import Aid
from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import CapError, CardError, ResponseMacError
from opentsm.card.gp.cap import MAX_FILE_BYTES, LoadFile, read_load_file
from opentsm.card.gp.cap_builder import CapSpec, build_cap, build_raw
from opentsm.card.gp.explain import Explanation, Reading, explain
from opentsm.card.gp.packages import package_name, platform
from opentsm.card.scp.channel import SecurityLevel, StaticKeys
from opentsm.cli.card_ota import ota_app
from opentsm.cli.card_reader import add_reader_commands
from opentsm.cli.card_token import token_command
from opentsm.cli.card_wrap import WrapSession
from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import JsonOption, print_json, say

card_app = typer.Typer(
    help="Card tools without a server, for a card in a reader or none.", no_args_is_help=True
)
add_reader_commands(card_app)
card_app.add_typer(ota_app, name="ota")
card_app.command("token")(token_command)
_FILE_MARK = "@"
_NO_KDD = "00" * 10
# The hex of a 32-byte key, however it is spaced.
_MAX_KEY_FILE_BYTES = 1024


def fail(message: str, code: ExitCode, *, as_json: bool) -> NoReturn:
    """Say what is wrong and end."""
    if as_json:
        print_json({"error": {"code": code.name, "what": message}})
    say(f"error: {message}")
    raise typer.Exit(code)


# --- wrap --------------------------------------------------------------------------------------

KeyOption = typer.Option(help="Static key, hex, or @FILE that holds it in hex.")


@card_app.command("wrap")
def wrap_command(
    *,
    enc: Annotated[str, KeyOption],
    mac: Annotated[str, KeyOption],
    dek: Annotated[str, KeyOption],
    host_challenge: Annotated[str, typer.Option(help="Host challenge: 8 bytes (S16: 16), hex.")],
    apdus: Annotated[list[str] | None, typer.Argument(help="Plain commands, hex.", metavar="APDU...")] = None,
    scp: Annotated[str, typer.Option(help="Secure channel protocol: 02 or 03.")] = "03",
    i: Annotated[
        str | None, typer.Option("--i", help="Implementation options, hex, e.g. 70, 60, 55.")
    ] = None,
    init_update_response: Annotated[
        str | None, typer.Option(help="The card's answer to INITIALIZE UPDATE, hex, with or without 9000.")
    ] = None,
    sequence: Annotated[
        int | None, typer.Option(help="Sequence counter of the coming session: predict the card's answer.")
    ] = None,
    sd_aid: Annotated[str | None, typer.Option(help="AID of the application asked, hex.")] = None,
    kvn: Annotated[str | None, typer.Option(help="Key version number to ask for, hex.")] = None,
    kdd: Annotated[str, typer.Option(help="Key diversification data to predict with.")] = _NO_KDD,
    level: Annotated[str, typer.Option(help="Security level, hex: 00, 01, 03, 11, 13, 33.")] = "33",
    answer: Annotated[
        list[str] | None, typer.Option(help="The card's answer to one command, hex; once per command.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Protect commands as a secure channel would, without a card.

    Give the card's answer (--init-update-response), or for a card with pseudo-random challenges its counter
    and AID (--sequence, --sd-aid): then the answer is predicted.
    """
    commands, answers = apdus or [], answer or []
    if init_update_response is None and (sequence is None or sd_aid is None):
        raise typer.BadParameter("give --init-update-response, or --sequence and --sd-aid to predict it")
    if answers and len(answers) != len(commands):
        raise typer.BadParameter(f"{len(answers)} answers to {len(commands)} commands: give one per command")
    try:
        keys = _static_keys(enc, mac, dek)
        asked = _Protocol(_byte("--scp", scp), _optional_byte("--i", i), _optional_byte("--kvn", kvn))
        if init_update_response is not None:
            session = _received(keys, host_challenge, init_update_response, asked)
        else:
            counter, aid = sequence or 0, sd_aid or ""
            session = _expected(keys, host_challenge, asked, kdd=kdd, counter=counter, sd_aid=aid)
        security = SecurityLevel(_byte("--level", level))
        document = session.document(security, [_hex(one) for one in commands], [_hex(one) for one in answers])
    except ResponseMacError as error:
        fail(str(error), ExitCode.WRONG_CRYPTOGRAM, as_json=as_json)
    except (CardError, ValueError, OSError) as error:
        fail(str(error), ExitCode.BAD_INPUT, as_json=as_json)
    _show(document, as_json=as_json)


class _Protocol(NamedTuple):
    """What was asked for; None leaves it to the card."""

    scp: int
    i: int | None
    kvn: int | None


def _received(keys: StaticKeys, challenge: str, response: str, asked: _Protocol) -> WrapSession:
    return WrapSession.received(
        keys, _hex(challenge), _hex(response), scp=asked.scp, i=asked.i, kvn=asked.kvn
    )


def _expected(
    keys: StaticKeys, challenge: str, asked: _Protocol, *, kdd: str, counter: int, sd_aid: str
) -> WrapSession:
    return WrapSession.expected(
        keys,
        _hex(challenge),
        scp=asked.scp,
        i=asked.i,
        kvn=asked.kvn,
        kdd=_hex(kdd),
        counter=counter,
        aid=Aid(_hex(sd_aid)),
    )


def _show(document: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        print_json(document)
    else:
        for name, value in document.items():
            for one in value if isinstance(value, list) else [value]:
                typer.echo(f"{name}: {'-' if one is None else one}")
    if document["card_cryptogram_ok"] is False:
        say("error: the card cryptogram is wrong: other keys, or another session's challenges")
        say("  do: check keys, diversification and --host-challenge; do not try a card twice with wrong keys")
        raise typer.Exit(ExitCode.WRONG_CRYPTOGRAM)


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text.replace(":", " "))
    except ValueError:
        raise ValueError(f"this is not hex: {text[:40]!r}") from None


def _static_keys(enc: str, mac: str, dek: str) -> StaticKeys:
    if any(not value.startswith(_FILE_MARK) for value in (enc, mac, dek)):
        say("warning: keys on the command line are seen by other users and kept in history; use @FILE")
    return StaticKeys(_key("--enc", enc), _key("--mac", mac), _key("--dek", dek))


def _key(option: str, text: str) -> Secret:
    """Read a key; a message about it never repeats it."""
    content = text.encode()
    if text.startswith(_FILE_MARK):
        content = _read(Path(text[1:]), _MAX_KEY_FILE_BYTES)
    try:
        return Secret(bytes.fromhex(b"".join(content.split()).decode("ascii")))
    except ValueError:
        raise ValueError(f"{option} is not hex") from None


def _read(path: Path, limit: int) -> bytes:
    """Read a file, or of a larger one a byte more than the limit."""
    with path.open("rb") as stream:
        return stream.read(limit + 1)


def _byte(option: str, text: str) -> int:
    try:
        (value,) = bytes.fromhex(text.zfill(2))
    except ValueError:
        raise ValueError(f"{option} takes one byte in hex, not {text[:40]!r}") from None
    return value


def _optional_byte(option: str, text: str | None) -> int | None:
    return None if text is None else _byte(option, text)


# --- explain -----------------------------------------------------------------------------------


@card_app.command("explain")
def explain_command(
    data: Annotated[list[str], typer.Argument(help="Hex; several arguments are explained one by one.")],
    reading: Annotated[
        Reading | None, typer.Option("--as", help="What the bytes are; found out when not given.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say in words what a command, answer, TLV, status word, privilege or INSTALL parameter means."""
    readings = [_read_argument(one, reading) for one in data]
    wrong = [one.error for one in readings if one.error]
    if as_json:
        error = {"error": {"code": ExitCode.BAD_INPUT.name, "what": "; ".join(wrong)}} if wrong else {}
        print_json({"explained": [one.document() for one in readings], **error})
    for one in readings:
        for line in () if as_json else one.lines:
            typer.echo(line)
        if one.error:
            say(f"error: {one.error}")
    if wrong:
        raise typer.Exit(ExitCode.BAD_INPUT)


@dataclass(frozen=True, slots=True)
class _Explained:
    """One argument with what it means, or why it means nothing."""

    given: str
    note: Explanation | None = None
    error: str = ""

    @property
    def lines(self) -> list[str]:
        return [] if self.note is None else list(self.note.note.lines())

    def document(self) -> dict[str, object]:
        if self.note is None:
            return {"given": self.given, "error": self.error}
        return {"as": self.note.reading.value, **self.note.note.document()}


def _read_argument(text: str, reading: Reading | None) -> _Explained:
    """Explain one argument; the others are explained whatever becomes of it."""
    try:
        data = _hex(text)
    except ValueError as error:
        return _Explained(text, error=str(error))
    if not data:
        return _Explained(text, error=f"this is empty: {text!r}")
    try:
        return _Explained(text, explain(data, reading))
    except (CardError, ValueError) as error:
        return _Explained(text, error=f"{text[:40]}: {error}")


# --- cap ---------------------------------------------------------------------------------------


@card_app.command("cap")
def cap_command(
    arguments: Annotated[
        list[str], typer.Argument(help="FILE to show, or `build SPEC.json OUT` to make one.", metavar="FILE")
    ],
    as_json: JsonOption = False,
) -> None:
    """Show what a CAP file or raw load file holds; `cap build SPEC.json OUT` makes one.

    OUT ending in .ijc becomes a raw load file, all else a zipped CAP file.
    """
    if arguments[0] == "build" and len(arguments) == 3:
        _build(Path(arguments[1]), Path(arguments[2]), as_json=as_json)
        return
    if len(arguments) != 1:
        raise typer.BadParameter("give one FILE, or `build SPEC.json OUT`")
    try:
        load_file = read_load_file(_read(Path(arguments[0]), MAX_FILE_BYTES))
    except (CapError, OSError) as error:
        fail(str(error), ExitCode.BAD_INPUT, as_json=as_json)
    _show_cap(load_file, as_json=as_json)


@card_app.command("cap-build")
def cap_build_command(
    spec: Annotated[Path, typer.Argument(help="JSON description of the package.")],
    out: Annotated[Path, typer.Argument(help="File to write: .ijc for a raw load file, else zipped.")],
    as_json: JsonOption = False,
) -> None:
    """Make a structurally valid CAP file from a description; the same as `cap build`."""
    _build(spec, out, as_json=as_json)


def _build(spec: Path, out: Path, *, as_json: bool) -> None:
    try:
        description = json.loads(spec.read_text())
        if not isinstance(description, dict):
            raise CapError("the description is no JSON object")
        build = build_raw if out.suffix.lower() == ".ijc" else build_cap
        data = build(CapSpec.from_dict(description))
        out.write_bytes(data)
    except (CapError, OSError, ValueError) as error:
        fail(f"{spec}: {error}", ExitCode.BAD_INPUT, as_json=as_json)
    _show_cap(read_load_file(data), as_json=as_json)


def _show_cap(load_file: LoadFile, *, as_json: bool) -> None:
    document = _cap_document(load_file)
    if as_json:
        print_json(document)
        return
    for name, value in document.items():
        for one in value if isinstance(value, list) else [value]:
            shown = ", ".join(f"{k} {v}" for k, v in one.items()) if isinstance(one, dict) else one
            typer.echo(f"{name}: {'-' if shown is None else shown}")


def _cap_document(load_file: LoadFile) -> dict[str, object]:
    hashes = {
        f"{algorithm}{'' if descriptor else '_without_descriptor'}": load_file.hash(
            algorithm, descriptor=descriptor
        ).hex()
        for descriptor in ((True, False) if load_file.has_descriptor else (True,))
        for algorithm in ("sha1", "sha256", "sha384", "sha512")
    }
    return {
        "package_aid": str(load_file.package_aid),
        "package_name": load_file.package_name,
        "version": str(load_file.version),
        "cap_format": str(load_file.cap_format),
        "platform": platform(load_file.imports),
        "flags": [flag.name for flag in load_file.flags],
        "applets": [str(aid) for aid in load_file.applets],
        "imports": [
            {"aid": str(one.aid), "version": str(one.version), "name": package_name(one.aid)}
            for one in load_file.imports
        ],
        "load_bytes": len(load_file.load_file_data_block()),
        "load_bytes_without_descriptor": load_file.code_bytes,
        "static_bytes": load_file.static_bytes,
        "components": [{"name": one.tag.name, "bytes": len(one.data)} for one in load_file.components],
        "hashes": hashes,
    }
