"""HTTP requests that arrive whether or not earlier ones were answered (an open loop).

A request's time runs from the moment at which it should have been sent, so that a server which stalls pays
for all that would have come meanwhile; a loop that waits for answers would leave those out.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final

HEADERS_END: Final = b"\r\n\r\n"

Send = Callable[[str], Awaitable[int]]


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Return moments of a Poisson process, in seconds from its beginning.

    Args:
        rate: mean arrivals a second.
        seconds: how long.
        seed: of the pseudo-random gaps.
    """
    gaps, moments, moment = random.Random(seed), [], 0.0  # noqa: S311  # no secret
    while (moment := moment + gaps.expovariate(rate)) < seconds:
        moments.append(moment)
    return moments


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of all values does not exceed."""
    if not values:
        raise ValueError("there are no values")
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


@dataclass(slots=True)
class Times:
    """What was measured, in seconds: answer minus intended sending, and how late a request was sent."""

    taken: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    refused: int = 0


async def drive(send: Send, paths: Sequence[str], moments: Sequence[float], times: Times) -> None:
    """Send a request at every moment, the paths in turn, and note how long each took.

    Args:
        send: sends one GET and returns the status.
        paths: what to ask for.
        moments: when, in seconds from now.
        times: where it is noted; an answer that is not 200 counts as refused.
    """
    start = perf_counter()

    async def one(path: str, intended: float) -> None:
        times.late.append(perf_counter() - intended)
        status = await send(path)
        times.taken.append(perf_counter() - intended)
        times.refused += status != 200

    async with asyncio.TaskGroup() as group:
        for number, moment in enumerate(moments):
            wait = start + moment - perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            group.create_task(one(paths[number % len(paths)], start + moment))


class Connections:
    """Connections to one server that are kept open; as many as there are requests at once.

    Args:
        host: address of the server.
        port: its port.
        token: bearer token of every request.
    """

    def __init__(self, host: str, port: int, token: str) -> None:
        self._host = host
        self._port = port
        self._head = f"Host: {host}:{port}\r\nAuthorization: Bearer {token}\r\n\r\n"
        self._free: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()

    async def get(self, path: str) -> int:
        """Send a GET, read the whole answer and return its status."""
        while self._free:
            reader, writer = self._free.pop()
            try:
                return await self._ask(path, reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()  # the server had ended it meanwhile; reading again does no harm
        return await self._ask(path, *await asyncio.open_connection(self._host, self._port))

    async def _ask(self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        writer.write(f"GET {path} HTTP/1.1\r\n{self._head}".encode())
        head = (await reader.readuntil(HEADERS_END)).lower()
        await reader.readexactly(_length(head))
        self._free.append((reader, writer))
        return int(head[9:12])

    async def close(self) -> None:
        """Close them all."""
        for _, writer in self._free:
            writer.close()
            await writer.wait_closed()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return int(value)
    raise ValueError("the answer does not tell its length")
