"""The server of `serve` and `sandbox`: database, worker, sweeper and HTTP in one process, and their end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from opentsm.api.metrics import Metrics
from opentsm.api.server import serve
from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError, say
from opentsm.tsm.adapters.postgres import database
from opentsm.tsm.adapters.storage.migrate import check_schema, connected, migrate_database
from opentsm.tsm.bootstrap import Container, container
from opentsm.tsm.kernel.errors import TsmError, UnauthenticatedError
from opentsm.tsm.roles.hub.expiry import sweep_expired
from opentsm.workers.deliveries import DeliveryWorker
from opentsm.workers.housekeeping import duties
from opentsm.workers.outbox import OutboxWorker

if TYPE_CHECKING:
    from opentsm.tsm.config import Settings

SWEEP_INTERVAL_S: Final = 3.0
RESTART_PAUSE_S: Final = 1.0
TOKEN_FILE: Final = "operator.token"  # noqa: S105  # a file name

log = structlog.get_logger("opentsm.server")


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that accepts requests."""

    base_url: str
    operator_token_file: Path


async def _nothing() -> None:
    """Do nothing at the end."""


async def run_server(
    settings: Settings,
    on_ready: Callable[[RunningServer], None],
    stop: asyncio.Event,
    *,
    at_end: Callable[[], Awaitable[None]] = _nothing,
) -> None:
    """Run the server until a signal comes or `stop` is set.

    Args:
        settings: all settings.
        on_ready: called once, when requests are accepted.
        stop: setting it ends the server in order.
        at_end: what is to be ended when no more requests are accepted, before the database is closed.

    Raises:
        CliError: the keystores do not open, or the address cannot be had.
        PostgresError, SchemaError, DatabaseUnreachableError: the database cannot be used.
    """
    async with database(settings.database, say) as dsn:
        await _prepare_schema(dsn, embedded=settings.database.url is None)
        async with _opened(settings, dsn) as parts:
            try:
                await _serve(parts, settings, on_ready, stop)
            finally:
                await at_end()


async def _serve(
    parts: Container, settings: Settings, on_ready: Callable[[RunningServer], None], stop: asyncio.Event
) -> None:
    token_file = await operator_token(parts, settings.data_dir)
    host = settings.server.host

    def ready(port: int) -> None:
        on_ready(RunningServer(settings.server.public_url or f"http://{_reachable(host)}:{port}", token_file))

    metrics = Metrics()
    async with _background(parts, settings, metrics):
        try:
            await serve(parts, host, settings.server.port, on_ready=ready, stop=stop, metrics=metrics)
        except OSError as error:
            raise CliError(
                f"cannot listen on {host}:{settings.server.port}",
                why=str(error),
                advice="choose another --port, or 0 for any free one",
                code=ExitCode.UNAVAILABLE,
            ) from error


def _reachable(host: str) -> str:
    """Return the host part of a URL by which this machine reaches what listens on an address."""
    named = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # not bound
    return f"[{named}]" if ":" in named else named


async def operator_token(parts: Container, directory: Path) -> Path:
    """Return the file of the operator's token, which is made when it is missing or of another database.

    The database holds only the token's digest.
    """
    path = directory / TOKEN_FILE
    if path.exists():
        try:
            await parts.onboarding.authenticate(path.read_text("ascii").strip())
        except UnauthenticatedError:
            log.warning("operator token replaced", reason="the database does not know the one in the file")
        else:
            return path
    _write_private(path, await parts.onboarding.issue_operator_token())
    return path


def _write_private(path: Path, token: str) -> None:
    """Write a file that only its owner can read: it is there with its whole content, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{token}\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


async def _prepare_schema(dsn: str, *, embedded: bool) -> None:
    """Migrate a database of our own; another one is its administrator's to change."""
    if embedded:
        await migrate_database(dsn)
        return
    async with connected(dsn) as connection:
        await check_schema(connection)


@asynccontextmanager
async def _opened(settings: Settings, dsn: str) -> AsyncIterator[Container]:
    opening = container(settings, dsn)
    try:
        parts = await opening.__aenter__()
    except TsmError as error:
        raise CliError("the server cannot open its keystores", why=error.detail) from error
    try:
        yield parts
    finally:
        await opening.__aexit__(None, None, None)


@asynccontextmanager
async def _background(parts: Container, settings: Settings, metrics: Metrics) -> AsyncIterator[None]:
    """Run the worker and the sweeper; at the end the messages in work are finished.

    An embedded database has no other worker: what is leased there was leased by one that was killed.
    """
    ended = asyncio.Event()
    works = [_again_and_again("sweeper", lambda: _sweep(parts, ended), ended)]
    if settings.server.worker:
        outbox = OutboxWorker(parts.storage, parts.handlers, parts.world, parts.notifier)
        sending = DeliveryWorker(parts.dispatch, parts.notifier, metrics.delivery)
        if settings.database.url is None:
            await outbox.release_leases()
            await parts.dispatch.release_leases()
        works.append(_again_and_again("worker", lambda: outbox.run(ended), ended))
        works.append(_again_and_again("deliveries", lambda: sending.run(ended), ended))
        works += [
            _again_and_again(duty.name, partial(duty.run, ended), ended)
            for duty in duties(parts, metrics.pruned)
        ]
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        ended.set()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _again_and_again(name: str, work: Callable[[], Awaitable[None]], ended: asyncio.Event) -> None:
    """Do a background work until the end; when it fails (the database was away), begin again."""
    while not ended.is_set():
        try:
            await work()
        except Exception as error:
            log.error("background work failed", work=name, error=type(error).__name__, exc_info=error)
            await _pause(ended, RESTART_PAUSE_S)


async def _sweep(parts: Container, ended: asyncio.Event) -> None:
    while not ended.is_set():
        await sweep_expired(parts.storage, parts.world)
        await _pause(ended, SWEEP_INTERVAL_S)


async def _pause(ended: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(ended.wait(), seconds)
