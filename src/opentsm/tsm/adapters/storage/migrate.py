"""Numbered SQL files, applied in order, forward only, each in a transaction of its own.

A file is named `0001_what_it_does.sql`. Its first line may say `-- runs: 0003`: releases that know the
schema only up to 0003 still run on it. Without that line an older release refuses the schema.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from importlib.resources.abc import Traversable

    Connection = asyncpg.Connection[asyncpg.Record]

FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
RUNS = re.compile(r"-- runs: (\d{4})\n")

CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number     integer PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    runs       integer NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""
# One runner at a time; readers of the table go on.
LOCK_TABLE = "LOCK TABLE schema_migrations IN SHARE ROW EXCLUSIVE MODE"
TABLE_EXISTS = "SELECT to_regclass('schema_migrations') IS NOT NULL"
APPLIED = "SELECT number, name, checksum, runs FROM schema_migrations ORDER BY number"
RECORD = "INSERT INTO schema_migrations (number, name, checksum, runs) VALUES ($1, $2, $3, $4)"


class MigrationError(Exception):
    """The migrations of this release cannot be used."""


class DatabaseUnreachableError(Exception):
    """The database cannot be reached."""


class SchemaError(Exception):
    """The database schema does not fit this release."""


class NewerSchemaError(SchemaError):
    """A newer release has changed the database."""


class PendingMigrationsError(SchemaError):
    """The database lacks migrations of this release."""


class ChangedMigrationError(SchemaError):
    """A migration was applied with other contents than it has in this release."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema.

    Attributes:
        number: Its place, from 1.
        name: What it does, from its file name.
        sql: Its statements; empty when it is only known from the database.
        checksum: SHA-256 of the file in hex.
        runs: The lowest schema number whose release still runs on it.
    """

    number: int
    name: str
    sql: str
    checksum: str
    runs: int


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """How a database stands to this release.

    Attributes:
        applied: Migrations of this release that the database has.
        pending: Migrations of this release that it lacks.
        newer: Migrations that this release does not know.
        changed: Applied migrations whose contents differ.
    """

    applied: tuple[Migration, ...]
    pending: tuple[Migration, ...]
    newer: tuple[Migration, ...]
    changed: tuple[Migration, ...]


def packaged_migrations() -> Sequence[Migration]:
    """Return the migrations of this release.

    Raises:
        MigrationError: If their files are not numbered 0001, 0002, …
    """
    return read_migrations(files("opentsm.tsm.adapters.storage") / "migrations")


def read_migrations(directory: Traversable) -> Sequence[Migration]:
    """Read the migrations of a directory.

    Args:
        directory: Files named `0001_name.sql`; other suffixes are ignored.

    Raises:
        MigrationError: If a name is malformed, or a number missing or given twice.
    """
    names = sorted(entry.name for entry in directory.iterdir() if entry.name.endswith(".sql"))
    migrations = [_parse(name, (directory / name).read_text(encoding="utf-8")) for name in names]
    for number, migration in enumerate(migrations, 1):
        if migration.number != number:
            raise MigrationError(f"{migration.name}: number {migration.number:04} where {number:04} is due")
    return migrations


def _parse(file_name: str, sql: str) -> Migration:
    match = FILE_NAME.fullmatch(file_name)
    if match is None:
        raise MigrationError(f"{file_name}: a migration is named like 0001_what_it_does.sql")
    number = int(match[1])
    runs = RUNS.match(sql)
    return Migration(
        number=number,
        name=match[2],
        sql=sql,
        checksum=hashlib.sha256(sql.encode()).hexdigest(),
        runs=int(runs[1]) if runs else number,
    )


async def read_status(connection: Connection, migrations: Sequence[Migration]) -> SchemaStatus:
    """Compare a database with the migrations of this release; nothing is changed."""
    rows = await connection.fetch(APPLIED) if await connection.fetchval(TABLE_EXISTS) else []
    found = {
        row["number"]: Migration(row["number"], row["name"], "", row["checksum"], row["runs"]) for row in rows
    }
    known = {migration.number: migration for migration in migrations}
    return SchemaStatus(
        applied=tuple(m for m in migrations if m.number in found),
        pending=tuple(m for m in migrations if m.number not in found),
        newer=tuple(m for m in found.values() if m.number not in known),
        changed=tuple(m for m in migrations if m.number in found and found[m.number].checksum != m.checksum),
    )


def require_fit(status: SchemaStatus) -> None:
    """Refuse a schema that this release cannot run on.

    Raises:
        NewerSchemaError: If a newer release changed it in a way that this one does not bear.
        ChangedMigrationError: If an applied migration has other contents here.
        PendingMigrationsError: If migrations are missing.
    """
    _require_known(status)
    if status.pending:
        numbers = ", ".join(f"{m.number:04}_{m.name}" for m in status.pending)
        raise PendingMigrationsError(f"the database lacks {numbers}: run `opentsm db migrate`")


def _require_known(status: SchemaStatus) -> None:
    ours = max((m.number for m in (*status.applied, *status.pending)), default=0)
    for migration in status.newer:
        if migration.runs > ours:
            raise NewerSchemaError(
                f"the database has {migration.number:04}_{migration.name}, this release knows {ours:04}: "
                "use the newer release"
            )
    for migration in status.changed:
        raise ChangedMigrationError(
            f"{migration.number:04}_{migration.name} was applied with other contents: "
            "migrations are never edited, add a new one"
        )


def fits(status: SchemaStatus) -> bool:
    """Say whether this release runs on a database: what `require_fit` refuses does not fit."""
    try:
        require_fit(status)
    except SchemaError:
        return False
    return True


async def check_schema(connection: Connection, migrations: Sequence[Migration] | None = None) -> None:
    """Refuse a database that this release cannot run on, see `require_fit`."""
    require_fit(await read_status(connection, packaged_migrations() if migrations is None else migrations))


async def apply_migrations(
    connection: Connection, migrations: Sequence[Migration] | None = None
) -> tuple[Migration, ...]:
    """Apply what is pending; safe when several processes do it at once.

    Returns:
        What was applied by this call.

    Raises:
        SchemaError: If the database is newer or was changed.
        asyncpg.PostgresError: If a statement fails; its migration leaves nothing behind.
    """
    known = packaged_migrations() if migrations is None else migrations
    await _create_table(connection)
    applied = []
    for migration in known:
        async with connection.transaction():
            await connection.execute(LOCK_TABLE)
            status = await read_status(connection, known)
            _require_known(status)
            if migration in status.pending:
                await connection.execute(migration.sql)
                await connection.execute(
                    RECORD, migration.number, migration.name, migration.checksum, migration.runs
                )
                applied.append(migration)
    return tuple(applied)


async def _create_table(connection: Connection) -> None:
    """Make the table; IF NOT EXISTS alone may still collide with another session."""
    try:
        await connection.execute(CREATE_TABLE)
    except (asyncpg.UniqueViolationError, asyncpg.DuplicateTableError, asyncpg.DuplicateObjectError):
        await connection.execute(CREATE_TABLE)


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Connection]:
    """Connect to a database for as long as the context lasts.

    Raises:
        DatabaseUnreachableError: If there is no connection; the message holds no password.
    """
    try:
        connection: Connection = await asyncpg.connect(dsn)
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise DatabaseUnreachableError(f"{type(error).__name__}: {error}") from error
    try:
        yield connection
    finally:
        await connection.close()


async def migrate_database(dsn: str) -> tuple[Migration, ...]:
    """Apply the migrations of this release to the database of a URL, see `apply_migrations`."""
    async with connected(dsn) as connection:
        return await apply_migrations(connection)


async def database_status(dsn: str) -> SchemaStatus:
    """Compare the database of a URL with this release."""
    async with connected(dsn) as connection:
        return await read_status(connection, packaged_migrations())
