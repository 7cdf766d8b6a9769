"""A domain changes hands confidentially: whole deployments, and what must stop them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.machine.delegated_bench import DelegatedBench

from opentsm.tsm.domain.arrangement import ContentMode, HandOverGrade
from opentsm.tsm.domain.operation import OperationState


@pytest.fixture(params=[ContentMode.CENTRALISED, ContentMode.DELEGATED], ids=["CM", "DM"])
async def bench(dsn: str, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[DelegatedBench]:
    made = DelegatedBench(dsn, tmp_path, request.param)
    made.handover = HandOverGrade.CONFIDENTIAL
    await made.open()
    await made.seed()
    yield made
    await made.close()


async def test_deployment_when_confidential_ends_with_agreed_keys(bench: DelegatedBench) -> None:
    operation = await bench.run((await bench.deploy()).id)
    assert operation.state is OperationState.SUCCEEDED, (operation.failure, operation.plan)
    instance = await bench.instance()
    assert instance.handover is HandOverGrade.CONFIDENTIAL
