"""Migrations against the embedded server and Debian's PostgreSQL 15."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg
import pytest

from opentsm.tsm.adapters.postgres import EmbeddedPostgres
from opentsm.tsm.adapters.storage.migrate import (
    ChangedMigrationError,
    MigrationError,
    NewerSchemaError,
    PendingMigrationsError,
    apply_migrations,
    check_schema,
    connected,
    packaged_migrations,
    read_migrations,
    read_status,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

PROGRAMS = {"wheel": None, "debian-15": Path("/usr/lib/postgresql/15/bin")}


@pytest.fixture(scope="module", params=PROGRAMS)
def server_dsn(request: pytest.FixtureRequest) -> Iterator[str]:
    """Give a server for all tests of this module."""
    directory = Path(tempfile.mkdtemp(prefix="otsm-"))
    directory.chmod(0o755)
    server = EmbeddedPostgres(directory / "postgres", binaries=PROGRAMS[request.param])
    yield server.start_blocking()
    server.stop_blocking()
    shutil.rmtree(directory)


@pytest.fixture
async def dsn(server_dsn: str) -> AsyncIterator[str]:
    """Give a database of its own to each test."""
    name = f"test_{uuid4().hex}"
    async with connected(server_dsn) as connection:
        await connection.execute(f"CREATE DATABASE {name}")
    yield server_dsn.replace("/opentsm?", f"/{name}?")


def write(directory: Path, **migrations: str) -> Path:
    """Write migrations; `_0001_first="SQL"` becomes `0001_first.sql`."""
    for name, sql in migrations.items():
        (directory / f"{name[1:]}.sql").write_text(sql)
    return directory


async def test_migrate_when_run_twice_applies_once(dsn: str, tmp_path: Path) -> None:
    write(
        tmp_path, _0001_first="CREATE TABLE a (x int); CREATE TABLE b (x int);", _0002_second="DROP TABLE b"
    )
    migrations = read_migrations(tmp_path)
    async with connected(dsn) as connection:
        with pytest.raises(PendingMigrationsError, match=r"0001_first, 0002_second.*db migrate"):
            await check_schema(connection, migrations)
        assert [m.name for m in await apply_migrations(connection, migrations)] == ["first", "second"]
        assert await apply_migrations(connection, migrations) == ()
        await check_schema(connection, migrations)
        assert await connection.fetchval("SELECT to_regclass('b')") is None


async def test_migrate_when_statement_fails_leaves_nothing_of_it(dsn: str, tmp_path: Path) -> None:
    write(tmp_path, _0001_good="CREATE TABLE a (x int)", _0002_bad="CREATE TABLE b (x int); SELECT nonsense")
    migrations = read_migrations(tmp_path)
    async with connected(dsn) as connection:
        with pytest.raises(asyncpg.UndefinedColumnError):
            await apply_migrations(connection, migrations)
        status = await read_status(connection, migrations)
        assert [m.name for m in status.applied] == ["good"]
        assert [m.name for m in status.pending] == ["bad"]
        assert await connection.fetchval("SELECT to_regclass('b')") is None


async def test_migrate_when_several_run_at_once_applies_each_once(dsn: str, tmp_path: Path) -> None:
    write(tmp_path, **{f"_{n:04}_step": f"CREATE TABLE t{n} (x int)" for n in range(1, 6)})
    migrations = read_migrations(tmp_path)

    async def run() -> int:
        async with connected(dsn) as connection:
            return len(await apply_migrations(connection, migrations))

    assert sum(await asyncio.gather(*(run() for _ in range(4)))) == 5


async def test_schema_when_newer_is_refused(dsn: str, tmp_path: Path) -> None:
    write(tmp_path, _0001_first="CREATE TABLE a (x int)", _0002_second="DROP TABLE a")
    migrations = read_migrations(tmp_path)
    async with connected(dsn) as connection:
        await apply_migrations(connection, migrations)
        for refused in (check_schema, apply_migrations):
            with pytest.raises(NewerSchemaError, match="0002_second, this release knows 0001"):
                await refused(connection, migrations[:1])


async def test_schema_when_newer_declares_that_we_run_is_accepted(dsn: str, tmp_path: Path) -> None:
    write(
        tmp_path,
        _0001_first="CREATE TABLE a (x int)",
        _0002_second="-- runs: 0001\nALTER TABLE a ADD COLUMN y int",
    )
    migrations = read_migrations(tmp_path)
    async with connected(dsn) as connection:
        await apply_migrations(connection, migrations)
        await check_schema(connection, migrations[:1])


async def test_migration_when_edited_after_it_was_applied_is_refused(dsn: str, tmp_path: Path) -> None:
    write(tmp_path, _0001_first="CREATE TABLE a (x int)")
    async with connected(dsn) as connection:
        await apply_migrations(connection, read_migrations(tmp_path))
        edited = read_migrations(write(tmp_path, _0001_first="CREATE TABLE a (x bigint)"))
        for refused in (check_schema, apply_migrations):
            with pytest.raises(ChangedMigrationError, match="never edited"):
                await refused(connection, edited)


async def test_packaged_migrations_when_applied_fit(dsn: str) -> None:
    async with connected(dsn) as connection:
        await apply_migrations(connection)
        await check_schema(connection)
        assert len((await read_status(connection, packaged_migrations())).applied) >= 1


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"_0002_second": ""}, "0001 is due"),
        ({"_0001_first": "", "_0001_other": ""}, "0002 is due"),
        ({"_0001_first": "", "_0003_third": ""}, "0002 is due"),
        ({"_first": ""}, "named like"),
        ({"_0001_First": ""}, "named like"),
    ],
)
def test_migration_files_when_misnumbered_are_refused(
    tmp_path: Path, files: dict[str, str], message: str
) -> None:
    with pytest.raises(MigrationError, match=message):
        read_migrations(write(tmp_path, **files))
