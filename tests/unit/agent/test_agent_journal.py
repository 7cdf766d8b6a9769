"""The agent's record: at most once, whatever dies when. Specification: docs/reference/agent-protocol.md."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentsm.agent.errors import JournalError
from opentsm.agent.journal import MAX_REPORTS, Journal, MemoryStore
from opentsm.agent.messages import AgentStatus, RamResponse, Report


def report(sequence: int) -> Report:
    """Make the report of an order that went well."""
    return Report(AgentStatus("PROCESSED", 1), [RamResponse(["9000"])], sequence)


async def test_journal_report_survives_until_it_is_acknowledged() -> None:
    store = MemoryStore()
    journal = await Journal.open(store)
    await journal.begin(3)
    await journal.finish(report(3))
    reopened = await Journal.open(store)
    assert reopened.recorded(3) == report(3)
    reopened.acknowledge(3)
    assert reopened.recorded(3) is None
    assert reopened.highest == 3


async def test_journal_opened_after_a_crash_says_interrupted_and_goes_on() -> None:
    store = MemoryStore()
    await (await Journal.open(store)).begin(3)
    for _ in range(2):
        journal = await Journal.open(store)
        recorded = journal.recorded(3)
        assert recorded is not None
        assert recorded.stopped is not None
        assert recorded.stopped.reason == "INTERRUPTED"
    await journal.begin(4)
    again = (await Journal.open(store)).recorded(3)
    assert again == recorded


@pytest.mark.parametrize("sequence", [0, 1, 5])
async def test_journal_number_that_does_not_grow_never_begins(sequence: int) -> None:
    journal = await Journal.open(MemoryStore())
    await journal.begin(5)
    await journal.finish(report(5))
    with pytest.raises(JournalError):
        await journal.begin(sequence)


async def test_journal_acknowledged_number_never_begins_even_if_unknown() -> None:
    journal = await Journal.open(MemoryStore())
    journal.acknowledge(9)
    with pytest.raises(JournalError):
        await journal.begin(9)


async def test_journal_one_order_at_a_time() -> None:
    journal = await Journal.open(MemoryStore())
    await journal.begin(1)
    with pytest.raises(JournalError):
        await journal.begin(2)
    with pytest.raises(JournalError):
        await journal.finish(report(2))


async def test_journal_full_of_unacknowledged_reports_begins_nothing() -> None:
    journal = await Journal.open(MemoryStore())
    for number in range(1, MAX_REPORTS + 1):
        await journal.begin(number)
        await journal.finish(report(number))
    assert journal.full
    with pytest.raises(JournalError):
        await journal.begin(MAX_REPORTS + 1)
    journal.acknowledge(1)
    await journal.begin(MAX_REPORTS + 1)


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"format":2}', b'{"reports":{"1":{}}}'])
async def test_journal_that_is_damaged_stops_the_agent(data: bytes) -> None:
    with pytest.raises(JournalError, match="journal"):
        await Journal.open(MemoryStore(data))


async def test_journal_that_cannot_be_written_stops_the_agent() -> None:
    class FullDisk(MemoryStore):
        async def save(self, data: bytes) -> None:
            raise OSError(28, "No space left on device")

    with pytest.raises(JournalError, match="No space left"):
        await (await Journal.open(FullDisk())).begin(1)


class _CutError(Exception):
    """The power is gone."""


class _Cutting(MemoryStore):
    """Loses power before or after its n-th write."""

    def __init__(self, cut: int) -> None:
        super().__init__()
        self.cut = cut

    async def save(self, data: bytes) -> None:
        """Write, unless the power went first."""
        self.cut -= 1
        if self.cut == 0:
            raise _CutError
        await super().save(data)
        if self.cut == -1:
            raise _CutError


@given(st.lists(st.integers(1, 12), max_size=40), st.integers(1, 30))
async def test_journal_whatever_is_delivered_and_cut_no_order_runs_twice(
    deliveries: list[int], cut: int
) -> None:
    store, ran = _Cutting(cut), list[int]()
    journal = await Journal.open(store)
    for number in deliveries:
        try:
            if journal.recorded(number) is None and number > journal.highest and not journal.full:
                await journal.begin(number)
                ran.append(number)
                await journal.finish(report(number))
        except _CutError:
            journal = await Journal.open(store)
    assert len(ran) == len(set(ran))
    assert ran == sorted(ran)
