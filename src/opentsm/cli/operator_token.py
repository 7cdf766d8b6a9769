"""`opentsm operator-token`: a token for a person of the operator, given on its machine."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from opentsm.cli.output import CliError, JsonOption, print_json, say
from opentsm.cli.settings import command_settings, database_errors
from opentsm.tsm.adapters.postgres import database
from opentsm.tsm.adapters.storage.migrate import check_schema, connected
from opentsm.tsm.bootstrap import container
from opentsm.tsm.kernel.errors import TsmError

if TYPE_CHECKING:
    from opentsm.tsm.config import Settings

operator_token_app = typer.Typer(no_args_is_help=True)


@operator_token_app.command("operator-token")
def operator_token(
    person: Annotated[str, typer.Argument(help="Whose it is to be.")], as_json: JsonOption = False
) -> None:
    """Print a new long-term token of the operator; acts that need two people tell them apart by it."""
    settings = command_settings()
    with database_errors():
        token = asyncio.run(_issue(settings, person))
    if as_json:
        print_json({"person": person, "token": token})
        return
    say(f"a token of the operator for {person}; it is shown only here")
    typer.echo(token)


async def _issue(settings: Settings, person: str) -> str:
    async with database(replace(settings.database, share=True), say) as dsn:
        async with connected(dsn) as connection:
            await check_schema(connection)
        try:
            async with container(settings, dsn) as parts:
                return await parts.onboarding.issue_operator_token(person=person)
        except TsmError as error:
            raise CliError("no token was issued", why=error.detail) from error
