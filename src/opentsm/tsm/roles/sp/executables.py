"""Executable load files and their modules (TR-03165 §4.1.6.5.1 to 4.1.6.5.8)."""

from dataclasses import dataclass

from opentsm.tsm.kernel.errors import InvariantError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.roles.sp import errors, forms, load_files, shelf
from opentsm.tsm.roles.sp.forms import Document
from opentsm.tsm.roles.sp.shelf import Shelf, find, shown

BLOCK = "_block"


@dataclass(frozen=True, slots=True)
class ExecutableDesk:
    """Use cases about load files."""

    shelf: Shelf

    async def all(self, owner: TenantId) -> list[Document]:
        """Return all load files of the provider."""
        async with self.shelf.storage.transaction() as tx:
            return [shown(found) for found in await tx.catalogue.list(owner, shelf.LOAD_FILE)]

    async def get(self, owner: TenantId, id_: str) -> Document:
        """Return one load file's document."""
        async with self.shelf.storage.transaction() as tx:
            return shown(await find(tx, owner, shelf.LOAD_FILE, id_))

    async def upload(self, owner: TenantId, file_name: str | None, data: bytes) -> Document:
        """Store a load file, what it says about itself, and the block that cards get.

        Raises:
            CatalogueError: 1004, 1008, 1013 with what is wrong with the file, or 1014.
        """
        if not file_name:
            raise errors.missing("elfFilename", "ExecutableLoadFile")
        forms.text(file_name, "elfFilename")
        found = load_files.read(data)
        id_, now = self.shelf.world.new_id(), self.shelf.now()
        document: Document = {"id": id_, "spId": owner, "fileName": file_name, "creationDate": now}
        document |= {"uploadDate": now, **found.attributes}
        hidden = {BLOCK: {"sha256": found.sha256, "size": len(found.block)}}
        async with self.shelf.storage.transaction() as tx:
            await tx.catalogue.lock(owner)
            await tx.load_files.put_block(found.sha256, found.block)
            await tx.catalogue.put(owner, shelf.LOAD_FILE, id_, document | hidden, file=data)
            for aid in found.modules:
                module: Document = {"id": self.shelf.world.new_id(), "elfId": id_, "aid": aid}
                await tx.catalogue.put(owner, shelf.MODULE, str(module["id"]), module, parent=id_)
            await shelf.record(
                tx, owner, shelf.LOAD_FILE, id_, "uploaded", aid=str(document["aid"]), sha256=found.sha256
            )
            await tx.commit()
        return document

    async def delete(self, owner: TenantId, id_: str) -> None:
        """Delete a load file that no flavor uses; the block stays for instances that are made of it.

        Raises:
            CatalogueError: 1009 or 1010.
        """
        async with self.shelf.storage.transaction() as tx:
            await tx.catalogue.lock(owner)
            await find(tx, owner, shelf.LOAD_FILE, id_)
            modules = await tx.catalogue.list(owner, shelf.MODULE, parent=id_)
            own = {str(module["id"]) for module in modules}
            for flavor in await tx.catalogue.list(owner, shelf.FLAVOR):
                configs = shelf.objects(flavor, "applicationInstantiationConfigs")
                installs = any(config["executableModuleId"] in own for config in configs)
                if installs or id_ in shelf.texts(flavor, "executableLoadFileIds"):
                    raise errors.still_referenced("ExecutableLoadFile", "Flavor")
            for module_id in own:
                await tx.catalogue.delete(owner, shelf.MODULE, module_id)
            await tx.catalogue.delete(owner, shelf.LOAD_FILE, id_)
            await shelf.record(tx, owner, shelf.LOAD_FILE, id_, "deleted")
            await tx.commit()

    async def binary(self, owner: TenantId, id_: str) -> tuple[str, bytes]:
        """Return file name and content as uploaded."""
        async with self.shelf.storage.transaction() as tx:
            document = await find(tx, owner, shelf.LOAD_FILE, id_)
            data = await tx.catalogue.file(owner, shelf.LOAD_FILE, id_)
        if data is None:
            raise InvariantError("A load file's document has no file.")
        return str(document["fileName"]), data

    async def modules(self, owner: TenantId, id_: str) -> list[Document]:
        """Return the modules of a load file."""
        async with self.shelf.storage.transaction() as tx:
            await find(tx, owner, shelf.LOAD_FILE, id_)
            return [*await tx.catalogue.list(owner, shelf.MODULE, parent=id_)]

    async def module(self, owner: TenantId, id_: str, module_id: str) -> Document:
        """Return one module of a load file."""
        async with self.shelf.storage.transaction() as tx:
            await find(tx, owner, shelf.LOAD_FILE, id_)
            module = await find(tx, owner, shelf.MODULE, module_id)
        if module["elfId"] != id_:
            raise errors.not_existing("ExecutableModule", module_id)
        return module
