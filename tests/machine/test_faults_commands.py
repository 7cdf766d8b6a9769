"""Commands of a recipe with a fault at one of them, or at a commit: all are sent again, from the first one.

The badge counts each run of the commands: every one spends a try, as a wrong reader would. What a run left
undone is not gone on with, and the answers that are kept are those of the last run.
"""

from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest
from tests.machine.campaigns import (
    ANSWER_LOST,
    DURABLE,
    EVERY,
    MOMENTS,
    Counted,
    break_at,
    die_at,
    fresh_start,
    lose_only_answers,
)
from tests.machine.provider_bench import BADGE, Json, ProviderBench

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.crypto.secret import Secret
from opentsm.tsm.domain.operation import Operation, OperationState
from opentsm.tsm.domain.service import InstanceState
from opentsm.vse.applets.access_badge import AccessBadge

TRIES = 15
GET_CHALLENGE, EXTERNAL_AUTHENTICATE, GET_DATA = 0x84, 0x82, 0xCA
RUN = [GET_CHALLENGE, EXTERNAL_AUTHENTICATE, GET_DATA]
# the session: SELECT, then the run
SESSION = 1 + len(RUN)
COMMITS = 5  # the last ones: the order is stored, answered and concluded from, the operation ends
WHOLE = pytest.mark.parametrize(
    "whole", [pytest.param(False, id="commands"), pytest.param(True, id="deployment", marks=EVERY)]
)
TO_APPLICATION: list[Json] = [
    {"to": "application", "cla": "00", "ins": "84", "p1": "00", "p2": "00", "le": 16},
    {
        "to": "application",
        "cla": "00",
        "ins": "82",
        "p1": "00",
        "p2": "00",
        "data": [{"hex": "00" * 32}],
        "expect": ["63C?"],
    },
    {"to": "application", "cla": "80", "ins": "CA", "p1": "9F", "p2": "17", "le": 256, "tag": "tries"},
]
RECIPE: Json = {
    "format": "opentsm-personalization/1",
    "version": "1",
    "groupings": [
        {"dgi": "6001", "value": [{"hex": "01020304"}]},
        {"dgi": "6002", "value": [{"hex": f"{TRIES:02X}"}]},
        {"dgi": "6003", "value": []},
        {"dgi": "DF01", "value": [{"recipe_version": True}]},
        {"dgi": "8001", "encrypted": True, "value": [{"key": "badge-reader", "diversify": [{"hex": "00"}]}]},
        {"dgi": "8002", "encrypted": True, "value": [{"key": "badge-proof", "diversify": [{"hex": "00"}]}]},
        {"dgi": "7FFF", "value": []},
    ],
    "commands": TO_APPLICATION,
    "probe": {"get_data": "DF01"},
}


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return which of the commands the badge has taken, oldest first."""
    found: list[int] = []
    process = AccessBadge.process

    def noting(self: AccessBadge, command: CommandApdu) -> ResponseApdu:
        if command.ins in RUN:
            found.append(command.ins)
        return process(self, command)

    monkeypatch.setattr(AccessBadge, "process", noting)
    return found


@pytest.fixture
async def bench(dsn: str, tmp_path: Path) -> AsyncIterator[ProviderBench]:
    made = ProviderBench(dsn, tmp_path)
    await made.open()
    await made.seed()
    for name in ("badge-reader", "badge-proof"):
        await made.repository.scripts.import_application_key(made.provider, name, Secret(bytes(range(16))))
    yield made
    await made.close()


class Story:
    """The deployment of a badge whose recipe has commands, to a new card each time."""

    def __init__(self, bench: ProviderBench, published: Json, taken: list[int]) -> None:
        self.bench = bench
        self.service_id = str(published["service"]["id"])
        self.taken = taken

    async def request(self) -> Operation:
        """Ask for it, with nothing that goes wrong."""
        await self.bench.new_card()
        await fresh_start(self.bench)
        self.taken.clear()
        instance, operation = await self.bench.requests.deploy(
            self.bench.principal, se_id=self.bench.se_id, service_id=self.service_id, data={}
        )
        self.bench.instance_id = instance.id
        return operation

    async def undisturbed(self) -> tuple[int, int]:
        """Deploy without a fault; return how many commands and how many commits that took."""
        operation = await self.request()
        fault = await die_at(self.bench, 0, durable=False)
        await self.assert_done(await self.bench.run(operation.id), "undisturbed")
        assert self.taken == RUN
        return self.bench.device.sent, fault.commits

    async def assert_done(self, operation: Operation, where: str) -> None:
        """Every run began with the first command; the last one is whole, and its answers are kept."""
        bench = self.bench
        assert operation.state is OperationState.SUCCEEDED, f"{where}: {operation.failure}"
        instance = await bench.instance()
        assert instance.state is InstanceState.OPERATIONAL, where
        starts = [place for place, ins in enumerate(self.taken) if ins == GET_CHALLENGE]
        runs = [self.taken[a:b] for a, b in zip(starts, [*starts[1:], None], strict=True)]
        assert all(run == RUN[: len(run)] for run in runs), f"{where}: {runs}"
        assert runs[-1] == RUN, f"{where}: {runs}"
        # one fault, one repetition
        assert len(runs) <= 2, f"{where}: {runs}"
        left = TRIES - self.taken.count(EXTERNAL_AUTHENTICATE)
        kept = [(one.application, one.tag, one.response) for one in instance.kept_answers]
        assert kept == [(BADGE, "tries", f"9F1701{left:02X}9000")], where
        async with bench.storage.transaction() as tx:
            content = await tx.secure_elements.content(bench.se_id)
            se = await tx.secure_elements.get(bench.se_id)
        assert content.commands == {str(BADGE): "1"}, where
        assert se is not None
        assert se.active_operation_id is None, where


@pytest.fixture
async def story(bench: ProviderBench, taken: list[int]) -> Story:
    return Story(bench, await bench.publish(recipe=RECIPE), taken)


@pytest.mark.parametrize("moment", MOMENTS)
@WHOLE
async def test_commands_when_torn_or_unanswered_at_any_are_sent_again_from_the_first(
    story: Story, counted: Counted, moment: str, whole: bool
) -> None:
    bench = story.bench
    commands, _ = await story.undisturbed()
    for number in count(1 if whole else commands - SESSION + 1):
        operation = await story.request()
        if moment == ANSWER_LOST:
            await lose_only_answers(bench)
        break_at(bench, moment, number)
        ended = await bench.run(operation.id)
        await story.assert_done(ended, f"{moment} command {number} of {commands}")
        if not counted(bench.device.sent >= number):
            break
    assert counted.faults >= SESSION


@DURABLE
@WHOLE
async def test_commands_when_the_server_dies_at_a_commit_are_sent_once(
    story: Story, counted: Counted, durable: bool, whole: bool
) -> None:
    """An order that a device has got is not made anew, and one that it has answered is concluded from."""
    _, commits = await story.undisturbed()
    for number in range(commits, 0 if whole else commits - COMMITS, -1):
        operation = await story.request()
        fault = await die_at(story.bench, number, durable=durable)
        ended = await story.bench.run(operation.id)
        where = f"died at commit {number} of {commits}"
        await story.assert_done(ended, where)
        assert story.taken == RUN, where
        assert counted(fault.commits >= number), where
