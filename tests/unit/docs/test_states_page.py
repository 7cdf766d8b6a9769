"""The diagrams of docs/reference/states.md are those of the tables.

Write them anew with: .venv/bin/python tests/unit/docs/test_states_page.py
"""

import re
from enum import Enum
from pathlib import Path

import pytest

from opentsm.tsm.domain.operation import OPERATION_STATES, OperationState
from opentsm.tsm.domain.secure_element import SE_STATES, SeState
from opentsm.tsm.domain.service import INSTANCE_STATES, InstanceState
from opentsm.tsm.kernel.transitions import TransitionTable

PAGE = Path(__file__).parents[3] / "docs/reference/states.md"
TABLES: dict[str, tuple[TransitionTable[Enum, Enum], type[Enum]]] = {
    "operation": (OPERATION_STATES, OperationState),  # type: ignore[dict-item]
    "service-instance": (INSTANCE_STATES, InstanceState),  # type: ignore[dict-item]
    "secure-element": (SE_STATES, SeState),  # type: ignore[dict-item]
}


def block(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<=<!-- table: {name} -->\n```mermaid\n).*?(?=```)", re.DOTALL)


@pytest.mark.parametrize("name", TABLES)
def test_diagram_when_compared_with_its_table_is_the_same(name: str) -> None:
    drawn = block(name).search(PAGE.read_text("utf-8"))
    assert drawn is not None
    assert drawn.group() == TABLES[name][0].mermaid()


@pytest.mark.parametrize("name", TABLES)
def test_page_when_a_state_exists_says_what_it_means(name: str) -> None:
    described = set(re.findall(r"^\| `([A-Z_]+)`", PAGE.read_text("utf-8"), re.MULTILINE))
    assert {state.name for state in TABLES[name][1]} <= described


def write() -> None:
    """Put the tables' diagrams into the page."""
    text = PAGE.read_text("utf-8")
    for name, (table, _) in TABLES.items():
        text = block(name).sub(table.mermaid(), text, count=1)
    PAGE.write_text(text, "utf-8")


if __name__ == "__main__":
    write()
