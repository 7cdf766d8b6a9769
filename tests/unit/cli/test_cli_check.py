"""What `opentsm check` finds: URLs in the lock, pages that load from elsewhere; and packages.debian."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from opentsm.cli import main
from opentsm.cli.check import CHECKS, foreign_origins, foreign_origins_of, urls_in_lock
from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.source_tree import source_root
from opentsm.cli.system_packages import listed_packages

PAGE = Path("page.html")


def test_lock_when_as_committed_holds_no_url() -> None:
    assert urls_in_lock(source_root()) == []


@pytest.mark.parametrize(
    "line",
    [
        "foo @ https://host/foo-1.whl",
        "foo @ git+ssh://host/foo",
        "--index-url http://host/simple",
        "--find-links wheels",
        "foo @ file:///tmp/foo.whl",
    ],
)
def test_lock_when_it_holds_a_url_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "requirements.lock").write_text(f"bar==1 \\\n    --hash=sha256:00\n{line}\n")
    (tmp_path / "src").mkdir()
    (finding,) = urls_in_lock(tmp_path)
    assert finding.startswith("requirements.lock:3: holds a URL")


def test_pages_when_as_committed_load_nothing_from_elsewhere() -> None:
    assert foreign_origins(source_root()) == []


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://cdn.example/x.js"></script>',
        "<img src='//cdn.example/x.png'>",
        '<link rel="stylesheet" href="http://cdn.example/x.css">',
        "body { background: url(https://cdn.example/x.png) }",
        "@import 'https://cdn.example/x.css';",
        '<form action="https://elsewhere.example/">',
    ],
)
def test_page_when_it_loads_from_elsewhere_is_found(text: str) -> None:
    assert len(list(foreign_origins_of(PAGE, text))) == 1


@pytest.mark.parametrize(
    "text",
    [
        '<a href="https://example.org/">a link is no load</a>',
        '<script src="/static/x.js">',
        "url(data:image/png;base64,)",
    ],
)
def test_page_when_it_loads_from_here_passes(text: str) -> None:
    assert list(foreign_origins_of(PAGE, text)) == []


def test_packages_when_listed_skip_comments() -> None:
    assert listed_packages("# why\n\ngit\npostgresql-15  # contract tests\n") == ["git", "postgresql-15"]


def test_checks_when_listed_are_all_there() -> None:
    assert set(CHECKS) == {"format", "lint", "types", "imports", "lock", "foreign origins"}


def test_lock_when_read_pins_every_dependency_and_the_build_back_end() -> None:
    root = source_root()
    project = tomllib.loads((root / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    wanted += project["build-system"]["requires"]
    names = {re.split(r"[\[<>=; ]", requirement)[0].lower().replace("_", "-") for requirement in wanted}
    locked = set(re.findall(r"^([a-z0-9-]+)==", (root / "requirements.lock").read_text(), re.MULTILINE))
    assert names <= locked


def test_main_when_a_command_fails_unforeseen_ends_with_internal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(main, "build_app", fail)
    monkeypatch.setattr("sys.argv", ["opentsm", "card", "--json"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == ExitCode.INTERNAL
    shown = capsys.readouterr()
    assert json.loads(shown.out)["error"]["code"] == "INTERNAL"
    assert "ZeroDivisionError" in shown.err


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["card", "wrap", "--json"], "Missing option '--enc'"),
        (["card", "cap", "a", "b", "--json"], "give one FILE"),
        (["no-such", "--json"], "No such command"),
        (["completion", "tcsh", "--json"], "tcsh"),
    ],
)
def test_main_when_the_command_line_is_wrong_then_the_document_says_so(
    words: list[str], what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["opentsm", *words])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == ExitCode.USAGE
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "USAGE"
    assert what in error["what"]


def test_completion_when_json_then_the_script_is_in_the_document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["opentsm", "completion", "bash", "--json"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == ExitCode.OK
    document = json.loads(capsys.readouterr().out)
    assert document["shell"] == "bash" and "complete -o default" in document["script"]


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied", "/x/y"), OSError(28, "No space left on device")]
)
def test_main_when_the_machine_refuses_a_file_then_says_which_without_a_traceback(
    error: OSError, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: object) -> None:
        raise error

    monkeypatch.setattr(main, "build_app", fail)
    monkeypatch.setattr("sys.argv", ["opentsm", "db", "--json"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == ExitCode.CONFIGURATION
    shown = capsys.readouterr()
    assert json.loads(shown.out)["error"]["why"] == str(error)
    assert "Traceback" not in shown.err
