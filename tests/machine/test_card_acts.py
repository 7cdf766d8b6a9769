"""Cards are locked, unlocked and terminated, and get other keys for their managers; some are torn."""

import dataclasses
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.machine.approval_bench import asked, carried_out, desk, person
from tests.machine.bench import Bench
from tests.machine.figure_bench import CENTRAL, ISD, FigureBench

from opentsm.card.crypto.secret import Secret
from opentsm.tsm.domain.approval import Act, ApprovalState
from opentsm.tsm.domain.operation import OperationState
from opentsm.tsm.domain.secure_element import LossReport, SeState
from opentsm.tsm.domain.service import EndReason, InstanceState
from opentsm.tsm.domain.tenant import Principal, Tenant, TenantKind
from opentsm.tsm.kernel.errors import ForbiddenError, NotFoundError
from opentsm.tsm.kernel.ids import KeyHandle, TenantId
from opentsm.tsm.roles.hub.approvals.card_acts import CardActs
from opentsm.vse.card import CardIdentity, VirtualCard
from opentsm.vse.faults import TornError
from opentsm.vse.lifecycle import CardState
from opentsm.vse.nvm import MemoryNvm
from opentsm.vse.privileges import Privilege
from opentsm.vse.profiles import load_profile

OTHER = KeyHandle("another-master")


@pytest.fixture
async def bench(dsn: str, tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(dsn, tmp_path)
    await made.open()
    await made.seed()
    yield made
    await made.close()


@pytest.fixture
async def figure(dsn: str, tmp_path: Path) -> AsyncIterator[FigureBench]:
    made = FigureBench(dsn, tmp_path, 700)
    await made.open()
    await made.seed()
    assert (await made.built()).state is OperationState.SUCCEEDED
    yield made
    await made.close()


async def operators(bench: Bench) -> Principal:
    """Register the operator, who acts for the central TSM."""
    id_ = TenantId(bench.world.new_id())
    tenant = Tenant(id=id_, kind=TenantKind.OPERATOR, name=id_, created_at=bench.world.now())
    async with bench.storage.transaction() as tx:
        await tx.tenants.add(tenant)
        await tx.commit()
    return Principal(tenant_id=id_, kind=TenantKind.OPERATOR)


def loses(number: int) -> Callable[[int], None]:
    def fault(sent: int) -> None:
        if sent == number:
            raise TornError

    return fault


async def test_card_when_locked_and_unlocked_by_two_people_then_it_was(bench: Bench) -> None:
    locked = await carried_out(bench, Act.LOCK_CARD)
    assert locked.state is OperationState.SUCCEEDED, locked.failure
    assert bench.card.image().isd.state == CardState.CARD_LOCKED
    deployed = await bench.run((await bench.deploy()).id)
    assert deployed.failure is not None and deployed.failure.code == "plan_refused"
    unlocked = await carried_out(bench, Act.UNLOCK_CARD)
    assert unlocked.state is OperationState.SUCCEEDED, unlocked.failure
    assert bench.card.image().isd.state == CardState.SECURED


async def test_card_when_terminated_then_retired_and_its_instances_end(bench: Bench) -> None:
    await bench.run((await bench.deploy()).id)
    ended = await carried_out(bench, Act.TERMINATE_CARD)
    assert ended.state is OperationState.SUCCEEDED, ended.failure
    assert bench.card.image().isd.state == CardState.TERMINATED
    async with bench.storage.transaction() as tx:
        se = await tx.secure_elements.get(bench.se_id)
    instance = await bench.instance()
    assert se is not None and se.state is SeState.RETIRED
    assert (instance.state, instance.end_reason) == (
        InstanceState.TERMINATED,
        EndReason.SECURE_ELEMENT_RETIRED,
    )


@pytest.mark.parametrize("when", ["before", "after"])
async def test_termination_when_an_answer_is_lost_then_the_card_ends_terminated(
    bench: Bench, when: str
) -> None:
    """After the last command no channel opens any more: the card is asked without one."""
    assert (await carried_out(bench, Act.TERMINATE_CARD)).state is OperationState.SUCCEEDED
    last = bench.device.sent
    for at in (2, last - 1, last):
        await bench.new_card()
        setattr(bench.device, when, loses(at))
        ended = await carried_out(bench, Act.TERMINATE_CARD)
        assert ended.state is OperationState.SUCCEEDED, (at, ended.failure)
        assert bench.card.image().isd.state == CardState.TERMINATED, at


@pytest.mark.parametrize(
    ("act", "privilege"),
    [(Act.LOCK_CARD, Privilege.CARD_LOCK), (Act.TERMINATE_CARD, Privilege.CARD_TERMINATE)],
    ids=["lock", "terminate"],
)
async def test_act_when_the_domain_lacks_the_privilege_then_refused_by_the_card(
    bench: Bench, act: Act, privilege: Privilege
) -> None:
    weaker = dataclasses.replace(
        load_profile(bench.profile_name), isd_privileges=f"{0x9EFE80 & ~privilege:06X}"
    )
    identity = CardIdentity.from_serial(bench.serial)
    bench.card = VirtualCard.issue(weaker, identity, bench.issuer_keys(), MemoryNvm())
    bench.card.power_on()
    bench.device.card = bench.card
    ended = await carried_out(bench, act)
    assert ended.failure is not None
    assert (ended.failure.code, ended.failure.status_word) == ("card_refused", "6985")
    assert bench.card.image().isd.state == CardState.SECURED
    async with bench.storage.transaction() as tx:
        se = await tx.secure_elements.get(bench.se_id)
    assert se is not None and se.state is SeState.VERIFIED


async def test_lost_card_when_its_issuer_locks_it_then_one_person_is_enough(bench: Bench) -> None:
    acts = CardActs(bench.conductor._s)
    async with bench.storage.transaction() as tx:
        se = await tx.secure_elements.get(bench.se_id)
        assert se is not None
        await tx.secure_elements.save(replace(se, loss=LossReport.LOST))
        await tx.commit()
    ended = await bench.run((await acts.lock_for_loss(bench.issuer_principal, bench.se_id)).id)
    assert ended.state is OperationState.SUCCEEDED, ended.failure
    assert bench.card.image().isd.state == CardState.CARD_LOCKED
    with pytest.raises(NotFoundError):
        await acts.lock_for_loss(replace(bench.issuer_principal, tenant_id=TenantId("another")), bench.se_id)


@pytest.mark.parametrize("master", ["", str(OTHER)], ids=["random", "derived"])
async def test_managers_keys_when_rotated_twice_then_each_time_the_card_has_one_other_set(
    bench: Bench, master: str
) -> None:
    await bench.ring.of(bench.issuer).import_key(OTHER, Secret(bench.world.random(16)))
    seen = [bench.profiles[bench.profile_name].initial_kvn]
    for _ in range(2):
        named = {"master": master} if master else {}
        ended = await carried_out(bench, Act.ROTATE_MANAGER_KEYS, **named)
        assert ended.state is OperationState.SUCCEEDED, ended.failure
        domain = bench.card.image().isd.domain
        assert domain is not None
        (kvn,) = {key.kvn for key in domain.keys}
        assert kvn not in seen[-1:]
        seen.append(kvn)
    deployed = await bench.run((await bench.deploy()).id)
    assert deployed.state is OperationState.SUCCEEDED, deployed.failure


async def test_managers_keys_when_the_master_is_unknown_then_nothing_changes(bench: Bench) -> None:
    ended = await carried_out(bench, Act.ROTATE_MANAGER_KEYS, master="no-such")
    assert ended.failure is not None and ended.failure.code == "not_found"
    assert not ended.changed_card


@pytest.mark.parametrize("when", ["before", "after"])
async def test_rotation_when_an_answer_is_lost_then_completed_and_no_retry_is_spent(
    bench: Bench, when: str
) -> None:
    assert (await carried_out(bench, Act.ROTATE_MANAGER_KEYS)).state is OperationState.SUCCEEDED
    for at in range(2, bench.device.sent + 1, 2 if when == "after" else 3):
        await bench.new_card()
        setattr(bench.device, when, loses(at))
        ended = await carried_out(bench, Act.ROTATE_MANAGER_KEYS)
        assert ended.state is OperationState.SUCCEEDED, (at, ended.failure)
        refused = [word for ins, word in bench.device.trace if ins == 0x82 and word != 0x9000]
        assert refused == [], at
        await assert_usable(bench)


async def assert_usable(bench: Bench) -> None:
    audit = await bench.requests.audit_secure_element(bench.issuer_principal, bench.se_id)
    assert (await bench.run(audit.id)).state is OperationState.SUCCEEDED


async def test_central_domain_when_the_operator_rotates_its_keys_then_services_go_on(
    figure: FigureBench,
) -> None:
    """One secure element's key version differs from its arrangement's, and everybody reckons with it."""
    operator = await operators(figure)
    acts = desk(figure)
    ada, ben = await person(figure, "Ada", operator), await person(figure, "Ben", operator)
    approval = await asked(figure, ada, Act.ROTATE_MANAGER_KEYS, security_domain=str(CENTRAL))
    done = await acts.decide(ben, approval.id, approve=True, reason="yearly")
    ended = await figure.run(done.outcome["operation"])  # type: ignore[arg-type]
    assert ended.state is OperationState.SUCCEEDED, ended.failure
    deployed = await figure.run((await figure.deploy()).id)
    assert deployed.state is OperationState.SUCCEEDED, deployed.failure
    again = await figure.built()
    assert again.state is OperationState.SUCCEEDED and not again.changed_card


async def test_central_domain_when_the_issuer_wants_its_keys_replaced_then_refused(
    figure: FigureBench,
) -> None:
    ada = await person(figure, "Ada")
    await person(figure, "Ben")
    with pytest.raises(ForbiddenError):
        await asked(figure, ada, Act.ROTATE_MANAGER_KEYS, security_domain=str(CENTRAL))


async def test_issuers_domain_when_rotated_in_an_arrangement_then_configuration_leaves_it(
    figure: FigureBench,
) -> None:
    ended = await carried_out(figure, Act.ROTATE_MANAGER_KEYS)
    assert ended.state is OperationState.SUCCEEDED, ended.failure
    again = await figure.built()
    assert again.state is OperationState.SUCCEEDED and not again.changed_card, again.failure
    domain = next(one for one in figure.card.image().instances if one.aid == bytes(ISD)).domain
    assert domain is not None and {key.kvn for key in domain.keys} == {0x39}


async def test_central_tsm_when_it_has_the_card_locked_then_the_issuers_domain_does_it(
    figure: FigureBench,
) -> None:
    """Figure 7: the central TSM locks and unlocks the secure element via the issuer security domain."""
    operator = await operators(figure)
    ada, ben = await person(figure, "Ada", operator), await person(figure, "Ben", operator)
    approval = await asked(figure, ada, Act.LOCK_CARD)
    done = await desk(figure).decide(ben, approval.id, approve=True, reason="fraud")
    ended = await figure.run(done.outcome["operation"])  # type: ignore[arg-type]
    assert ended.state is OperationState.SUCCEEDED, ended.failure
    with pytest.raises(ForbiddenError):
        await asked(figure, ada, Act.TERMINATE_CARD)


async def test_act_when_the_operation_is_not_asked_for_then_nothing_is_sent(bench: Bench) -> None:
    ada = await person(bench, "Ada")
    ben = await person(bench, "Ben")
    approval = await asked(bench, ada, Act.TERMINATE_CARD)
    refused = await desk(bench).decide(ben, approval.id, approve=False, reason="why?")
    assert refused.state is ApprovalState.REFUSED and refused.outcome == {}
    assert bench.device.sent == 0


async def test_act_when_the_card_was_retired_meanwhile_then_the_decision_is_not_taken(bench: Bench) -> None:
    ada, ben = await person(bench, "Ada"), await person(bench, "Ben")
    approval = await asked(bench, ada, Act.LOCK_CARD)
    await bench.onboarding().retire_secure_element(bench.issuer_principal, bench.se_id)
    with pytest.raises(NotFoundError):
        await desk(bench).decide(ben, approval.id, approve=True, reason="seen")
    found = await desk(bench).approval(ben, approval.id)
    assert found.state is ApprovalState.PENDING
