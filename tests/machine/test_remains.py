"""What a wiped provider leaves on the card of another: given up with it, and removed from the card."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from tests.machine.bench import DOMAIN, PURSE, PURSE_PACKAGE, Bench
from tests.machine.test_faults_activation import nfc, rules_on_card
from tests.machine.test_told import listen, told

from opentsm.card.codec.aid import Aid
from opentsm.tsm.custody.plain import application_key_handle
from opentsm.tsm.domain.operation import Operation, OperationState, OperationType
from opentsm.tsm.domain.secure_element import KeySetState, SeState
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.errors import ForbiddenError, NotFoundError
from opentsm.tsm.kernel.ids import InstanceId, SeId, TenantId
from opentsm.tsm.ports.repositories import OperationFilter, Page
from opentsm.tsm.roles.hub.remains import leave_behind
from opentsm.vse.faults import TornError

replace = msgspec.structs.replace
OPERATOR = Principal(tenant_id=TenantId("the operator"), kind=TenantKind.OPERATOR)
NFC = "scp03-nfc-i70"


@pytest.fixture
async def bench(dsn: str, tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(dsn, tmp_path, NFC)
    made.sandbox = True
    await made.open()
    await made.seed()
    yield made
    await made.close()


async def deployed(bench: Bench) -> None:
    """Put a service with access rules on the card."""
    ended = await bench.run((await bench.deploy(nfc(bench))).id)
    assert ended.state is OperationState.SUCCEEDED, ended.failure
    assert rules_on_card(bench)


async def clean_ups(bench: Bench) -> list[Operation]:
    wanted = OperationFilter(se_id=bench.se_id, type=OperationType.CLEAN_UP)
    async with bench.storage.transaction() as tx:
        return list(await tx.operations.list(Page(), wanted))


async def held(bench: Bench) -> dict[Aid, tuple[InstanceId, ...]]:
    async with bench.storage.transaction() as tx:
        return {claim.aid: claim.instance_ids for claim in await tx.secure_elements.claims(bench.se_id)}


async def give_keys_again(bench: Bench) -> None:
    """Make the keys that a provider needs, which went with the wipe."""
    provider = bench.ring.of(bench.provider)
    for name in ("purse-load", "purse-purchase", "purse-tac"):
        await provider.generate(application_key_handle(bench.provider, name))


def on_card(bench: Bench) -> set[Aid]:
    image = bench.card.image()
    found = {i.aid for i in image.instances} | {f.aid for f in image.load_files}
    return {Aid(aid) for aid in found - bench.factory_instances - bench.factory_load_files}


async def test_wipe_of_a_provider_when_its_card_is_another_issuers_then_the_card_is_cleared(
    bench: Bench,
) -> None:
    await deployed(bench)
    await listen(bench, bench.issuer)
    assert {DOMAIN, PURSE, PURSE_PACKAGE} <= on_card(bench)
    await bench.onboarding().wipe_party(OPERATOR, bench.provider)
    assert set(await held(bench)) == {DOMAIN, PURSE, PURSE_PACKAGE}
    (operation,) = await clean_ups(bench)
    assert (operation.tenant_id, operation.instance_id) == (bench.issuer, None)
    ended = await bench.run(operation.id)
    assert ended.state is OperationState.SUCCEEDED, ended.failure
    assert on_card(bench) == set()
    assert rules_on_card(bench) == set()
    assert await held(bench) == {}
    async with bench.storage.transaction() as tx:
        keys = await tx.key_sets.list(bench.issuer, bench.se_id, DOMAIN)
        assert (await tx.secure_elements.content(bench.se_id)).own_access == {}
    assert {one.state for one in keys} <= {KeySetState.RETIRED}
    events = {one.event: one for one in await told(bench, bench.issuer)}
    assert b'"reason":"provider_wiped"' in events["instance.terminated"].body
    assert "operation.succeeded" in events


async def test_wipe_of_a_provider_when_the_same_service_comes_back_then_it_waits_for_the_clearing(
    bench: Bench,
) -> None:
    await deployed(bench)
    await bench.onboarding().wipe_party(OPERATOR, bench.provider)
    await give_keys_again(bench)
    again = await bench.deploy()
    ended = await bench.run(again.id)
    assert ended.state is OperationState.SUCCEEDED, ended.failure
    (cleared,) = await clean_ups(bench)
    assert cleared.state is OperationState.SUCCEEDED
    assert (await held(bench))[PURSE] == (bench.instance_id,)


async def test_clean_up_when_the_card_is_lost_at_every_command_then_it_ends_cleared(bench: Bench) -> None:
    await deployed(bench)
    await bench.onboarding().wipe_party(OPERATOR, bench.provider)
    (operation,) = await clean_ups(bench)
    lost: set[int] = set()

    def fault(sent: int) -> None:
        if sent % 3 == 0 and len(lost) < 4:
            lost.add(sent)
            raise TornError

    bench.device.after = fault
    ended = await bench.run(operation.id)
    assert lost
    assert ended.state is OperationState.SUCCEEDED, ended.failure
    assert on_card(bench) == set()
    assert await held(bench) == {}


async def test_wipe_when_another_instance_uses_the_load_file_then_it_stays(bench: Bench) -> None:
    bench.description = replace(bench.description, extradite=True)
    await bench.run((await bench.deploy()).id)
    gone = bench.instance_id
    other = replace(
        bench.description,
        service_id=bench.world.new_id(),
        sd_aid=Aid.from_hex("F04F54534DF0000000000002"),
        applications=(
            replace(bench.description.applications[0], instance_aid=Aid.from_hex("F04F54534D020102")),
        ),
    )
    second = await bench.run((await bench.deploy(other)).id)
    assert second.state is OperationState.SUCCEEDED, second.failure
    async with bench.storage.transaction() as tx:
        se = await tx.secure_elements.get(bench.se_id)
        assert se is not None
        await leave_behind(tx, bench.world, se, [gone], actor="tsm")
        await tx.belongings.remove_instances([gone])
        await tx.commit()
    (operation,) = await clean_ups(bench)
    ended = await bench.run(operation.id)
    assert ended.state is OperationState.SUCCEEDED, ended.failure
    assert PURSE not in on_card(bench)
    assert PURSE_PACKAGE in on_card(bench)
    assert (await held(bench))[PURSE_PACKAGE] == (bench.instance_id,)


async def test_wipe_when_nothing_came_on_the_card_then_no_clean_up(bench: Bench) -> None:
    await bench.deploy()
    await bench.onboarding().wipe_party(OPERATOR, bench.provider)
    assert await clean_ups(bench) == []


async def test_clean_up_when_holders_are_not_on_record_then_they_are_taken_for_gone(bench: Bench) -> None:
    """As a wipe before there were clean-ups left them."""
    await deployed(bench)
    async with bench.storage.transaction() as tx:
        await tx.belongings.remove_instances([bench.instance_id])
        await tx.commit()
    asked = await bench.requests.clean_up(bench.issuer_principal, bench.se_id)
    assert (await bench.run(asked.id)).state is OperationState.SUCCEEDED
    assert on_card(bench) == set()


async def test_clean_up_when_everything_has_its_holder_then_nothing_is_removed(bench: Bench) -> None:
    await deployed(bench)
    before = on_card(bench)
    asked = await bench.requests.clean_up(bench.issuer_principal, bench.se_id)
    assert (await bench.run(asked.id)).state is OperationState.SUCCEEDED
    assert on_card(bench) == before


async def test_clean_up_when_asked_for_by_others_then_refused(bench: Bench) -> None:
    with pytest.raises(ForbiddenError):
        await bench.requests.clean_up(bench.principal, bench.se_id)
    stranger = replace(bench.issuer_principal, tenant_id=TenantId(bench.world.new_id()))
    for principal, se_id in ((stranger, bench.se_id), (bench.issuer_principal, SeId("none"))):
        with pytest.raises(NotFoundError):
            await bench.requests.clean_up(principal, se_id)


async def test_termination_when_its_card_was_retired_before_then_it_ends_without_the_card(
    bench: Bench,
) -> None:
    """As a retirement left instances before it ended them itself."""
    await deployed(bench)
    async with bench.storage.transaction() as tx:
        se = await tx.secure_elements.get(bench.se_id)
        assert se is not None
        await tx.secure_elements.save(replace(se, state=SeState.RETIRED))
        await tx.commit()
    sent = bench.device.sent
    asked = await bench.requests.change(bench.principal, bench.instance_id, OperationType.TERMINATE)
    await bench.work()
    ended = await bench.operation(asked.id)
    assert (ended.state, ended.result) == (OperationState.SUCCEEDED, {"reason": "secure_element_retired"})
    instance = await bench.instance()
    assert (instance.state.name, instance.sealed_data) == ("TERMINATED", b"")
    assert instance.end_reason is not None
    assert instance.end_reason.value == "secure_element_retired"
    assert bench.device.sent == sent
    assert await held(bench) == {}
