"""`opentsm db`: apply and show migrations of the database."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import typer

from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import JsonOption, print_json, print_table, say
from opentsm.cli.settings import command_settings, database_errors
from opentsm.tsm.adapters.postgres import database
from opentsm.tsm.adapters.storage.migrate import Migration, SchemaStatus, database_status, migrate_database

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

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
    """Show which migrations the database has; exit code SCHEMA if it does not fit this release."""
    found = _on_database(database_status)
    rows = _rows(found)
    if as_json:
        print_json({"migrations": rows, "fits": _fits(found)})
    else:
        print_table(["number", "name", "state"], rows)
    if not _fits(found):
        raise typer.Exit(ExitCode.SCHEMA)


def _on_database(work: Callable[[str], Awaitable[T]]) -> T:
    """Do something on the database, on that of a running server where there is one."""
    settings = replace(command_settings().database, share=True)

    async def run() -> T:
        async with database(settings, say) as dsn:
            return await work(dsn)

    with database_errors():
        return asyncio.run(run())


def _fits(found: SchemaStatus) -> bool:
    return not (found.pending or found.newer or found.changed)


def _rows(found: SchemaStatus) -> list[dict[str, object]]:
    changed = {migration.number for migration in found.changed}
    applied = [_row(m, "CHANGED" if m.number in changed else "APPLIED") for m in found.applied]
    return applied + [_row(m, "PENDING") for m in found.pending] + [_row(m, "NEWER") for m in found.newer]


def _row(migration: Migration, state: str) -> dict[str, object]:
    return {"number": f"{migration.number:04}", "name": migration.name, "state": state}
