"""`opentsm vse`: make, show, erase and serve virtual secure elements that are kept on disk."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError, JsonOption, print_json, print_table, say

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from opentsm.card.crypto.secret import Secret
    from opentsm.vse.card import KeyMaterial
    from opentsm.vse.cards_on_disk import CardDirectory
    from opentsm.vse.faults import FaultPlan
    from opentsm.vse.vpcd import VpcdEndpoint

vse_app = typer.Typer(no_args_is_help=True, help="Make, show and serve virtual secure elements.")

StoreOption = Annotated[
    Path, typer.Option("--store", envvar="OPENTSM_VSE_STORE", help="Directory that holds the cards.")
]
NameArgument = Annotated[str, typer.Argument(help="Name of the card.")]

_DEFAULT_STORE = Path("vse-cards")
_TEST_KEY = "404142434445464748494A4B4C4D4E4F"
_KEY_LENGTHS = (16, 24, 32)


@vse_app.command("new")
def new(
    name: NameArgument,
    *,
    store: StoreOption = _DEFAULT_STORE,
    profile: Annotated[str, typer.Option(help="Card profile: a name or a JSON file.")] = "scp03-i70",
    serial: Annotated[
        int | None, typer.Option(min=0, max=0xFFFFFFFF, help="Serial number; random by default.")
    ] = None,
    key_length: Annotated[int, typer.Option(help="Bytes of each random key: 16, 24 or 32.")] = 16,
    test_keys: Annotated[
        bool, typer.Option("--test-keys", help="Use the well-known test key 4041…4F.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a new card with a key set of its own (kept in its keys.json)."""
    from opentsm.vse.profiles import ProfileError, load_profile

    if key_length not in _KEY_LENGTHS:
        raise CliError(f"a key has 16, 24 or 32 bytes, not {key_length}", code=ExitCode.USAGE)
    directory = _directory(store, name)
    number = secrets.randbits(32) if serial is None else serial
    if directory.exists:
        raise CliError(f"there is a card named {name} already", code=ExitCode.USAGE)
    with _directory_errors():
        try:
            kind = load_profile(_profile(profile))
            domains = {
                bytes.fromhex(entry.aid): _keys(key_length, test_keys=test_keys)
                for entry in kind.factory_domains
            }
            keys = _keys(key_length, test_keys=test_keys)
            document = directory.issue(kind.to_dict(), number, keys, domain_keys=domains)
        except ProfileError as problem:
            raise CliError(str(problem), code=ExitCode.USAGE) from problem
    document |= {"directory": str(directory.path), "keys_file": str(directory.keys_file)}
    if as_json:
        print_json(document)
    else:
        print_table(("name", "profile", "serial", "kdd", "directory"), [document])


@vse_app.command("list")
def list_command(store: StoreOption = _DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """List the cards."""
    from opentsm.vse.cards_on_disk import list_cards

    with _directory_errors():
        documents = [entry.identity() for entry in list_cards(store)]
    if as_json:
        print_json(documents)
    else:
        print_table(("name", "profile", "serial", "isd_aid", "kdd"), documents)


@vse_app.command("show")
def show(name: NameArgument, store: StoreOption = _DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Show what is on a card; keys appear as check values."""
    from opentsm.vse.description import describe

    directory = _existing(store, name)
    with _directory_errors():
        card, identity = directory.open(), directory.identity()
    content = describe(card.image(), card.profile.memory)
    if as_json:
        print_json({**identity, **content})
        return
    for title, columns in (
        ("instances", ("aid", "state", "privileges", "sd", "module", "bytes")),
        ("load_files", ("aid", "version", "sd", "modules", "bytes")),
    ):
        rows = content[title]
        if isinstance(rows, list):
            print_table(columns, rows)


@vse_app.command("erase")
def erase(
    name: NameArgument,
    store: StoreOption = _DEFAULT_STORE,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete a card, its content and its keys, for good."""
    directory = _existing(store, name)
    if not yes and not typer.confirm(f"Delete the card {name} and its keys?", err=True):
        raise CliError("nothing was deleted", code=ExitCode.REFUSED)
    with _directory_errors():
        directory.erase()
    if as_json:
        print_json({"erased": name})
    else:
        say(f"erased {name}")


@vse_app.command("profiles")
def profiles(as_json: JsonOption = False) -> None:
    """List the packaged card profiles."""
    from opentsm.vse.profiles import load_profile, profile_names

    documents = [load_profile(name).to_dict() for name in profile_names()]
    if as_json:
        print_json(documents)
    else:
        print_table(("name", "description"), documents)


@vse_app.command("serve")
def serve(
    name: Annotated[
        str, typer.Argument(help="Name of the card; `default` is made when it is missing.")
    ] = "default",
    *,
    store: StoreOption = _DEFAULT_STORE,
    listen: Annotated[str, typer.Option(help="HOST:PORT where readers connect; port 0 for any.")] = "",
    connect: Annotated[str, typer.Option(help="HOST:PORT of a vpcd to connect to.")] = "",
    fault: Annotated[
        str, typer.Option(help="KIND=N: fail at the n-th write or APDU, for example cut_after_apdu=7.")
    ] = "",
    trace: Annotated[
        bool,
        typer.Option("--trace", help="Explain each command and answer on stderr, without keys and PINs."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Put a card on the wire (vpcd framing) until Ctrl-C."""
    from opentsm.cli.traced_card import TracedCard
    from opentsm.vse.vpcd import VpcdEndpoint

    if bool(listen) == bool(connect):
        raise CliError("give either --listen HOST:PORT or --connect HOST:PORT", code=ExitCode.USAGE)
    with _directory_errors():
        if name == "default" and not _directory(store, name).exists:
            say("making the card `default` with the well-known test keys 4041…4F")
            _directory(store, name).issue("scp03-i70", secrets.randbits(32), _keys(16, test_keys=True))
        card = _existing(store, name).open()
    if fault:
        card.arm(_fault_plan(fault))
    host, port = _address(listen or connect)
    endpoint = VpcdEndpoint(TracedCard(card, say) if trace else card)
    # what is told beside a trace is a comment of the recording that the trace is
    title = f"# {name}" if trace else name
    run = _listen(endpoint, title, host, port, as_json) if listen else _connect(endpoint, host, port)
    try:
        asyncio.run(run)
    except OSError as problem:
        raise CliError(
            f"no connection at {host}:{port}", why=str(problem), code=ExitCode.UNAVAILABLE
        ) from problem


@vse_app.command("export")
def export(
    name: NameArgument,
    out: Annotated[Path, typer.Argument(help="File to write; it must not exist.")],
    *,
    store: StoreOption = _DEFAULT_STORE,
    passphrase: Annotated[
        str, typer.Option(help="Seal it with the passphrase in FILE or env:NAME (8 bytes or more).")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Write a card with its content and its keys into one JSON document."""
    from opentsm.cli.card_document import ExportedCard, write_document

    directory = _existing(store, name)
    with _directory_errors():
        exported = ExportedCard(directory.identity(), directory.keys(), directory.open().image())
    document = write_document(exported, _passphrase(passphrase), secrets.token_bytes)
    try:
        handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(json.dumps(document, indent=2) + "\n")
    except OSError as problem:
        raise CliError(
            f"{out} cannot be written", why=str(problem.strerror), code=ExitCode.USAGE
        ) from problem
    if not passphrase:
        say(f"warning: {out} holds the keys of {name} in clear; --passphrase seals it")
    if as_json:
        print_json({"exported": name, "file": str(out), "sealed": bool(passphrase)})


@vse_app.command("import")
def import_command(
    name: NameArgument,
    file: Annotated[Path, typer.Argument(help="A document that `export` wrote.")],
    *,
    store: StoreOption = _DEFAULT_STORE,
    passphrase: Annotated[str, typer.Option(help="Of a sealed document: FILE or env:NAME.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Make a card from a document."""
    from opentsm.cli.card_document import CardDocumentError, read_document

    directory = _directory(store, name)
    try:
        exported = read_document(json.loads(file.read_text("utf-8")), _passphrase(passphrase))
    except (CardDocumentError, OSError, ValueError, RecursionError) as problem:
        raise CliError(f"{file} is not imported", why=str(problem), code=ExitCode.BAD_INPUT) from problem
    with _directory_errors():
        directory.put(exported.identity, exported.keys, exported.image)
    if as_json:
        print_json({**exported.identity, "name": name, "directory": str(directory.path)})
    else:
        say(f"imported {name}")


@vse_app.command("trace")
def trace_command(
    file: Annotated[Path, typer.Argument(help="A recording: lines `> HEX` and `< HEX`.")],
    as_json: JsonOption = False,
) -> None:
    """Explain a recorded conversation with a card, command by command."""
    from opentsm.agent.errors import ReaderError
    from opentsm.agent.readers import read_recording
    from opentsm.cli.trace import Trace, trace_lines

    try:
        _, pairs = read_recording(file.read_text("ascii").splitlines())
    except (ReaderError, OSError, ValueError) as problem:
        raise CliError(f"{file} is no recording", why=str(problem), code=ExitCode.BAD_INPUT) from problem
    trace = Trace()
    entries = [trace.pair(command, answer) for command, answer in pairs]
    if as_json:
        print_json({"trace": entries})
        return
    for entry in entries:
        for line in trace_lines(entry):
            typer.echo(line)


def _passphrase(source: str) -> Secret | None:
    """Read the passphrase that FILE or env:NAME holds; None when nothing was named."""
    from opentsm.card.crypto.secret import Secret
    from opentsm.cli.card_document import MIN_PASSPHRASE_BYTES

    if not source:
        return None
    try:
        value = os.environ[source[4:]] if source.startswith("env:") else Path(source).read_text("utf-8")
    except (KeyError, OSError) as problem:
        raise CliError(f"there is no passphrase in {source}", code=ExitCode.USAGE) from problem
    secret = value.strip().encode()
    if len(secret) < MIN_PASSPHRASE_BYTES:
        raise CliError(f"a passphrase has {MIN_PASSPHRASE_BYTES} bytes or more", code=ExitCode.USAGE)
    return Secret(secret)


async def _listen(endpoint: VpcdEndpoint, title: str, host: str, port: int, as_json: bool) -> None:
    bound = await endpoint.listen(host, port)
    if as_json:
        # One line: the process goes on, and whoever started it reads until the end of the line.
        sys.stdout.write(json.dumps({"name": title.removeprefix("# "), "host": host, "port": bound}) + "\n")
        sys.stdout.flush()
    else:
        say(f"{title} listens on {host}:{bound}")
    await _until_stopped(endpoint.serve_forever())
    await endpoint.close()


async def _connect(endpoint: VpcdEndpoint, host: str, port: int) -> None:
    await _until_stopped(endpoint.connect(host, port))
    await endpoint.close()


async def _until_stopped(work: Coroutine[object, object, None]) -> None:
    """Run until the work ends or SIGTERM or SIGINT arrives."""
    task = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


@contextlib.contextmanager
def _directory_errors() -> Iterator[None]:
    """Say of a card's directory what is wrong with it."""
    from opentsm.vse.cards_on_disk import CardDirectoryError

    try:
        yield
    except CardDirectoryError as problem:
        raise CliError(
            str(problem), advice="choose or repair --store", code=ExitCode.CONFIGURATION
        ) from problem


def _directory(store: Path, name: str) -> CardDirectory:
    from opentsm.vse.cards_on_disk import CardDirectory

    if not name or Path(name).name != name or name.startswith("."):
        raise CliError(f"{name!r} is no name for a card", code=ExitCode.USAGE)
    return CardDirectory(store / name)


def _existing(store: Path, name: str) -> CardDirectory:
    directory = _directory(store, name)
    if not directory.exists:
        raise CliError(
            f"there is no card named {name} in {store}", advice="opentsm vse list", code=ExitCode.USAGE
        )
    return directory


def _profile(source: str) -> str | dict[str, object]:
    if not source.endswith(".json"):
        return source
    try:
        document: dict[str, object] = json.loads(Path(source).read_text("utf-8"))
    except (OSError, ValueError) as problem:
        raise CliError(f"the profile {source} cannot be read", why=str(problem)) from problem
    return document


def _keys(length: int, *, test_keys: bool) -> KeyMaterial:
    from opentsm.card.crypto.secret import Secret
    from opentsm.vse.card import KeyMaterial
    from opentsm.vse.cards_on_disk import random_keys

    if test_keys:
        key = Secret(bytes.fromhex(_TEST_KEY))
        return KeyMaterial(enc=key, mac=key, dek=key)
    return random_keys(length, secrets.token_bytes)


def _fault_plan(text: str) -> FaultPlan:
    from opentsm.vse.faults import FaultPlan

    kind, _, number = text.partition("=")
    plan = FaultPlan()
    if kind not in FAULTS or not number.isdecimal():
        raise CliError(
            f"no such fault: {text}", advice=f"one of {', '.join(FAULTS)} and =N", code=ExitCode.USAGE
        )
    setattr(plan, kind, int(number))
    return plan


FAULTS = ("cut_before_write", "cut_after_write", "cut_before_apdu", "cut_after_apdu", "lose_answer")


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 0xFFFF:
        raise CliError(f"{text!r} is not HOST:PORT", code=ExitCode.USAGE)
    return host.strip("[]"), int(port)
