"""Secure elements, their content, claims and key sets: what the storage port says about them."""

import pytest
from msgspec.structs import replace
from tests.contract.storage_records import (
    APPLET,
    ISD,
    a_claim,
    a_key_set,
    a_secure_element,
    new_id,
    new_se_id,
    new_tenant_id,
    some_content,
)

from opentsm.tsm.adapters.storage.postgres import PostgresStorage
from opentsm.tsm.domain.card_content import ObservedContent
from opentsm.tsm.domain.secure_element import (
    DiversifiedKeys,
    KeySetState,
    SecureElement,
    SeIdentifier,
    SeIdentifierType,
    SeState,
    WrappedKeys,
)
from opentsm.tsm.kernel.errors import ConflictError, InvariantError, StaleVersionError
from opentsm.tsm.kernel.ids import InstanceId, KeyHandle
from opentsm.tsm.ports.repositories import Page

CIN = SeIdentifierType.CIN


async def add(storage: PostgresStorage, se: SecureElement) -> None:
    async with storage.transaction() as work:
        await work.secure_elements.add(se)
        await work.commit()


async def test_secure_element_when_added_then_found_by_every_name(storage: PostgresStorage) -> None:
    se = a_secure_element(None, new_id(), new_id())
    first, second = (identifier.value for identifier in se.identifiers)
    async with storage.transaction() as work:
        await work.secure_elements.add(se)
        assert await work.secure_elements.get(se.id) == se
        assert await work.secure_elements.find(CIN, first) == se
        assert await work.secure_elements.find(None, second) == se
        assert await work.secure_elements.find(CIN, second, issuer_id=se.issuer_id) == se
        assert await work.secure_elements.find(CIN, second, issuer_id=new_tenant_id()) is None
        assert await work.secure_elements.find(SeIdentifierType.ICCID, first) is None
        assert await work.secure_elements.get(new_se_id()) is None


async def test_secure_element_when_a_name_is_taken_then_conflict_and_nothing_stays(
    storage: PostgresStorage,
) -> None:
    taken = a_secure_element()
    await add(storage, taken)
    twin = a_secure_element(taken.issuer_id, new_id(), taken.device_link_id)
    with pytest.raises(ConflictError):
        await add(storage, twin)
    async with storage.transaction() as work:
        assert await work.secure_elements.get(twin.id) is None


async def test_secure_element_when_two_issuers_use_one_name_then_the_issuer_must_be_named(
    storage: PostgresStorage,
) -> None:
    name = new_id()
    one, other = a_secure_element(None, name), a_secure_element(None, name)
    await add(storage, one)
    await add(storage, other)
    async with storage.transaction() as work:
        assert await work.secure_elements.find(CIN, name, issuer_id=other.issuer_id) == other
        with pytest.raises(ConflictError):
            await work.secure_elements.find(None, name)


async def test_secure_element_when_one_has_a_value_in_two_types_then_found_once(
    storage: PostgresStorage,
) -> None:
    name = new_id()
    se = replace(
        a_secure_element(),
        identifiers=(
            SeIdentifier(type=SeIdentifierType.CIN, value=name),
            SeIdentifier(type=SeIdentifierType.GENERIC, value=name),
        ),
    )
    await add(storage, se)
    async with storage.transaction() as work:
        assert await work.secure_elements.find(None, name) == se


async def test_secure_elements_when_listed_then_only_the_issuers_in_pages(storage: PostgresStorage) -> None:
    issuer_id = new_tenant_id()
    added = [a_secure_element(issuer_id) for _ in range(3)]
    for se in [*added, a_secure_element()]:
        await add(storage, se)
    added.sort(key=lambda se: se.id)
    async with storage.transaction() as work:
        assert await work.secure_elements.list(issuer_id, Page(limit=2)) == added[:2]
        assert await work.secure_elements.list(issuer_id, Page(after=added[1].id)) == added[2:]
        everybody = await work.secure_elements.list(None, Page(limit=200, after=added[0].id))
        assert [se for se in everybody if se.issuer_id == issuer_id] == added[1:]


async def test_secure_element_when_saved_then_the_version_moves(storage: PostgresStorage) -> None:
    se = a_secure_element()
    await add(storage, se)
    changed = replace(se, state=SeState.VERIFIED, next_order=7)
    async with storage.transaction() as work:
        saved = await work.secure_elements.save(changed)
        assert saved == replace(changed, version=1)
        assert await work.secure_elements.save(saved) == replace(changed, version=2)
        assert await work.secure_elements.get(se.id) == replace(changed, version=2)
        with pytest.raises(StaleVersionError):
            await work.secure_elements.save(saved)


async def test_secure_element_when_saved_with_other_names_then_found_by_those_only(
    storage: PostgresStorage,
) -> None:
    kept, dropped, added = new_id(), new_id(), new_id()
    se = a_secure_element(None, kept, dropped)
    await add(storage, se)
    async with storage.transaction() as work:
        renamed = replace(se, identifiers=a_secure_element(None, kept, added).identifiers)
        await work.secure_elements.save(renamed)
        found = [await work.secure_elements.find(CIN, name) for name in (kept, dropped, added)]
        await work.commit()
    assert found == [replace(renamed, version=1), None, replace(renamed, version=1)]


async def test_secure_element_when_saved_with_a_taken_name_then_conflict(storage: PostgresStorage) -> None:
    se = a_secure_element()
    other = a_secure_element(se.issuer_id)
    await add(storage, se)
    await add(storage, other)
    with pytest.raises(ConflictError):
        async with storage.transaction() as work:
            await work.secure_elements.save(replace(se, identifiers=other.identifiers))


async def test_content_when_nothing_is_stored_then_nothing_is_known(storage: PostgresStorage) -> None:
    async with storage.transaction() as work:
        assert await work.secure_elements.content(new_se_id()) == ObservedContent()
        assert await work.secure_elements.claims(new_se_id()) == ()


async def test_content_and_claims_when_saved_then_replaced(storage: PostgresStorage) -> None:
    se = a_secure_element()
    await add(storage, se)
    claims = (a_claim(InstanceId("one")), a_claim(InstanceId("two")))
    async with storage.transaction() as work:
        await work.secure_elements.save_content(se.id, ObservedContent(fresh=True))
        await work.secure_elements.save_content(se.id, some_content())
        await work.secure_elements.save_claims(se.id, claims[:1])
        await work.secure_elements.save_claims(se.id, claims)
        assert await work.secure_elements.content(se.id) == some_content()
        assert await work.secure_elements.claims(se.id) == claims


async def test_content_when_the_secure_element_is_unknown_then_refused(storage: PostgresStorage) -> None:
    with pytest.raises(InvariantError):
        async with storage.transaction() as work:
            await work.secure_elements.save_content(new_se_id(), ObservedContent())


async def test_key_set_when_put_then_found_by_its_owner_only(storage: PostgresStorage) -> None:
    owner_id, se_id = new_tenant_id(), new_se_id()
    key_set = a_key_set(owner_id, se_id)
    async with storage.transaction() as work:
        await work.key_sets.put(key_set)
        assert await work.key_sets.get(owner_id, se_id, ISD, 0x30) == key_set
        assert await work.key_sets.get(new_tenant_id(), se_id, ISD, 0x30) is None
        assert await work.key_sets.get(owner_id, se_id, ISD, 0x31) is None
        assert await work.key_sets.list(new_tenant_id(), se_id) == []


async def test_key_set_when_put_again_then_replaced(storage: PostgresStorage) -> None:
    key_set = a_key_set(new_tenant_id(), new_se_id())
    for source in (
        DiversifiedKeys(master=KeyHandle("master"), method="KDF3", kdd=bytes(10)),
        WrappedKeys(transport=KeyHandle("transport"), blob=bytes(56)),
    ):
        changed = replace(key_set, source=source, state=KeySetState.RETIRED, counter=None, kcvs=())
        async with storage.transaction() as work:
            await work.key_sets.put(key_set)
            await work.key_sets.put(changed)
            assert await work.key_sets.list(key_set.owner_id, key_set.se_id) == [changed]


async def test_key_sets_when_listed_then_of_one_domain_or_all_in_order(storage: PostgresStorage) -> None:
    owner_id, se_id = new_tenant_id(), new_se_id()
    sets = [a_key_set(owner_id, se_id, kvn=kvn, sd_aid=aid) for aid in (ISD, APPLET) for kvn in (0x20, 0x30)]
    async with storage.transaction() as work:
        for key_set in reversed(sets):
            await work.key_sets.put(key_set)
        assert await work.key_sets.list(owner_id, se_id) == sets
        assert await work.key_sets.list(owner_id, se_id, APPLET) == sets[2:]
