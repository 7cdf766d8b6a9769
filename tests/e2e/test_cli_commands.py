"""The command line as a user calls it: processes, exit codes, what goes to stdout and what to stderr."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from opentsm.cli.exit_codes import MEANINGS, ExitCode
from opentsm.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
OPENTSM = Path(sys.executable).with_name("opentsm")
REFERENCE = ROOT / "docs" / "reference" / "cli.md"
CONFIGURE = ROOT / "docs" / "howto" / "configure.md"


def opentsm(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Call the command line."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OPENTSM_")}
    return subprocess.run(
        [str(OPENTSM), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={**clean, "NO_COLOR": "1", "TERM": "dumb", **environment},
    )


def test_help_when_asked_lists_every_command_that_exists() -> None:
    shown = opentsm("--help")
    assert shown.returncode == ExitCode.OK
    listed = re.findall(r"^│ ([\w-]+) ", shown.stdout.partition("Commands")[2], re.MULTILINE)
    assert listed == [entry.name for entry in COMMANDS if entry.exists]


@pytest.mark.parametrize("entry", [entry for entry in COMMANDS if entry.exists], ids=lambda entry: entry.name)
def test_command_when_asked_for_help_loads(entry: object) -> None:
    name = getattr(entry, "name", "")
    shown = opentsm(name, "--help")
    assert shown.returncode == ExitCode.OK, shown.stderr
    assert f"opentsm {name}" in shown.stdout


def test_version_when_asked_is_printed() -> None:
    assert re.fullmatch(r"opentsm \d+\.\d+\.\d+\n", opentsm("--version").stdout)


def test_version_when_asked_imports_no_command() -> None:
    code = (
        "import sys; sys.argv = ['opentsm', '--version']\n"
        "from opentsm.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: print(sorted(m for m in sys.modules if m.split('.')[0] in "
        "{'litestar', 'asyncpg', 'cryptography', 'httpx', 'uvicorn'} or m == 'opentsm.tsm'))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("arguments", [["nonsense"], ["db", "nonsense"], ["db", "status", "--nonsense"]])
def test_command_line_when_wrong_ends_with_usage(arguments: list[str]) -> None:
    shown = opentsm(*arguments)
    assert shown.returncode == ExitCode.USAGE
    assert "nonsense" in shown.stderr
    assert shown.stdout == ""


def test_config_show_when_json_is_asked_names_sources_and_hides_secrets(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text("[server]\nport = 9\n")
    shown = opentsm("--config", str(file), "config", "show", "--json", OPENTSM_CLIENT_TOKEN="s3cret")
    settings = {row["name"]: row for row in json.loads(shown.stdout)["settings"]}
    assert (settings["server.port"]["value"], settings["server.port"]["source"]) == ("9", str(file))
    assert settings["client.token"]["source"] == "environment OPENTSM_CLIENT_TOKEN"
    assert "s3cret" not in shown.stdout + shown.stderr


def test_command_when_a_setting_is_bad_says_where() -> None:
    shown = opentsm("config", "show", "--json", OPENTSM_SERVER_PORT="http")
    assert shown.returncode == ExitCode.CONFIGURATION
    assert json.loads(shown.stdout)["error"]["code"] == "CONFIGURATION"
    assert "environment OPENTSM_SERVER_PORT" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_db_status_when_server_is_unreachable_tells_no_password() -> None:
    shown = opentsm("db", "status", OPENTSM_DATABASE_URL="postgresql://tsm:s3cret@127.0.0.1:1/tsm")
    assert shown.returncode == ExitCode.UNAVAILABLE
    assert "cannot be reached" in shown.stderr
    assert "s3cret" not in shown.stdout + shown.stderr


def test_db_status_when_there_is_no_database_then_makes_none(open_data_dir: str) -> None:
    shown = opentsm("db", "status", "--json", OPENTSM_DATA_DIR=open_data_dir)
    assert shown.returncode == ExitCode.NO_DATABASE
    assert json.loads(shown.stdout)["error"]["code"] == "NO_DATABASE"
    assert "opentsm db migrate" in shown.stderr
    assert list(Path(open_data_dir).iterdir()) == []


def test_db_when_migrated_fits(open_data_dir: str) -> None:
    assert opentsm("db", "migrate", OPENTSM_DATA_DIR=open_data_dir).returncode == ExitCode.OK
    again = opentsm("db", "migrate", "--json", OPENTSM_DATA_DIR=open_data_dir)
    assert json.loads(again.stdout) == {"applied": []}
    status = opentsm("db", "status", "--json", OPENTSM_DATA_DIR=open_data_dir)
    assert json.loads(status.stdout)["fits"] is True
    doctor = opentsm("doctor", "--json", OPENTSM_DATA_DIR=open_data_dir, OPENTSM_SERVER_PORT="0")
    assert doctor.returncode == ExitCode.OK, doctor.stdout


def test_doctor_when_a_variable_is_misspelt_warns(open_data_dir: str) -> None:
    shown = opentsm("doctor", "--json", OPENTSM_DATA_DIR=open_data_dir, OPENTSM_SERVER_PROT="1")
    findings = {row["name"]: row for row in json.loads(shown.stdout)["findings"]}
    assert findings["settings"]["verdict"] == "WARNING"
    assert "OPENTSM_SERVER_PROT" in findings["settings"]["detail"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_when_asked_prints_a_script(shell: str) -> None:
    shown = opentsm("completion", shell)
    assert shown.returncode == ExitCode.OK
    assert "_OPENTSM_COMPLETE" in shown.stdout


def test_completion_when_words_are_typed_completes_them() -> None:
    words = {"COMP_WORDS": "opentsm db mi", "COMP_CWORD": "2", "_OPENTSM_COMPLETE": "complete_bash"}
    assert opentsm(**words).stdout.split() == ["migrate"]


def test_reference_when_read_lists_every_exit_code_and_command() -> None:
    text = REFERENCE.read_text()
    for code, meaning in MEANINGS.items():
        assert f"| {code.value} | {code.name} | {meaning} |" in text
    assert set(MEANINGS) == set(ExitCode)
    table = text.partition("## Commands")[2].partition("\n## ")[0]
    documented = {
        name
        for row in table.splitlines()
        for name in re.findall(r"`([\w-]+)`", row.split("|")[1:2][0] if "|" in row else "")
    }
    assert documented == {entry.name for entry in COMMANDS}


def test_configure_when_read_lists_every_setting() -> None:
    shown = json.loads(opentsm("config", "show", "--json").stdout)["settings"]
    documented = re.findall(r"^\| `([a-z_.]+)` \|", CONFIGURE.read_text(), re.MULTILINE)
    assert documented == [row["name"] for row in shown]
