"""Whole operations, from request to verified card, without faults."""

from pathlib import Path

import msgspec
import pytest

from opentsm.tsm.domain.operation import OperationState, OperationType
from opentsm.tsm.domain.service import InstanceState
from tests.machine.bench import DOMAIN, PURSE, PURSE_PACKAGE, Bench


@pytest.fixture
async def bench(dsn: str, tmp_path: Path):  # type: ignore[no-untyped-def]
    made = Bench(dsn, tmp_path)
    await made.open()
    await made.seed()
    yield made
    await made.close()


async def test_deploy_when_the_card_is_new_ends_operational(bench: Bench) -> None:
    operation = await bench.run((await bench.deploy()).id)
    assert operation.state is OperationState.SUCCEEDED, operation.failure
    assert (await bench.instance()).state is InstanceState.OPERATIONAL
    image = bench.card.image()
    assert {i.aid for i in image.instances} >= {bytes(DOMAIN), bytes(PURSE)}
    assert bytes(PURSE_PACKAGE) in {f.aid for f in image.load_files}
