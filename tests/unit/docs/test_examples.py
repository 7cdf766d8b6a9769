"""Every example of the documentation runs in the suite, or says visibly why it does not.

A page is run as a whole (`PAGES`), or a block is a part of a file that runs (`PARTS`), or stands under a line
`*Run in the suite: …*` that names the test, or `*Not run in the suite: reason.*`.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCS = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
# Pages whose blocks are run one after the other, and the test that does it.
PAGES = {
    "docs/tutorial/first-service.md": "tests/e2e/test_tutorial.py",
    "docs/tutorial/service-provider.md": "tests/e2e/test_tutorial_provider.py",
    "docs/howto/send-commands-over-the-air.md": "tests/unit/docs/test_examples.py",
}
# Pages whose blocks stand in a file that one of those pages runs.
PARTS = {"docs/reference/sdk.md": "docs/examples/badge_app.py"}
RUN = ("sh", "bash", "python", "")
SHOWN = ("json", "http", "toml", "mermaid", "console", "text")
BLOCK = re.compile(r"(?P<above>[^\n]*)\n\n?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
RUN_ELSEWHERE = re.compile(r"\*Run in the suite: `(?P<test>tests/[\w/.]+)`[^*]*\.\*")
NOT_RUN = re.compile(r"\*Not run in the suite: .{10,}\.\*")


@dataclass(frozen=True)
class Example:
    """A fenced block, with the line above it."""

    page: str
    kind: str
    text: str
    above: str


def examples() -> Iterator[Example]:
    for path in DOCS:
        page = path.relative_to(ROOT).as_posix()
        for found in BLOCK.finditer("\n\n" + path.read_text("utf-8")):
            yield Example(page, found["kind"], found["text"], found["above"])


def test_examples_when_they_can_be_run_then_they_are_or_say_why_not() -> None:
    unmarked = []
    for example in examples():
        assert example.kind in (*RUN, *SHOWN), (example.page, example.kind)
        if example.kind not in RUN or example.page in PAGES or example.page in PARTS:
            continue
        elsewhere = RUN_ELSEWHERE.fullmatch(example.above)
        if elsewhere is not None:
            assert (ROOT / elsewhere["test"]).is_file(), example.above
        elif NOT_RUN.fullmatch(example.above) is None:
            unmarked.append((example.page, example.text[:60]))
    assert unmarked == []


def test_examples_when_they_are_commands_then_they_stand_in_a_fence() -> None:
    """An indented block is shown as code too, and would be neither run nor marked."""
    command = re.compile(r"^    (?:\$ )?(?:curl|opentsm|\./tsm|pip|python3?|pytest) .*$", re.MULTILINE)
    fenced = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
    loose = {path.name: command.findall(fenced.sub("", path.read_text("utf-8"))) for path in DOCS}
    assert {name: found for name, found in loose.items() if found} == {}


def test_examples_when_counted_then_none_was_overlooked() -> None:
    fences = sum(len(re.findall(r"^```", path.read_text("utf-8"), re.MULTILINE)) for path in DOCS)
    assert 2 * len(list(examples())) == fences


def test_pages_when_they_are_run_then_their_test_names_them() -> None:
    for page, test in PAGES.items():
        assert (ROOT / page).is_file()
        assert Path(page).name in (ROOT / test).read_text("utf-8")


def test_parts_when_a_page_shows_them_then_they_stand_in_the_file_that_runs() -> None:
    run = "".join((ROOT / page).read_text("utf-8") for page in PAGES)
    for page, file in PARTS.items():
        assert file in run
        for example in examples():
            if example.page == page:
                assert example.text in (ROOT / file).read_text("utf-8"), example.text


def test_json_when_shown_then_it_is_json() -> None:
    shown = [example for example in examples() if example.kind == "json"]
    assert shown
    for example in shown:
        json.loads(example.text)


def test_toml_when_shown_then_it_is_toml() -> None:
    shown = [example for example in examples() if example.kind == "toml"]
    assert shown
    for example in shown:
        tomllib.loads(example.text)


def test_over_the_air_when_the_page_is_followed_then_the_card_answers_and_the_answer_is_decoded(
    tmp_path: Path,
) -> None:
    page = "docs/howto/send-commands-over-the-air.md"
    script = ["set -eu", "opentsm() { " + f'"{sys.executable}" -m opentsm.cli "$@"; ' + "}"]
    for example in examples():
        if example.page == page and example.kind in RUN:
            script.append(
                f'"{sys.executable}" - <<"PY"\n{example.text}PY' if example.kind == "python" else example.text
            )
    ended = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=tmp_path,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "027100" in ended.stdout
    assert re.search(r"^status\b.*\b00\b", ended.stdout, re.MULTILINE), ended.stdout


@pytest.mark.parametrize(
    ("above", "good"),
    [
        ("*Not run in the suite: it needs a card in a reader.*", True),
        ("*Not run in the suite: no.*", False),
        ("Not run in the suite: it needs a card in a reader.", False),
        ("<!-- Not run in the suite: it needs a card in a reader. -->", False),
    ],
)
def test_marker_when_it_is_hidden_or_gives_no_reason_then_it_is_none(above: str, good: bool) -> None:
    assert (NOT_RUN.fullmatch(above) is not None) is good
