"""Calls of an app on a device: who may ask, which secure element is chosen, every state with every call."""

import asyncio
import dataclasses
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from tests.machine.bench import Bench
from tests.machine.campaigns import ANSWER_LOST, break_at

from opentsm.tsm.domain.card_content import Stage
from opentsm.tsm.domain.device_call import (
    AlreadyExistsError,
    CallUnauthorizedError,
    DeviceCallError,
    InvalidArgumentError,
    NoEligibleScError,
    NotAllowedError,
    NotAuthenticatedError,
    OrphanedInstanceError,
    ResourceNotFoundError,
    TsmErrorType,
)
from opentsm.tsm.domain.operation import BULK_PRIORITY, ENDED, Operation, OperationState, OperationType
from opentsm.tsm.domain.secure_element import SecureElement, SeState
from opentsm.tsm.domain.service import InstanceState, ServiceInstance
from opentsm.tsm.kernel.ids import DeviceId, InstanceId, OperationId, TenantId
from opentsm.tsm.ports.repositories import Page
from opentsm.tsm.roles.hub.device_calls import DeviceCaller, DeviceCalls

replace = msgspec.structs.replace

NOTHING = InstanceId("00000000-0000-7000-8000-000000000000")
LETTERS = {"I": Stage.INSTALL, "P": Stage.PERSONALIZE, "A": Stage.ACTIVATE}
LISTS = ["".join(one) for length in range(4) for one in itertools.permutations("IPA", length)]
FROM_NOTHING = {"IAP", "IA", "IPA", "IP", "I"}
# BSI TR-03165, sections 4.2.5.3 and 4.2.5.4; from IN_ERROR the missing steps (3.2.2)
DEPLOY = {
    InstanceState.NOT_DEPLOYED: FROM_NOTHING,
    InstanceState.INITIALIZED: set[str](),
    InstanceState.INSTALLED: {"AP", "PA", "A"},
    InstanceState.PERSONALIZED: {"A", ""},
    InstanceState.ACTIVATED: {"P", ""},
    InstanceState.OPERATIONAL: set[str](),
    InstanceState.SUSPENDED: set[str](),
    InstanceState.IN_ERROR: FROM_NOTHING | {"AP", "PA", "A", "P"},
}
DEPLOYED = (InstanceState.OPERATIONAL, InstanceState.SUSPENDED)


@pytest.fixture
async def bench(dsn: str, tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(dsn, tmp_path)
    await made.open()
    await made.seed()
    await bind(made)
    offer(made, "1.0.0")
    yield made
    await made.close()


async def bind(bench: Bench) -> None:
    """Let the card have proved itself through the device."""
    async with bench.storage.transaction() as tx:
        se = await tx.secure_elements.get(bench.se_id)
        assert se is not None
        await tx.secure_elements.save(replace(se, device_id=bench.device_id, state=SeState.VERIFIED))
        await tx.commit()


def offer(bench: Bench, *tags: str) -> None:
    for tag in tags:
        bench.catalogue.versions[tag] = replace(bench.description, version_tag=tag)


async def create(bench: Bench, version: str = "x.x.x") -> ServiceInstance:
    return await bench.calls.create_instance(
        bench.caller, service_id=bench.description.service_id, version_pattern_or_tag=version
    )


async def put(bench: Bench, state: InstanceState) -> ServiceInstance:
    """Put the one instance of the service into a state."""
    instance = await create(bench)
    async with bench.storage.transaction() as tx:
        found = await tx.instances.get(instance.id)
        assert found is not None
        saved = await tx.instances.save(replace(found, state=state, renewal=None))
        await tx.commit()
    return saved


def deploying(
    bench: Bench, instance: ServiceInstance, letters: str, *, finalize: bool = False
) -> Awaitable[Operation]:
    return bench.calls.deploy(
        bench.caller,
        instance.id,
        commands=tuple(LETTERS[letter] for letter in letters),
        finalize=finalize,
        suspension_control=False,
        data={},
    )


def updating(
    bench: Bench, instance: ServiceInstance, letters: str, *, finalize: bool = False, version: str = "2.0.0"
) -> Awaitable[Operation]:
    return bench.calls.update(
        bench.caller,
        instance.id,
        version=version,
        commands=tuple(LETTERS[letter] for letter in letters),
        finalize=finalize,
        suspension_control=False,
        data={},
    )


async def refusal(call: Awaitable[object]) -> int:
    """Return the error type of a call; 0 when it is accepted."""
    try:
        await call
    except DeviceCallError as error:
        return error.type.value
    return 0


def expected(legal: set[str], letters: str, finalize: bool) -> int:
    if not letters and not finalize:
        return 4
    return 0 if letters in legal and not (finalize and letters == "I") else 13


@pytest.mark.parametrize("state", DEPLOY)
async def test_calls_when_made_in_any_state_are_accepted_exactly_where_the_guideline_lists_them(
    bench: Bench, state: InstanceState
) -> None:
    for letters, finalize in itertools.product(LISTS, (False, True)):
        instance = await put(bench, state)
        where = f"{state.name} [{letters}] {finalize}"
        found = await refusal(deploying(bench, instance, letters, finalize=finalize))
        assert found == expected(DEPLOY[state], letters, finalize), f"deploy {where}"
        offer(bench, "2.0.0")
        instance = await put(bench, state)
        found = await refusal(updating(bench, instance, letters, finalize=finalize))
        legal = FROM_NOTHING if state in DEPLOYED else set[str]()
        assert found == expected(legal, letters, finalize), f"update {where}"
        del bench.catalogue.versions["2.0.0"]
    for suspend in (True, False):
        found = await refusal(bench.calls.suspend_or_resume(bench.caller, instance.id, suspend=suspend))
        assert found == (0 if state in DEPLOYED else 13)
    assert await refusal(bench.calls.terminate(bench.caller, instance.id)) == 0


@pytest.mark.parametrize("state", [state for state in DEPLOY if state is not InstanceState.NOT_DEPLOYED])
async def test_calls_when_the_instance_is_orphaned_are_refused_but_suspend_resume_and_terminate(
    bench: Bench, state: InstanceState
) -> None:
    """TR-03165 section 3.2.3: anything else is error 12, whatever the state."""
    instance = await put(bench, state)
    offer(bench, "2.0.0")
    bench.catalogue.deleted = True
    for letters in LISTS:
        with pytest.raises(OrphanedInstanceError):
            await deploying(bench, instance, letters, finalize=True)
        with pytest.raises(OrphanedInstanceError):
            await updating(bench, instance, letters, finalize=True)
    for suspend in (True, False):
        found = await refusal(bench.calls.suspend_or_resume(bench.caller, instance.id, suspend=suspend))
        assert found == (0 if state in DEPLOYED else 13)
    assert await refusal(bench.calls.terminate(bench.caller, instance.id)) == 0


@pytest.mark.parametrize(("letters", "sealed"), [("I", []), ("IA", []), ("IP", [{}]), ("IPA", [{}])])
async def test_update_when_no_command_personalises_then_it_needs_no_data(
    bench: Bench, letters: str, sealed: list[dict[str, str]]
) -> None:
    """TR-03165 section 4.2.5.4: a later call of deployService personalises, and brings the data."""
    instance = await put(bench, InstanceState.OPERATIONAL)
    fresh = [replace(app, personalization="other", recipe_id="r") for app in bench.description.applications]
    bench.catalogue.versions["2.0.0"] = replace(
        bench.description, version_tag="2.0.0", applications=tuple(fresh)
    )
    bench.catalogue.sealed.clear()
    commands = tuple(LETTERS[letter] for letter in letters)
    await bench.calls.update(
        bench.caller,
        instance.id,
        version="2.0.0",
        commands=commands,
        finalize=False,
        suspension_control=False,
    )
    assert bench.catalogue.sealed == sealed


async def test_creation_when_repeated_gives_the_same_instance_until_it_is_terminated(bench: Bench) -> None:
    first = await create(bench)
    assert (first.state, first.se_id) == (InstanceState.NOT_DEPLOYED, bench.se_id)
    assert (await create(bench, "1.0.0")).id == first.id
    found = await bench.calls.instances(bench.caller, bench.description.service_id)
    assert [one.id for one in found] == [first.id]
    await bench.run((await bench.calls.terminate(bench.caller, first.id)).id)
    assert await bench.calls.instances(bench.caller, bench.description.service_id) == []
    with pytest.raises(ResourceNotFoundError):
        await bench.calls.instance(bench.caller, first.id)
    assert (await create(bench)).id != first.id


async def test_creation_when_another_call_makes_the_instance_meanwhile_gives_that_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other call comes between the look for instances and the look for a card."""
    made: list[ServiceInstance] = []
    looked = bench.calls._reachable
    calls = 0

    async def reached(caller: DeviceCaller) -> list[SecureElement]:
        nonlocal calls
        calls += 1
        if calls == 2:  # the first look was for instances
            made.append(
                await DeviceCalls(bench.calls._s).create_instance(
                    caller, service_id=bench.description.service_id, version_pattern_or_tag="x.x.x"
                )
            )
        return await looked(caller)

    monkeypatch.setattr(bench.calls, "_reachable", reached)
    assert (await create(bench)).id == made[0].id
    assert len(await bench.calls.instances(bench.caller, bench.description.service_id)) == 1


async def test_creation_when_another_version_is_there_already_exists(bench: Bench) -> None:
    await create(bench)
    offer(bench, "2.0.0")
    with pytest.raises(AlreadyExistsError, match=r"1\.0\.0"):
        await create(bench, "2.0.0")


async def test_creation_when_it_is_done_leaves_an_audit_entry_with_device_and_app(bench: Bench) -> None:
    instance = await create(bench)
    async with bench.storage.transaction() as tx:
        entries = await tx.audit.list(bench.provider, Page(limit=50), subject=instance.id)
    assert [(entry.action, entry.actor) for entry in entries] == [("instance.created", bench.device_id)]
    assert entries[0].details["caller"] == "ab" * 32


@pytest.mark.parametrize("version", ["1.x", "x.1.x", "", "1.0.0 "])
async def test_creation_when_the_version_is_no_pattern_is_an_invalid_argument(
    bench: Bench, version: str
) -> None:
    with pytest.raises(InvalidArgumentError):
        await create(bench, version)


async def test_creation_when_there_is_no_such_version_or_service_is_not_found(bench: Bench) -> None:
    with pytest.raises(ResourceNotFoundError):
        await create(bench, "9.9.9")
    with pytest.raises(ResourceNotFoundError):
        await bench.calls.create_instance(bench.caller, service_id="another", version_pattern_or_tag="x.x.x")


async def test_creation_when_no_version_fits_or_the_card_is_out_of_use_finds_no_eligible_one(
    bench: Bench,
) -> None:
    with pytest.raises(NoEligibleScError):
        await create(bench, "9.x.x")
    async with bench.storage.transaction() as tx:
        se = await tx.secure_elements.get(bench.se_id)
        assert se is not None
        await tx.secure_elements.save(replace(se, state=SeState.QUARANTINED))
        await tx.commit()
    with pytest.raises(NoEligibleScError):
        await create(bench)


async def test_calls_when_the_device_is_another_find_nothing(bench: Bench) -> None:
    instance = await create(bench)
    mine = bench.caller
    await bench.new_card()
    await bind(bench)
    with pytest.raises(ResourceNotFoundError):
        await bench.calls.instance(bench.caller, instance.id)
    assert await bench.calls.instances(bench.caller, instance.description.service_id) == []
    operation = await bench.calls.terminate(mine, instance.id)
    assert (await bench.calls.process(mine, operation.id)).id == operation.id
    with pytest.raises(ResourceNotFoundError):
        await bench.calls.process(bench.caller, operation.id)


@pytest.mark.parametrize(
    "call",
    [
        lambda b, c, i: b.calls.instance(c, i),
        lambda b, c, i: b.calls.terminate(c, i),
        lambda b, c, i: b.calls.suspend_or_resume(c, i, suspend=True),
        lambda b, c, i: b.calls.check_update(c, i, "x.x.x"),
        lambda b, c, i: b.calls.process(c, OperationId(i)),
    ],
)
async def test_calls_when_the_provider_is_another_are_answered_as_for_what_does_not_exist(
    bench: Bench, call: Callable[[Bench, DeviceCaller, InstanceId], Awaitable[object]]
) -> None:
    instance = await create(bench)
    other = DeviceCaller(TenantId(bench.world.new_id()), bench.device_id)
    with pytest.raises(ResourceNotFoundError) as foreign:
        await call(bench, other, instance.id)
    with pytest.raises(ResourceNotFoundError) as unknown:
        await call(bench, bench.caller, NOTHING)
    assert foreign.value.detail == unknown.value.detail


async def test_calls_when_the_device_is_not_enrolled_are_not_authenticated(bench: Bench) -> None:
    stranger = DeviceCaller(bench.provider, DeviceId(bench.world.new_id()))
    with pytest.raises(NotAuthenticatedError):
        await bench.calls.instances(stranger, bench.description.service_id)


async def test_check_when_versions_are_offered_tells_the_highest_that_fits(bench: Bench) -> None:
    offer(bench, "1.2.0", "1.2.7", "2.0.0")
    service = bench.description.service_id
    answers = {
        pattern: (await bench.calls.check_deployment(bench.caller, service, pattern)).version
        for pattern in ("1.2.0", "1.2.x", "1.x.x", "X.x.X", "3.x.x", "1.2.9")
    }
    assert answers == {
        "1.2.0": "1.2.0",
        "1.2.x": "1.2.7",
        "1.x.x": "1.2.7",
        "X.x.X": "2.0.0",
        "3.x.x": None,
        "1.2.9": None,
    }
    instance = await create(bench, "1.2.0")
    updates = {
        pattern: (await bench.calls.check_update(bench.caller, instance.id, pattern)).version
        for pattern in ("1.2.0", "1.0.x", "1.2.x", "x.x.x")
    }
    assert updates == {"1.2.0": None, "1.0.x": None, "1.2.x": "1.2.7", "x.x.x": "2.0.0"}
    told = await bench.calls.check_update(bench.caller, instance.id, "x.x.x")
    assert told.information is not None
    assert told.information.service_version_tag == "2.0.0"


async def test_form_when_asked_for_then_of_what_is_there_or_would_come(bench: Bench) -> None:
    offer(bench, "1.2.0", "2.0.0")
    service = bench.description.service_id
    asked = bench.calls.user_form
    assert (await asked(bench.caller, service, "1.x.x")).version == "1.2.0"
    await create(bench, "1.0.0")
    answers = [(await asked(bench.caller, service, tag)).version for tag in ("1.x.x", "1.2.x", "2.0.0")]
    assert answers == ["1.0.0", "1.2.0", "2.0.0"]
    with pytest.raises(NoEligibleScError):
        await asked(bench.caller, service, "3.x.x")
    with pytest.raises(ResourceNotFoundError):
        await asked(bench.caller, "another", "x.x.x")
    with pytest.raises(CallUnauthorizedError):
        await asked(replace_services(bench.caller, "another"), service, "x.x.x")


def replace_services(caller: DeviceCaller, *services: str) -> DeviceCaller:
    return dataclasses.replace(caller, services=services)


async def test_update_when_the_version_is_there_already_finds_no_eligible_card(bench: Bench) -> None:
    instance = await put(bench, InstanceState.OPERATIONAL)
    with pytest.raises(NoEligibleScError):
        await updating(bench, instance, "IPA", finalize=True, version="1.0.0")
    with pytest.raises(InvalidArgumentError):
        await updating(bench, instance, "IPA", finalize=True, version="1.x.x")


async def test_update_when_another_waits_is_not_allowed_until_that_is_cancelled(bench: Bench) -> None:
    instance = await put(bench, InstanceState.OPERATIONAL)
    offer(bench, "2.0.0", "3.0.0")
    waiting = await updating(bench, instance, "IPA", finalize=True)
    with pytest.raises(NotAllowedError, match=waiting.id):
        await updating(bench, instance, "IPA", finalize=True, version="3.0.0")
    await bench.requests.cancel(bench.principal, waiting.id)
    assert (await bench.calls.instance(bench.caller, instance.id)).renewal is None
    again = await updating(bench, instance, "IPA", finalize=True, version="3.0.0")
    assert again.type is OperationType.UPDATE


async def test_resumption_when_the_issuer_locked_the_instance_is_not_allowed(bench: Bench) -> None:
    instance = await put(bench, InstanceState.SUSPENDED)
    offer(bench, "2.0.0")
    async with bench.storage.transaction() as tx:
        await tx.instances.save(replace(instance, suspended_by=bench.issuer))
        await tx.commit()
    with pytest.raises(NotAllowedError, match="issuer"):
        await bench.calls.suspend_or_resume(bench.caller, instance.id, suspend=False)
    with pytest.raises(NotAllowedError, match="issuer"):
        await updating(bench, instance, "IPA", finalize=True)


async def test_terminations_when_asked_for_at_once_then_each_ends_as_a_success(bench: Bench) -> None:
    instance = await create(bench)
    await bench.run((await deploying(bench, instance, "IPA", finalize=True)).id)
    asked = await asyncio.gather(*(bench.calls.terminate(bench.caller, instance.id) for _ in range(4)))
    assert len({one.id for one in asked}) == 4
    sent = bench.device.sent
    first = await bench.run(asked[0].id)
    assert first.state is OperationState.SUCCEEDED
    removed, processes = bench.device.sent, [await bench.run(one.id) for one in asked]
    assert [one.state for one in processes] == [OperationState.SUCCEEDED] * 4, processes
    assert bench.device.sent == removed > sent  # the later ones sent the card nothing
    views = [await bench.calls.process_view(bench.caller, one) for one in processes]
    assert {view.error for view in views} == {TsmErrorType.NO_ERROR}
    assert {view.progress for view in views} == {100}
    with pytest.raises(ResourceNotFoundError):
        await bench.calls.terminate(bench.caller, instance.id)


async def test_termination_when_the_service_came_back_meanwhile_leaves_the_new_instance_alone(
    bench: Bench,
) -> None:
    instance = await create(bench)
    await bench.run((await deploying(bench, instance, "IPA", finalize=True)).id)
    first, late = [await bench.calls.terminate(bench.caller, instance.id) for _ in range(2)]
    async with bench.storage.transaction() as tx:  # the late one's turn does not come yet
        found = await tx.operations.get(late.id)
        assert found is not None
        await tx.operations.save(replace(found, priority=BULK_PRIORITY))
        await tx.commit()
    await bench.run(first.id)
    again = await create(bench)
    await bench.run((await deploying(bench, again, "IPA", finalize=True)).id)
    assert (await bench.run(late.id)).state is OperationState.SUCCEEDED
    assert (await bench.calls.instance(bench.caller, again.id)).state is InstanceState.OPERATIONAL
    ended = await bench.run((await bench.calls.terminate(bench.caller, again.id)).id)
    assert ended.state is OperationState.SUCCEEDED


@pytest.mark.parametrize("number", [20, 30])
async def test_progress_when_an_answer_is_lost_then_what_a_poll_sees_never_goes_back(
    bench: Bench, number: int
) -> None:
    instance = await create(bench)
    operation = await deploying(bench, instance, "IPA", finalize=True)
    break_at(bench, ANSWER_LOST, number)
    seen, plans = [0], 0
    for _ in range(60):
        operation = await bench.run_once(operation.id)
        plans = max(plans, operation.plan_number)
        seen.append((await bench.calls.process_view(bench.caller, operation)).progress)
        if operation.state in ENDED:
            break
    assert operation.state is OperationState.SUCCEEDED
    assert bench.device.sent > number
    assert plans > 2  # what was planned after the loss began before the point that was reached
    assert seen == sorted(seen), seen
    assert seen[-1] == 100
