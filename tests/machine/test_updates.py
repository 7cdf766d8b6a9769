"""Updates and re-personalisations: what stays on the card is not touched."""

import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from tests.machine.bench import PURSE, Bench
from tests.machine.two_versions import (
    BADGE,
    BADGE_PACKAGE,
    BALANCE,
    assert_holds,
    balance,
    deployed,
    offer_all,
    update,
)

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.card_content import Claim
from opentsm.tsm.domain.operation import Operation, OperationState, OperationType
from opentsm.tsm.domain.service import InstanceState
from opentsm.tsm.kernel.errors import ConflictError, InvalidInputError, OrphanedError
from opentsm.tsm.kernel.ids import InstanceId
from opentsm.vse.faults import TornError

replace = msgspec.structs.replace

DELETE, INSTALL, LOAD, STORE_DATA, SET_STATUS, PUT_KEY = 0xE4, 0xE6, 0xE8, 0xE2, 0xF0, 0xD8
CHANGING = {DELETE, INSTALL, LOAD, STORE_DATA, SET_STATUS, PUT_KEY}


@pytest.fixture
async def bench(dsn: str, tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(dsn, tmp_path)
    await made.open()
    await made.seed()
    await offer_all(made)
    yield made
    await made.close()


async def change(bench: Bench, type_: OperationType) -> Operation:
    operation = await bench.requests.change(bench.principal, bench.instance_id, type_)
    return await bench.run(operation.id)


def changes(bench: Bench) -> Counter[int]:
    return Counter(ins for ins, _ in bench.device.trace if ins in CHANGING)


async def test_update_when_a_part_is_equal_sends_nothing_that_touches_it(bench: Bench) -> None:
    """TR-03165, section 4.2.5.4: parts are removed and reinstalled only if they changed."""
    await deployed(bench)
    bench.device.trace.clear()
    operation = await bench.run((await update(bench, "2.0.0")).id)
    assert operation.state is OperationState.SUCCEEDED, operation.failure
    await assert_holds(bench, "2.0.0")
    sent = changes(bench)
    # the second purse goes; the badge's load file and its instance come, selectable at once
    assert (sent[DELETE], sent[INSTALL]) == (1, 2)
    assert sent[LOAD] > 1
    assert not {STORE_DATA, PUT_KEY, SET_STATUS} & sent.keys()
    assert balance(bench) == BALANCE
    assert (operation.start_state, operation.end_state) == (InstanceState.OPERATIONAL,) * 2


async def test_update_when_the_load_file_has_other_bytes_makes_all_of_it_anew(bench: Bench) -> None:
    await deployed(bench)
    bench.device.trace.clear()
    operation = await bench.run((await update(bench, "3.0.0")).id)
    assert operation.state is OperationState.SUCCEEDED, operation.failure
    await assert_holds(bench, "3.0.0")
    # two instances and their load file; the domain and its keys stay
    assert changes(bench)[DELETE] == 3
    assert not changes(bench)[PUT_KEY]
    assert balance(bench) == 0


async def test_update_when_only_the_version_differs_changes_no_bit_of_the_card(bench: Bench) -> None:
    await deployed(bench)
    first = bench.catalogue.versions["1.0.0"]
    bench.catalogue.versions["1.0.1"] = replace(first, version_tag="1.0.1")
    bench.device.trace.clear()
    assert (await bench.run((await update(bench, "1.0.1")).id)).state is OperationState.SUCCEEDED
    assert not changes(bench)
    assert (await bench.instance()).description.version_tag == "1.0.1"
    assert (await bench.instance()).state is InstanceState.OPERATIONAL


async def test_update_when_the_instance_is_suspended_stays_suspended(bench: Bench) -> None:
    await deployed(bench)
    await change(bench, OperationType.SUSPEND)
    assert (await bench.run((await update(bench, "2.0.0")).id)).state is OperationState.SUCCEEDED
    instance = await bench.instance()
    assert (instance.state, instance.suspended_by) == (InstanceState.SUSPENDED, bench.provider)
    assert all(i.state & 0x80 for i in bench.card.image().instances if Aid(i.aid) in {PURSE, BADGE})
    await change(bench, OperationType.RESUME)
    assert balance(bench) == BALANCE
    await assert_holds(bench, "2.0.0")


async def test_update_when_a_load_file_is_shared_leaves_it_to_the_other_instance(bench: Bench) -> None:
    await deployed(bench)
    assert (await bench.run((await update(bench, "2.0.0")).id)).state is OperationState.SUCCEEDED
    other = InstanceId("another instance")
    async with bench.storage.transaction() as tx:
        claims = await tx.secure_elements.claims(bench.se_id)
        shared = tuple(
            replace(c, instance_ids=(*c.instance_ids, other)) if c.aid == BADGE_PACKAGE else c for c in claims
        )
        await tx.secure_elements.save_claims(bench.se_id, shared)
        await tx.commit()
    assert (await bench.run((await update(bench, "1.0.0")).id)).state is OperationState.SUCCEEDED
    assert bytes(BADGE_PACKAGE) in {f.aid for f in bench.card.image().load_files}
    async with bench.storage.transaction() as tx:
        left: dict[Aid, Claim] = {c.aid: c for c in await tx.secure_elements.claims(bench.se_id)}
    assert left[BADGE_PACKAGE].instance_ids == (other,)


@pytest.mark.parametrize("type_", [OperationType.SUSPEND, OperationType.TERMINATE])
async def test_change_when_an_update_waits_comes_after_it(bench: Bench, type_: OperationType) -> None:
    await deployed(bench)
    waiting = await update(bench, "2.0.0")
    later = await bench.requests.change(bench.principal, bench.instance_id, type_)
    assert (await bench.run(waiting.id)).state is OperationState.SUCCEEDED
    assert (await bench.run(later.id)).state is OperationState.SUCCEEDED
    if type_ is OperationType.TERMINATE:
        assert {i.aid for i in bench.card.image().instances} == bench.factory_instances
        assert {f.aid for f in bench.card.image().load_files} == bench.factory_load_files
    else:
        assert (await bench.instance()).state is InstanceState.SUSPENDED


async def test_update_when_a_report_of_loss_overtakes_it_keeps_the_lock(bench: Bench) -> None:
    await deployed(bench)
    waiting = await update(bench, "2.0.0")
    lost = await bench.requests.change(bench.principal, bench.instance_id, OperationType.SUSPEND, loss=True)
    assert (await bench.run(lost.id)).state is OperationState.SUCCEEDED
    assert (await bench.run(waiting.id)).state is OperationState.SUCCEEDED
    assert (await bench.instance()).state is InstanceState.SUSPENDED
    assert balance(bench) is None


async def test_update_when_the_card_refuses_its_first_change_leaves_everything_as_it_was(
    bench: Bench,
) -> None:
    """TR-03165, section 3.2.2: an error before any change leaves the state."""
    await deployed(bench)
    wrong = replace(bench.catalogue.versions["1.0.0"], version_tag="4.0.0")
    file = wrong.load_files[0]
    missing = replace(file, aid=BADGE_PACKAGE, sha256=hashlib.sha256(b"no code").hexdigest(), size=7)
    bench.catalogue.versions["4.0.0"] = replace(wrong, load_files=(file, missing))
    async with bench.storage.transaction() as tx:
        await tx.load_files.put_block(missing.sha256, b"no code")
        await tx.commit()
    operation = await bench.run((await update(bench, "4.0.0")).id)
    assert operation.state is OperationState.FAILED
    assert not operation.changed_card
    assert (await bench.instance()).state is InstanceState.OPERATIONAL
    await assert_holds(bench, "1.0.0")
    assert balance(bench) == BALANCE


async def test_update_when_it_breaks_off_can_be_completed_or_terminated(bench: Bench) -> None:
    await deployed(bench)
    operation = await update(bench, "2.0.0")

    def lose(_: int) -> None:
        if bench.device.trace[-1][0] == DELETE:
            raise TornError

    bench.device.after = lose
    while not operation.changed_card:
        operation = await bench.run_once(operation.id)
    await bench.requests.cancel(bench.principal, operation.id)
    ended = await bench.run(operation.id)
    assert ended.state is OperationState.FAILED
    bench.device.after = lambda _: None
    instance = await bench.instance()
    assert (instance.state, instance.description.version_tag) == (InstanceState.IN_ERROR, "2.0.0")
    assert (await change(bench, OperationType.DEPLOY)).state is OperationState.SUCCEEDED
    await assert_holds(bench, "2.0.0")
    assert balance(bench) == BALANCE


@pytest.mark.parametrize(
    ("state", "refused"),
    [
        (InstanceState.NOT_DEPLOYED, ConflictError),
        (InstanceState.INSTALLED, ConflictError),
        (InstanceState.IN_ERROR, ConflictError),
    ],
)
async def test_update_when_the_state_does_not_allow_it_is_refused(
    bench: Bench, state: InstanceState, refused: type[Exception]
) -> None:
    await deployed(bench)
    async with bench.storage.transaction() as tx:
        await tx.instances.save(replace(await bench.instance(), state=state))
        await tx.commit()
    with pytest.raises(refused):
        await update(bench, "2.0.0")
    with pytest.raises(refused):
        await bench.requests.personalize(bench.principal, bench.instance_id, data={})


async def test_renewals_when_orphaned_or_without_recipe_are_refused(bench: Bench) -> None:
    await deployed(bench)
    with pytest.raises(ConflictError, match="already"):
        await update(bench, "1.0.0")
    bench.catalogue.deleted = True
    with pytest.raises(OrphanedError):
        await update(bench, "2.0.0")
    with pytest.raises(OrphanedError):
        await bench.requests.personalize(bench.principal, bench.instance_id, data={})
    bench.catalogue.deleted = False
    async with bench.storage.transaction() as tx:
        instance = await bench.instance()
        bare = tuple(replace(app, personalization=None) for app in instance.description.applications)
        await tx.instances.save(
            replace(instance, description=replace(instance.description, applications=bare))
        )
        await tx.commit()
    with pytest.raises(InvalidInputError):
        await bench.requests.personalize(bench.principal, bench.instance_id, data={})
