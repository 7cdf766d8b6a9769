"""`opentsm card explain`, `card cap` and `card cap-build`."""

import json
from importlib import resources
from pathlib import Path

import pytest
from typer.testing import CliRunner

from opentsm.cli.card import card_app
from opentsm.cli.exit_codes import ExitCode

RUNNER = CliRunner()
CAPS = Path(str(resources.files("opentsm.demo").joinpath("caps")))


def run(*arguments: str) -> tuple[int, str, str]:
    result = RUNNER.invoke(card_app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def test_explain_when_several_then_one_after_the_other() -> None:
    code, out, _ = run("explain", "6985", "808000", "80F24002024F0000")
    assert code == ExitCode.OK
    assert "conditions of use" in out and "Trusted Path" in out and "GET STATUS" in out


def test_explain_when_json_then_a_tree() -> None:
    _, out, _ = run("explain", "C90101", "--json")
    assert json.loads(out) == {
        "explained": [
            {
                "as": "tlv",
                "name": "Data objects",
                "parts": [{"name": "C9 Application parameters", "data": "01"}],
            }
        ]
    }


def test_explain_when_told_what_it_is_then_so() -> None:
    _, out, _ = run("explain", "9000", "--as", "tlv")
    assert out.startswith("Data objects")


def test_explain_when_one_is_bad_then_the_others_are_explained_and_it_is_named() -> None:
    code, out, message = run("explain", "6985", "6x", "808000")
    assert code == ExitCode.BAD_INPUT
    assert "conditions of use" in out and "Trusted Path" in out
    assert "'6x'" in message
    _, out, _ = run("explain", "6985", "6x", "--json")
    document = json.loads(out)
    assert [one.get("given", one.get("as")) for one in document["explained"]] == ["status-word", "6x"]
    assert "'6x'" in document["error"]["what"]


@pytest.mark.parametrize("data", ["zz", "FFFFFFFFFF", "", " "])
def test_explain_when_nothing_fits_then_bad_input(data: str) -> None:
    code, out, message = run("explain", data, "--json")
    assert code == ExitCode.BAD_INPUT
    assert json.loads(out)["error"]["code"] == "BAD_INPUT" and message


def test_cap_when_json_then_everything_a_loader_needs() -> None:
    code, out, _ = run("cap", str(CAPS / "bank.cap"), "--json")
    document = json.loads(out)
    assert code == ExitCode.OK
    assert document["package_aid"] == "F04F54534D01" and document["package_name"] == "org.opentsm.demo.bank"
    assert document["platform"] == "Java Card 2.2.2" and document["flags"] == ["APPLET"]
    assert document["imports"][0] == {"aid": "A0000000620101", "version": "1.3", "name": "javacard.framework"}
    assert len(document["hashes"]) == 8 and len(document["hashes"]["sha256"]) == 64
    assert sum(one["bytes"] for one in document["components"]) == document["load_bytes"]


def test_cap_when_raw_then_lines() -> None:
    code, out, _ = run("cap", str(CAPS / "transit.ijc"))
    assert code == ExitCode.OK
    assert "package_aid: F04F54534D02" in out and "applets: F04F54534D0201" in out


@pytest.mark.parametrize("words", [["cap", "build"], ["cap-build"]])
@pytest.mark.parametrize(("spec", "built"), [("bank", "bank.cap"), ("transit", "transit.ijc")])
def test_cap_build_when_demo_spec_then_the_demo_file(
    tmp_path: Path, words: list[str], spec: str, built: str
) -> None:
    code, _, _ = run(*words, str(CAPS / f"{spec}.json"), str(tmp_path / built))
    assert code == ExitCode.OK
    assert (tmp_path / built).read_bytes() == (CAPS / built).read_bytes()


def test_cap_when_missing_or_damaged_then_bad_input(tmp_path: Path) -> None:
    (tmp_path / "x.cap").write_bytes(b"PK but no zip")
    for name, word in (("none.cap", "No such file"), ("x.cap", "damaged")):
        code, out, message = run("cap", str(tmp_path / name), "--json")
        assert code == ExitCode.BAD_INPUT
        assert word in message and word in json.loads(out)["error"]["what"]


@pytest.mark.parametrize("text", ["[]", "{", '{"package": 1}'])
def test_cap_build_when_spec_is_bad_then_bad_input_and_no_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "spec.json").write_text(text)
    code, _, message = run("cap-build", str(tmp_path / "spec.json"), str(tmp_path / "out.cap"))
    assert code == ExitCode.BAD_INPUT and "spec.json" in message
    assert not (tmp_path / "out.cap").exists()


def test_cap_when_too_many_files_then_usage() -> None:
    assert run("cap", "a", "b")[0] == ExitCode.USAGE
