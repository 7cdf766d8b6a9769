"""The readers that a command line can name, and the virtual card as a reader in the same process.

The agent knows only the Reader protocol; a card of `opentsm.vse` is handed to it from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from opentsm.agent.errors import ReaderError, ReaderMissingError
from opentsm.agent.readers import PcscReader, ReplayReader, TcpReader, pcsc_reader_names
from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError

if TYPE_CHECKING:
    from opentsm.agent.readers import Reader

READER_FORMS = "vse:DIR, vpcd:HOST:PORT, pcsc:NAME or replay:FILE"


class PoweredCard(Protocol):
    """What is used of `opentsm.vse.card.VirtualCard`."""

    def power_on(self) -> bytes: ...
    def power_off(self) -> None: ...
    def transmit(self, raw: bytes) -> bytes: ...


class VirtualCardReader:
    """A virtual card in this process as a reader.

    Args:
        card: the card; nobody else may use it meanwhile.
    """

    def __init__(self, card: PoweredCard) -> None:
        self._card = card

    async def connect(self) -> bytes:
        """Reset the card and return its ATR."""
        from opentsm.vse.faults import TornError

        try:
            return self._card.power_on()
        except TornError as error:
            raise ReaderError(f"the virtual card lost its power: {error}") from error

    async def transmit(self, apdu: bytes) -> bytes:
        """Send one C-APDU; a torn card and a lost answer are a ReaderError."""
        from opentsm.vse.faults import TornError

        try:
            return self._card.transmit(apdu)
        except TornError as error:
            raise ReaderError(f"the virtual card gave no answer: {error}") from error

    async def disconnect(self) -> None:
        """Power the card off."""
        self._card.power_off()


@dataclass(frozen=True, slots=True)
class NamedReader:
    """A reader from the command line.

    Args:
        reader: the way to the card.
        se_id: an identifier that the reader itself knows for the card, None for real ones.
    """

    reader: Reader
    se_id: str | None = None


def open_reader(form: str) -> NamedReader:
    """Make the reader that a word of the command line names.

    Args:
        form: `vse:DIR` (a directory made by `opentsm vse new`), `vpcd:HOST:PORT` (a card that listens),
            `pcsc:NAME` (part of a reader's name) or `replay:FILE` (a recorded session).

    Returns:
        The reader, not connected yet.

    Raises:
        CliError: the word has no such form, or this machine has no such reader.
    """
    kind, _, rest = form.partition(":")
    if not rest:
        raise CliError(f"{form!r} names no reader", advice=f"give {READER_FORMS}", code=ExitCode.USAGE)
    try:
        match kind:
            case "vse":
                return _virtual(Path(rest))
            case "vpcd":
                return NamedReader(_tcp(rest))
            case "pcsc":
                return NamedReader(_pcsc(rest))
            case "replay":
                return NamedReader(ReplayReader.from_file(Path(rest)))
    except ReaderMissingError as error:
        raise CliError(f"no reader {form}", why=str(error), code=ExitCode.CONFIGURATION) from error
    raise CliError(f"{kind!r} is no kind of reader", advice=f"give {READER_FORMS}", code=ExitCode.USAGE)


def _virtual(directory: Path) -> NamedReader:
    from opentsm.vse.cards_on_disk import CardDirectory, CardDirectoryError

    card = CardDirectory(directory)
    if not card.exists:
        raise ReaderMissingError(f"there is no virtual card in {directory} (opentsm vse new makes one)")
    try:
        identity = card.identity()
        return NamedReader(VirtualCardReader(card.open()), f"{identity['iin']}{identity['cin']}")
    except (CardDirectoryError, KeyError) as error:
        raise ReaderMissingError(f"the virtual card in {directory} is damaged: {error}") from error


def _tcp(address: str) -> TcpReader:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 0xFFFF:
        raise CliError(f"{address!r} is not HOST:PORT", code=ExitCode.USAGE)
    return TcpReader(host.strip("[]"), int(port))


def _pcsc(name: str) -> PcscReader:
    names = pcsc_reader_names()
    if not any(name.lower() in known.lower() for known in names):
        raise ReaderMissingError(f"no PC/SC reader is called {name!r}; present: {', '.join(names) or 'none'}")
    return PcscReader(name)
