"""`opentsm config`: show the settings in force and where each came from."""

from __future__ import annotations

import typer

from opentsm.cli.output import JsonOption, print_json, print_table
from opentsm.cli.settings import command_settings

config_app = typer.Typer(no_args_is_help=True)


@config_app.callback()
def config() -> None:
    """Show the settings; each comes from command line, environment, opentsm.toml or default."""


@config_app.command()
def show(as_json: JsonOption = False) -> None:
    """Show every setting with its source; secrets are hidden."""
    rows = [
        {"name": value.name, "value": value.value, "source": value.source, "variable": value.variable}
        for value in command_settings().values
    ]
    if as_json:
        print_json({"settings": rows})
    else:
        print_table(["name", "value", "source"], [row | {"value": row["value"] or ""} for row in rows])
