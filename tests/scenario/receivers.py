"""Receivers of deliveries: real HTTP servers on this machine that answer as a test says."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass(slots=True)
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes
    client_certificate: bytes | None


@dataclass
class Receiver:
    """Answers with the next status of `answers`, then 200; while `open` is not set it answers nothing."""

    port: int = 0
    scheme: str = "http"
    answers: list[int] = field(default_factory=list)
    more: bytes = b""
    received: list[Received] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    busy: int = 0
    most_busy: int = 0

    @property
    def url(self) -> str:
        """Return an address of it."""
        return f"{self.scheme}://localhost:{self.port}/hooks"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one request and answer it."""
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        with suppress(OSError, asyncio.IncompleteReadError):
            self.received.append(await _read(reader, writer))
            self.arrived.release()
            await self.open.wait()
            status = self.answers.pop(0) if self.answers else 200
            head = f"HTTP/1.1 {status} X\r\nLocation: {self.url}/elsewhere\r\nConnection: close\r\n\r\n"
            writer.write(head.encode() + self.more)
            await writer.drain()
        self.busy -= 1
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Received:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = await reader.readexactly(int(headers["content-length"]))
    tls = writer.get_extra_info("ssl_object")
    return Received(first.split()[1], headers, body, None if tls is None else tls.getpeercert(True))


@asynccontextmanager
async def receiving(tls: ssl.SSLContext | None = None, *answers: int) -> AsyncIterator[Receiver]:
    """Serve a receiver on a free port."""
    receiver = Receiver(answers=list(answers), scheme="http" if tls is None else "https")
    receiver.open.set()
    server = await asyncio.start_server(receiver.handle, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        receiver.open.set()
        server.close()
