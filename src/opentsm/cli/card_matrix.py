"""`opentsm card matrix`: the privileges of a card's security domains against its configuration's."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Annotated

import typer

from opentsm.card.gp.privilege_matrix import PrivilegeMatrix, privilege_matrix
from opentsm.card.gp.se_configurations import SeConfiguration
from opentsm.cli.desk.carrying_out import run_work
from opentsm.cli.desk.options import Desk, verb
from opentsm.cli.desk.reports import read_registry
from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError, JsonOption, print_json


@verb
def matrix_command(
    desk: Desk,
    configuration: Annotated[
        int, typer.Option(help="Configuration of the secure element: 500, 600, 700 or 800.")
    ],
    *,
    as_json: JsonOption = False,
) -> None:
    """Show which security domain holds which privilege, and whether that is what the configuration says.

    x: as it should be; o: an optional one; !: held against the data; -: missing.
    """
    data = _configuration(configuration)

    async def run() -> None:
        async with desk.link() as link:
            matrix = privilege_matrix(data, await read_registry(await desk.session(link)))
        if as_json:
            print_json(_document(matrix))
        else:
            for line in matrix.lines():
                typer.echo(line)
        differences = matrix.differences()
        if differences:
            raise CliError(
                f"the card is not as configuration {configuration} says",
                why="; ".join(differences),
                code=ExitCode.FAILED,
            )

    run_work(run())


def _configuration(number: int) -> SeConfiguration:
    found = files("opentsm.card").joinpath("configurations_data", f"se-{number}.json")
    if not found.is_file():
        raise CliError(
            f"there is no configuration {number}", advice="choose 500, 600, 700 or 800", code=ExitCode.USAGE
        )
    return SeConfiguration.from_dict(json.loads(found.read_text("utf-8")))


def _document(matrix: PrivilegeMatrix) -> dict[str, object]:
    return {
        "configuration": matrix.configuration.number,
        "domains": [
            {
                "aid": str(column.aid),
                "role": None if column.role is None else column.role.name,
                "privileges": f"{int(column.privileges):06X}",
            }
            for column in matrix.columns
        ],
        "differences": list(matrix.differences()),
    }
