"""Updates and re-personalisations: what stays on the card is not touched; torn anywhere they converge."""

import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import msgspec
import pytest
from tests.machine.bench import DOMAIN, PURSE, PURSE_PACKAGE, Bench
from tests.machine.crashes import CommitFault, DyingStorage
from tests.machine.two_versions import BADGE, BADGE_PACKAGE, SECOND_PURSE, offer_all

from opentsm.card import purse
from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import ResponseApdu
from opentsm.card.gp import commands as gp
from opentsm.tsm.domain.card_content import Claim
from opentsm.tsm.domain.operation import Operation, OperationState, OperationType
from opentsm.tsm.domain.service import InstanceState
from opentsm.tsm.kernel.errors import ConflictError, InvalidInputError, OrphanedError
from opentsm.tsm.kernel.ids import InstanceId
from opentsm.vse.faults import TornError

replace = msgspec.structs.replace

DELETE, INSTALL, LOAD, STORE_DATA, SET_STATUS, PUT_KEY = 0xE4, 0xE6, 0xE8, 0xE2, 0xF0, 0xD8
CHANGING = {DELETE, INSTALL, LOAD, STORE_DATA, SET_STATUS, PUT_KEY}
PURSES = {PURSE, SECOND_PURSE}
APPLICATIONS = {"1.0.0": PURSES, "1.1.0": PURSES, "2.0.0": {PURSE, BADGE}, "3.0.0": {PURSE}}
ONE, TWO = {PURSE_PACKAGE}, {PURSE_PACKAGE, BADGE_PACKAGE}
LOAD_FILES = {"1.0.0": ONE, "1.1.0": ONE, "2.0.0": TWO, "3.0.0": ONE}
BALANCE = 1500


@pytest.fixture
async def bench(dsn: str, tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(dsn, tmp_path)
    await made.open()
    await made.seed()
    await offer_all(made)
    yield made
    await made.close()


async def deployed(bench: Bench) -> None:
    """Deploy version 1.0.0 and credit its purse."""
    operation = await bench.deploy(bench.catalogue.versions["1.0.0"])
    assert (await bench.run(operation.id)).state is OperationState.SUCCEEDED
    credit = await bench.requests.top_up(
        bench.principal, bench.instance_id, amount=BALANCE, application=PURSE
    )
    assert (await bench.run(credit.id)).state is OperationState.SUCCEEDED


async def update(bench: Bench, version: str) -> Operation:
    return await bench.requests.update(bench.principal, bench.instance_id, version=version, data={})


async def change(bench: Bench, type_: OperationType) -> Operation:
    operation = await bench.requests.change(bench.principal, bench.instance_id, type_)
    return await bench.run(operation.id)


def changes(bench: Bench) -> Counter[int]:
    return Counter(ins for ins, _ in bench.device.trace if ins in CHANGING)


def ask(bench: Bench, apdu: bytes) -> ResponseApdu:
    return ResponseApdu.parse(bench.card.transmit(apdu))


def balance(bench: Bench) -> int | None:
    """Return the purse's balance, or None when it cannot be selected."""
    bench.card.power_off()
    bench.card.power_on()
    if ask(bench, gp.select(PURSE).to_bytes()).sw != 0x9000:
        return None
    return int.from_bytes(ask(bench, purse.get_balance().to_bytes()).data, "big")


async def assert_holds(bench: Bench, version: str, where: str = "") -> None:
    """Card, picture and claims hold exactly what the version names."""
    instance = await bench.instance()
    assert instance.description.version_tag == version, where
    assert instance.renewal is None, where
    assert instance.sealed_data == b"", where
    bench.card.power_off()
    bench.card.power_on()
    image = bench.card.image()
    ours = {Aid(i.aid) for i in image.instances if i.aid not in bench.factory_instances}
    assert ours == {DOMAIN} | APPLICATIONS[version], where
    files = {Aid(f.aid) for f in image.load_files if f.aid not in bench.factory_load_files}
    assert files == LOAD_FILES[version], where
    async with bench.storage.transaction() as tx:
        picture = await tx.secure_elements.content(bench.se_id)
        claims = await tx.secure_elements.claims(bench.se_id)
        se = await tx.secure_elements.get(bench.se_id)
    assert se is not None
    assert se.active_operation_id is None, where
    assert {o.aid: o.state for o in picture.objects if o.aid in ours} == {
        Aid(i.aid): i.state for i in image.instances if Aid(i.aid) in ours
    }, where
    assert {claim.aid for claim in claims} == ours | files, where
    contents = {file.aid: file.sha256 for file in instance.description.load_files}
    assert {aid: picture.built[str(aid)] for aid in contents} == contents, where


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


# --- torn ------------------------------------------------------------------------------------------------


def torn_at(number: int) -> Callable[[int], None]:
    def tear(sent: int) -> None:
        if sent == number:
            raise TornError

    return tear


async def fresh_start(bench: Bench) -> None:
    bench.wrap_storage = lambda storage: storage
    await bench.crash()
    bench.device.before = bench.device.after = lambda _: None
    bench.device.sent = 0


EVERY = pytest.mark.campaign
# the suite goes through some commands of an update without a load file, the campaign through all of all
PAIRS = [
    pytest.param(("1.1.0", "1.0.0"), 3, id="recipe"),
    pytest.param(("1.1.0", "1.0.0"), 1, id="recipe-all", marks=EVERY),
    pytest.param(("2.0.0", "1.0.0"), 1, id="load-file", marks=EVERY),
    pytest.param(("3.0.0", "1.0.0"), 1, id="code", marks=EVERY),
]


@pytest.mark.parametrize("moment", ["before", "after", "answer lost"])
@pytest.mark.parametrize(("pair", "stride"), PAIRS)
async def test_update_when_torn_or_unanswered_at_any_command_converges(
    bench: Bench, moment: str, pair: tuple[str, str], stride: int
) -> None:
    """There and back again, with the fault some commands later each time."""
    await deployed(bench)
    if moment == "answer lost":
        bench.device.keeps_power, bench.device.reports_loss = True, False
        bench.extended = False
        await bench.negotiate()
    number, run, happened = 1 - stride, 0, True
    while happened:
        version = pair[run % 2]
        number, run = number + stride, run + 1
        await fresh_start(bench)
        setattr(bench.device, "before" if moment == "before" else "after", torn_at(number))
        operation = await bench.run((await update(bench, version)).id)
        where = f"{moment} command {number} of an update to {version}"
        assert operation.state is OperationState.SUCCEEDED, f"{where}: {operation.failure}"
        assert (await bench.instance()).state is InstanceState.OPERATIONAL, where
        await assert_holds(bench, version, where)
        happened = bench.device.sent >= number
        if pair[0] != "3.0.0":
            assert balance(bench) == BALANCE, where
    assert run > 3


@pytest.mark.parametrize("durable", [False, True], ids=["before commit", "after commit"])
async def test_update_when_the_server_dies_at_a_commit_converges(bench: Bench, durable: bool) -> None:
    await deployed(bench)
    number, happened = -4, True
    while happened:
        number += 5
        version = "1.1.0" if number % 2 else "1.0.0"
        await fresh_start(bench)
        operation = await update(bench, version)
        fault = CommitFault(at=number, durable=durable)
        bench.wrap_storage = partial(DyingStorage, fault=fault)
        await bench.crash()
        ended = await bench.run(operation.id)
        happened = fault.commits >= number
        assert ended.state is OperationState.SUCCEEDED, f"died at {number}: {ended.failure}"
        await assert_holds(bench, version, f"died at commit {number}")
        assert balance(bench) == BALANCE
    assert number > 5


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=EVERY)])
async def test_personalization_when_repeated_and_torn_anywhere_is_done_with_the_new_data(
    bench: Bench, moment: str, stride: int
) -> None:
    """A doubt is redone: the instance that is left was made after the request, and took the recipe once."""
    await deployed(bench)
    number, happened = 1, True
    while happened:
        await fresh_start(bench)
        setattr(bench.device, moment, torn_at(number))
        operation = await bench.requests.personalize(bench.principal, bench.instance_id, data={})
        ended = await bench.run(operation.id)
        where = f"{moment} command {number}"
        assert ended.state is OperationState.SUCCEEDED, f"{where}: {ended.failure}"
        happened = bench.device.sent >= number
        await assert_holds(bench, "1.0.0", where)
        # new data, a new purse: the old one's balance is gone with the old one's data
        assert balance(bench) == 0, where
        number += stride
    assert number > 10
