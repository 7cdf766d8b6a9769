"""docs/reference/spec-map.md names modules and tests that exist, and every module that names a section."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/reference/spec-map.md"
NAMED = re.compile(r"`((?:src/opentsm|tests)/[^`]+)`")
ROW = re.compile(
    r"^\|(?P<section>[^|]+)\|(?P<what>[^|]+)\|(?P<modules>[^|]+)\|(?P<tests>[^|]+)\|$", re.MULTILINE
)
# The packages that are written from a specification.
READERS = ("card", "vse")


def rows() -> list[re.Match[str]]:
    found = list(ROW.finditer(PAGE.read_text("utf-8")))
    return [row for row in found if "`" in row["modules"]]


def test_files_when_named_exist() -> None:
    named = NAMED.findall(PAGE.read_text("utf-8"))
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_rows_when_read_name_a_module_and_a_test() -> None:
    wrong = [row.group() for row in rows() if not row["tests"].strip() or "`tests/" not in row["tests"]]
    assert wrong == []


def test_modules_when_they_name_a_section_are_on_the_map() -> None:
    text = PAGE.read_text("utf-8")
    modules = [m for part in READERS for m in (ROOT / "src/opentsm" / part).rglob("*.py")]
    naming = [m.relative_to(ROOT).as_posix() for m in modules if "§" in m.read_text("utf-8")]
    assert [name for name in naming if f"`{name}`" not in text] == []


def test_sections_when_a_row_names_one_with_a_number_stand_in_one_of_its_modules() -> None:
    missing = []
    for row in rows():
        sources = "".join((ROOT / n).read_text("utf-8") for n in NAMED.findall(row["modules"]))
        for section in re.findall(r"§[A-Z]?\.?[\d.]+\d", row["section"]):
            if section not in sources and section.removeprefix("§") not in sources:
                missing.append((section, row["modules"].strip()))
    assert missing == []
