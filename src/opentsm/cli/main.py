"""The root of the command line: a table of commands, each imported only when it is called."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer
from typer.completion import completion_init  # type: ignore[attr-defined]

from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError, print_json, report_error, say

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """One command of the root: its module in `opentsm.cli`, its `typer.Typer`, its line of help."""

    name: str
    module: str
    attribute: str
    help: str

    @property
    def exists(self) -> bool:
        """Tell whether the module is there; nothing of it is imported."""
        return find_spec(f"opentsm.cli.{self.module}") is not None

    def load(self) -> typer.Typer:
        """Import the command."""
        app = getattr(import_module(f"opentsm.cli.{self.module}"), self.attribute)
        if not isinstance(app, typer.Typer):
            raise TypeError(f"opentsm.cli.{self.module}:{self.attribute} is no typer.Typer")
        return app


COMMANDS: tuple[CommandEntry, ...] = (
    CommandEntry("demo", "demo", "demo_app", "Show the whole path once, on virtual SEs."),
    CommandEntry("serve", "serve", "serve_app", "Run the server until it is told to stop."),
    CommandEntry("sandbox", "sandbox", "sandbox_app", "Serve with demo tenants and virtual SEs."),
    CommandEntry("operation", "resources", "operation_app", "List, show and follow operations."),
    CommandEntry("se", "resources", "se_app", "List, show and follow secure elements."),
    CommandEntry("service", "resources", "service_app", "List, show and follow services."),
    CommandEntry("card", "card", "card_app", "Card tools without a server, for a card in a reader or none."),
    CommandEntry("vse", "vse", "vse_app", "Make, show and serve virtual secure elements."),
    CommandEntry("agent", "agent", "agent_app", "Run a Local Agent on this device."),
    CommandEntry("app", "app", "app_app", "Make the calls of an app on this device."),
    CommandEntry("db", "db", "db_app", "Migrate, show and prune the database."),
    CommandEntry("audit", "audit", "audit_app", "Verify the audit's hash chains and checkpoints."),
    CommandEntry(
        "operator-token",
        "operator_token",
        "operator_token_app",
        "Give a person of the operator a token.",
    ),
    CommandEntry("config", "config_command", "config_app", "Show the settings and their sources."),
    CommandEntry("doctor", "doctor", "doctor_app", "Look for what this machine lacks."),
    CommandEntry("campaign", "campaign", "campaign_app", "Look at campaigns, follow one, rehearse one."),
    CommandEntry("bench", "bench", "bench_app", "Measure speeds against peers and floors."),
    CommandEntry("fuzz", "fuzz", "fuzz_app", "Run long fuzzing campaigns against readers and the card."),
    CommandEntry("check", "check", "check_app", "Check format, lint, types and import rules."),
    CommandEntry("test", "test", "test_app", "Run the checks and the whole test suite."),
    CommandEntry("completion", "completion", "completion_app", "Print a shell's completion script."),
)


def build_app(arguments: Iterable[str]) -> typer.Typer:
    """Build the root; import only the commands whose names stand among the arguments.

    Args:
        arguments: Words of the command line.

    Returns:
        The root application, in which every other command is a name with a help line.
    """
    words = set(arguments)
    root = typer.Typer(
        name="opentsm",
        help="OpenTSM, a Trusted Service Manager for GlobalPlatform secure elements.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    root.callback()(root_options)
    for entry in COMMANDS:
        if entry.exists:
            add_command(root, entry, words)
    return root


def add_command(root: typer.Typer, entry: CommandEntry, words: Collection[str]) -> None:
    """Register a command, really when its name is among the words, else as a line of help."""
    if entry.name not in words:
        root.command(entry.name, help=entry.help)(_named_only)
        return
    app = entry.load()
    if len(app.registered_commands) == 1 and not app.registered_groups and app.registered_callback is None:
        (command,) = app.registered_commands
        command.name = entry.name
        root.registered_commands.append(command)
    else:
        root.add_typer(app, name=entry.name, help=entry.help)


def _named_only() -> None:
    """Stand in for a command in the list of help; `build_app` loads the real one when it is called."""


def show_version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        typer.echo(f"opentsm {metadata.version('opentsm')}")
        raise typer.Exit


def root_options(
    config: Annotated[
        str | None,
        typer.Option("--config", help="Configuration file (default: OPENTSM_CONFIG or ./opentsm.toml)."),
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and end."),
    ] = False,
) -> None:
    """Handle the options before the command."""
    del version
    if config is not None:
        os.environ["OPENTSM_CONFIG"] = config


def completion_words() -> list[str]:
    """Return the words that a shell asks to complete; empty in an ordinary call."""
    words = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS") or ""
    return words.split()


def machine_fault(error: Exception) -> CliError | None:
    """Return what to say when the machine refused a file or has no room; None for any other fault."""
    if not isinstance(error, OSError) or (error.filename is None and error.errno != errno.ENOSPC):
        return None
    return CliError(
        "a file cannot be used",
        why=str(error),
        advice="look at its permissions and the room on its disk; `opentsm doctor`",
        code=ExitCode.CONFIGURATION,
    )


def main() -> None:
    """Run the command line and end the process with an exit code of `ExitCode`."""
    arguments = sys.argv[1:]
    if "_OPENTSM_COMPLETE" in os.environ:
        completion_init()
    try:
        build_app([*arguments, *completion_words()])(prog_name="opentsm")
    except CliError as error:
        report_error(error, as_json="--json" in arguments)
        sys.exit(error.code)
    except SystemExit as ended:
        # Typer has told people about a wrong command line; a program gets the same as a document.
        message = getattr(ended.__context__, "format_message", None)
        if message is not None and "--json" in arguments:
            print_json({"error": CliError(message(), code=ExitCode.USAGE).document()})
        raise
    except KeyboardInterrupt:
        say("ended by Ctrl-C")
        sys.exit(ExitCode.INTERRUPTED)
    except Exception as error:
        fault = machine_fault(error)
        if fault is None:
            traceback.print_exc()
            fault = CliError("a fault of OpenTSM itself", why=type(error).__name__, code=ExitCode.INTERNAL)
        report_error(fault, as_json="--json" in arguments)
        sys.exit(fault.code)
