"""What `opentsm app install` asks the end user, and in which language of the form."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

import typer

from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError
from opentsm.sdk import FormField, ServiceForm

_ENGLISH = "en"


def language() -> str:
    """Return the language of the shell as a tag; English where it says none."""
    found = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    tag = found.partition(".")[0].replace("_", "-")
    return _ENGLISH if tag in ("", "C", "POSIX") else tag


def in_language(words: Mapping[str, str], tag: str) -> str:
    """Return words in a language, else without its region, else in English, else in any."""
    for wanted in (tag, tag.partition("-")[0], _ENGLISH):
        if wanted in words:
            return words[wanted]
    return next(iter(words.values()), "")


def filled_in(form: ServiceForm, given: Mapping[str, str], tag: str) -> dict[str, str]:
    """Return what the end user gives for each field: what was given, and on a terminal what is asked now.

    Raises:
        CliError: a field is missing and there is nobody to ask, or the form does not suffice.
    """
    missing = [field for field in form.fields if field.name not in given]
    if missing and not sys.stdin.isatty():
        names = ", ".join(field.name for field in missing)
        raise CliError(
            f"the form is not filled in: {names}",
            advice="give each with --data NAME=VALUE; `opentsm app form` shows them",
            code=ExitCode.USAGE,
        )
    return {**given, **{field.name: _ask(field, tag) for field in missing}}


def _ask(field: FormField, tag: str) -> str:
    title = in_language(field.title, tag) or field.name
    hint = in_language(field.hint, tag)
    for choice in field.choices:
        typer.echo(f"  {choice.value}  {in_language(choice.title, tag)}", err=True)
    return str(typer.prompt(f"{title} ({hint})" if hint else title, hide_input=field.secret, err=True))
