"""A card is torn at every command of a confidential hand-over within a deployment, and answers are lost.

Afterwards the provider holds the keys that the card holds, and the card what was wanted.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.machine.bench import DOMAIN, PURSE
from tests.machine.delegated_bench import CENTRAL, DelegatedBench
from tests.machine.test_faults import torn_at

from opentsm.tsm.domain.arrangement import HandOverGrade
from opentsm.tsm.domain.operation import OperationState
from opentsm.tsm.domain.secure_element import KeySetState

STRIDES = [pytest.param(23, id="every 23rd"), pytest.param(1, id="every", marks=pytest.mark.campaign)]
MOMENTS = ("before", "after", "answer")
STORE_DATA = 0xE2


@pytest.fixture
async def bench(dsn: str, tmp_path: Path) -> AsyncIterator[DelegatedBench]:
    made = DelegatedBench(dsn, tmp_path)
    made.handover = HandOverGrade.CONFIDENTIAL
    await made.open()
    await made.seed()
    yield made
    await made.close()


async def torn(bench: DelegatedBench, moment: str, number: int) -> None:
    """Deploy to a new card with one fault; the outcome is as if there had been none."""
    await bench.new_card()
    bench.device.keeps_power = moment == "answer"
    setattr(bench.device, "before" if moment == "before" else "after", torn_at(number))
    operation = await bench.run((await bench.deploy()).id)
    where = f"{moment} command {number}"
    assert operation.state is OperationState.SUCCEEDED, f"{where}: {operation.failure}"
    image = bench.card.image()
    new = {i.aid: (i.sd, i.state) for i in image.instances if i.aid not in bench.factory_instances}
    assert new == {bytes(DOMAIN): (bytes(CENTRAL), 0x0F), bytes(PURSE): (bytes(DOMAIN), 0x07)}, where
    domain = image.instance(bytes(DOMAIN))
    assert domain is not None
    held = {key.kvn for key in domain.domain_data().keys}
    async with bench.storage.transaction() as tx:
        known = await tx.key_sets.list(bench.provider, bench.se_id, DOMAIN)
    assert {keys.kvn for keys in known if keys.state is KeySetState.CURRENT} == held, where
    assert (await bench.instance()).handover is HandOverGrade.CONFIDENTIAL, where


async def clean(bench: DelegatedBench) -> int:
    """Deploy without a fault; return how many commands that takes."""
    bench.device.sent = 0
    await bench.run((await bench.deploy()).id)
    return bench.device.sent


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("stride", STRIDES)
async def test_confidential_deployment_when_torn_at_a_command_is_completed(
    bench: DelegatedBench, moment: str, stride: int
) -> None:
    total = await clean(bench)
    for number in range(1 + MOMENTS.index(moment), total + 1, stride):
        await torn(bench, moment, number)


@pytest.mark.parametrize("moment", MOMENTS)
async def test_agreement_when_torn_at_either_of_its_commands_is_completed(
    bench: DelegatedBench, moment: str
) -> None:
    await clean(bench)
    stores = [at for at, (ins, _) in enumerate(bench.device.trace, 1) if ins == STORE_DATA]
    for number in stores[:2]:
        await torn(bench, moment, number)
