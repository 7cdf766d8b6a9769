"""The repository of load files and service descriptions."""

import hashlib
from collections.abc import Sequence
from typing import Any

from opentsm.tsm.adapters.storage.session import Session
from opentsm.tsm.adapters.storage.sql import load_queries
from opentsm.tsm.kernel.documents import from_json, to_json
from opentsm.tsm.kernel.errors import InvariantError
from opentsm.tsm.kernel.ids import TenantId

_BLOCKS = load_queries("load_files")
_SQL = load_queries("catalogue")


class PostgresLoadFiles:
    """Load-file data blocks by content."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def put_block(self, sha256: str, block: bytes, *, owner_id: TenantId | None = None) -> None:
        """Store a block once, and who put it there; raise InvariantError when the digest is not the block's.

        Blocks are shared between tenants, so one that lies about its name would poison the others.
        """
        if hashlib.sha256(block).hexdigest() != sha256.lower():
            raise InvariantError("The load-file data block does not have the digest that should name it.")
        await self._session.change(_BLOCKS["put_block"], sha256.lower(), block)
        if owner_id is not None:
            await self._session.change(_BLOCKS["own_block"], sha256.lower(), owner_id)

    async def block(self, sha256: str) -> bytes | None:
        """Return the block, or None."""
        row = await self._session.row(_BLOCKS["block"], sha256.lower())
        return None if row is None else bytes(row["block"])

    async def block_of(self, owner_id: TenantId, sha256: str) -> bytes | None:
        """Return the block if this owner put it there, or None."""
        row = await self._session.row(_BLOCKS["block_of"], sha256.lower(), owner_id)
        return None if row is None else bytes(row["block"])


class PostgresCatalogue:
    """Documents of the TR-03165 repository; uploaded files lie in a table of their own."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def lock(self, owner_id: TenantId) -> None:
        """Let one transaction at a time change an owner's documents: they refer to each other."""
        await self._session.row(_SQL["lock"], owner_id)

    async def put(
        self,
        owner_id: TenantId,
        entity: str,
        id_: str,
        document: dict[str, object],
        *,
        parent: str = "",
        file: bytes | None = None,
    ) -> None:
        """Insert or replace a document, and its file where one is given."""
        text = to_json(document).decode()
        await self._session.change(_SQL["put"], owner_id, entity, id_, parent, text)
        if file is not None:
            await self._session.change(_SQL["put_file"], owner_id, entity, id_, file)

    async def get(self, owner_id: TenantId, entity: str, id_: str) -> dict[str, object] | None:
        """Return the document, or None."""
        row = await self._session.row(_SQL["get"], owner_id, entity, id_)
        return None if row is None else from_json(dict[str, Any], row["document"])

    async def file(self, owner_id: TenantId, entity: str, id_: str) -> bytes | None:
        """Return the file that came with the document, or None."""
        row = await self._session.row(_SQL["file"], owner_id, entity, id_)
        return None if row is None else bytes(row["file"])

    async def list(
        self, owner_id: TenantId, entity: str, *, parent: str | None = None
    ) -> Sequence[dict[str, object]]:
        """Return an owner's documents of one entity by id, of one parent or of all."""
        if parent is None:
            rows = await self._session.rows(_SQL["list"], owner_id, entity)
        else:
            rows = await self._session.rows(_SQL["list_of_parent"], owner_id, entity, parent)
        return [from_json(dict[str, Any], row["document"]) for row in rows]

    async def self_service_owner(self, service_id: str) -> TenantId | None:
        """Return whose a service is that is marked as self-service; None when there is none."""
        row = await self._session.row(_SQL["self_service_owner"], service_id)
        return None if row is None else TenantId(str(row["owner_id"]))

    async def delete(self, owner_id: TenantId, entity: str, id_: str) -> bool:
        """Remove a document and its file; False when there was none."""
        return await self._session.change(_SQL["delete"], owner_id, entity, id_) == 1
