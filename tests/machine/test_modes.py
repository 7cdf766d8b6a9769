"""One service in the three modes, centralised, delegated and authorised: only the topology differs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.machine.bench import DOMAIN, PURSE, PURSE_PACKAGE
from tests.machine.delegated_bench import CENTRAL, DelegatedBench
from tests.machine.test_operations import whole_life

from opentsm.tsm.domain.arrangement import ContentMode
from opentsm.tsm.domain.delegation import TokenState
from opentsm.tsm.domain.operation import OperationState


@pytest.fixture(params=list(ContentMode), ids=lambda mode: mode.value)
async def bench(dsn: str, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[DelegatedBench]:
    made = DelegatedBench(dsn, tmp_path, request.param)
    await made.open()
    await made.seed()
    yield made
    await made.close()


async def test_whole_life_when_run_in_any_mode_succeeds_and_leaves_the_card_as_it_was(
    bench: DelegatedBench,
) -> None:
    assert await whole_life(bench) == ["SUCCEEDED"] * 6
    image = bench.card.image()
    assert {i.aid for i in image.instances} == bench.factory_instances
    assert {f.aid for f in image.load_files} == bench.factory_load_files


async def test_deployment_when_made_in_any_mode_puts_the_same_on_the_card(bench: DelegatedBench) -> None:
    operation = await bench.run((await bench.deploy()).id)
    assert operation.state is OperationState.SUCCEEDED, operation.failure
    image = bench.card.image()
    domain = next(i for i in image.instances if i.aid == bytes(DOMAIN))
    purse = next(i for i in image.instances if i.aid == bytes(PURSE))
    load_file = next(f for f in image.load_files if f.aid == bytes(PURSE_PACKAGE))
    assert (domain.sd, purse.sd, load_file.sd) == (bytes(CENTRAL), bytes(DOMAIN), bytes(DOMAIN))
    tokens = await bench.tokens()
    delegated = bench.mode is ContentMode.DELEGATED
    assert [token.state for token in tokens] == ([TokenState.CONFIRMED] * 3 if delegated else [])
