"""Value transactions over the life of a secure element: each id once, and a content that does not grow."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.machine.bench import PURSE, Bench

from opentsm.tsm.domain.operation import OperationState, OperationType
from opentsm.tsm.kernel.documents import to_json


@pytest.fixture
async def bench(dsn: str, tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(dsn, tmp_path)
    await made.open()
    await made.seed()
    yield made
    await made.close()


async def test_top_up_when_the_transaction_id_was_used_on_an_earlier_purse_is_refused(bench: Bench) -> None:
    await bench.run((await bench.deploy()).id)
    used = "0011223344556677"
    first = await bench.requests.top_up(bench.principal, bench.instance_id, amount=700, transaction=used)
    await bench.run(first.id)
    gone = await bench.requests.change(bench.principal, bench.instance_id, OperationType.TERMINATE)
    await bench.run(gone.id)
    await bench.run((await bench.deploy()).id)
    again = await bench.requests.top_up(bench.principal, bench.instance_id, amount=700, transaction=used)
    ended = await bench.run(again.id)
    assert ended.state is OperationState.FAILED
    assert ended.failure is not None
    assert (ended.failure.code, ended.traffic.apdus) == ("plan_refused", 0)


async def test_content_when_a_purse_is_topped_up_often_does_not_grow(bench: Bench) -> None:
    await bench.run((await bench.deploy()).id)
    sizes = []
    for number in range(4):
        operation = await bench.requests.top_up(
            bench.principal, bench.instance_id, amount=100, transaction=f"{number:016X}"
        )
        await bench.run(operation.id)
        async with bench.storage.transaction() as tx:
            content = await tx.secure_elements.content(bench.se_id)
            credit = await tx.credits.get(bench.se_id, f"{number:016X}")
        assert credit is not None
        assert (credit.amount, credit.outcome, credit.instance_id) == (100, "applied", bench.instance_id)
        sizes.append(len(to_json(content)))
    assert len(set(sizes)) == 1


async def test_credits_when_they_stand_in_the_content_of_an_earlier_release_are_taken_over(
    bench: Bench,
) -> None:
    await bench.run((await bench.deploy()).id)
    used, other = "0011223344556677", "7766554433221100"
    async with bench.storage.transaction() as tx:
        content = await tx.secure_elements.content(bench.se_id)
        old = replace(
            content,
            transactions={used: "applied", other: "applied"},
            credits={used: f"{PURSE}/700", other: f"{PURSE}/5"},
        )
        await tx.secure_elements.save_content(bench.se_id, old)
        await tx.commit()
    for amount, state in ((800, OperationState.FAILED), (700, OperationState.SUCCEEDED)):
        operation = await bench.requests.top_up(
            bench.principal, bench.instance_id, amount=amount, transaction=used
        )
        ended = await bench.run(operation.id)
        assert (ended.state, ended.traffic.apdus) == (state, 0)
    async with bench.storage.transaction() as tx:
        assert (await tx.secure_elements.content(bench.se_id)).credits == {}
        kept = await tx.credits.get(bench.se_id, other)
    assert kept is not None
    assert (kept.amount, kept.outcome) == (5, "applied")
