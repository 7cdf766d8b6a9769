"""Arrangements are built on blank cards by all who hold their domains; cards are torn, servers die.

Afterwards the card has exactly the domains of the arrangement, each with one key set: its holder's.
"""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet
from msgspec.structs import replace
from tests.machine.bench import Bench
from tests.machine.crashes import CommitFault, DyingStorage
from tests.machine.figure_bench import CENTRAL, ISD, FigureBench

from opentsm.tsm.domain.operation import Operation, OperationState
from opentsm.tsm.domain.secure_element import KeySetState
from opentsm.tsm.domain.tenant import HUB
from opentsm.vse.faults import TornError


@pytest.fixture
async def make(dsn: str, tmp_path: Path) -> AsyncIterator[Callable[..., FigureBench]]:
    benches: list[FigureBench] = []

    def new(number: int, *, services: bool = False) -> FigureBench:
        benches.append(FigureBench(dsn, tmp_path, number, services=services))
        return benches[-1]

    yield new
    for bench in benches:
        await bench.close()


async def opened(bench: FigureBench) -> FigureBench:
    await bench.open()
    await bench.seed()
    return bench


async def assert_built(bench: FigureBench, operation: Operation, where: str = "") -> None:
    assert operation.state is OperationState.SUCCEEDED, f"{where}: {operation.failure}"
    bench.card.power_off()
    bench.card.power_on()
    image = bench.card.image()
    domains = {entry.aid: entry for entry in image.instances if entry.domain is not None}
    assert set(domains) == {bytes(one.aid) for one in bench.arrangement.domains}, where
    async with bench.storage.transaction() as tx:
        se = await tx.secure_elements.get(bench.se_id)
        content = await tx.secure_elements.content(bench.se_id)
        held = {
            one.aid: [
                key_set.kvn
                for key_set in await tx.key_sets.list(one.holder_id, bench.se_id, one.aid)
                if key_set.state is KeySetState.CURRENT
            ]
            for one in bench.arrangement.domains
        }
    assert se is not None and se.isd_kvn == bench.arrangement.top.kvn, where
    assert content.fresh and not content.readers, where
    for one in bench.arrangement.domains:
        entry = domains[bytes(one.aid)]
        assert entry.domain is not None
        # whoever checks signatures of load files has the key for that too (GPCS Table 11-22: version 73)
        signatures = {0x73} if one.role == "MDPH SD" else set()
        assert {key.kvn for key in entry.domain.keys} == {one.kvn} | signatures, (where, one.name)
        assert one.kvn in held[one.aid], (where, one.name)
        shown = content.find(one.aid)
        # Card Specification 2.1.1 shows one byte of them
        mask = 0xFF0000 if bench.configuration == 500 else 0xFFFFFF
        assert shown is not None and shown.privileges == entry.privileges & mask, (where, one.name)
        if one.parent:
            assert entry.privileges == one.privileges and entry.state == 0x0F, (where, one.name)
            assert entry.sd == bytes(ISD), (where, one.name)


@pytest.mark.parametrize("number", [500, 600, 700, 800])
async def test_configuration_when_card_is_blank_then_built_by_its_holders(
    make: Callable[..., FigureBench], number: int
) -> None:
    bench = await opened(make(number, services=number >= 700))
    operation = await bench.built()
    await assert_built(bench, operation)
    again = await bench.built()
    assert again.state is OperationState.SUCCEEDED and not again.changed_card


async def test_configuration_when_built_then_the_issuers_domain_makes_domains_only(
    make: Callable[..., FigureBench],
) -> None:
    """Table 11-53: load 02 and extradition 10 are taken away from it."""
    bench = await opened(make(600))
    await bench.built()
    issuer = next(one for one in bench.card.image().instances if one.aid == bytes(ISD))
    assert issuer.domain is not None and issuer.domain.restricted == 0x12


async def test_configuration_when_half_built_then_completed(make: Callable[..., FigureBench]) -> None:
    bench = await opened(make(700))
    request = await bench.configure()
    while len(bench.card.image().instances) == len(bench.factory_instances):
        await bench.run_once(request.id)
    cancelled = await bench.requests.cancel(bench.issuer_principal, request.id)
    ended = await bench.run(cancelled.id)
    assert ended.state is OperationState.FAILED and ended.failure is not None
    assert ended.failure.code == "cancelled"
    await assert_built(bench, await bench.built())


def loses(number: int) -> Callable[[int], None]:
    def fault(sent: int) -> None:
        if sent == number:
            raise TornError

    return fault


class Stage:
    """One bench for many faults, a new card each."""

    def __init__(self, bench: FigureBench) -> None:
        self.bench = bench

    async def commands(self) -> int:
        """Return how many commands a building takes without a fault."""
        await assert_built(self.bench, await self.bench.built(), "no fault")
        return self.bench.device.sent

    async def clear(self) -> Bench:
        self.bench.wrap_storage = lambda storage: storage
        await self.bench.crash()
        await self.bench.new_card()
        return self.bench


def strides(issuers: int, central: int) -> list[ParameterSet]:
    """Return the figures with how many places of a fault lie between two; every one is a campaign."""
    return [
        pytest.param(700, issuers, id="700"),
        pytest.param(500, central, id="500"),
        pytest.param(700, 1, id="700-every", marks=pytest.mark.campaign),
        pytest.param(500, 1, id="500-every", marks=pytest.mark.campaign),
    ]


@pytest.mark.parametrize(("number", "stride"), strides(15, 5))
@pytest.mark.parametrize("when", ["before", "after"])
async def test_configuration_when_the_card_is_lost_then_completed(
    make: Callable[..., FigureBench], number: int, stride: int, when: str
) -> None:
    stage = Stage(await opened(make(number)))
    commands = await stage.commands()
    for at in range(1 + (when == "after"), commands + 1, stride):
        await stage.clear()
        setattr(stage.bench.device, when, loses(at))
        await assert_built(stage.bench, await stage.bench.built(), f"{when} command {at}")


@pytest.mark.parametrize(("number", "stride"), strides(37, 19))
@pytest.mark.parametrize("durable", [False, True], ids=["undone", "durable"])
async def test_configuration_when_the_server_dies_then_completed(
    make: Callable[..., FigureBench], number: int, stride: int, durable: bool
) -> None:
    stage = Stage(await opened(make(number)))
    await stage.commands()
    fault, at = CommitFault(), 1
    while fault.commits >= fault.at:
        await stage.clear()
        request = await stage.bench.configure()
        fault = CommitFault(at, durable)
        stage.bench.wrap_storage = lambda storage, fault=fault: DyingStorage(storage, fault)  # type: ignore[misc]
        await stage.bench.close()
        await stage.bench.open()
        await assert_built(stage.bench, await stage.bench.run(request.id), f"commit {at}")
        at += stride


async def test_configuration_when_a_domain_is_there_with_other_privileges_then_refused(
    make: Callable[..., FigureBench],
) -> None:
    bench = await opened(make(600))
    await bench.built()
    central = next(one for one in bench.card.image().instances if one.aid == bytes(CENTRAL))
    assert central.privileges == 0x80C000
    async with bench.storage.transaction() as tx:
        arrangement = bench.arrangement
        changed = tuple(
            replace(one, privileges=0x808000) if one.aid == CENTRAL else one for one in arrangement.domains
        )
        await tx.arrangements.save(replace(arrangement, domains=changed))
        await tx.commit()
    ended = await bench.built()
    assert ended.failure is not None and ended.failure.code == "plan_refused"
    assert arrangement.domains[1].holder_id == HUB
