"""A receiver of deliveries that takes everything: run with `python -m`, it prints its port and serves.

It ends with its standard input, and so with whoever started it.
"""

import asyncio
import contextlib
import sys

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_LENGTH = b"content-length:"


async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read one request whole, answer 200, and close."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        head = await reader.readuntil(b"\r\n\r\n")
        lengths = [line[len(_LENGTH) :] for line in head.lower().split(b"\r\n") if line.startswith(_LENGTH)]
        await reader.readexactly(int(lengths[0]) if lengths else 0)
        writer.write(_ANSWER)
        await writer.drain()
        writer.close()
        await writer.wait_closed()


async def serve() -> None:
    """Serve on a free port of this machine until the standard input ends."""
    server = await asyncio.start_server(take, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.buffer.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve())
