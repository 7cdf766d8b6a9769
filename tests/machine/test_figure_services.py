"""The same service under each figure and mode, on cards that several parties hold: nobody asks the issuer."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.machine.bench import DOMAIN, PURSE, PURSE_PACKAGE
from tests.machine.figure_bench import CENTRAL, ISD, THIRD, FigureBench
from tests.machine.test_conversations import Talk

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.gp import commands
from opentsm.tsm.domain.operation import Operation, OperationState, OperationType
from opentsm.tsm.domain.service import InstanceState
from opentsm.tsm.engine.script_rules import ScriptRefusedError
from opentsm.vse.faults import TornError

Make = Callable[..., FigureBench]


@pytest.fixture
async def make(dsn: str, tmp_path: Path) -> AsyncIterator[Make]:
    benches: list[FigureBench] = []

    def new(number: int, *, services: bool = False) -> FigureBench:
        benches.append(FigureBench(dsn, tmp_path, number, services=services))
        return benches[-1]

    yield new
    for bench in benches:
        await bench.close()


async def arranged(bench: FigureBench) -> FigureBench:
    await bench.open()
    await bench.seed()
    built = await bench.built()
    assert built.state is OperationState.SUCCEEDED, built.failure
    return bench


async def deployed(bench: FigureBench) -> Operation:
    return await bench.run((await bench.deploy()).id)


def parent_of(bench: FigureBench, aid: Aid) -> bytes:
    entry = bench.card.image().instance(bytes(aid)) or bench.card.image().load_file(bytes(aid))
    assert entry is not None
    return entry.sd


@pytest.mark.parametrize(
    ("number", "manager"),
    [(500, ISD), (600, CENTRAL), (700, CENTRAL), (800, CENTRAL)],
    ids=["500", "600", "700", "800"],
)
async def test_service_when_centralised_then_the_central_tsm_brings_it(
    make: Make, number: int, manager: Aid
) -> None:
    bench = await arranged(make(number))
    operation = await deployed(bench)
    assert operation.state is OperationState.SUCCEEDED, operation.failure
    assert (await bench.instance()).state is InstanceState.OPERATIONAL
    assert parent_of(bench, DOMAIN) == bytes(manager)
    opened = {line.split(" · ")[0] for line in operation.plan if "ask " not in line}
    assert opened == {str(manager), str(DOMAIN)}
    for type_ in (OperationType.SUSPEND, OperationType.RESUME, OperationType.ROTATE_KEYS):
        ended = await bench.run((await bench.requests.change(bench.principal, bench.instance_id, type_)).id)
        assert ended.state is OperationState.SUCCEEDED, ended.failure
    removal = await bench.requests.change(bench.principal, bench.instance_id, OperationType.TERMINATE)
    ended = await bench.run(removal.id)
    assert ended.state is OperationState.SUCCEEDED, ended.failure
    image = bench.card.image()
    assert not any(image.instance(bytes(aid)) for aid in (DOMAIN, PURSE))
    assert image.load_file(bytes(PURSE_PACKAGE)) is None


async def test_service_when_authorized_then_its_own_party_brings_it(make: Make) -> None:
    bench = await arranged(make(700))
    await bench.become(bench.third)
    operation = await deployed(bench)
    assert operation.state is OperationState.SUCCEEDED, operation.failure
    assert parent_of(bench, DOMAIN) == bytes(THIRD)
    opened = {line.split(" · ")[0] for line in operation.plan if "ask " not in line}
    assert opened == {str(THIRD), str(DOMAIN)}


async def test_services_of_two_managers_when_one_is_read_then_the_other_stays_known(make: Make) -> None:
    """Neither sees what is under the other; the picture keeps both."""
    bench = await arranged(make(700))
    first = await deployed(bench)
    assert first.state is OperationState.SUCCEEDED
    async with bench.storage.transaction() as tx:
        content = await tx.secure_elements.content(bench.se_id)
    assert content.find(DOMAIN) is not None and content.find(PURSE) is not None
    audit = await bench.requests.audit_secure_element(bench.issuer_principal, bench.se_id)
    assert (await bench.run(audit.id)).state is OperationState.SUCCEEDED
    async with bench.storage.transaction() as tx:
        content = await tx.secure_elements.content(bench.se_id)
    assert content.fresh and not content.readers and content.find(PURSE) is not None


@pytest.mark.parametrize("at", [5, 17, 29])
async def test_service_when_the_card_is_lost_then_the_manager_reads_its_own_part(make: Make, at: int) -> None:
    bench = await arranged(make(700))
    bench.device.sent = 0

    def fault(number: int) -> None:
        if number == at:
            raise TornError

    bench.device.after = fault
    operation = await deployed(bench)
    assert operation.state is OperationState.SUCCEEDED, operation.failure
    assert (await bench.instance()).state is InstanceState.OPERATIONAL


async def test_access_rules_when_the_central_tsm_manages_then_the_issuer_writes_them(make: Make) -> None:
    """The ARA-M lies under the issuer security domain, which nobody else personalises through."""
    bench = await arranged(make(700))
    (app,) = bench.description.applications
    described = replace(app, accessible=True, contactless=True)
    bench.description = replace(bench.description, applications=(described,), device_apps=(bytes(range(20)),))
    operation = await deployed(bench)
    assert operation.state is OperationState.SUCCEEDED, operation.failure
    assert [line for line in operation.plan if line.startswith(f"{ISD} · ")], operation.plan
    async with bench.storage.transaction() as tx:
        content = await tx.secure_elements.content(bench.se_id)
    assert content.access is not None and [one.device for one in content.access] == [bytes(range(20))]
    removal = await bench.requests.change(bench.principal, bench.instance_id, OperationType.TERMINATE)
    ended = await bench.run(removal.id)
    assert ended.state is OperationState.SUCCEEDED, ended.failure
    async with bench.storage.transaction() as tx:
        assert not (await tx.secure_elements.content(bench.se_id)).access


async def test_service_when_its_provider_has_no_place_then_refused(make: Make) -> None:
    bench = make(700)
    figure = bench.figure
    bench.figure = lambda: type(figure())(  # type: ignore[method-assign]
        name="closed", configuration=700, domains=figure().domains, places=figure().places
    )
    await arranged(bench)
    operation = await deployed(bench)
    assert operation.failure is not None and operation.failure.code == "plan_refused"
    assert not operation.changed_card


async def test_conversation_when_the_provider_may_not_load_then_its_script_is_refused(make: Make) -> None:
    """Its TSM speaks to its own domain; the header tells what it wants, whatever is inside."""
    bench = await arranged(make(700))
    assert (await deployed(bench)).state is OperationState.SUCCEEDED
    talk = Talk(bench)
    made = await talk.begin()
    select = commands.select(DOMAIN).to_bytes()
    load = CommandApdu(0x84, 0xE6, 0x02, 0x00, bytes(32)).to_bytes()
    with pytest.raises(ScriptRefusedError, match="arrangement"):
        await talk.store(made, select, load)
    sent = await talk.store(made, select, CommandApdu(0x84, 0xD8, 0x31, 0x81, bytes(32)).to_bytes())
    assert sent == 1  # the card itself judges what a session says about keys
