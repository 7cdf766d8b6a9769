"""The agent's table of states, its patience and its errors."""

import pytest

from opentsm.agent.backoff import Backoff, Patience
from opentsm.agent.errors import AgentError, ServerUnreachableError, SessionLostError
from opentsm.agent.loop import TRANSITIONS, AgentEvent, AgentState, state_diagram


class Watch:
    """A clock that is set by hand."""

    now = 0.0

    def monotonic(self) -> float:
        """Return the reading."""
        return self.now

    def epoch(self) -> float:
        """Return the reading."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Move on."""
        self.now += seconds


def test_states_every_state_can_be_reached_and_left() -> None:
    assert {old for old, _ in TRANSITIONS} == set(AgentState)
    assert set(TRANSITIONS.values()) == set(AgentState)
    assert {event for _, event in TRANSITIONS} == set(AgentEvent)


def test_states_a_running_order_is_never_left() -> None:
    assert (AgentState.CARD_ANSWERS, AgentEvent.LEAVING) not in TRANSITIONS
    assert (AgentState.CARD_ANSWERS, AgentEvent.SESSION_LOST) not in TRANSITIONS


def test_state_diagram_shows_every_move() -> None:
    assert state_diagram().count("-->") == len(TRANSITIONS) + 1


def test_backoff_long_silence_before_the_first_failure_does_not_count() -> None:
    watch = Watch()
    backoff = Backoff(Patience(), watch, lambda: 1.0)
    watch.now = 10_000
    assert backoff.next_pause_s("x") == 0.2
    watch.now += 301
    with pytest.raises(ServerUnreachableError, match="gave up after 301 s: x"):
        backoff.next_pause_s("x")


def test_backoff_success_starts_afresh() -> None:
    backoff = Backoff(Patience(), Watch(), lambda: 1.0)
    pauses = [backoff.next_pause_s("x") for _ in range(3)]
    backoff.succeeded()
    assert [*pauses, backoff.next_pause_s("x")] == [0.2, 0.4, 0.8, 0.2]


@pytest.mark.parametrize(("random", "asked", "pause"), [(0.0, None, 0.1), (0.0, 5, 5), (1.0, 900, 30.0)])
def test_backoff_pause_is_spread_and_bounded(random: float, asked: float | None, pause: float) -> None:
    assert Backoff(Patience(), Watch(), lambda: random).next_pause_s("x", asked_s=asked) == pause


def test_errors_say_their_docstring_unless_told_better() -> None:
    assert str(SessionLostError()) == "The server does not know the session any more."
    assert str(AgentError("better")) == "better"
