"""What commands print: data on stdout, progress and errors on stderr, JSON when asked for.

`NO_COLOR` is honoured everywhere; colours and bars appear on a terminal only.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from opentsm.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

PIPE_WIDTH = 200

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout; progress goes to stderr.")
]


class CliError(Exception):
    """A command ends here: what went wrong, why, and what to do about it."""

    def __init__(
        self, what: str, *, why: str = "", advice: str = "", code: ExitCode = ExitCode.FAILED
    ) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.advice = advice
        self.code = code

    def document(self) -> dict[str, object]:
        """Return the error as the value of `error` in a JSON answer."""
        parts = {"what": self.what, "why": self.why, "advice": self.advice}
        return {"code": self.code.name, **{name: text for name, text in parts.items() if text}}


def print_json(document: object) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Print one line of progress on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def stdout_console() -> Console:
    """Return the console for data that people read; wide where no terminal sets the width."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def stderr_console() -> Console:
    """Return the console for progress bars and messages."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def print_table(columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    """Print rows as a table, one column a key.

    Args:
        columns: Keys of the rows, in the order of the columns.
        rows: One mapping a row; a missing key shows as an empty cell.
    """
    from rich.table import Table

    table = Table()
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(str(row.get(column, "")) for column in columns))
    stdout_console().print(table)


def report_error(error: CliError, *, as_json: bool) -> None:
    """Print an error on stderr, and as a JSON document on stdout when JSON was asked for."""
    if as_json:
        with suppress(OSError):  # stdout may be what is full
            print_json({"error": error.document()})
    say(f"error: {error.what}")
    for name, text in (("why", error.why), ("do", error.advice)):
        if text:
            say(f"  {name}: {text}")
