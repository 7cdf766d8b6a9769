"""`opentsm app`: which commands and data a call gets, and how its errors end the process."""

from pathlib import Path

import pytest

from opentsm.cli.app import _failure, recipe_data, service_commands
from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError
from opentsm.sdk import (
    ActivateServiceCommand,
    InstallServiceCommand,
    NetworkConnectionError,
    NotAllowedError,
    PersonalizeServiceCommand,
)


def test_commands_when_named_then_in_this_order_with_what_belongs_to_them() -> None:
    assert service_commands("install, activate,personalize", {"a": "1"}, suspended=True) == [
        InstallServiceCommand(),
        ActivateServiceCommand(suspension_control=True),
        PersonalizeServiceCommand(personalization_data={"a": "1"}),
    ]
    assert service_commands("none", {}, suspended=False) == []


@pytest.mark.parametrize(
    ("names", "data", "suspended"),
    [("remove", {}, False), ("", {}, False), ("install", {"a": "1"}, False), ("install", {}, True)],
)
def test_commands_when_unknown_or_without_what_belongs_to_them_then_refused(
    names: str, data: dict[str, str], suspended: bool
) -> None:
    with pytest.raises(CliError) as raised:
        service_commands(names, data, suspended=suspended)
    assert raised.value.code is ExitCode.USAGE


def test_data_when_given_twice_then_the_words_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "data.json"
    file.write_text('{"a": "1", "b": "2"}')
    assert recipe_data(["b=x=y", "c="], str(file)) == {"a": "1", "b": "x=y", "c": ""}
    assert recipe_data(None, None) == {}


@pytest.mark.parametrize("text", ["[]", '{"a": 1}', '{"pin": "4711"'])
def test_data_when_the_file_holds_no_texts_then_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    file = tmp_path / "data.json"
    file.write_text(text)
    with pytest.raises(CliError) as raised:
        recipe_data(None, str(file))
    assert raised.value.code is ExitCode.BAD_INPUT
    assert "4711" not in str(raised.value.document())
    for odd in ("a", "=1"):
        with pytest.raises(CliError):
            recipe_data([odd], None)


def test_errors_when_they_have_a_type_then_an_exit_code_that_says_whose_fault() -> None:
    refused = _failure(NotAllowedError("Not allowed: now", advice="wait"))
    assert (refused.code, refused.why, refused.advice) == (ExitCode.REFUSED, "Not allowed: now", "wait")
    assert "13, NOT_ALLOWED" in refused.what
    assert _failure(NetworkConnectionError()).code is ExitCode.UNAVAILABLE
