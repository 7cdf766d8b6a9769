"""One PostgreSQL transaction: begun with the first change or lock, ended by commit or by leaving.

READ COMMITTED gives every statement a view of its own, so what is only read before needs no BEGIN and no
ROLLBACK: a reading unit of work is one round trip a query.

Here, and nowhere else, errors of the driver become errors of the TSM: what another try can heal is a
`StaleVersionError`, and a connection in an unknown state is dropped, never reused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from opentsm.tsm.kernel.errors import (
    ConflictError,
    InternalError,
    InvalidInputError,
    InvariantError,
    StaleVersionError,
)

# the stubs know these as generic, the classes themselves do not
Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

_RACE = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.InternalClientError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TooManyConnectionsError,
    asyncpg.ReadOnlySQLTransactionError,  # the primary became a standby under us
    OSError,  # a refused or broken connection; TimeoutError is one too
)
_READS = re.compile(r"\s*select\b", re.IGNORECASE)
_LOCKS = re.compile(r"\bFOR (NO KEY )?(UPDATE|SHARE|KEY SHARE)\b")
_UNSTORABLE = asyncpg.DataError


class Session:
    """The connection of one unit of work, taken from the pool when it is first needed."""

    __slots__ = (
        "_acquire_timeout_s",
        "_connection",
        "_ended",
        "_in_transaction",
        "_lost",
        "_pool",
        "_spoiled",
    )

    def __init__(self, pool: Pool, acquire_timeout_s: float) -> None:
        self._pool = pool
        self._acquire_timeout_s = acquire_timeout_s
        self._connection: Connection | None = None
        self._in_transaction = False
        self._spoiled = False
        self._lost = False
        self._ended = False

    async def rows(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Run a query and return all its rows."""
        connection = await self._begun(query)
        with self._translated(connection):
            return await connection.fetch(query, *arguments)

    async def row(self, query: str, *arguments: object) -> asyncpg.Record | None:
        """Run a query and return its first row."""
        connection = await self._begun(query)
        with self._translated(connection):
            return await connection.fetchrow(query, *arguments)

    async def change(self, query: str, *arguments: object) -> int:
        """Run a statement and return how many rows it changed."""
        connection = await self._begun(query)
        with self._translated(connection):
            tag = await connection.execute(query, *arguments)
        return int(tag.rpartition(" ")[2])

    async def change_one(self, query: str, *arguments: object) -> None:
        """Run an update that is bound to a version.

        Raises:
            StaleVersionError: no row has that key and that version.
        """
        if await self.change(query, *arguments) != 1:
            raise self.spoiled(StaleVersionError())

    def spoiled(self, error: InternalError | ConflictError) -> InternalError | ConflictError:
        """Refuse any later commit of this transaction, because of `error`, which is returned."""
        self._spoiled = True
        return error

    async def commit(self) -> None:
        """Make the transaction durable.

        Raises:
            InvariantError: an earlier statement failed; nothing was made durable.
            StaleVersionError: the connection broke; the commit may or may not have happened.
        """
        if self._spoiled:
            raise InvariantError("A statement of this transaction failed, so it cannot be committed.")
        connection, self._ended = self._connection, True
        if connection is None or not self._in_transaction:
            return
        with self._translated(connection):
            tag = await connection.execute("COMMIT")
        if tag != "COMMIT":  # PostgreSQL answers ROLLBACK, without an error, when a statement had failed
            raise InvariantError("The database rolled the transaction back.")

    async def close(self) -> None:
        """Roll back what was not committed; return the connection, or drop it when its state is unknown."""
        connection, self._connection = self._connection, None
        self._ended = True
        if connection is None:
            return
        try:
            if not self._lost and connection.is_in_transaction():
                await connection.execute("ROLLBACK")
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
            self._lost = True
        except BaseException:
            self._lost = True
            raise
        finally:
            if self._lost and not _closed(connection):
                connection.terminate()
            await self._pool.release(connection)

    async def _begun(self, query: str) -> Connection:
        if self._spoiled or self._ended:
            raise InvariantError("The transaction is over, or a statement of it failed.")
        if self._connection is None:
            with self._translated(None):
                self._connection = await self._pool.acquire(timeout=self._acquire_timeout_s)
        if not self._in_transaction and not _only_reads(query):
            with self._translated(self._connection):
                await self._connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
            self._in_transaction = True
        return self._connection

    @contextmanager
    def _translated(self, connection: Connection | None) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self._spoiled = True
            self._lost = self._lost or isinstance(error, _LOST) or _closed(connection)
            meaning = _meaning(error, lost=self._lost)
            if meaning is None:
                raise
            raise meaning from error


@cache
def _only_reads(query: str) -> bool:
    """Say whether a query neither changes nor locks anything; in doubt it does."""
    return _READS.match(query) is not None and _LOCKS.search(query) is None


def _closed(connection: Connection | None) -> bool:
    try:
        return connection is not None and connection.is_closed()
    except asyncpg.InterfaceError:  # a connection that broke was taken back by the pool, and tells nothing
        return True


def _meaning(error: BaseException, *, lost: bool) -> InternalError | ConflictError | InvalidInputError | None:
    if isinstance(error, _RACE):
        return StaleVersionError("Two transactions were in each other's way; this one was rolled back.")
    if isinstance(error, Exception) and lost:
        return StaleVersionError("The connection to the database was lost.")
    if isinstance(error, asyncpg.UniqueViolationError):
        return ConflictError("An object with this name exists already.")
    if isinstance(error, asyncpg.IntegrityConstraintViolationError):
        return InvariantError("A stored object refers to one that is not there.")
    if isinstance(error, _UNSTORABLE):
        return InvalidInputError("A value cannot be stored: a character or number is out of range.")
    return None
