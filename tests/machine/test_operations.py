"""Whole operations, from request to verified card, without faults."""

from pathlib import Path

import msgspec
import pytest
from tests.machine.bench import DOMAIN, PURSE, PURSE_PACKAGE, Bench

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.card_content import ObservedContent
from opentsm.tsm.domain.operation import OperationState, OperationType
from opentsm.tsm.domain.service import InstanceState


@pytest.fixture
async def bench(dsn: str, tmp_path: Path):  # type: ignore[no-untyped-def]
    made = Bench(dsn, tmp_path)
    await made.open()
    await made.seed()
    yield made
    await made.close()


async def test_deploy_when_the_card_is_new_ends_operational(bench: Bench) -> None:
    operation = await bench.run((await bench.deploy()).id)
    assert operation.state is OperationState.SUCCEEDED, operation.failure
    assert (await bench.instance()).state is InstanceState.OPERATIONAL
    image = bench.card.image()
    assert {i.aid for i in image.instances} >= {bytes(DOMAIN), bytes(PURSE)}
    assert bytes(PURSE_PACKAGE) in {f.aid for f in image.load_files}


PROFILES = (
    "scp02-i15", "scp02-i55", "scp03-i00", "scp03-i10", "scp03-i20", "scp03-i30", "scp03-i60", "scp03-i70",
    "scp03-s16-i01", "scp03-s16-i11", "scp03-s16-i21", "scp03-s16-i31", "scp03-s16-i61", "scp03-s16-i71",
)  # fmt: skip


async def whole_life(bench: Bench) -> list[str]:
    """Deploy, suspend, resume, top up, rotate keys, terminate; return how each ended."""
    ends = []
    before = await content(bench)
    operation = await bench.deploy()
    ends.append((await bench.run(operation.id)).state.value)
    for type_ in (OperationType.SUSPEND, OperationType.RESUME, OperationType.ROTATE_KEYS):
        operation = await bench.requests.change(bench.principal, bench.instance_id, type_)
        ends.append((await bench.run(operation.id)).state.value)
    operation = await bench.requests.top_up(bench.principal, bench.instance_id, amount=1500)
    topped = await bench.run(operation.id)
    ends.append(topped.state.value)
    assert topped.result == {"balance": 1500}, topped
    operation = await bench.requests.change(bench.principal, bench.instance_id, OperationType.TERMINATE)
    ends.append((await bench.run(operation.id)).state.value)
    assert (await bench.instance()).state is InstanceState.TERMINATED
    after = await content(bench)
    assert after.free_memory == before.free_memory
    assert {o.aid for o in after.objects} == {o.aid for o in before.objects}
    return ends


async def content(bench: Bench) -> ObservedContent:
    """Read the card afresh and return what the TSM knows of it."""
    operation = await bench.requests.audit_secure_element(bench.issuer_principal, bench.se_id)
    assert (await bench.run(operation.id)).state is OperationState.SUCCEEDED
    async with bench.storage.transaction() as tx:
        return await tx.secure_elements.content(bench.se_id)


@pytest.mark.parametrize("profile", PROFILES)
async def test_whole_life_when_run_on_any_profile_succeeds_and_gives_the_memory_back(
    dsn: str, tmp_path: Path, profile: str
) -> None:
    bench = Bench(dsn, tmp_path, profile)
    await bench.open()
    await bench.seed()
    assert await whole_life(bench) == ["SUCCEEDED"] * 6
    await bench.close()


async def test_whole_life_when_the_agent_knows_no_extension_succeeds(dsn: str, tmp_path: Path) -> None:
    bench = Bench(dsn, tmp_path, extended=False)
    await bench.open()
    await bench.seed()
    assert await whole_life(bench) == ["SUCCEEDED"] * 6
    await bench.close()


async def test_deploy_when_extradition_is_wanted_leaves_the_load_file_with_the_issuer(bench: Bench) -> None:
    description = msgspec.structs.replace(bench.description, extradite=True)
    operation = await bench.run((await bench.deploy(description)).id)
    assert operation.state is OperationState.SUCCEEDED, operation.failure
    image = bench.card.image()
    purse = next(i for i in image.instances if i.aid == PURSE)
    load_file = next(f for f in image.load_files if f.aid == PURSE_PACKAGE)
    assert (purse.sd, load_file.sd) == (bytes(DOMAIN), image.isd.aid)


async def test_load_file_when_two_services_share_it_stays_until_the_last_is_gone(bench: Bench) -> None:
    before = await content(bench)
    first = msgspec.structs.replace(bench.description, extradite=True)
    assert (await bench.run((await bench.deploy(first)).id)).state is OperationState.SUCCEEDED
    first_id = bench.instance_id
    second = msgspec.structs.replace(
        first,
        service_id="another service",
        sd_aid=Aid.from_hex("F04F54534DF0AA"),
        applications=(
            msgspec.structs.replace(first.applications[0], instance_aid=Aid.from_hex("F04F54534D0201AA")),
        ),
    )
    assert (await bench.run((await bench.deploy(second)).id)).state is OperationState.SUCCEEDED
    for instance_id, left in ((first_id, True), (bench.instance_id, False)):
        operation = await bench.requests.change(bench.principal, instance_id, OperationType.TERMINATE)
        ended = await bench.run(operation.id)
        assert ended.state is OperationState.SUCCEEDED, ended.failure
        assert (bytes(PURSE_PACKAGE) in {f.aid for f in bench.card.image().load_files}) is left
    assert (await content(bench)).free_memory == before.free_memory


async def test_load_file_when_another_of_the_same_aid_is_there_is_not_taken_for_it(bench: Bench) -> None:
    first = msgspec.structs.replace(bench.description, extradite=True)
    await bench.run((await bench.deploy(first)).id)
    changed = msgspec.structs.replace(first.load_files[0], sha256="11" * 32)
    second = msgspec.structs.replace(
        first, service_id="another service", sd_aid=Aid.from_hex("F04F54534DF0AA"), load_files=(changed,),
        applications=(
            msgspec.structs.replace(first.applications[0], instance_aid=Aid.from_hex("F04F54534D0201AA")),
        ),
    )  # fmt: skip
    ended = await bench.run((await bench.deploy(second)).id)
    assert ended.failure is not None
    assert ended.failure.code == "plan_refused"
    assert str(PURSE_PACKAGE) in ended.failure.detail
    assert (await bench.instance()).state is InstanceState.NOT_DEPLOYED
