"""docs/reference/spec-map.md names modules and tests that exist, and every section that a module names."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/reference/spec-map.md"
NAMED = re.compile(r"`((?:src/opentsm|tests)/[^`]+)`")
ROW = re.compile(
    r"^\|(?P<section>[^|]+)\|(?P<what>[^|]+)\|(?P<modules>[^|]+)\|(?P<tests>[^|]+)\|$", re.MULTILINE
)
# 11.5.2.3, E.4.1, 7.
NUMBER = re.compile(r"(?:\b[A-Z]\.)?\d+(?:\.\d+)*")
# A section of a specification, as sources name it.
SECTION = re.compile(rf"§ ?({NUMBER.pattern})")


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


def numbers_on_the_map() -> dict[str, set[str]]:
    """Return, for every module, the numbers of the sections in the rows that name it."""
    found: dict[str, set[str]] = {}
    for row in rows():
        for module in NAMED.findall(row["modules"]):
            found.setdefault(module, set()).update(NUMBER.findall(row["section"]))
    return found


def test_modules_when_they_name_a_section_then_it_stands_in_a_row_of_theirs() -> None:
    mapped = numbers_on_the_map()
    missing = []
    for module in sorted((ROOT / "src/opentsm").rglob("*.py")):
        name = module.relative_to(ROOT).as_posix()
        named = set(SECTION.findall(module.read_text("utf-8")))
        missing += [f"{name} §{number}" for number in sorted(named - mapped.get(name, set()))]
    assert missing == []


def test_sections_when_a_row_names_one_with_a_number_stand_in_one_of_its_modules() -> None:
    missing = []
    for row in rows():
        sources = "".join((ROOT / n).read_text("utf-8") for n in NAMED.findall(row["modules"]))
        for section in re.findall(r"§[A-Z]?\.?[\d.]+\d", row["section"]):
            if section not in sources and section.removeprefix("§") not in sources:
                missing.append((section, row["modules"].strip()))
    assert missing == []
