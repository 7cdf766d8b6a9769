"""docs/reference/privileges.md names tests for every privilege: what it allows, what its absence refuses."""

import ast
import re
from pathlib import Path

import pytest

from opentsm.vse.privileges import Privilege

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/reference/privileges.md"
ROW = re.compile(r"^\| `(\w+)` \| [^|]+ \| `([^`|]+)` \| `([^`|]+)` \| (\w{4}|–) \|$", re.MULTILINE)
ROWS = ROW.findall(PAGE.read_text("utf-8"))


def source_of(name: str) -> str:
    """The source of the test that `file::test[parameter]` names, and the line of its parameter."""
    file, test, parameter = re.fullmatch(r"(tests/[\w/.]+\.py)::(\w+)(?:\[(.+)\])?", name).groups()  # type: ignore[union-attr]
    text = (ROOT / file).read_text("utf-8")
    functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    (found,) = [node for node in functions if node.name == test]
    start = min([found.lineno, *(one.lineno for one in found.decorator_list)])
    lines = text.splitlines()
    parameters = [line for line in lines if parameter is not None and f'"{parameter}":' in line]
    assert parameter is None or len(parameters) == 1
    return "\n".join([*lines[start - 1 : found.end_lineno], *parameters])


def test_page_when_read_has_every_privilege_once() -> None:
    assert sorted(row[0] for row in ROWS) == sorted(one.name or "" for one in Privilege)


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_row_when_followed_leads_to_two_tests_and_the_refusal(row: tuple[str, str, str, str]) -> None:
    _, held, absent, word = row
    assert held != absent
    assert "assert" in source_of(held)
    refusing = source_of(absent)
    assert word == "–" or f"0x{word}" in refusing
