"""What the desks of the repository have in common: list, show, delete what nothing refers to."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from opentsm.tsm.kernel.errors import InvariantError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.sp import shelf
from opentsm.tsm.roles.sp.forms import Document
from opentsm.tsm.roles.sp.shelf import Shelf, find, shown


@dataclass(frozen=True, slots=True)
class Desk(ABC):
    """Use cases about one kind of document that stands directly under its provider."""

    entity: ClassVar[str]

    shelf: Shelf

    async def all(self, owner: TenantId) -> list[Document]:
        """Return all documents of the provider."""
        async with self.shelf.storage.transaction() as tx:
            return [shown(found) for found in await tx.catalogue.list(owner, self.entity)]

    async def get(self, owner: TenantId, id_: str) -> Document:
        """Return one document; CatalogueError 1009 when there is none."""
        async with self.shelf.storage.transaction() as tx:
            return shown(await find(tx, owner, self.entity, id_))

    async def delete(self, owner: TenantId, id_: str) -> None:
        """Delete a document that nothing refers to.

        Raises:
            CatalogueError: 1009 or 1010.
        """
        async with self.shelf.changing(owner) as tx:
            await find(tx, owner, self.entity, id_)
            await self._release(tx, owner, id_)
            await tx.catalogue.delete(owner, self.entity, id_)
            await shelf.record(tx, owner, self.entity, id_, "deleted")

    @abstractmethod
    async def _release(self, tx: UnitOfWork, owner: TenantId, id_: str) -> None:
        """Refuse the deletion of what is referred to (1010); delete what goes with the document."""


@dataclass(frozen=True, slots=True)
class FileDesk(Desk):
    """Use cases about documents that describe an uploaded file."""

    async def binary(self, owner: TenantId, id_: str) -> tuple[str, bytes]:
        """Return file name and content as uploaded."""
        async with self.shelf.storage.transaction() as tx:
            document = await find(tx, owner, self.entity, id_)
            data = await tx.catalogue.file(owner, self.entity, id_)
        if data is None:
            raise InvariantError(f"A document of the kind {self.entity} has no file.")
        return str(document["fileName"]), data
