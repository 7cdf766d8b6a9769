"""The HTTP server: uvicorn, started in a running event loop, drained when it is told to stop."""

import asyncio
import math
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import uvicorn

from opentsm.api.app import create_app
from opentsm.api.container import ApiContainer
from opentsm.api.drain import Drain
from opentsm.api.metrics import Metrics

T = TypeVar("T")
SIGNALS = (signal.SIGINT, signal.SIGTERM)
BACKLOG = 2048


async def serve(
    container: ApiContainer,
    host: str,
    port: int,
    *,
    on_ready: Callable[[int], None] | None = None,
    stop: asyncio.Event | None = None,
    metrics: Metrics | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then stop accepting, end long polls early, finish requests, return.

    Args:
        container: use cases and ports, open; they are closed by whoever opened them.
        host: address to listen on.
        port: TCP port; 0 for any free one.
        on_ready: called with the port once requests are accepted.
        stop: setting it stops the server as a signal does.
        metrics: the counters of the process, where others count too.

    Raises:
        OSError: the address cannot be listened on.
    """
    app = create_app(container, metrics=metrics)
    listener = _listen(host, port)
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=True,
        forwarded_allow_ips=container.settings.server.trusted_proxies,
        timeout_graceful_shutdown=math.ceil(container.settings.server.drain_timeout_s),
    )
    server = _Server(config, app.state["drain"], lambda: _report(on_ready, listener))
    stopper = None if stop is None else asyncio.create_task(server.stop_when(stop))
    try:
        await server.serve(sockets=[listener])
    finally:
        listener.close()
        if stopper is not None:
            stopper.cancel()


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, on uvloop where there is one."""
    with suppress(ImportError):
        import uvloop

        return uvloop.run(main)
    return asyncio.run(main)


class _Server(uvicorn.Server):
    """A server that says when it is ready, and wakes waiting requests before it waits for them."""

    def __init__(self, config: uvicorn.Config, drain: Drain, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._drain = drain
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        waking = asyncio.create_task(self._drain.run())
        try:
            await super().shutdown(sockets)
        finally:
            waking.cancel()

    async def stop_when(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take signals while serving; unlike uvicorn's, do not raise them again: the rest closes in order."""
        loop = asyncio.get_running_loop()
        taken = []
        for number in SIGNALS:
            with suppress(RuntimeError, ValueError, NotImplementedError):  # not in the main thread
                loop.add_signal_handler(number, self.handle_exit, number, None)
                taken.append(number)
        try:
            yield
        finally:
            for number in taken:
                loop.remove_signal_handler(number)


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _report(on_ready: Callable[[int], None] | None, listener: socket.socket) -> None:
    if on_ready is not None:
        on_ready(int(listener.getsockname()[1]))
