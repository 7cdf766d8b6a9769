"""A reader in front of a virtual card that counts what passes and can hold one C-APDU.

While it holds, whatever the test kills is killed at exactly this C-APDU: before the card sees it, or after
the card has answered and before anybody knows the answer. A lost connection takes the card's power with it.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Final

from opentsm.vse.card import VirtualCard

_OFF: Final = b"\x00"
_ON: Final = (b"\x01", b"\x02")
_ATR: Final = b"\x04"
_LENGTH_BYTES: Final = 2


class Moment(Enum):
    """On which side of the card the C-APDU is held."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Point:
    """The C-APDU to hold, counted from 1 since the point was set."""

    number: int
    moment: Moment

    def __str__(self) -> str:
        return f"{self.moment.value} C-APDU {self.number}"


class CrashReader:
    """One card behind vpcd's framing, on a loopback port.

    Args:
        card: the card; between operations the test may use it too.
    """

    def __init__(self, card: VirtualCard) -> None:
        self._card = card
        self._server: asyncio.Server | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._point: Point | None = None
        self._released = asyncio.Event()
        self._dropped = False
        self.reached = asyncio.Event()
        self.headers: list[bytes] = []
        self.port = 0

    async def listen(self) -> None:
        """Wait for the agent, as often as it comes."""
        self._server = await asyncio.start_server(self._converse, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
        self.drop()

    def hold_at(self, point: Point | None) -> None:
        """Count afresh, and hold the C-APDU of `point`."""
        self._point, self._dropped = point, False
        self.headers.clear()
        self.reached.clear()
        self._released.clear()

    def go_on(self) -> None:
        """Let the held C-APDU or answer through."""
        self._released.set()

    def drop(self) -> None:
        """Lose the held C-APDU or answer with its connection: the agent is gone, and the power with it."""
        self._dropped = True
        self._released.set()
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._card.power_off()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        before, self._writer = self._writer, writer
        if before is not None:
            before.close()
        self._card.power_off()
        with suppress(OSError, EOFError):
            while True:
                payload = await _read_frame(reader)
                answer = self._control(payload) if len(payload) == 1 else await self._command(payload)
                if self._writer is not writer:
                    break
                if answer is not None:
                    writer.write(len(answer).to_bytes(_LENGTH_BYTES, "big") + answer)
                    await writer.drain()
        writer.close()
        if self._writer is writer:
            self._writer = None
            self._card.power_off()

    def _control(self, code: bytes) -> bytes | None:
        if code == _OFF:
            self._card.power_off()
        elif code in _ON:
            self._card.power_on()
        return bytes.fromhex(self._card.profile.atr) if code == _ATR else None

    async def _command(self, apdu: bytes) -> bytes | None:
        self.headers.append(apdu[:4])
        point = self._point
        if point is None or point.number != len(self.headers):
            return self._card.transmit(apdu)
        if point.moment is Moment.AFTER:
            answer = self._card.transmit(apdu)
            await self._held()
            return answer
        await self._held()
        return None if self._dropped else self._card.transmit(apdu)

    async def _held(self) -> None:
        self.reached.set()
        await self._released.wait()


async def _read_frame(reader: asyncio.StreamReader) -> bytes:
    length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
    return await reader.readexactly(length)
