"""Deployments in stages through a card: what each call leaves on it, and what a later one finds done."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
from tests.machine.bench import PURSE, Bench

from opentsm.card import purse
from opentsm.card.codec.apdu import ResponseApdu
from opentsm.card.gp import commands as gp
from opentsm.tsm.domain.card_content import Stage
from opentsm.tsm.domain.device_call import TsmErrorType, error_type_of
from opentsm.tsm.domain.operation import Operation, OperationState
from opentsm.tsm.domain.secure_element import SeState
from opentsm.tsm.domain.service import InstanceState
from opentsm.vse.faults import TornError

replace = msgspec.structs.replace

LOADED, FILLED, OPEN = Stage.INSTALL, Stage.PERSONALIZE, Stage.ACTIVATE
DELETE, INSTALL, LOAD, STORE_DATA, SET_STATUS, PUT_KEY = 0xE4, 0xE6, 0xE8, 0xE2, 0xF0, 0xD8
CHANGING = {DELETE, INSTALL, LOAD, STORE_DATA, SET_STATUS, PUT_KEY}
# Card Specification 2.3.1, table 11-4: application states; b8 is the lock
INSTALLED, SELECTABLE, PERSONALIZED, LOCK = 0x03, 0x07, 0x0F, 0x80


@pytest.fixture
async def bench(dsn: str, tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(dsn, tmp_path)
    await made.open()
    await made.seed()
    async with made.storage.transaction() as tx:
        se = await tx.secure_elements.get(made.se_id)
        assert se is not None
        await tx.secure_elements.save(replace(se, device_id=made.device_id, state=SeState.VERIFIED))
        await tx.commit()
    made.catalogue.versions["1.0.0"] = made.description
    instance = await made.calls.create_instance(
        made.caller, service_id=made.description.service_id, version_pattern_or_tag="1.0.0"
    )
    made.instance_id = instance.id
    yield made
    await made.close()


async def ask(bench: Bench, *commands: Stage, finalize: bool = False, suspended: bool = False) -> Operation:
    return await bench.calls.deploy(
        bench.caller,
        bench.instance_id,
        commands=commands,
        finalize=finalize,
        suspension_control=suspended,
        data={} if FILLED in commands else None,
    )


async def stage(bench: Bench, *commands: Stage, finalize: bool = False, suspended: bool = False) -> set[int]:
    """Carry out commands; return the instructions that changed the card."""
    bench.device.trace.clear()
    ended = await bench.run((await ask(bench, *commands, finalize=finalize, suspended=suspended)).id)
    assert ended.state is OperationState.SUCCEEDED, ended.failure
    return {ins for ins, _ in bench.device.trace if ins in CHANGING}


async def state(bench: Bench) -> InstanceState:
    return (await bench.instance()).state


def on_card(bench: Bench) -> int | None:
    """Return the purse's life-cycle state, None when there is no purse."""
    return next((one.state for one in bench.card.image().instances if one.aid == bytes(PURSE)), None)


def balance(bench: Bench) -> int | None:
    bench.card.power_off()
    bench.card.power_on()
    if ResponseApdu.parse(bench.card.transmit(gp.select(PURSE).to_bytes())).sw != 0x9000:
        return None
    return int.from_bytes(ResponseApdu.parse(bench.card.transmit(purse.get_balance().to_bytes())).data, "big")


async def test_stages_when_asked_one_by_one_then_each_leaves_what_it_names(bench: Bench) -> None:
    assert LOAD in await stage(bench, LOADED)
    assert (await state(bench), on_card(bench)) == (InstanceState.INSTALLED, INSTALLED)
    assert balance(bench) is None
    assert not {LOAD, DELETE, PUT_KEY} & await stage(bench, OPEN)
    assert (await state(bench), on_card(bench)) == (InstanceState.ACTIVATED, SELECTABLE)
    assert STORE_DATA in await stage(bench, FILLED)
    assert await state(bench) is InstanceState.PERSONALIZED
    assert not await stage(bench, finalize=True)
    assert await state(bench) is InstanceState.OPERATIONAL
    assert balance(bench) == 0


async def test_stages_when_the_rest_comes_with_suspension_control_then_a_resumption_opens(
    bench: Bench,
) -> None:
    await stage(bench, LOADED)
    assert LOAD not in await stage(bench, FILLED, OPEN, finalize=True, suspended=True)
    assert await state(bench) is InstanceState.SUSPENDED
    assert (on_card(bench) or 0) & LOCK
    assert balance(bench) is None
    resumed = await bench.calls.suspend_or_resume(bench.caller, bench.instance_id, suspend=False)
    assert (await bench.run(resumed.id)).state is OperationState.SUCCEEDED
    assert await state(bench) is InstanceState.OPERATIONAL
    assert balance(bench) == 0


async def test_stages_when_suspension_control_is_not_finalized_then_the_end_suspends(bench: Bench) -> None:
    await stage(bench, LOADED, FILLED, OPEN, suspended=True)
    assert await state(bench) is InstanceState.ACTIVATED
    await stage(bench, finalize=True)
    assert await state(bench) is InstanceState.SUSPENDED
    assert balance(bench) is None


async def test_stages_when_terminated_halfway_then_nothing_is_left(bench: Bench) -> None:
    await stage(bench, LOADED)
    ended = await bench.run((await bench.calls.terminate(bench.caller, bench.instance_id)).id)
    assert ended.state is OperationState.SUCCEEDED
    assert {i.aid for i in bench.card.image().instances} == bench.factory_instances
    assert {f.aid for f in bench.card.image().load_files} == bench.factory_load_files
    assert (await bench.instance()).sealed_data == b""


@pytest.mark.parametrize("missing", [(FILLED, OPEN), (OPEN, FILLED), (LOADED, FILLED, OPEN)])
async def test_stages_when_the_first_broke_off_then_a_later_call_does_what_is_missing(
    bench: Bench, missing: tuple[Stage, ...]
) -> None:
    operation = await ask(bench, LOADED)
    bench.device.after = lose_at(bench, LOAD)
    while not operation.changed_card:
        operation = await bench.run_once(operation.id)
    await bench.requests.cancel(bench.principal, operation.id)
    assert (await bench.run(operation.id)).state is OperationState.FAILED
    bench.device.after = lambda _: None
    assert await state(bench) is InstanceState.IN_ERROR
    await stage(bench, *missing, finalize=True)
    assert await state(bench) is InstanceState.OPERATIONAL
    assert balance(bench) == 0


def lose_at(bench: Bench, ins: int) -> Callable[[int], None]:
    def lose(_: int) -> None:
        if bench.device.trace[-1][0] == ins:
            raise TornError

    return lose


@pytest.mark.parametrize(
    ("first", "state_after"), [((LOADED,), "INSTALLED"), ((LOADED, FILLED, OPEN), "OPERATIONAL")]
)
async def test_stages_when_a_call_is_overtaken_then_it_is_not_allowed_and_changes_nothing(
    bench: Bench, first: tuple[Stage, ...], state_after: str
) -> None:
    whole = await ask(bench, *first, finalize=len(first) > 1)
    late = await ask(bench, LOADED)
    assert (await bench.run(whole.id)).state is OperationState.SUCCEEDED
    bench.device.trace.clear()
    ended = await bench.run(late.id)
    assert ended.state is OperationState.FAILED
    assert ended.failure is not None
    assert error_type_of(ended.failure.code) is TsmErrorType.NOT_ALLOWED
    assert not {ins for ins, _ in bench.device.trace if ins in CHANGING}
    assert await state(bench) is InstanceState[state_after]


async def test_stages_when_a_termination_comes_first_then_nothing_is_installed(bench: Bench) -> None:
    end = await bench.calls.terminate(bench.caller, bench.instance_id)
    late = await ask(bench, LOADED, FILLED, OPEN, finalize=True)
    assert (await bench.run(end.id)).state is OperationState.SUCCEEDED
    ended = await bench.run(late.id)
    assert ended.state is OperationState.FAILED
    assert on_card(bench) is None
    left = await bench.instance()
    assert (left.state, left.sealed_data) == (InstanceState.TERMINATED, b"")
