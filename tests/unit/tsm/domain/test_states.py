"""Every state × event of the TSM's machines: what is in a table happens, everything else is refused."""

import itertools
from enum import Enum

import pytest

from opentsm.tsm.domain.operation import ENDED, OPERATION_STATES, OperationEvent, OperationState
from opentsm.tsm.domain.secure_element import SE_STATES, SeEvent, SeState
from opentsm.tsm.domain.service import INSTANCE_STATES, InstanceEvent, InstanceState
from opentsm.tsm.kernel.errors import IllegalTransitionError
from opentsm.tsm.kernel.transitions import TransitionTable

MACHINES: list[tuple[TransitionTable[Enum, Enum], type[Enum], type[Enum]]] = [
    (OPERATION_STATES, OperationState, OperationEvent),  # type: ignore[list-item]
    (SE_STATES, SeState, SeEvent),  # type: ignore[list-item]
    (INSTANCE_STATES, InstanceState, InstanceEvent),  # type: ignore[list-item]
]
PAIRS = [
    (table, state, event)
    for table, states, events in MACHINES
    for state, event in itertools.product(states, events)
]


@pytest.mark.parametrize(("table", "state", "event"), PAIRS, ids=lambda v: getattr(v, "name", ""))
def test_next_when_the_table_has_no_such_move_refuses_and_says_what_is_possible(
    table: TransitionTable[Enum, Enum], state: Enum, event: Enum
) -> None:
    moves = {(s, e): t for s, e, t in table.moves()}
    if (state, event) in moves:
        assert table.next(state, event) is moves[(state, event)]
        return
    with pytest.raises(IllegalTransitionError, match=event.name):
        table.next(state, event)


def test_an_ended_operation_when_anything_happens_stays_ended() -> None:
    assert not [move for move in OPERATION_STATES.moves() if move[0] in ENDED]


def test_every_operation_state_when_not_ended_leads_to_an_end() -> None:
    reaches = set(ENDED)
    for _ in OperationState:
        reaches |= {s for s, _, t in OPERATION_STATES.moves() if t in reaches}
    assert reaches == set(OperationState)


def test_instance_states_when_compared_with_tr03165_have_its_numbers() -> None:
    """TR-03165 TSM-API, service-instance states (spec/tsms-tr03165.md C.2)."""
    published = {
        "UNKNOWN": 0, "NOT_DEPLOYED": 1, "INITIALIZED": 10, "INSTALLED": 11, "PERSONALIZED": 12,
        "ACTIVATED": 14, "OPERATIONAL": 21, "SUSPENDED": 22, "IN_ERROR": 25,
    }  # fmt: skip
    assert {s.name: s.value for s in InstanceState if s is not InstanceState.TERMINATED} == published


def test_mermaid_when_drawn_shows_every_move() -> None:
    drawn = SE_STATES.mermaid()
    assert drawn.startswith("stateDiagram-v2\n")
    assert drawn.count("-->") == len(SE_STATES.moves())
