"""The diagrams of docs/reference/states.md are those of the tables.

Write them anew with: .venv/bin/python tests/unit/docs/test_states_page.py
"""

import re
from enum import Enum
from pathlib import Path

import pytest

from opentsm.tsm.domain.approval import APPROVAL_STATES, ApprovalState
from opentsm.tsm.domain.campaign import CAMPAIGN_STATES, CampaignState
from opentsm.tsm.domain.card_content import Stage
from opentsm.tsm.domain.device_call import LEGAL_CALLS
from opentsm.tsm.domain.operation import OPERATION_STATES, OperationState
from opentsm.tsm.domain.release import SUBMISSION_STATES, SubmissionState
from opentsm.tsm.domain.secure_element import SE_STATES, SeState
from opentsm.tsm.domain.service import INSTANCE_STATES, InstanceState
from opentsm.tsm.kernel.transitions import TransitionTable

PAGE = Path(__file__).parents[3] / "docs/reference/states.md"
TABLES: dict[str, tuple[TransitionTable[Enum, Enum], type[Enum]]] = {
    "approval": (APPROVAL_STATES, ApprovalState),  # type: ignore[dict-item]
    "campaign": (CAMPAIGN_STATES, CampaignState),  # type: ignore[dict-item]
    "operation": (OPERATION_STATES, OperationState),  # type: ignore[dict-item]
    "service-instance": (INSTANCE_STATES, InstanceState),  # type: ignore[dict-item]
    "submission": (SUBMISSION_STATES, SubmissionState),  # type: ignore[dict-item]
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


def calls() -> str:
    """Return the table of the calls that an app may make."""
    rows = ["| state | call | commands, and the state that each leads to before the end |", "|---|---|---|"]
    for state, call in dict.fromkeys((state, call) for state, call, _ in LEGAL_CALLS):
        lists = {xs: to for (s, c, xs), to in LEGAL_CALLS.items() if (s, c) == (state, call)}
        rows.append(f"| `{state.name}` | `{call.value}` | {', '.join(map(shown, lists, lists.values()))} |")
    return "\n".join(rows) + "\n"


def shown(commands: tuple[Stage, ...], reached: InstanceState | None) -> str:
    name = "gone" if reached is None else str(reached.value)
    return f"[{', '.join(stage.name[0] for stage in commands)}] → {name}"


CALLS = re.compile(r"(?<=<!-- calls -->\n).*?(?=<!-- end of calls -->)", re.DOTALL)


def test_calls_when_compared_with_their_table_are_the_same() -> None:
    found = CALLS.search(PAGE.read_text("utf-8"))
    assert found is not None
    assert found.group() == calls()


def write() -> None:
    """Put the tables' diagrams into the page."""
    text = PAGE.read_text("utf-8")
    for name, (table, _) in TABLES.items():
        text = block(name).sub(table.mermaid(), text, count=1)
    text = CALLS.sub(calls(), text, count=1)
    PAGE.write_text(text, "utf-8")


if __name__ == "__main__":
    write()
