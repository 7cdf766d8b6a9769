"""The options that all verbs of the desk share, and how words of the command line become values."""

from __future__ import annotations

import functools
import inspect
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Concatenate, ParamSpec

import typer

from opentsm.card.codec.aid import Aid
from opentsm.card.errors import CardError
from opentsm.card.gp.cap import MAX_FILE_BYTES, LoadFile, read_load_file
from opentsm.card.gp.diversification import DiversificationMethod
from opentsm.card.gp.privileges import Privilege
from opentsm.card.scp.channel import SecurityLevel
from opentsm.cli.desk import plans
from opentsm.cli.desk.keys import KeyChoice, choose_keys, require_keys
from opentsm.cli.desk.link import CardLink
from opentsm.cli.desk.session import Session, block_size, open_session
from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError
from opentsm.cli.readers import READER_FORMS, open_reader

_P = ParamSpec("_P")

ReaderOption = Annotated[str, typer.Option("--reader", help=f"The card: {READER_FORMS}.")]
KeysOption = Annotated[
    str | None,
    typer.Option("--keys", help="Keys: FILE or env:NAME. One key, three (ENC MAC DEK), or JSON."),
]
TestKeysOption = Annotated[
    bool, typer.Option("--test-keys", help="Allow the well-known test key 4041…4F; without --keys, use it.")
]
MethodOption = Annotated[
    DiversificationMethod | None,
    typer.Option("--diversification", help="The key is a master key; derive the card's keys in this way."),
]
KvnOption = Annotated[
    str | None, typer.Option("--kvn", help="Key version number, hex; else the keys' or the card's first.")
]
SdOption = Annotated[str | None, typer.Option("--sd", help="AID of the security domain; else the issuer's.")]
LevelOption = Annotated[
    str | None,
    typer.Option("--level", help="Security level, hex: 01, 03, 11, 13, 33; else the best possible."),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print the commands of the plan; touch no card and no key.")
]
TokenOption = Annotated[str, typer.Option("--token", help="Token of delegated management, hex.")]


@dataclass(frozen=True, slots=True)
class Desk:
    """What the shared options say, and the way from them to an open session."""

    reader: str
    source: str | None
    test_keys: bool
    method: DiversificationMethod | None
    kvn: int | None
    sd: Aid | None
    level: SecurityLevel | None

    def keys(self) -> KeyChoice | None:
        """Read the keys."""
        sd = None if self.sd is None else str(self.sd)
        return choose_keys(self.source, test_keys=self.test_keys, method=self.method, sd=sd)

    def link(self) -> CardLink:
        """Name the card; it is powered on by `async with`."""
        return CardLink(open_reader(self.reader).reader)

    async def session(self, link: CardLink) -> Session:
        """Open the secure channel that the options ask for."""
        choice = require_keys(self.keys())
        challenge = secrets.token_bytes(16)
        return await open_session(link, choice, challenge, sd=self.sd, kvn=self.kvn, level=self.level)

    def assumed_block_size(self) -> int:
        """Return the block size of a plan that is made without a card: SCP03, short commands."""
        level = SecurityLevel.FULL if self.level is None else self.level
        return block_size(3, 0x70, level, 255)


def desk_of(
    *,
    reader: ReaderOption,
    keys: KeysOption = None,
    test_keys: TestKeysOption = False,
    diversification: MethodOption = None,
    kvn: KvnOption = None,
    sd: SdOption = None,
    level: LevelOption = None,
) -> Desk:
    """Read the shared options."""
    return Desk(
        reader=reader,
        source=keys,
        test_keys=test_keys,
        method=diversification,
        kvn=None if kvn is None else byte_option("--kvn", kvn),
        sd=None if sd is None else aid_option("--sd", sd),
        level=None if level is None else SecurityLevel(byte_option("--level", level)),
    )


def verb(function: Callable[Concatenate[Desk, _P], None]) -> Callable[..., None]:
    """Give a command the shared options; it gets them as a `Desk` in its first argument."""
    shared = inspect.signature(desk_of, eval_str=True).parameters
    own = dict(list(inspect.signature(function, eval_str=True).parameters.items())[1:])

    @functools.wraps(function)
    def command(**given: object) -> None:
        desk = desk_of(**{name: given.pop(name) for name in shared})  # type: ignore[arg-type]
        function(desk, **given)  # type: ignore[call-arg,arg-type]

    parameters = [*own.values(), *shared.values()]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    del command.__wrapped__  # or its own annotations would be asked
    return command


# --- values of options -------------------------------------------------------------------------


def read_cap(path: Path) -> LoadFile:
    """Read a CAP file.

    Raises:
        CliError: BAD_INPUT.
    """
    try:
        with path.open("rb") as stream:
            return read_load_file(stream.read(MAX_FILE_BYTES + 1))
    except (CardError, OSError) as error:
        raise CliError(f"{path} cannot be loaded", why=str(error), code=ExitCode.BAD_INPUT) from error


def hex_option(name: str, text: str) -> bytes:
    """Read hexadecimal digits.

    Raises:
        CliError: USAGE.
    """
    try:
        return bytes.fromhex(text.replace(":", " "))
    except ValueError:
        raise CliError(f"{name} takes hex, not {text[:40]!r}", code=ExitCode.USAGE) from None


def aid_option(name: str, text: str) -> Aid:
    """Read an AID.

    Raises:
        CliError: USAGE.
    """
    try:
        return Aid(hex_option(name, text))
    except CardError as error:
        raise CliError(f"{name}: {error}", code=ExitCode.USAGE) from error


def byte_option(name: str, text: str) -> int:
    """Read one byte in hex.

    Raises:
        CliError: USAGE.
    """
    data = hex_option(name, text.removeprefix("0x").zfill(2))
    if len(data) != 1:
        raise CliError(f"{name} takes one byte in hex, not {text[:40]!r}", code=ExitCode.USAGE)
    return data[0]


def privileges_option(text: str) -> Privilege:
    """Read privileges.

    Raises:
        CliError: USAGE.
    """
    try:
        return plans.parse_privileges(text)
    except (CardError, ValueError):
        raise CliError(
            f"--privileges: {text[:60]!r} is not known",
            advice="names of GlobalPlatform divided by commas, or 1 or 3 bytes in hex",
            code=ExitCode.USAGE,
        ) from None
