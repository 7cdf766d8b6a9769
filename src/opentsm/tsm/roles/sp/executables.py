"""Executable load files and their modules (TR-03165 §4.1.6.5.1 to 4.1.6.5.8)."""

from dataclasses import dataclass

from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.sp import errors, forms, load_files, shelf
from opentsm.tsm.roles.sp.constraints import check_deployments
from opentsm.tsm.roles.sp.desk import FileDesk
from opentsm.tsm.roles.sp.forms import Document
from opentsm.tsm.roles.sp.profiles import ProfileDesk
from opentsm.tsm.roles.sp.references import flavors, module_ids, uses_load_file
from opentsm.tsm.roles.sp.shelf import find

BLOCK = "_block"


@dataclass(frozen=True, slots=True)
class ExecutableDesk(FileDesk):
    """Use cases about load files."""

    entity = shelf.LOAD_FILE
    profiles: ProfileDesk

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
        async with self.shelf.changing(owner) as tx:
            await tx.load_files.put_block(found.sha256, found.block, owner_id=owner)
            await tx.catalogue.put(owner, shelf.LOAD_FILE, id_, document | hidden, file=data)
            for aid in found.modules:
                module: Document = {"id": self.shelf.world.new_id(), "elfId": id_, "aid": aid}
                await tx.catalogue.put(owner, shelf.MODULE, str(module["id"]), module, parent=id_)
            await shelf.record(
                tx, owner, shelf.LOAD_FILE, id_, "uploaded", aid=str(document["aid"]), sha256=found.sha256
            )
        return document

    async def replace(self, owner: TenantId, id_: str, file_name: str | None, data: bytes) -> Document:
        """Put another file in the place of a load file that no published flavor uses.

        The AID is the same, and so are the ids of the modules that are still there; without a name the old
        one stays. Instances on cards keep the block that they were made of.

        Raises:
            CatalogueError: 1005 for another AID, 1009 also for an installed module that the file lacks, 1008,
                1013, 1014, 1015 or 1016.
        """
        forms.text(file_name or "", "elfFilename")
        async with self.shelf.changing(owner) as tx:
            before = await find(tx, owner, shelf.LOAD_FILE, id_)
            await self._check_users(tx, owner, id_)
            found = load_files.read(data)
            if found.attributes["aid"] != before["aid"]:
                raise errors.fixed("aid")
            kept: Document = {name: before[name] for name in ("id", "spId", "fileName", "creationDate")}
            document = kept | {"uploadDate": self.shelf.now(), **found.attributes}
            document["fileName"] = file_name or before["fileName"]
            hidden = {BLOCK: {"sha256": found.sha256, "size": len(found.block)}}
            await tx.load_files.put_block(found.sha256, found.block, owner_id=owner)
            await tx.catalogue.put(owner, shelf.LOAD_FILE, id_, document | hidden, file=data)
            ids = {aid: self.shelf.world.new_id() for aid in found.modules}
            await _replace_modules(tx, owner, id_, ids)
            await self._check_users(tx, owner, id_)
            await shelf.record(tx, owner, shelf.LOAD_FILE, id_, "replaced", sha256=found.sha256)
        return document

    async def _release(self, tx: UnitOfWork, owner: TenantId, id_: str) -> None:
        """Refuse the deletion of what a flavor uses; the block stays for instances that are made of it."""
        if await flavors(tx, owner, await uses_load_file(tx, owner, id_)):
            raise errors.still_referenced("ExecutableLoadFile", "Flavor")
        for module in await tx.catalogue.list(owner, shelf.MODULE, parent=id_):
            await tx.catalogue.delete(owner, shelf.MODULE, str(module["id"]))

    async def modules(self, owner: TenantId, id_: str) -> list[Document]:
        """Return the modules of a load file."""
        async with self.shelf.storage.transaction() as tx:
            await find(tx, owner, shelf.LOAD_FILE, id_)
            return [*await tx.catalogue.list(owner, shelf.MODULE, parent=id_)]

    async def module(self, owner: TenantId, id_: str, module_id: str) -> Document:
        """Return one module of a load file."""
        async with self.shelf.storage.transaction() as tx:
            return await find_module(tx, owner, id_, module_id)

    async def _check_users(self, tx: UnitOfWork, owner: TenantId, id_: str) -> None:
        """Refuse to replace a load file that is published (1015) or that some card cannot run (1016)."""
        for flavor in await flavors(tx, owner, await uses_load_file(tx, owner, id_)):
            if flavor["published"]:
                raise errors.already_published("ExecutableLoadFile", str(flavor["id"]))
            await check_deployments(tx, owner, flavor, self.profiles)


async def find_module(tx: UnitOfWork, owner: TenantId, id_: str, module_id: str) -> Document:
    """Return one module of a load file; CatalogueError 1009 for either."""
    await find(tx, owner, shelf.LOAD_FILE, id_)
    module = await find(tx, owner, shelf.MODULE, module_id)
    if module["elfId"] != id_:
        raise errors.not_existing("ExecutableModule", module_id)
    return module


async def _replace_modules(tx: UnitOfWork, owner: TenantId, id_: str, added: dict[str, str]) -> None:
    """Give a load file the modules of its new file: those that it had keep their ids.

    Args:
        tx: the transaction.
        owner: whose load file.
        id_: of the load file.
        added: AID to an id for each module of the new file, used where the module is new.
    """
    installed = {one for flavor in await tx.catalogue.list(owner, shelf.FLAVOR) for one in module_ids(flavor)}
    left = dict(added)
    for module in await tx.catalogue.list(owner, shelf.MODULE, parent=id_):
        if left.pop(str(module["aid"]), None) is not None:
            continue
        if module["id"] in installed:
            raise errors.not_existing("ExecutableModule", module["aid"])
        await tx.catalogue.delete(owner, shelf.MODULE, str(module["id"]))
    for aid, module_id in left.items():
        document: Document = {"id": module_id, "elfId": id_, "aid": aid}
        await tx.catalogue.put(owner, shelf.MODULE, module_id, document, parent=id_)
