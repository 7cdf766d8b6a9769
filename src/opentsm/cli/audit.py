"""`opentsm audit`: walk the audit's hash chains and signed checkpoints."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError, JsonOption, print_json, say
from opentsm.cli.settings import command_settings, database_errors
from opentsm.tsm.adapters.postgres import database
from opentsm.tsm.adapters.storage.migrate import check_schema, connected
from opentsm.tsm.bootstrap import container
from opentsm.tsm.kernel.documents import to_builtins
from opentsm.tsm.kernel.errors import TsmError

if TYPE_CHECKING:
    from opentsm.tsm.config import Settings
    from opentsm.tsm.roles.hub.audit_checkpoints import AuditVerdict

audit_app = typer.Typer(no_args_is_help=True)


@audit_app.callback()
def audit() -> None:
    """Walk the audit's hash chains and signed checkpoints."""


@audit_app.command()
def verify(as_json: JsonOption = False) -> None:
    """Walk everything, and name the first entry or checkpoint that does not hold (exit code 1)."""
    settings = command_settings()
    with database_errors():
        verdict = asyncio.run(_verify(settings))
    if as_json:
        print_json(_document(verdict))
    say(f"{verdict.checkpoints} checkpoints, {verdict.chains} chains, {verdict.entries} entries")
    if verdict.broken is not None:
        place = verdict.broken
        where = f"checkpoint {place.checkpoint}" if place.number is None else f"entry {place.number}"
        chain = "" if place.tenant_id is None else f" of chain {place.shard} of tenant {place.tenant_id}"
        say(f"BROKEN at {where}{chain}: {place.reason}")
        raise typer.Exit(ExitCode.FAILED)


async def _verify(settings: Settings) -> AuditVerdict:
    async with database(replace(settings.database, share=True), say) as dsn:
        async with connected(dsn) as connection:
            await check_schema(connection)
        try:
            async with container(settings, dsn) as parts:
                return await parts.verify_audit()
        except TsmError as error:
            raise CliError("the audit cannot be verified", why=error.detail) from error


def _document(verdict: AuditVerdict) -> dict[str, object]:
    last = verdict.last_checkpoint
    return {
        "holds": verdict.broken is None,
        "checkpoints": verdict.checkpoints,
        "chains": verdict.chains,
        "entries": verdict.entries,
        "last_checkpoint": None
        if last is None
        else {"number": last.number, "at": last.at.isoformat(), "digest": last.own_digest().hex()},
        "broken": None if verdict.broken is None else to_builtins(verdict.broken),
    }
