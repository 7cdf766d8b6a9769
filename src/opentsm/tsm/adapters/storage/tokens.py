"""Tokens of delegated management: one row each, found by request and by secure element."""

from collections.abc import Sequence

import asyncpg
from msgspec.structs import replace

from opentsm.tsm.adapters.storage.records import document
from opentsm.tsm.adapters.storage.session import Session
from opentsm.tsm.adapters.storage.sql import load_queries
from opentsm.tsm.domain.delegation import Token
from opentsm.tsm.kernel.documents import from_json
from opentsm.tsm.kernel.errors import ConflictError
from opentsm.tsm.kernel.ids import SeId, TenantId

_SQL = load_queries("tokens")


class PostgresTokens:
    """Tokens that a party issued."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def numbers(self, count: int) -> Sequence[int]:
        """Return numbers that no token has, growing."""
        return sorted(row["number"] for row in await self._session.rows(_SQL["numbers"], count))

    async def add(self, tokens: Sequence[Token]) -> None:
        """Add the tokens of a request; raise ConflictError when it has some already."""
        for token in tokens:
            added = await self._session.change(
                _SQL["add"],
                token.owner_id,
                token.request_id,
                token.position,
                token.number,
                token.se_id,
                token.provider_id,
                token.state.value,
                token.counter,
                document(token, "sealed_command"),
                token.sealed_command,
            )
            if not added:
                raise self._session.spoiled(ConflictError("Tokens were issued for this request already."))

    async def of_request(self, owner_id: TenantId, request_id: str) -> Sequence[Token]:
        """Return the tokens of a request in the order of its commands."""
        return [_token(row) for row in await self._session.rows(_SQL["of_request"], owner_id, request_id)]

    async def save(self, token: Token) -> None:
        """Store what became of a token."""
        await self._session.change_one(
            _SQL["save"],
            token.owner_id,
            token.request_id,
            token.position,
            token.state.value,
            token.counter,
            document(token, "sealed_command"),
        )

    async def last_counter(self, owner_id: TenantId, se_id: SeId) -> int | None:
        """Return the highest confirmation counter that was verified on a secure element."""
        row = await self._session.row(_SQL["last_counter"], owner_id, se_id)
        return None if row is None else int(row["counter"])

    async def on_secure_element(self, owner_id: TenantId, se_id: SeId, limit: int) -> Sequence[Token]:
        """Return the newest tokens for a secure element, newest first."""
        rows = await self._session.rows(_SQL["on_secure_element"], owner_id, se_id, limit)
        return [_token(row) for row in rows]


def _token(row: asyncpg.Record) -> Token:
    return replace(from_json(Token, row["document"]), sealed_command=row["sealed_command"])
