"""The card behind vpcd's framing, so that readers over TCP and PC/SC (through vpcd) reach it.

Reversed mode: the card listens and the reader connects. Normal mode: the card connects to vpcd. The newest
connection has the card; a connection that ends takes the power with it.
Source: vsmartcard vpcd protocol (16-bit big-endian length, payload; payloads of one byte are control codes).
"""

import asyncio
import socket
from typing import Final, Protocol

from opentsm.vse.faults import TornError
from opentsm.vse.profiles import VseProfile

_OFF: Final = 0x00
_ON: Final = 0x01
_RESET: Final = 0x02
_ATR: Final = 0x04
_LENGTH_BYTES: Final = 2


class ServedCard(Protocol):
    """What an endpoint needs of a card."""

    @property
    def profile(self) -> VseProfile:
        """The kind of card."""

    def power_on(self) -> bytes:
        """Reset the card."""

    def power_off(self) -> None:
        """Take the power away."""

    def transmit(self, raw: bytes) -> bytes:
        """Answer one command."""


class VpcdEndpoint:
    """One card on the wire.

    Args:
        card: the card; nobody else may use it meanwhile.
    """

    def __init__(self, card: ServedCard) -> None:
        self._card = card
        self._atr = bytes.fromhex(card.profile.atr)
        self._writer: asyncio.StreamWriter | None = None
        self._conversations: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def listen(self, host: str, port: int) -> int:
        """Wait for readers.

        Args:
            host: the address to listen on; the card is not protected, so let it be a loopback address.
            port: 0 for any free port.

        Returns:
            The port.

        Raises:
            OSError: the address cannot be had.
        """
        self._server = await asyncio.start_server(self._accept, host, port)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def connect(self, host: str, port: int) -> None:
        """Connect to vpcd and serve it until it closes the connection.

        Raises:
            OSError: nobody listens there.
        """
        reader, writer = await asyncio.open_connection(host, port)
        await self.converse(reader, writer)

    async def serve_forever(self) -> None:
        """Serve readers until the task is cancelled."""
        if self._server is not None:
            await self._server.serve_forever()

    async def close(self) -> None:
        """Stop listening, end the conversations and take the power away."""
        if self._server is not None:
            self._server.close()
        if self._writer is not None:
            self._writer.close()
        if self._conversations:
            await asyncio.wait(self._conversations)
        self._card.power_off()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: `close` waits for it, so that no conversation is left to be cancelled.
        task = asyncio.get_running_loop().create_task(self.converse(reader, writer))
        self._conversations.add(task)
        task.add_done_callback(self._conversations.discard)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one reader until its connection ends or a newer one takes the card."""
        before, self._writer = self._writer, writer
        if before is not None:
            before.close()
        self._card.power_off()
        try:
            while self._writer is writer:
                _acknowledge_at_once(writer)
                payload = await _read_frame(reader)
                if self._writer is not writer:
                    break
                answer = self._answer(payload)
                if answer is not None:
                    writer.write(len(answer).to_bytes(_LENGTH_BYTES, "big") + answer)
                    await writer.drain()
        except (TornError, OSError, EOFError):
            pass  # the reader is gone, or a fault took the power: either way this connection is over
        finally:
            writer.close()
            if self._writer is writer:
                self._writer = None
                self._card.power_off()

    def _answer(self, payload: bytes) -> bytes | None:
        if len(payload) != 1:
            return self._card.transmit(payload)
        control = payload[0]
        if control == _OFF:
            self._card.power_off()
        elif control in {_ON, _RESET}:
            self._card.power_on()
        elif control == _ATR:
            return self._atr
        return None


def _acknowledge_at_once(writer: asyncio.StreamWriter) -> None:
    """Keep the system from delaying its acknowledgement of the next segment.

    vpcd writes length and payload apart and holds the payload back until the length is acknowledged, which
    Linux delays by 40 ms a command; the option holds for a short time only, so it is set for each frame.
    """
    option: int | None = getattr(socket, "TCP_QUICKACK", None)
    connection: socket.socket | None = writer.get_extra_info("socket")
    if option is not None and connection is not None:
        connection.setsockopt(socket.IPPROTO_TCP, option, 1)


async def _read_frame(reader: asyncio.StreamReader) -> bytes:
    length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
    return await reader.readexactly(length)
