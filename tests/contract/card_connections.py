"""Ways for yubikit, a client written elsewhere, to a virtual card: vpcd's framing over TCP, and its parts."""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine

from yubikit.core import TRANSPORT
from yubikit.core.smartcard import SmartCardConnection

from opentsm.vse.vpcd import ServedCard, VpcdEndpoint

Connect = Callable[[], SmartCardConnection]
"""Opens a connection to the card of a test; it ends the one before."""


class TcpConnection(SmartCardConnection):
    """A reader slot for yubikit: the far end of the card's listening socket."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self._send(b"\x01")

    @property
    def transport(self) -> TRANSPORT:
        return TRANSPORT.USB

    def send_and_receive(self, apdu: bytes) -> tuple[bytes, int]:
        self._send(bytes(apdu))
        answer = self._read(int.from_bytes(self._read(2), "big"))
        return answer[:-2], int.from_bytes(answer[-2:], "big")

    def close(self) -> None:
        self._socket.close()

    def _send(self, payload: bytes) -> None:
        self._socket.sendall(len(payload).to_bytes(2, "big") + payload)

    def _read(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            part = self._socket.recv(length - len(data))
            assert part, "the card closed the connection"
            data += part
        return data


class CardThread:
    """A card that listens on a loopback port, in a thread of its own.

    Args:
        card: the card.
        port: 0 for any free port.

    Raises:
        OSError: the port is taken.
    """

    def __init__(self, card: ServedCard, port: int = 0) -> None:
        self._loop = asyncio.new_event_loop()
        self._endpoint = VpcdEndpoint(card)
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        try:
            self.port = self._run(self._endpoint.listen("127.0.0.1", port))
        except (OSError, OverflowError):
            self._end_thread()
            raise

    def _run(self, work: Coroutine[object, object, int]) -> int:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def stop(self) -> None:
        """Close the connection and the port."""
        asyncio.run_coroutine_threadsafe(self._endpoint.close(), self._loop).result(10)
        self._end_thread()

    def _end_thread(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
