"""`opentsm vse` on the command line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError
from opentsm.cli.vse import vse_app

RUNNER = CliRunner()


def run(store: Path, *words: str) -> object:
    result = RUNNER.invoke(vse_app, [*words, "--store", str(store), "--json"])
    if isinstance(result.exception, CliError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_new_list_show_erase(tmp_path: Path) -> None:
    made = run(tmp_path, "new", "one", "--serial", "9", "--profile", "scp03-i60")
    assert isinstance(made, dict)
    assert (made["profile"], made["serial"], made["kvn"]) == ("scp03-i60", 9, "30")
    assert json.loads(Path(str(made["keys_file"])).read_text())["enc"] != "4041"
    listed = run(tmp_path, "list")
    assert isinstance(listed, list)
    assert [entry["name"] for entry in listed] == ["one"]
    shown = run(tmp_path, "show", "one")
    assert isinstance(shown, dict)
    assert shown["instances"][0]["aid"] == "A000000151000000"
    assert run(tmp_path, "erase", "one", "--yes") == {"erased": "one"}
    assert run(tmp_path, "list") == []


@pytest.mark.parametrize(
    "words",
    [
        ["show", "nobody"],
        ["erase", "nobody", "--yes"],
        ["new", "../x"],
        ["new", "x", "--profile", "no-such"],
        ["new", "x", "--key-length", "17"],
        ["serve", "nobody", "--listen", "127.0.0.1:0"],
        ["serve", "nobody"],
    ],
)
def test_wrong_words_are_usage_errors(tmp_path: Path, words: list[str]) -> None:
    with pytest.raises(CliError) as refused:
        run(tmp_path, *words)
    assert refused.value.code == ExitCode.USAGE


def test_new_with_a_used_name_is_refused(tmp_path: Path) -> None:
    run(tmp_path, "new", "one")
    with pytest.raises(CliError):
        run(tmp_path, "new", "one")


def test_people_get_tables(tmp_path: Path) -> None:
    run(tmp_path, "new", "one", "--test-keys")
    for words in (["list"], ["show", "one"]):
        result = RUNNER.invoke(vse_app, [*words, "--store", str(tmp_path)])
        assert result.exit_code == 0
        assert "one" in result.output or "A0000001" in result.output
