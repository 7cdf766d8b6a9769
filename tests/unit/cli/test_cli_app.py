"""`opentsm app`: which commands and data a call gets, and how its errors end the process."""

import io
from pathlib import Path

import pytest

from opentsm.cli.app import recipe_data, service_commands
from opentsm.cli.app_door import KEPT, failure, keep_tokens, kept_tokens
from opentsm.cli.app_form import filled_in, in_language, language
from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError
from opentsm.sdk import (
    ActivateServiceCommand,
    FormField,
    HeldToken,
    InstallServiceCommand,
    NetworkConnectionError,
    NotAllowedError,
    PersonalizeServiceCommand,
    ServiceForm,
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
    refused = failure(NotAllowedError("Not allowed: now", advice="wait"))
    assert (refused.code, refused.why, refused.advice) == (ExitCode.REFUSED, "Not allowed: now", "wait")
    assert "13, NOT_ALLOWED" in refused.what
    assert failure(NetworkConnectionError()).code is ExitCode.UNAVAILABLE


def test_tokens_when_kept_then_read_again_by_this_user_only(tmp_path: Path) -> None:
    file = tmp_path / KEPT
    held = {"https://tsm s1": HeldToken("otsm_one", 17.5), "https://tsm i1": HeldToken("otsm_two", 18.0)}
    assert kept_tokens(file) == {}
    keep_tokens(file, held)
    assert kept_tokens(file) == held
    assert file.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == [KEPT]


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a": {"value": "x"}}', '{"a": {"renew_at": "x"}}'])
def test_tokens_when_the_file_is_damaged_then_none_are_kept(tmp_path: Path, text: str) -> None:
    file = tmp_path / KEPT
    file.write_text(text)
    assert kept_tokens(file) == {}


FORM = ServiceForm(
    service_id="s1",
    version="1.0.0",
    fields=[
        FormField(
            name=name,
            type="ascii",
            min=0,
            max=8,
            secret=False,
            title={},
            hint={},
            characters="",
            choices=[],
        )
        for name in ("door", "name")
    ],
    messages={},
    complete=True,
)


def test_form_when_nobody_can_be_asked_then_the_missing_fields_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    given = {"door": "MAIN", "name": "A"}
    assert filled_in(FORM, given, "en") == given
    with pytest.raises(CliError) as raised:
        filled_in(FORM, {"door": "MAIN"}, "en")
    assert raised.value.code is ExitCode.USAGE
    assert raised.value.what == "the form is not filled in: name"


@pytest.mark.parametrize(
    ("words", "tag", "found"),
    [
        ({"en": "a", "de": "b", "de-AT": "c"}, "de-AT", "c"),
        ({"en": "a", "de": "b"}, "de-AT", "b"),
        ({"en": "a", "de": "b"}, "fr", "a"),
        ({"zh": "d"}, "fr", "d"),
        ({}, "en", ""),
    ],
)
def test_words_when_shown_then_in_the_nearest_language(words: dict[str, str], tag: str, found: str) -> None:
    assert in_language(words, tag) == found


@pytest.mark.parametrize(
    ("value", "tag"), [("de_AT.UTF-8", "de-AT"), ("C", "en"), ("", "en"), ("C.UTF-8", "en"), ("fr", "fr")]
)
def test_language_when_the_shell_has_one_then_as_a_tag(
    monkeypatch: pytest.MonkeyPatch, value: str, tag: str
) -> None:
    monkeypatch.setenv("LC_ALL", value)
    for name in ("LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    assert language() == tag
