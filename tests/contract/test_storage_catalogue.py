"""Load-file blocks and catalogue documents: what the storage port says about them."""

import asyncio
import hashlib

import pytest
from tests.contract.conftest import Blocked
from tests.contract.storage_records import a_tenant, new_tenant_id

from opentsm.tsm.adapters.storage.postgres import PostgresStorage
from opentsm.tsm.kernel.errors import InvariantError

DOCUMENT: dict[str, object] = {"name": "Öffi", "list": [1, 2.5, None, True], "inner": {"z": "\x00", "a": "b"}}


async def test_block_when_put_twice_then_stored_once_and_found_by_digest(storage: PostgresStorage) -> None:
    block = bytes(range(256)) * 800
    sha256 = hashlib.sha256(block).hexdigest()
    async with storage.transaction() as work:
        assert await work.load_files.block(sha256) is None
        await work.load_files.put_block(sha256, block)
        await work.load_files.put_block(sha256.upper(), block)
        assert await work.load_files.block(sha256) == block
        assert await work.load_files.block(sha256.upper()) == block


async def test_block_when_the_digest_is_not_its_own_then_refused(storage: PostgresStorage) -> None:
    async with storage.transaction() as work:
        with pytest.raises(InvariantError):
            await work.load_files.put_block("00" * 32, b"block")


async def test_blocks_when_their_owners_are_removed_then_they_go_with_the_last_one(
    storage: PostgresStorage,
) -> None:
    shared, own = new_tenant_id().encode(), new_tenant_id().encode()
    names = {block: hashlib.sha256(block).hexdigest() for block in (shared, own)}
    first, second = new_tenant_id(), new_tenant_id()
    async with storage.transaction() as work:
        for block, owner in ((shared, first), (own, first), (shared, second)):
            await work.load_files.put_block(names[block], block, owner_id=owner)
        assert await work.belongings.remove_blocks(first, 10) == 2
        assert await work.belongings.remove_blocks(first, 10) == 0
        assert await work.load_files.block(names[own]) is None
        assert await work.load_files.block(names[shared]) == shared
        assert await work.belongings.remove_blocks(second, 10) == 1
        assert await work.load_files.block(names[shared]) is None


async def test_document_when_put_again_then_replaced_and_the_file_stays(storage: PostgresStorage) -> None:
    owner_id, entity = new_tenant_id(), "executable-load-file"
    async with storage.transaction() as work:
        await work.catalogue.put(owner_id, entity, "id", {"old": 1}, parent="p", file=b"\x00file")
        await work.catalogue.put(owner_id, entity, "id", DOCUMENT, parent="q")
        assert await work.catalogue.get(owner_id, entity, "id") == DOCUMENT
        assert await work.catalogue.file(owner_id, entity, "id") == b"\x00file"
        assert await work.catalogue.list(owner_id, entity, parent="p") == []
        assert await work.catalogue.list(owner_id, entity, parent="q") == [DOCUMENT]
        await work.catalogue.put(owner_id, entity, "id", DOCUMENT, file=b"other")
        assert await work.catalogue.file(owner_id, entity, "id") == b"other"


async def test_document_when_asked_for_by_another_owner_or_entity_then_absent(
    storage: PostgresStorage,
) -> None:
    owner_id = new_tenant_id()
    async with storage.transaction() as work:
        await work.catalogue.put(owner_id, "service", "id", DOCUMENT, file=b"file")
        assert await work.catalogue.get(new_tenant_id(), "service", "id") is None
        assert await work.catalogue.get(owner_id, "flavor", "id") is None
        assert await work.catalogue.file(new_tenant_id(), "service", "id") is None
        assert await work.catalogue.list(new_tenant_id(), "service") == []
        assert not await work.catalogue.delete(new_tenant_id(), "service", "id")


async def test_documents_when_listed_then_of_one_parent_or_all_by_id(storage: PostgresStorage) -> None:
    owner_id = new_tenant_id()
    async with storage.transaction() as work:
        for number, parent in ((2, "a"), (3, "b"), (1, "a")):
            await work.catalogue.put(owner_id, "flavor", str(number), {"number": number}, parent=parent)
        everything = await work.catalogue.list(owner_id, "flavor")
        of_a = await work.catalogue.list(owner_id, "flavor", parent="a")
        orphans = await work.catalogue.list(owner_id, "flavor", parent="")
    assert [document["number"] for document in everything] == [1, 2, 3]
    assert [document["number"] for document in of_a] == [1, 2]
    assert orphans == []


async def test_document_when_deleted_then_its_file_is_gone_too(storage: PostgresStorage) -> None:
    owner_id = new_tenant_id()
    async with storage.transaction() as work:
        await work.catalogue.put(owner_id, "service", "id", DOCUMENT, file=b"file")
        assert await work.catalogue.delete(owner_id, "service", "id")
        assert await work.catalogue.get(owner_id, "service", "id") is None
        assert await work.catalogue.file(owner_id, "service", "id") is None
        assert not await work.catalogue.delete(owner_id, "service", "id")


async def test_lock_when_held_then_another_transaction_of_the_owner_waits(
    storage: PostgresStorage, blocked: Blocked
) -> None:
    owner, other = a_tenant(), a_tenant()
    async with storage.transaction() as work:
        await work.tenants.add(owner)
        await work.tenants.add(other)
        await work.commit()

    async def rename() -> None:
        async with storage.transaction() as work:
            await work.catalogue.lock(owner.id)
            document = await work.catalogue.get(owner.id, "service", "id")
            assert document == {"name": "first"}
            await work.catalogue.put(owner.id, "service", "id", {"name": "second"})
            await work.commit()

    async with storage.transaction() as work, storage.transaction() as unrelated:
        await work.catalogue.lock(owner.id)
        await unrelated.catalogue.lock(other.id)  # does not wait
        await work.catalogue.put(owner.id, "service", "id", {"name": "first"})
        waiting = asyncio.create_task(rename())
        await blocked(waiting)
        await work.commit()
    await waiting
    async with storage.transaction() as work:
        assert await work.catalogue.get(owner.id, "service", "id") == {"name": "second"}
