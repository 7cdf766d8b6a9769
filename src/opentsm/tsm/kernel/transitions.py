"""State machines as tables: one mapping (state, event) -> state, checked, and drawn from the table itself."""

from collections.abc import Mapping
from enum import Enum
from typing import Generic, TypeVar

from opentsm.tsm.kernel.errors import IllegalTransitionError

StateT = TypeVar("StateT", bound=Enum)
EventT = TypeVar("EventT", bound=Enum)


class TransitionTable(Generic[StateT, EventT]):
    """All moves of one machine; a move that is not in the table raises and changes nothing."""

    def __init__(self, name: str, moves: Mapping[tuple[StateT, EventT], StateT]) -> None:
        self.name = name
        self._moves = dict(moves)

    def next(self, state: StateT, event: EventT) -> StateT:
        """Return the state after `event`.

        Raises:
            IllegalTransitionError: the table has no such move.
        """
        try:
            return self._moves[(state, event)]
        except KeyError:
            allowed = sorted(e.name for s, e in self._moves if s is state)
            raise IllegalTransitionError(
                f"{self.name} in state {state.name} does not accept {event.name};"
                f" it accepts {', '.join(allowed) or 'nothing'}."
            ) from None

    def accepts(self, state: StateT, event: EventT) -> bool:
        """Say whether the move exists."""
        return (state, event) in self._moves

    def moves(self) -> tuple[tuple[StateT, EventT, StateT], ...]:
        """Return every move as (from, event, to), in the table's order."""
        return tuple((state, event, target) for (state, event), target in self._moves.items())

    def mermaid(self) -> str:
        """Draw the machine as a Mermaid state diagram, for the documentation."""
        lines = ["stateDiagram-v2"]
        lines += [f"    {s.name} --> {t.name}: {e.name}" for s, e, t in self.moves()]
        return "\n".join(lines) + "\n"
