"""`opentsm completion`: print the script that completes commands in a shell."""

from enum import StrEnum
from typing import Annotated

import typer
from typer.completion import get_completion_script  # type: ignore[attr-defined]

from opentsm.cli.output import JsonOption, print_json

completion_app = typer.Typer()


class Shell(StrEnum):
    """Shells with a completion."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@completion_app.command()
def completion(
    shell: Annotated[Shell, typer.Argument(help="The shell to print the script for.")],
    as_json: JsonOption = False,
) -> None:
    """Print a completion script: `source <(opentsm completion bash)`."""
    script: str = get_completion_script(
        prog_name="opentsm", complete_var="_OPENTSM_COMPLETE", shell=shell.value
    )
    if as_json:
        print_json({"shell": shell.value, "script": script})
    else:
        typer.echo(script)
