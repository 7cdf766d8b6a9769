"""`opentsm db`: apply and show migrations of the database."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError, JsonOption, print_json, print_table, say
from opentsm.cli.settings import command_settings, database_errors, lacks_cluster
from opentsm.tsm.adapters.postgres import database
from opentsm.tsm.adapters.storage.migrate import (
    Migration,
    SchemaStatus,
    check_schema,
    connected,
    database_status,
    fits,
    migrate_database,
)
from opentsm.tsm.adapters.storage.postgres import PostgresStorage
from opentsm.tsm.adapters.world import SystemWorld
from opentsm.tsm.bootstrap import policy_of
from opentsm.tsm.roles.hub import retention

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from opentsm.tsm.config import Settings

T = TypeVar("T")

db_app = typer.Typer(no_args_is_help=True)


@db_app.command()
def migrate(as_json: JsonOption = False) -> None:
    """Apply the migrations that the database lacks."""
    applied = _on_database(migrate_database)
    if as_json:
        print_json({"applied": [_row(migration, "APPLIED") for migration in applied]})
    for migration in applied:
        say(f"applied {migration.number:04}_{migration.name}")
    if not applied:
        say("nothing to apply")


@db_app.command()
def status(as_json: JsonOption = False) -> None:
    """Show which migrations the database has; exit code 7: it does not fit, 10: there is none."""
    if lacks_cluster(command_settings().database):
        raise CliError(
            "there is no database yet",
            why="the embedded one is made on the first start",
            advice="`opentsm serve` makes it, or `opentsm db migrate`",
            code=ExitCode.NO_DATABASE,
        )
    found = _on_database(database_status)
    rows = _rows(found)
    if as_json:
        print_json({"migrations": rows, "fits": fits(found)})
    else:
        print_table(["number", "name", "state"], rows)
    if not fits(found):
        raise typer.Exit(ExitCode.SCHEMA)


@db_app.command()
def prune(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be removed.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove what has served its purpose; the server does it too, see the settings `retention.*`."""
    settings = command_settings()
    found = _on_database(lambda dsn: _pruned(dsn, settings, dry_run=dry_run))
    if as_json:
        print_json({"dry_run": dry_run, "removed": found})
    else:
        print_table(["kind", "rows"], [{"kind": kind, "rows": count} for kind, count in found.items()])
    say(f"{sum(found.values())} rows {'would be ' if dry_run else ''}removed")


async def _pruned(dsn: str, settings: Settings, *, dry_run: bool) -> dict[str, int]:
    async with connected(dsn) as connection:
        await check_schema(connection)
    world = SystemWorld()
    storage = PostgresStorage(dsn, world=world)
    await storage.open()
    try:
        work = retention.count_due if dry_run else retention.prune
        found = await work(storage, policy_of(settings.retention), world.now())
    finally:
        await storage.close()
    return {what.value: count for what, count in found.items()}


def _on_database(work: Callable[[str], Awaitable[T]]) -> T:
    """Do something on the database, on that of a running server where there is one."""
    settings = replace(command_settings().database, share=True)

    async def run() -> T:
        async with database(settings, say) as dsn:
            return await work(dsn)

    with database_errors():
        return asyncio.run(run())


def _rows(found: SchemaStatus) -> list[dict[str, object]]:
    changed = {migration.number for migration in found.changed}
    applied = [_row(m, "CHANGED" if m.number in changed else "APPLIED") for m in found.applied]
    return applied + [_row(m, "PENDING") for m in found.pending] + [_row(m, "NEWER") for m in found.newer]


def _row(migration: Migration, state: str) -> dict[str, object]:
    return {"number": f"{migration.number:04}", "name": migration.name, "state": state}
