"""Every case of the checklist has a test that bears its number."""

import re
from pathlib import Path

_CASES = 162
_NAMED = re.compile(r"^(?:async )?def test_case_((?:\d{3}_)+)", re.MULTILINE)


def test_conformance_numbers_when_collected_are_all_there() -> None:
    files = Path(__file__).resolve().parents[1].rglob("test_*.py")
    named = (numbers for file in files for numbers in _NAMED.findall(file.read_text("utf-8")))
    found = {int(number) for numbers in named for number in numbers.split("_") if number}
    assert found == set(range(1, _CASES + 1))
