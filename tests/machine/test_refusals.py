"""What goes wrong and may go wrong: named ends, agreeing pictures, nothing sent that should not be."""

import hashlib
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest
import structlog
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from tests.machine.bench import DOMAIN, PURSE, PURSE_PACKAGE, Bench, Device

from opentsm.card.codec.aid import Aid
from opentsm.card.crypto.secret import Secret
from opentsm.tsm.custody.plain import application_key_handle
from opentsm.tsm.domain.card_content import ApplicationSpecification, ObservedContent
from opentsm.tsm.domain.operation import Operation, OperationState, OperationType
from opentsm.tsm.domain.secure_element import SealedKeys, SeState, WrappedKeys
from opentsm.tsm.domain.service import InstanceState
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.errors import ConflictError, InvalidInputError, NotFoundError, OrphanedError
from opentsm.tsm.kernel.ids import DeviceId, KeyHandle, TenantId
from opentsm.tsm.ports.repositories import Page
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.device_link import Delivery
from opentsm.tsm.roles.hub.mending import Mending
from opentsm.tsm.roles.hub.order_answers import Report
from opentsm.tsm.roles.hub.parties import Lifetimes, OnboardingServices
from opentsm.tsm.roles.hub.registration import NewKeySet
from opentsm.tsm.roles.hub.settling import card_failure
from opentsm.vse.card import CardIdentity, KeyMaterial, VirtualCard
from opentsm.vse.faults import TornError
from opentsm.vse.nvm import MemoryNvm
from opentsm.vse.profiles import load_profile

replace = msgspec.structs.replace


@pytest.fixture
async def bench(dsn: str, tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(dsn, tmp_path)
    await made.open()
    await made.seed()
    yield made
    await made.close()


async def picture(bench: Bench) -> ObservedContent:
    async with bench.storage.transaction() as tx:
        return await tx.secure_elements.content(bench.se_id)


async def change(bench: Bench, type_: OperationType, *, loss: bool = False) -> Operation:
    return await bench.requests.change(bench.principal, bench.instance_id, type_, loss=loss)


def insert_card(bench: Bench, profile: str, secret: bytes) -> VirtualCard:
    keys = KeyMaterial(Secret(secret), Secret(secret), Secret(secret))
    card = VirtualCard.issue(load_profile(profile), CardIdentity.from_serial(bench.serial), keys, MemoryNvm())
    card.power_on()
    bench.card = card
    bench.device = Device(card)
    return card


async def test_deploy_when_the_card_holds_other_keys_quarantines_it_after_one_try(bench: Bench) -> None:
    card = insert_card(bench, "scp03-i70", bytes(range(16)))
    operation = await bench.run((await bench.deploy()).id)
    assert operation.state is OperationState.FAILED
    assert operation.failure is not None
    assert operation.failure.code == "wrong_card"
    async with bench.storage.transaction() as tx:
        se = await tx.secure_elements.get(bench.se_id)
    assert se is not None
    assert se.state is SeState.QUARANTINED
    assert bench.device.sent == 2, "only SELECT and INITIALIZE UPDATE"
    assert card.image().isd.domain is not None
    assert (await bench.instance()).state is InstanceState.NOT_DEPLOYED


async def test_operation_when_the_secure_element_is_quarantined_fails_without_sending(bench: Bench) -> None:
    insert_card(bench, "scp03-i70", bytes(range(16)))
    await bench.run((await bench.deploy()).id)
    sent = bench.device.sent
    operation = await bench.requests.audit_secure_element(bench.issuer_principal, bench.se_id)
    ended = await bench.run(operation.id)
    assert (ended.state, bench.device.sent) == (OperationState.FAILED, sent)
    assert ended.failure is not None
    assert ended.failure.code == "secure_element_quarantined"


async def test_deploy_when_the_card_was_rolled_back_quarantines_it(bench: Bench) -> None:
    """An old image of the card, with its old sequence counter, is not the card that was seen before."""
    nvm = bench.card._nvm
    old = nvm.load()
    assert old is not None
    await bench.run((await bench.deploy()).id)
    nvm.save(old)
    bench.card.power_off()
    bench.card.power_on()
    operation = await bench.requests.audit_secure_element(bench.issuer_principal, bench.se_id)
    ended = await bench.run(operation.id)
    assert ended.failure is not None
    assert "sequence counter" in ended.failure.detail


async def test_deploy_when_the_card_is_full_fails_with_the_cards_word_and_the_pictures_agree(
    bench: Bench, tmp_path: Path
) -> None:
    big = b"\x00" * 60_000
    digest = hashlib.sha256(big).hexdigest()
    # by its size it seems to fit
    reference = replace(bench.description.load_files[0], sha256=digest, size=100)
    async with bench.storage.transaction() as tx:
        await tx.load_files.put_block(digest, big)
        await tx.commit()
    keys = bench.issuer_keys()
    kind = load_profile({**load_profile("scp03-i70").to_dict(), "memory": 20_000})
    card = VirtualCard.issue(kind, CardIdentity.from_serial(bench.serial), keys, MemoryNvm())
    card.power_on()
    bench.card, bench.device = card, Device(card)
    operation = await bench.run((await bench.deploy(replace(bench.description, load_files=(reference,)))).id)
    assert operation.state is OperationState.FAILED
    assert operation.failure is not None
    assert operation.failure.status_word == "6A84"
    assert "load" in operation.failure.detail
    assert operation.failure.code == "card_full"
    assert (await bench.instance()).state is InstanceState.NOT_DEPLOYED
    known = await picture(bench)
    assert known.fresh
    assert {o.aid for o in known.objects} == {
        *(i.aid for i in card.image().instances),
        *(f.aid for f in card.image().load_files),
    }
    ended = await bench.run((await change(bench, OperationType.TERMINATE)).id)
    assert ended.state is OperationState.SUCCEEDED
    assert {i.aid for i in card.image().instances} == bench.factory_instances


async def test_deploy_when_the_module_is_not_in_the_load_file_fails_and_names_the_step(bench: Bench) -> None:
    app = bench.description.applications[0]
    wrong = replace(app, module=Aid.from_hex("F04F54534D02FF"))
    operation = await bench.run((await bench.deploy(replace(bench.description, applications=(wrong,)))).id)
    assert operation.state is OperationState.FAILED
    assert operation.failure is not None
    assert operation.failure.step is not None
    assert str(PURSE) in operation.failure.step
    assert operation.failure.status_word in ("6A88", "6A80")


async def test_deploy_when_the_aid_is_taken_by_a_foreign_object_refuses_and_leaves_it(bench: Bench) -> None:
    """The factory's PPSE is nobody's of ours: a service with its AID is refused before anything is sent."""
    ppse = Aid.from_hex("325041592E5359532E4444463031")
    app = ApplicationSpecification(
        instance_aid=ppse, load_file=PURSE_PACKAGE, module=bench.description.applications[0].module
    )
    operation = await bench.run((await bench.deploy(replace(bench.description, applications=(app,)))).id)
    assert operation.state is OperationState.FAILED
    assert operation.failure is not None
    assert operation.failure.code == "plan_refused"
    assert str(ppse) in operation.failure.detail
    assert not operation.changed_card
    assert {i.aid for i in bench.card.image().instances} == bench.factory_instances


async def test_queue_when_a_loss_is_reported_overtakes_what_waits(bench: Bench) -> None:
    await bench.run((await bench.deploy()).id)
    rotate = await change(bench, OperationType.ROTATE_KEYS)
    audit = await bench.requests.audit_secure_element(bench.issuer_principal, bench.se_id)
    loss = await change(bench, OperationType.SUSPEND, loss=True)
    await bench.run(loss.id)
    ended = await bench.operation(loss.id)
    assert ended.state is OperationState.SUCCEEDED
    assert (await bench.operation(audit.id)).state is not OperationState.SUCCEEDED
    await bench.run(audit.id)
    await bench.run(rotate.id)


async def test_cancel_when_nothing_was_sent_ends_at_once_and_sends_nothing(bench: Bench) -> None:
    operation = await bench.deploy()
    cancelled = await bench.requests.cancel(bench.principal, operation.id)
    assert cancelled.state is OperationState.CANCELLED
    await bench.work()
    assert not (await bench.exchange(Report(polling=True))).commands
    with pytest.raises(ConflictError, match="ended"):
        await bench.requests.cancel(bench.principal, operation.id)


async def test_cancel_when_the_operation_moves_meanwhile_looks_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker saves the operation between the cancellation's look and its own save."""
    operation = await bench.deploy()
    await bench.work()
    may_touch, looks = bench.requests._may_touch, 0

    async def moving(tx: UnitOfWork, principal: Principal, found: Operation) -> bool:
        nonlocal looks
        looks += 1
        if looks == 2:  # the first look was for an online system
            async with bench.storage.transaction() as other:
                await other.operations.save(found)
                await other.commit()
        return await may_touch(tx, principal, found)

    monkeypatch.setattr(bench.requests, "_may_touch", moving)
    assert (await bench.requests.cancel(bench.principal, operation.id)).cancel_requested
    await bench.work()
    assert (await bench.operation(operation.id)).state is OperationState.CANCELLED


async def test_cancel_when_an_order_waits_for_a_device_withdraws_it(bench: Bench) -> None:
    operation = await bench.deploy()
    await bench.work()
    await bench.requests.cancel(bench.principal, operation.id)
    await bench.work()
    assert (await bench.operation(operation.id)).state is OperationState.CANCELLED
    assert not (await bench.exchange(Report(polling=True))).commands


async def test_cancel_when_the_card_was_changed_already_fails_and_says_what_to_do(bench: Bench) -> None:
    operation = await bench.deploy()
    report = Report(polling=True)
    for _ in range(7):
        await bench.work()
        delivery = await bench.exchange(report)
        report = bench.device.run(delivery) if delivery.commands else Report(polling=True)
    await bench.requests.cancel(bench.principal, operation.id)
    ended = await bench.run(operation.id)
    assert ended.state is OperationState.FAILED
    assert ended.failure is not None
    assert ended.failure.code == "cancelled"
    assert (await bench.instance()).state is InstanceState.IN_ERROR
    ended = await bench.run((await change(bench, OperationType.DEPLOY)).id)
    assert ended.state is OperationState.SUCCEEDED
    assert (await bench.instance()).state is InstanceState.OPERATIONAL


async def test_operation_when_its_validity_ends_without_a_device_fails_as_expired(bench: Bench) -> None:
    await bench.deploy()
    instance = await bench.instance()
    soon = bench.world.now() + timedelta(seconds=5)
    operation = await bench.requests.change(
        bench.principal, instance.id, OperationType.TERMINATE, valid_until=soon
    )
    bench.world.shift += timedelta(seconds=10)
    await bench.sweep()
    await bench.work()
    ended = await bench.operation(operation.id)
    assert ended.state is OperationState.FAILED
    assert ended.failure is not None
    assert ended.failure.code == "expired"


async def test_request_when_its_validity_has_no_offset_names_the_field(bench: Bench) -> None:
    await bench.run((await bench.deploy()).id)
    with pytest.raises(InvalidInputError, match="offset") as caught:
        await bench.requests.change(
            bench.principal,
            bench.instance_id,
            OperationType.SUSPEND,
            valid_until=datetime(2099, 1, 1),
        )
    assert caught.value.field == "/valid_until"


async def test_request_when_made_by_another_tenant_finds_nothing(bench: Bench) -> None:
    operation = await bench.deploy()
    stranger = Principal(tenant_id=TenantId(bench.world.new_id()), kind=TenantKind.SERVICE_PROVIDER)
    other_issuer = Principal(tenant_id=TenantId(bench.world.new_id()), kind=TenantKind.SE_ISSUER)
    for principal in (stranger, other_issuer):
        with pytest.raises(NotFoundError):
            await bench.requests.operation(principal, operation.id)
        with pytest.raises(NotFoundError):
            await bench.requests.instance(principal, bench.instance_id)
        with pytest.raises(NotFoundError):
            await bench.requests.cancel(principal, operation.id)
        with pytest.raises(NotFoundError):
            await bench.requests.change(principal, bench.instance_id, OperationType.SUSPEND)


async def test_top_up_when_the_amount_or_transaction_is_bad_names_the_field(bench: Bench) -> None:
    await bench.run((await bench.deploy()).id)
    for amount in (0, -1, 2**31):
        with pytest.raises(InvalidInputError, match="amount"):
            await bench.requests.top_up(bench.principal, bench.instance_id, amount=amount)
    with pytest.raises(InvalidInputError, match="transaction"):
        await bench.requests.top_up(bench.principal, bench.instance_id, amount=1, transaction="xyz")


async def test_top_up_when_the_same_transaction_is_asked_for_twice_credits_once(bench: Bench) -> None:
    await bench.run((await bench.deploy()).id)
    for _ in range(2):
        operation = await bench.requests.top_up(
            bench.principal, bench.instance_id, amount=700, transaction="0011223344556677"
        )
        assert (await bench.run(operation.id)).state is OperationState.SUCCEEDED
    other = await bench.requests.top_up(bench.principal, bench.instance_id, amount=1)
    assert (await bench.run(other.id)).result == {"balance": 701}


async def test_top_up_when_the_transaction_id_was_used_for_another_amount_is_refused(bench: Bench) -> None:
    await bench.run((await bench.deploy()).id)
    for amount, state in ((700, OperationState.SUCCEEDED), (800, OperationState.FAILED)):
        operation = await bench.requests.top_up(
            bench.principal, bench.instance_id, amount=amount, transaction="0011223344556677"
        )
        ended = await bench.run(operation.id)
        assert ended.state is state
    assert ended.failure is not None
    assert (ended.failure.code, ended.traffic.apdus) == ("plan_refused", 0)
    other = await bench.requests.top_up(bench.principal, bench.instance_id, amount=1)
    assert (await bench.run(other.id)).result == {"balance": 701}


async def test_suspend_when_the_instance_is_not_deployed_refuses(bench: Bench) -> None:
    await bench.deploy()
    with pytest.raises(ConflictError, match="NOT_DEPLOYED"):
        await change(bench, OperationType.SUSPEND)


async def test_answers_when_a_relay_changes_one_do_not_count(bench: Bench) -> None:
    """R-MAC: an answer that was changed on the way is not believed; the card is read and work goes on."""
    operation = await bench.deploy()
    really = bench.device.run
    tampered: list[bool] = []

    def relay(delivery: Delivery) -> Report:
        report = really(delivery)
        if len(report.responses) > 4 and not tampered:
            tampered.append(True)
            changed = "00" + report.responses[3][2:]
            responses = (*report.responses[:3], changed, *report.responses[4:])
            return Report(**{**{f: getattr(report, f) for f in report.__slots__}, "responses": responses})
        return report

    bench.device.run = relay  # type: ignore[method-assign]
    ended = await bench.run(operation.id)
    assert tampered
    assert ended.state is OperationState.SUCCEEDED
    assert ended.plan.count(ended.plan[0]) > 1, "the registry was read again"


async def test_card_when_it_loses_power_between_orders_is_no_wrong_card(bench: Bench) -> None:
    """Between two orders a phone may cut the power: the session is gone, EXTERNAL AUTHENTICATE refused."""
    orders = 0
    while True:
        orders += 1
        await renew(bench)
        operation = await bench.deploy()
        really, seen = bench.device.run, 0

        def cycle(delivery: Delivery, run=really, at=orders) -> Report:  # type: ignore[no-untyped-def]
            nonlocal seen
            seen += 1
            if seen == at:
                bench.card.power_off()
                bench.card.power_on()
            return run(delivery)  # type: ignore[no-any-return]

        bench.device.run = cycle  # type: ignore[method-assign]
        ended = await bench.run(operation.id)
        assert ended.state is OperationState.SUCCEEDED, f"power lost before order {orders}: {ended.failure}"
        if seen < orders:
            break
    assert orders > 5


async def renew(bench: Bench) -> None:
    """Put another new card into the bench, as another secure element."""
    await bench.close()
    fresh = Bench(bench.dsn, bench.directory)
    bench.__dict__.update(fresh.__dict__)
    await bench.open()
    await bench.seed()


async def test_operation_when_the_card_dies_at_the_same_command_for_ever_gives_up(bench: Bench) -> None:
    def die(_: int) -> None:
        if bench.card.image().instance(bytes(DOMAIN)) is not None:
            raise TornError

    operation = await bench.deploy()
    bench.device.before = die
    ended = await bench.run(operation.id)
    assert ended.state is OperationState.FAILED
    assert ended.failure is not None
    assert ended.failure.code == "no_progress"


async def test_audit_when_an_operation_ran_has_every_change_of_state(bench: Bench) -> None:
    operation = await bench.run((await bench.deploy()).id)
    page = Page(limit=200)
    async with bench.storage.transaction() as tx:
        about_operation = [e.action for e in await tx.audit.list(bench.provider, page, subject=operation.id)]
        about_instance = [
            e.action for e in await tx.audit.list(bench.provider, page, subject=bench.instance_id)
        ]
        about_se = [e.action for e in await tx.audit.list(bench.issuer, page, subject=bench.se_id)]
    assert about_operation[:2] == ["operation.requested", "operation.started"]
    assert about_operation[-1] == "operation.succeeded"
    assert about_operation.count("operation.order-stored") == operation.traffic.round_trips
    assert about_instance == [
        "instance.initialized", "instance.installed", "instance.personalized", "instance.operational",
    ]  # fmt: skip
    assert "secure-element.verified" in about_se
    assert "secure-element.bound-to-device" in about_se


async def test_termination_when_another_came_before_it_succeeds_and_sends_nothing(bench: Bench) -> None:
    await bench.run((await bench.deploy()).id)
    first, second = [await change(bench, OperationType.TERMINATE) for _ in range(2)]
    await bench.run(first.id)
    ended = await bench.run(second.id)
    assert ended.state is OperationState.SUCCEEDED
    assert ended.traffic.apdus == 0
    assert {i.aid for i in bench.card.image().instances} == bench.factory_instances


@pytest.mark.parametrize("type_", [OperationType.SUSPEND, OperationType.ROTATE_KEYS])
async def test_operation_when_the_instance_was_terminated_while_it_waited_fails(
    bench: Bench, type_: OperationType
) -> None:
    await bench.run((await bench.deploy()).id)
    terminate = await change(bench, OperationType.TERMINATE)
    waiting = await change(bench, type_)
    await bench.run(terminate.id)
    ended = await bench.run(waiting.id)
    assert ended.state is OperationState.FAILED
    assert ended.failure is not None
    assert "TERMINATED" in ended.failure.detail
    assert {i.aid for i in bench.card.image().instances} == bench.factory_instances


async def test_key_rotations_when_two_wait_change_the_keys_twice(bench: Bench) -> None:
    await bench.run((await bench.deploy()).id)
    first, second = [await change(bench, OperationType.ROTATE_KEYS) for _ in range(2)]
    await bench.run(first.id)
    assert (await bench.run(second.id)).state is OperationState.SUCCEEDED
    domain = bench.card.image().instance(bytes(DOMAIN))
    assert domain is not None
    assert domain.domain is not None
    assert {key.kvn for key in domain.domain.keys} == {0x36}


async def test_top_up_when_the_purse_has_other_keys_fails_and_quarantines_nobody(bench: Bench) -> None:
    """One provider's fault must not close the issuer's secure element for the others."""
    await bench.run((await bench.deploy()).id)
    really = bench.ring.of(bench.provider)
    handle = application_key_handle(bench.provider, "purse-load")
    bench.ring.of(bench.provider)._keys[handle] = Secret(bytes(16))
    operation = await bench.requests.top_up(bench.principal, bench.instance_id, amount=5)
    ended = await bench.run(operation.id)
    assert really is bench.ring.of(bench.provider)
    assert ended.failure is not None
    assert ended.failure.code == "application_fault"
    async with bench.storage.transaction() as tx:
        se = await tx.secure_elements.get(bench.se_id)
    assert se is not None
    assert se.state is SeState.VERIFIED


async def test_device_when_the_secure_element_is_bound_to_another_loses_its_session(bench: Bench) -> None:
    async with bench.storage.transaction() as tx:
        se = await tx.secure_elements.get(bench.se_id)
        assert se is not None
        await tx.secure_elements.save(replace(se, device_id=DeviceId("another")))
        await tx.commit()
    with pytest.raises(NotFoundError):
        await bench.exchange(Report(polling=True))


async def test_resume_when_the_issuer_locked_the_service_is_the_issuers_alone(bench: Bench) -> None:
    await bench.run((await bench.deploy()).id)
    waiting = await change(bench, OperationType.RESUME)
    loss = await bench.requests.change(
        bench.issuer_principal, bench.instance_id, OperationType.SUSPEND, loss=True
    )
    await bench.run(loss.id)
    assert (await bench.run(waiting.id)).state is OperationState.FAILED
    await bench.run((await change(bench, OperationType.SUSPEND)).id)
    with pytest.raises(ConflictError, match="issuer"):
        await change(bench, OperationType.RESUME)
    resume = await bench.requests.change(bench.issuer_principal, bench.instance_id, OperationType.RESUME)
    assert (await bench.run(resume.id)).state is OperationState.SUCCEEDED
    await bench.run((await change(bench, OperationType.SUSPEND)).id)
    await bench.run((await change(bench, OperationType.RESUME)).id)
    assert (await bench.instance()).state is InstanceState.OPERATIONAL


async def test_orphaned_instance_when_asked_for_more_than_its_end_then_refused(bench: Bench) -> None:
    await bench.run((await bench.deploy()).id)
    bench.catalogue.deleted = True
    with pytest.raises(OrphanedError, match="TOP_UP is not possible: the instance is orphaned"):
        await bench.requests.top_up(bench.principal, bench.instance_id, amount=100)
    with pytest.raises(OrphanedError, match="ROTATE_KEYS is not possible"):
        await change(bench, OperationType.ROTATE_KEYS)
    async with bench.storage.transaction() as tx:
        await tx.instances.save(replace(await bench.instance(), state=InstanceState.IN_ERROR))
        await tx.commit()
    with pytest.raises(OrphanedError, match="DEPLOY is not possible") as refused:
        await change(bench, OperationType.DEPLOY)
    assert refused.value.status == 409
    assert refused.value.advice is not None
    assert "Terminate" in refused.value.advice


async def test_orphaned_instance_when_suspended_resumed_terminated_then_done(bench: Bench) -> None:
    await bench.run((await bench.deploy()).id)
    bench.catalogue.deleted = True
    for type_ in (OperationType.SUSPEND, OperationType.RESUME, OperationType.TERMINATE):
        ended = await bench.run((await change(bench, type_)).id)
        assert ended.state is OperationState.SUCCEEDED, ended
    assert (await bench.instance()).state is InstanceState.TERMINATED


async def test_queued_operation_when_its_flavor_goes_before_its_turn_then_fails_unsent(bench: Bench) -> None:
    operation = await bench.deploy()
    bench.catalogue.deleted = True
    ended = await bench.run(operation.id)
    assert ended.state is OperationState.FAILED
    assert ended.failure is not None
    assert ended.failure.code == "orphaned"
    assert bench.device.sent == 0


def mending(bench: Bench) -> Mending:
    services = OnboardingServices(
        storage=bench.storage,
        world=bench.world,
        profiles=bench.profiles,
        keystore_of=bench.ring.of,
        catalogue=bench.catalogue,
        lifetimes=Lifetimes(),
    )
    return Mending(services)


async def test_quarantine_when_the_key_sets_are_corrected_and_reinstated_then_deploys(bench: Bench) -> None:
    secret, transport = bytes(range(16)), bytes(range(32))
    insert_card(bench, "scp03-i70", secret)
    failed = await bench.run((await bench.deploy()).id)
    assert failed.failure is not None
    assert "/key-sets" in failed.failure.advice
    await bench.ring.of(bench.issuer).import_key(KeyHandle("batch-7"), Secret(transport))
    blob = aes_key_wrap(transport, secret * 3)
    new = NewKeySet(kvn=0x30, source=WrappedKeys(transport=KeyHandle("batch-7"), blob=blob))
    desk = mending(bench)
    for _ in range(2):
        se = await desk.replace_key_sets(bench.issuer_principal, bench.se_id, (new,))
        assert se.state is SeState.QUARANTINED
    async with bench.storage.transaction() as tx:
        (stored,) = await tx.key_sets.list(bench.issuer, bench.se_id)
    assert isinstance(stored.source, SealedKeys), "bound to its row"
    await desk.reinstate_secure_element(bench.issuer_principal, bench.se_id)
    ended = await bench.run((await change(bench, OperationType.DEPLOY)).id)
    assert ended.state is OperationState.SUCCEEDED, ended
    with pytest.raises(ConflictError, match="VERIFIED"):
        await desk.replace_key_sets(bench.issuer_principal, bench.se_id, (new,))


async def test_retirement_when_an_operation_waits_or_runs_then_refused(bench: Bench) -> None:
    desk = mending(bench)
    first = await bench.requests.audit_secure_element(bench.issuer_principal, bench.se_id)
    with pytest.raises(ConflictError, match=f"Operation {first.id} waits"):
        await desk.retire_secure_element(bench.issuer_principal, bench.se_id)
    await bench.work()
    with pytest.raises(ConflictError, match=f"Operation {first.id} works"):
        await desk.retire_secure_element(bench.issuer_principal, bench.se_id)
    await bench.run(first.id)
    retired = await desk.retire_secure_element(bench.issuer_principal, bench.se_id)
    assert retired.state is SeState.RETIRED
    late = await bench.requests.audit_secure_element(bench.issuer_principal, bench.se_id)
    ended = await bench.run(late.id)
    assert ended.failure is not None
    assert (ended.failure.code, "anew" in ended.failure.advice) == ("secure_element_retired", True)


async def test_log_when_a_card_is_quarantined_then_tells_the_operation_and_its_end(bench: Bench) -> None:
    insert_card(bench, "scp03-i70", bytes(range(16)))
    with structlog.testing.capture_logs() as lines:
        operation = await bench.run((await bench.deploy()).id)
    told = {line["event"]: line for line in lines}
    assert told["secure-element.quarantined"]["operation_id"] == operation.id
    assert told["operation.ended"] == {
        "event": "operation.ended",
        "log_level": "info",
        "operation_id": operation.id,
        "se_id": bench.se_id,
        "type": "DEPLOY",
        "state": "FAILED",
        "failure": "wrong_card",
    }


async def test_log_when_a_card_proves_itself_then_tells_to_which_device_it_is_bound(bench: Bench) -> None:
    with structlog.testing.capture_logs() as lines:
        await bench.run((await bench.deploy()).id)
    (bound,) = [line for line in lines if line["event"] == "secure-element.bound-to-device"]
    assert bound["device"] == bench.device_id
    (ended,) = [line for line in lines if line["event"] == "operation.ended"]
    assert (ended["state"], ended["failure"]) == ("SUCCEEDED", None)


@pytest.mark.parametrize("word", ["6D00", "6E00"])
def test_top_up_when_the_application_knows_no_such_command_then_no_word_of_balances(word: str) -> None:
    failure = card_failure(word, "top up", value=True)
    assert "balance" not in failure.advice
    assert "no top-up" in failure.advice
    assert "balance" in card_failure("6985", "top up", value=True).advice
