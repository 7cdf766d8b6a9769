"""Quotas, reservations, the fit check, and cards that are full: nothing is left behind, nothing is lost."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import msgspec
import pytest
from tests.machine.bench import DOMAIN, PURSE, Bench, Device
from tests.machine.campaigns import CUT_AFTER, break_at, fresh_start
from tests.machine.delegated_bench import DelegatedBench
from tests.machine.two_versions import (
    BADGE,
    BALANCE,
    assert_holds,
    balance,
    deployed,
    offer_all,
    update,
    with_badge,
)

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.card_content import ServiceDescription
from opentsm.tsm.domain.operation import Operation, OperationState, OperationType
from opentsm.tsm.domain.service import InstanceState, ServiceInstance
from opentsm.tsm.domain.space import Reservation, SpaceLimits, SpaceQuota
from opentsm.tsm.kernel.errors import NoSpaceError, QuotaExceededError
from opentsm.tsm.kernel.ids import InstanceId, SpaceQuotaId, TenantId
from opentsm.tsm.ports.belongings import Belonging
from opentsm.tsm.roles.hub.topology import first_key_version
from opentsm.vse.card import CardIdentity, VirtualCard
from opentsm.vse.description import describe
from opentsm.vse.memory import INSTANCE_BYTES, instance_cost, used
from opentsm.vse.nvm import MemoryNvm
from opentsm.vse.profiles import load_profile

replace = msgspec.structs.replace

CHANGING = {0xE4, 0xE6, 0xE8, 0xE2, 0xF0, 0xD8}
FACTORY = 131_072


@pytest.fixture
async def bench(dsn: str, tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(dsn, tmp_path)
    await made.open()
    await made.seed()
    yield made
    await made.close()


def with_memory(bench: Bench, size: int) -> None:
    """Put a new card into the device that has so many bytes."""
    kind = load_profile({**load_profile("scp03-i70").to_dict(), "memory": size})
    identity = CardIdentity.from_serial(bench.serial)
    bench.card = VirtualCard.issue(kind, identity, bench.issuer_keys(), MemoryNvm())
    bench.card.power_on()
    bench.device = Device(bench.card)


def registry(bench: Bench) -> object:
    """Return all that the card holds but the counters of its keys, and what of its memory is taken."""
    shown = msgspec.json.decode(msgspec.json.encode(describe(bench.card.image(), FACTORY)))
    for entry in shown["instances"]:
        entry.get("domain", {}).pop("sequence", None)
    return shown


def understated(description: ServiceDescription) -> ServiceDescription:
    """Return a description whose load files pretend to be small: the estimate is wrong on purpose."""
    files = tuple(replace(file, size=1) for file in description.load_files)
    return replace(description, load_files=files)


async def grant(bench: Bench, limits: SpaceLimits, provider: TenantId | None = None) -> None:
    async with bench.storage.transaction() as tx:
        await tx.space.add_quota(
            SpaceQuota(
                id=SpaceQuotaId(bench.world.new_id()),
                setter_id=bench.issuer,
                provider_id=provider,
                profile=bench.profile_name,
                limits=limits,
            )
        )
        await tx.commit()


async def reserved(bench: Bench) -> list[Reservation]:
    async with bench.storage.transaction() as tx:
        return list(await tx.space.reservations(bench.se_id))


async def cost(bench: Bench) -> int:
    """Return what the bench's service takes of a card, by deploying it on another one."""
    operation = await bench.run((await bench.deploy()).id)
    assert operation.state is OperationState.SUCCEEDED, operation.failure
    taken = used(bench.card.image())
    await bench.new_card()
    return taken - used(bench.card.image())


async def badge_service(bench: Bench) -> ServiceDescription:
    """Return another service of the provider, with a domain, load file and application of its own."""
    badge = await with_badge(bench)
    return replace(
        badge,
        service_id=bench.world.new_id(),
        sd_aid=Aid.from_hex("F04F54534DF0000000000002"),
        load_files=badge.load_files[1:],
        applications=badge.applications[1:],
    )


async def both(bench: Bench, *descriptions: ServiceDescription) -> list[Operation | BaseException]:
    """Ask at once for the deployment of several services."""
    made = [
        ServiceInstance(
            id=InstanceId(bench.world.new_id()),
            provider_id=bench.provider,
            se_id=bench.se_id,
            description=description,
            key_version=first_key_version(bench.profiles[bench.profile_name]),
            created_at=bench.world.now(),
        )
        for description in descriptions
    ]
    async with bench.storage.transaction() as tx:
        for instance in made:
            await tx.instances.add(instance)
        await tx.commit()
    asked = (bench.requests.change(bench.principal, one.id, OperationType.DEPLOY) for one in made)
    return await asyncio.gather(*asked, return_exceptions=True)


async def change(bench: Bench, type_: OperationType) -> Operation:
    operation = await bench.requests.change(bench.principal, bench.instance_id, type_)
    return await bench.run(operation.id)


# --- quotas and reservations ------------------------------------------------------------------------------


async def test_deploy_when_the_quota_is_too_small_is_refused_and_reserves_nothing(bench: Bench) -> None:
    await grant(bench, SpaceLimits(nonvolatile=1000))
    with pytest.raises(QuotaExceededError) as refused:
        await bench.deploy()
    assert "1000 bytes" in refused.value.detail
    assert refused.value.advice
    assert await reserved(bench) == []
    assert bench.device.sent == 0


async def test_quota_when_it_names_the_provider_goes_before_the_one_for_all(bench: Bench) -> None:
    await grant(bench, SpaceLimits(nonvolatile=1000))
    await grant(bench, SpaceLimits(nonvolatile=100_000), bench.provider)
    assert (await bench.run((await bench.deploy()).id)).state is OperationState.SUCCEEDED


async def test_quota_when_a_domain_is_made_is_told_to_the_card_too(bench: Bench) -> None:
    await grant(bench, SpaceLimits(domain_nonvolatile=30_000, domain_volatile=500))
    assert (await bench.run((await bench.deploy()).id)).state is OperationState.SUCCEEDED
    domain = next(one for one in bench.card.image().instances if one.aid == bytes(DOMAIN))
    assert (domain.quota, domain.volatile_quota) == (30_000, 500)


async def test_quota_of_a_domain_when_the_service_is_larger_is_refused(bench: Bench) -> None:
    await grant(bench, SpaceLimits(domain_nonvolatile=1000))
    with pytest.raises(QuotaExceededError, match="security domain"):
        await bench.deploy()


async def test_quota_when_it_is_lowered_while_the_operation_waits_ends_it_unsent(bench: Bench) -> None:
    operation = await bench.deploy()
    await grant(bench, SpaceLimits(nonvolatile=1000))
    ended = await bench.run(operation.id)
    assert ended.failure is not None
    assert ended.failure.code == "quota_exceeded"
    assert not CHANGING & {ins for ins, _ in bench.device.trace}
    assert (await bench.instance()).state is InstanceState.NOT_DEPLOYED
    assert await reserved(bench) == []


async def test_deploy_when_two_ask_at_once_for_the_last_of_a_quota_serves_one(bench: Bench) -> None:
    first, second = bench.description, await badge_service(bench)
    room = first.load_files[0].size + second.load_files[0].size + 2 * (64 + 256 + 256)
    await grant(bench, SpaceLimits(nonvolatile=room - 1))
    found = await both(bench, first, second)
    assert sum(isinstance(one, QuotaExceededError) for one in found) == 1, found
    kept = [one for one in found if isinstance(one, Operation)]
    assert [one.operation_id for one in await reserved(bench)] == [one.id for one in kept]


async def test_deploy_when_two_ask_at_once_for_the_last_free_bytes_serves_one(bench: Bench) -> None:
    first, second = bench.description, await badge_service(bench)
    with_memory(bench, used(bench.card.image()) + first.load_files[0].size + second.load_files[0].size + 1151)
    await bench.run((await bench.requests.audit_secure_element(bench.issuer_principal, bench.se_id)).id)
    found = await both(bench, first, second)
    assert sum(isinstance(one, NoSpaceError) for one in found) == 1, found
    assert len(await reserved(bench)) == 1


@pytest.mark.parametrize("end", ["cancelled", "expired", "succeeded"])
async def test_reservation_when_the_operation_ends_is_released(bench: Bench, end: str) -> None:
    operation = await bench.deploy()
    (held,) = await reserved(bench)
    assert held.needs.nonvolatile == bench.description.load_files[0].size + 64 + 256 + 256
    if end == "cancelled":
        await bench.requests.cancel(bench.principal, operation.id)
    elif end == "expired":
        async with bench.storage.transaction() as tx:
            await tx.operations.save(replace(operation, valid_until=bench.world.now()))
            await tx.commit()
        await bench.work()
    else:
        await bench.run(operation.id)
    assert (await bench.operation(operation.id)).state.value == end.upper().replace("EXPIRED", "FAILED")
    assert await reserved(bench) == []


# --- does it fit? ------------------------------------------------------------------------------------------


async def test_deploy_when_it_does_not_fit_sends_nothing_that_changes_the_card(bench: Bench) -> None:
    with_memory(bench, used(bench.card.image()) + 2000)
    before = registry(bench)
    operation = await bench.run((await bench.deploy()).id)
    assert operation.failure is not None
    assert operation.failure.code == "no_space"
    assert "2000 bytes free" in operation.failure.detail
    assert not CHANGING & {ins for ins, _ in bench.device.trace}
    assert registry(bench) == before
    assert (await bench.instance()).state is InstanceState.NOT_DEPLOYED
    # by now it is known, so the next one is refused at the door
    with pytest.raises(NoSpaceError, match="seconds ago"):
        await bench.requests.change(bench.principal, bench.instance_id, OperationType.DEPLOY)


async def test_deploy_when_the_picture_is_old_reads_the_card_before_it_refuses(bench: Bench) -> None:
    """What the picture says is too little may have become enough, unseen."""
    operation = await bench.deploy()
    async with bench.storage.transaction() as tx:
        known = await tx.secure_elements.content(bench.se_id)
        old = replace(known, fresh=True, free_memory=10, read_at=bench.world.now())
        await tx.secure_elements.save_content(bench.se_id, old)
        await tx.commit()
    ended = await bench.run(operation.id)
    assert ended.state is OperationState.SUCCEEDED, ended.failure


async def test_sizes_when_a_card_has_shown_them_are_those_of_the_next_estimate(bench: Bench) -> None:
    taken = await cost(bench)
    await bench.deploy()
    (held,) = await reserved(bench)
    # each part is rounded up to a byte
    assert taken <= held.needs.nonvolatile <= taken + len(held.parts)


# --- a full card -------------------------------------------------------------------------------------------


async def test_deploy_when_the_card_is_full_at_any_point_leaves_it_as_it_was(bench: Bench) -> None:
    whole = await cost(bench)
    points: set[str] = set()
    for spare in range(600, whole + 40, 577):
        await bench.new_card()
        with_memory(bench, used(bench.card.image()) + spare)
        before = registry(bench)
        await forget_sizes(bench)
        operation = await bench.run((await bench.deploy(understated(bench.description))).id)
        if operation.state is OperationState.SUCCEEDED:
            assert spare >= whole
            continue
        failure = operation.failure
        assert failure is not None
        assert (failure.code, failure.status_word) == ("card_full", "6A84"), (spare, failure)
        assert f"has {spare} bytes free" in failure.detail
        points.add((failure.step or "").split()[0])
        assert registry(bench) == before, spare
        assert (await bench.instance()).state is InstanceState.NOT_DEPLOYED
        assert await reserved(bench) == []
        async with bench.storage.transaction() as tx:
            assert not await tx.secure_elements.claims(bench.se_id)
    assert "load" in points


@pytest.mark.parametrize("step", ["install", "personalise"])
async def test_deploy_when_the_last_bytes_are_missing_is_undone_and_what_it_showed_is_kept(
    bench: Bench, step: str
) -> None:
    await bench.run((await bench.deploy()).id)
    purse = next(one for one in bench.card.image().instances if one.aid == bytes(PURSE))
    # an instance without data takes 64 bytes; the rest comes with its personalisation
    short = instance_cost(purse) - INSTANCE_BYTES + 1 if step == "install" else 1
    whole = used(bench.card.image())
    await bench.new_card()
    with_memory(bench, whole - short)
    before = registry(bench)
    await forget_sizes(bench)
    ended = await bench.run((await bench.deploy(understated(bench.description))).id)
    assert ended.failure is not None
    assert (ended.failure.step or "").startswith(step), ended.failure
    assert registry(bench) == before
    assert sum((await known_sizes(bench)).values()) > 64 + 256


async def known_sizes(bench: Bench) -> dict[str, int]:
    parts = ["domain", *(f"load:{file.sha256}" for file in bench.description.load_files)]
    async with bench.storage.transaction() as tx:
        return dict(await tx.space.sizes(bench.issuer, bench.profile_name, parts))


async def forget_sizes(bench: Bench) -> None:
    """Forget what cards showed, so that estimates are as wrong as they are meant to be."""
    async with bench.storage.transaction() as tx:
        while await tx.belongings.remove(Belonging.SPACE_SIZES, bench.issuer, 100):
            pass
        await tx.commit()


async def full_update(bench: Bench, spare: int) -> Operation:
    """Update to a version whose badge does not fit."""
    bench.catalogue.versions["2.0.0"] = small = understated(bench.catalogue.versions["2.0.0"])
    assert small.load_files[0].sha256 == bench.description.load_files[0].sha256
    return await update(bench, "2.0.0")


@pytest.fixture
async def narrow(dsn: str, tmp_path: Path) -> AsyncIterator[Bench]:
    """Give a card with version 1.0.0 on it, and 200 bytes more than that and the old parts of 2.0.0 need."""
    made = Bench(dsn, tmp_path)
    await made.open()
    await made.seed()
    await offer_all(made)
    await deployed(made)
    whole = used(made.card.image())
    await made.new_card()
    with_memory(made, whole + 900)
    await offer_all(made)
    await deployed(made)
    await forget_sizes(made)
    yield made
    await made.close()


async def test_update_when_the_card_is_full_brings_the_version_before_back(narrow: Bench) -> None:
    before = registry(narrow)
    ended = await narrow.run((await full_update(narrow, 900)).id)
    assert ended.failure is not None
    assert ended.failure.code == "card_full", ended.failure
    assert "brought back" in ended.failure.detail
    await assert_holds(narrow, "1.0.0")
    assert registry(narrow) == before
    assert (await narrow.instance()).state is InstanceState.OPERATIONAL
    assert balance(narrow) == BALANCE
    assert bytes(BADGE) not in {one.aid for one in narrow.card.image().instances}


async def test_update_when_power_is_cut_anywhere_until_it_is_undone_converges(narrow: Bench) -> None:
    before = registry(narrow)
    for number in count(4, 9):
        await fresh_start(narrow)
        await forget_sizes(narrow)
        break_at(narrow, CUT_AFTER, number)
        ended = await narrow.run((await full_update(narrow, 900)).id)
        where = f"torn at {number}"
        assert ended.failure is not None, where
        assert ended.failure.code == "card_full", (where, ended.failure)
        await assert_holds(narrow, "1.0.0", where)
        assert registry(narrow) == before, where
        if narrow.device.sent < number:
            break


async def test_deploy_when_the_instance_was_in_error_undoes_nothing(bench: Bench) -> None:
    whole = await cost(bench)
    with_memory(bench, used(bench.card.image()) + whole - 1)
    await forget_sizes(bench)
    operation = await bench.deploy(understated(bench.description))
    instance = await bench.instance()
    async with bench.storage.transaction() as tx:
        await tx.instances.save(replace(instance, state=InstanceState.IN_ERROR))
        await tx.commit()
    ended = await bench.run(operation.id)
    assert ended.failure is not None
    assert ended.failure.code == "card_full"
    assert "brought back" not in ended.failure.detail
    assert (await bench.instance()).state is InstanceState.IN_ERROR
    assert (await change(bench, OperationType.TERMINATE)).state is OperationState.SUCCEEDED


async def test_deploy_when_the_card_is_full_in_delegated_mode_leaves_it_as_it_was(
    dsn: str, tmp_path: Path
) -> None:
    bench = DelegatedBench(dsn, tmp_path)
    await bench.open()
    await bench.seed()
    taken = used(bench.card.image())
    bench.card_profile = {**load_profile("se-700").to_dict(), "memory": taken + 3000}
    await bench.new_card()
    before = registry(bench)
    ended = await bench.run((await bench.deploy(understated(bench.description))).id)
    assert ended.failure is not None
    assert ended.failure.code == "card_full", ended.failure
    assert registry(bench) == before
    assert (await bench.instance()).state is InstanceState.NOT_DEPLOYED
    await bench.close()
