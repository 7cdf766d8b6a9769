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
    keys = json.loads(Path(str(made["keys_file"])).read_text())
    assert {len(keys[name]) for name in ("enc", "mac", "dek")} == {32}
    assert len({keys["enc"], keys["mac"], keys["dek"], "404142434445464748494A4B4C4D4E4F"}) == 4
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


@pytest.mark.parametrize("words", [["show", "one"], ["serve", "one", "--listen", "127.0.0.1:0"]])
@pytest.mark.parametrize("image", [b"", b"garbage"])
def test_damaged_memory_is_told_and_left_alone(tmp_path: Path, words: list[str], image: bytes) -> None:
    run(tmp_path, "new", "one")
    memory = tmp_path / "one" / "card.nvm"
    memory.write_bytes(image)
    with pytest.raises(CliError, match="the card one cannot be read") as refused:
        run(tmp_path, *words)
    assert refused.value.code == ExitCode.CONFIGURATION
    assert memory.read_bytes() == image


@pytest.mark.parametrize("text", ["garbage", "[]"])
def test_damaged_identity_is_told(tmp_path: Path, text: str) -> None:
    run(tmp_path, "new", "one")
    (tmp_path / "one" / "card.json").write_text(text)
    for words in (["list"], ["show", "one"]):
        with pytest.raises(CliError, match="the card one cannot be read"):
            run(tmp_path, *words)


def test_store_that_is_a_file_is_told(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.write_text("")
    with pytest.raises(CliError, match="cannot be made") as refused:
        run(store, "new", "one")
    assert refused.value.code == ExitCode.CONFIGURATION


def test_key_length_that_the_protocol_lacks_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="a key of SCP02 cannot have 24 bytes"):
        run(tmp_path, "new", "one", "--profile", "scp02-i55", "--key-length", "24")
    assert list(tmp_path.iterdir()) == []
