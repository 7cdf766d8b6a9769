"""Readers: the agent's way to a card.

A Reader only moves bytes. TCP speaks the framing of vsmartcard's vpcd with the card as the listening
side; PC/SC needs the extra `[pcsc]`; the replay reader answers from a recorded session.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Final, Protocol, TypeVar

from opentsm.agent.errors import ReaderError, ReaderMissingError

_T = TypeVar("_T")

VPCD_OFF: Final = b"\x00"
VPCD_ON: Final = b"\x01"
VPCD_ATR: Final = b"\x04"
_ANSWER_TIMEOUT_S: Final = 60.0
_CONNECT_TIMEOUT_S: Final = 30.0


class Reader(Protocol):
    """A card slot. Every failure is a ReaderError; after one, `connect` starts afresh."""

    async def connect(self) -> bytes:
        """Power the card on (a reset if it was on) and return its ATR."""

    async def transmit(self, apdu: bytes) -> bytes:
        """Send one C-APDU and return the R-APDU as the card gave it."""

    async def disconnect(self) -> None:
        """Power the card off; harmless when it is off."""


class TcpReader:
    """A card that listens on TCP with vpcd framing: length (16 bits, big-endian), payload.

    A payload of one byte is a control code: 00 off, 01 on, 02 reset, 04 give the ATR; only 04 is
    answered.

    Args:
        host: where the card listens.
        port: its TCP port.
        answer_timeout_s: longest wait for the answer to one command.

    Source: vsmartcard vpcd protocol.
    """

    def __init__(self, host: str, port: int, *, answer_timeout_s: float = _ANSWER_TIMEOUT_S) -> None:
        self._host = host
        self._port = port
        self._timeout_s = answer_timeout_s
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def connect(self) -> bytes:
        """Open the connection, power the card on and read its ATR."""
        await self.disconnect()
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                self._streams = await asyncio.open_connection(self._host, self._port)
        except (OSError, TimeoutError) as error:
            raise ReaderError(f"no card listens on {self._host}:{self._port}: {error}") from error
        return await self._exchange(VPCD_ON, VPCD_ATR, timeout_s=_CONNECT_TIMEOUT_S)

    async def transmit(self, apdu: bytes) -> bytes:
        """Send one C-APDU."""
        return await self._exchange(apdu, timeout_s=self._timeout_s)

    async def disconnect(self) -> None:
        """Power the card off and close the connection."""
        if self._streams is None:
            return
        (_, writer), self._streams = self._streams, None
        try:
            writer.write(_frame(VPCD_OFF))
            await writer.drain()
        except OSError:
            pass  # the other side is gone, and so is the power
        finally:
            writer.close()

    async def _exchange(self, *payloads: bytes, timeout_s: float) -> bytes:
        if self._streams is None:
            raise ReaderError("the reader is not connected")
        reader, writer = self._streams
        try:
            async with asyncio.timeout(timeout_s):
                writer.write(b"".join(map(_frame, payloads)))
                await writer.drain()
                length = int.from_bytes(await reader.readexactly(2), "big")
                return await reader.readexactly(length)
        except (OSError, EOFError, TimeoutError) as error:
            # A late answer must never be taken for the next one: drop the connection.
            self._streams = None
            writer.close()
            raise ReaderError(f"the card gave no answer: {error or type(error).__name__}") from error


def _frame(payload: bytes) -> bytes:
    if len(payload) > 0xFFFF:
        raise ReaderError("a C-APDU for this reader has at most 65535 bytes")
    return len(payload).to_bytes(2, "big") + payload


class _Connection(Protocol):
    """What is used of pyscard's CardConnection."""

    def connect(self) -> None: ...
    def disconnect(self) -> None: ...
    def getATR(self) -> Sequence[int]: ...  # noqa: N802
    def transmit(self, apdu: Sequence[int]) -> tuple[Sequence[int], int, int]: ...


class _Slot(Protocol):
    """What is used of pyscard's reader."""

    def createConnection(self) -> _Connection: ...  # noqa: N802


class PcscReader:
    """A PC/SC reader, chosen by a part of its name.

    Args:
        name: part of the reader's name, upper and lower case alike.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._connection: _Connection | None = None

    async def connect(self) -> bytes:
        """Power the card on and read its ATR."""
        await self.disconnect()
        connection = await self._in_thread(self._open)
        self._connection = connection
        return bytes(await self._in_thread(connection.getATR))

    async def transmit(self, apdu: bytes) -> bytes:
        """Send one C-APDU."""
        connection = self._connection
        if connection is None:
            raise ReaderError("the reader is not connected")
        data, sw1, sw2 = await self._in_thread(lambda: connection.transmit(list(apdu)))
        return bytes([*data, sw1, sw2])

    async def disconnect(self) -> None:
        """Power the card off."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._in_thread(connection.disconnect)

    def _open(self) -> _Connection:
        slots = _pcsc_slots()
        for slot in slots:
            if self._name.lower() in str(slot).lower():
                connection = slot.createConnection()
                connection.connect()
                return connection
        known = ", ".join(map(str, slots)) or "none"
        raise ReaderMissingError(f"no PC/SC reader is called {self._name!r}; present: {known}")

    @staticmethod
    async def _in_thread(call: Callable[[], _T]) -> _T:
        try:
            return await asyncio.to_thread(call)
        except ReaderError:
            raise
        except Exception as error:  # pyscard's exceptions share no importable base
            raise ReaderError(f"PC/SC: {error}") from error


def pcsc_reader_names() -> tuple[str, ...]:
    """Return the names of the PC/SC readers that are plugged in.

    Raises:
        ReaderMissingError: pyscard is not installed, or the PC/SC service does not run.
    """
    try:
        return tuple(map(str, _pcsc_slots()))
    except ReaderError:
        raise
    except Exception as error:  # pyscard's exceptions share no importable base
        raise ReaderMissingError(f"PC/SC: {error}") from error


def _pcsc_slots() -> list[_Slot]:
    try:
        system = import_module("smartcard.System")
    except ImportError as error:
        raise ReaderMissingError(
            "PC/SC readers need pyscard: install it with `pip install 'opentsm[pcsc]'` "
            "(Debian: swig, gcc, python3-dev and libpcsclite-dev first)"
        ) from error
    return list(system.readers())


@dataclass(slots=True)
class ReplayReader:
    """Answers from a recorded session; a command out of turn is a ReaderError.

    Args:
        atr: the recorded ATR.
        pairs: commands and answers in sequence; a new connection goes on where the last one stopped.
    """

    atr: bytes
    pairs: Sequence[tuple[bytes, bytes]]
    _next: int = field(default=0, init=False)

    @classmethod
    def from_file(cls, path: Path) -> "ReplayReader":
        """Read a recording; see `read_recording`."""
        try:
            return cls(*read_recording(path.read_text("ascii").splitlines()))
        except (OSError, UnicodeDecodeError) as error:
            raise ReaderMissingError(f"cannot read the recording {path}: {error}") from error

    async def connect(self) -> bytes:
        """Return the recorded ATR."""
        return self.atr

    async def transmit(self, apdu: bytes) -> bytes:
        """Return the recorded answer."""
        if self._next >= len(self.pairs):
            raise ReaderError("the recording has ended")
        command, answer = self.pairs[self._next]
        if apdu != command:
            raise ReaderError(
                f"the recording has {command[:4].hex().upper()}… as command {self._next + 1}, "
                f"not {apdu[:4].hex().upper()}…"
            )
        self._next += 1
        return answer

    async def disconnect(self) -> None:
        """Do nothing."""


def read_recording(lines: Iterable[str]) -> tuple[bytes, tuple[tuple[bytes, bytes], ...]]:
    """Read a recorded session.

    Args:
        lines: `ATR HEX` once, then `> HEX` (command) and `< HEX` (answer) in turn; spaces inside
            the hex, empty lines and lines that start with # are allowed.

    Returns:
        The ATR (3B00 when none is recorded) and the pairs.

    Raises:
        ReaderMissingError: a line is damaged or out of turn.
    """
    atr = bytes.fromhex("3B00")
    commands: list[bytes] = []
    answers: list[bytes] = []
    for number, line in enumerate(lines, 1):
        kind, _, text = line.strip().partition(" ")
        if not kind or kind.startswith("#"):
            continue
        try:
            value = bytes.fromhex(text)
        except ValueError as error:
            raise ReaderMissingError(f"line {number} of the recording is not hexadecimal") from error
        match kind:
            case "ATR":
                atr = value
            case ">" if len(commands) == len(answers):
                commands.append(value)
            case "<" if len(commands) == len(answers) + 1:
                answers.append(value)
            case _:
                raise ReaderMissingError(f"line {number} of the recording is out of turn")
    if len(commands) != len(answers):
        raise ReaderMissingError("the recording ends without an answer")
    return atr, tuple(zip(commands, answers, strict=True))
