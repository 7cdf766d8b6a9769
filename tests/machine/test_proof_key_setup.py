"""The keys for tokens and receipts get on a card when its arrangement is built, also when it is torn."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.machine.delegated_bench import RECEIPT_KVN, TOKEN_KVN, DelegatedBench
from tests.machine.test_faults import torn_at

from opentsm.tsm.domain.arrangement import ContentMode
from opentsm.tsm.domain.delegation import TokenState
from opentsm.tsm.domain.operation import OperationState

SUCCEEDED = OperationState.SUCCEEDED


@pytest.fixture
async def bench(dsn: str, tmp_path: Path) -> AsyncIterator[DelegatedBench]:
    made = DelegatedBench(dsn, tmp_path)
    made.has_proof_keys = False
    await made.open()
    await made.seed()
    yield made
    await made.close()


def versions(bench: DelegatedBench) -> list[int]:
    keys = bench.card.image().isd.domain_data().keys
    return sorted(key.kvn for key in keys if key.kvn in (TOKEN_KVN, RECEIPT_KVN))


async def test_card_when_its_arrangement_is_built_then_works_with_tokens(bench: DelegatedBench) -> None:
    refused = await bench.run((await bench.deploy()).id)
    assert refused.failure is not None
    assert refused.failure.code == "token_refused"
    assert "arrangement" in refused.failure.advice
    await bench.new_card()
    built = await bench.configure()
    assert built.state is SUCCEEDED, built.failure
    assert versions(bench) == [TOKEN_KVN, RECEIPT_KVN]
    assert not any("key that" in line for line in (await bench.configure()).plan)
    ended = await bench.run((await bench.deploy()).id)
    assert ended.state is SUCCEEDED, ended.failure
    assert {token.state for token in await bench.tokens()} == {TokenState.CONFIRMED}


async def test_keys_of_another_origin_when_the_arrangement_is_built_are_replaced(
    bench: DelegatedBench,
) -> None:
    bench.has_proof_keys = True
    bench.receipt_owner = bench.hub
    await bench.new_card()
    built = await bench.configure()
    assert built.state is SUCCEEDED, built.failure
    ended = await bench.run((await bench.deploy()).id)
    assert ended.state is SUCCEEDED, ended.failure


async def test_card_when_nobody_works_with_tokens_gets_no_keys_for_them(dsn: str, tmp_path: Path) -> None:
    bench = DelegatedBench(dsn, tmp_path, ContentMode.CENTRALISED)
    await bench.open()
    await bench.seed()
    assert (await bench.configure()).state is SUCCEEDED
    assert versions(bench) == []
    await bench.close()


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_keys_when_the_card_is_torn_at_a_command_are_there_in_the_end(
    bench: DelegatedBench, moment: str
) -> None:
    await bench.configure()
    for number in range(1, bench.device.sent + 1, 7):
        await bench.new_card()
        setattr(bench.device, moment, torn_at(number))
        built = await bench.configure()
        assert built.state is SUCCEEDED, (number, built.failure)
        assert versions(bench) == [TOKEN_KVN, RECEIPT_KVN], number
