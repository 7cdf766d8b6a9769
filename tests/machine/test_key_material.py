"""Key sets that somebody moved or changed in the database: never used, named, audited, the card set apart."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from msgspec.structs import replace
from tests.machine.bench import DOMAIN, Bench

from opentsm.tsm.domain.operation import Operation, OperationState, OperationType
from opentsm.tsm.domain.secure_element import SE_STATES, KeySetState, SealedKeys, SeEvent, SeState
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.repositories import Page

OF_ROW = "owner_id = $1 AND se_id = $2 AND sd_aid = $3 AND kvn = $4"


@pytest.fixture
async def bench(dsn: str, tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(dsn, tmp_path)
    await made.open()
    await made.seed()
    yield made
    await made.close()


Place = tuple[str, str, str, int]


async def current_place(bench: Bench) -> Place:
    """Return where the provider's key set of the deployed domain is stored."""
    async with bench.storage.transaction() as tx:
        found = await tx.key_sets.list(bench.provider, bench.se_id, DOMAIN)
    (keys,) = [keys for keys in found if keys.state is KeySetState.CURRENT]
    assert isinstance(keys.source, SealedKeys)
    return bench.provider, bench.se_id, str(DOMAIN), keys.kvn


async def source_at(bench: Bench, place: Place) -> str:
    connection = await asyncpg.connect(bench.dsn)
    source = await connection.fetchval(f"SELECT source FROM key_sets WHERE {OF_ROW}", *place)
    await connection.close()
    return str(source)


async def write_source(bench: Bench, place: Place, source: str) -> None:
    connection = await asyncpg.connect(bench.dsn)
    await connection.execute(f"UPDATE key_sets SET source = $5 WHERE {OF_ROW}", *place, source)
    await connection.close()


async def rotate(bench: Bench) -> Operation:
    asked = await bench.requests.change(bench.principal, bench.instance_id, OperationType.ROTATE_KEYS)
    return await bench.run(asked.id)


async def actions(bench: Bench, tenant: TenantId) -> list[str]:
    async with bench.storage.transaction() as tx:
        return [entry.action for entry in await tx.audit.list(tenant, Page(limit=200), subject=bench.se_id)]


async def assert_refused(bench: Bench, sent_before: int) -> None:
    ended = await rotate(bench)
    assert ended.state is OperationState.FAILED
    assert ended.failure is not None
    assert ended.failure.code == "key_material_damaged"
    assert "restore the row" in ended.failure.advice
    # SELECT and INITIALIZE UPDATE at most: nothing was sent under any key
    assert bench.device.sent <= sent_before + 2
    async with bench.storage.transaction() as tx:
        se = await tx.secure_elements.get(bench.se_id)
    assert se is not None
    assert (se.state, se.active_operation_id) == (SeState.QUARANTINED, None)
    assert "key-set.damaged" in await actions(bench, bench.provider)
    assert "secure-element.quarantined" in await actions(bench, bench.issuer)


async def test_key_sets_when_swapped_between_two_secure_elements_are_refused_on_both(bench: Bench) -> None:
    places, cards = [], []
    for number in range(2):
        if number:
            await bench.new_card()
        assert (await bench.run((await bench.deploy()).id)).state is OperationState.SUCCEEDED
        places.append(await current_place(bench))
        cards.append((bench.se_id, bench.instance_id, bench.device, bench.session_id, bench.device_principal))
    sources = [await source_at(bench, place) for place in places]
    for place, source in zip(places, reversed(sources), strict=True):
        await write_source(bench, place, source)
    for card in cards:
        bench.se_id, bench.instance_id, bench.device, bench.session_id, bench.device_principal = card
        await assert_refused(bench, bench.device.sent)


async def test_key_set_when_taken_from_another_version_of_the_same_domain_is_refused(bench: Bench) -> None:
    await bench.run((await bench.deploy()).id)
    before = await current_place(bench)
    asked = await bench.requests.change(bench.principal, bench.instance_id, OperationType.ROTATE_KEYS)
    assert (await bench.run(asked.id)).state is OperationState.SUCCEEDED
    after = await current_place(bench)
    assert before[3] != after[3]
    await write_source(bench, after, await source_at(bench, before))
    await assert_refused(bench, bench.device.sent)


async def test_key_set_when_put_back_then_the_secure_element_works_again(bench: Bench) -> None:
    await bench.run((await bench.deploy()).id)
    place = await current_place(bench)
    source = await source_at(bench, place)
    damaged = source.replace(source[30:34], "AAAA" if source[30:34] != "AAAA" else "BBBB", 1)
    await write_source(bench, place, damaged)
    await assert_refused(bench, bench.device.sent)
    await write_source(bench, place, source)
    async with bench.storage.transaction() as tx:
        se = await tx.secure_elements.get(bench.se_id)
        assert se is not None
        await tx.secure_elements.save(replace(se, state=SE_STATES.next(se.state, SeEvent.REINSTATE)))
        await tx.commit()
    assert (await rotate(bench)).state is OperationState.SUCCEEDED
