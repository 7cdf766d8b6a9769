"""`opentsm doctor`: look for what this machine lacks, before a command fails for it."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
from contextlib import closing
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import typer

from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError, JsonOption, print_json, print_table
from opentsm.cli.settings import command_settings, database_errors, lacks_cluster

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentsm.tsm.adapters.storage.migrate import SchemaStatus
    from opentsm.tsm.config import Settings

doctor_app = typer.Typer()

MIN_FREE_BYTES = 500_000_000


class Verdict(StrEnum):
    """How one examination ended."""

    OK = "OK"
    WARNING = "WARNING"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one examination found, and what to do about it."""

    name: str
    verdict: Verdict
    detail: str
    advice: str = ""

    def row(self) -> dict[str, object]:
        """Return the finding as a row of a table or JSON document."""
        return {"name": self.name, "verdict": self.verdict, "detail": self.detail, "advice": self.advice}


@doctor_app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Look for what this machine lacks; exit code 3 if something is missing or broken."""
    findings = examine()
    rows = [finding.row() for finding in findings]
    if as_json:
        print_json({"findings": rows})
    else:
        print_table(["name", "verdict", "detail", "advice"], rows)
    if any(finding.verdict is Verdict.FAILED for finding in findings):
        raise typer.Exit(ExitCode.CONFIGURATION)


def examine() -> list[Finding]:
    """Make every examination; those that need settings only when the settings are good."""
    findings = [python_version()]
    try:
        settings = command_settings()
    except CliError as error:
        return [*findings, Finding("settings", Verdict.FAILED, error.why, error.advice)]
    findings.append(unknown_variables(settings))
    examinations: list[Callable[[Settings], Finding]] = [free_space, port, database_schema]
    return findings + [examination(settings) for examination in examinations]


def python_version() -> Finding:
    """Tell which Python runs."""
    return Finding("python", Verdict.OK, f"{sys.version.split()[0]} in {sys.prefix}")


def unknown_variables(settings: Settings) -> Finding:
    """Look for variables that look like settings and have no effect."""
    if settings.unknown_variables:
        names = ", ".join(settings.unknown_variables)
        return Finding("settings", Verdict.WARNING, f"no settings: {names}", "see `opentsm config show`")
    return Finding("settings", Verdict.OK, f"{len(settings.values)} read")


def free_space(settings: Settings) -> Finding:
    """Look for room, and for the right to write, where everything is kept."""
    directory = next(parent for parent in [settings.data_dir, *settings.data_dir.parents] if parent.exists())
    if not os.access(directory, os.W_OK):
        advice = "choose another OPENTSM_DATA_DIR"
        return Finding("data directory", Verdict.FAILED, f"{directory} is not writable", advice)
    free = shutil.disk_usage(directory).free
    detail = f"{settings.data_dir}, {free // 1_000_000} MB free"
    if free < MIN_FREE_BYTES:
        return Finding("data directory", Verdict.FAILED, detail, "make room")
    return Finding("data directory", Verdict.OK, detail)


def port(settings: Settings) -> Finding:
    """Tell whether the server could listen."""
    where = f"{settings.server.host}:{settings.server.port}"
    family = socket.AF_INET6 if ":" in settings.server.host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.server.host, settings.server.port))
        except OSError as error:
            advice = "a server may be running already; else set OPENTSM_SERVER_PORT"
            return Finding("port", Verdict.WARNING, f"{where}: {error.strerror}", advice)
    return Finding("port", Verdict.OK, f"{where} is free")


def database_schema(settings: Settings) -> Finding:
    """Reach the database and compare its schema; an embedded one that was never started stays so.

    What `opentsm db migrate` mends is missing, a warning; all else is broken.
    """
    from opentsm.tsm.adapters.postgres import database
    from opentsm.tsm.adapters.storage.migrate import database_status

    if lacks_cluster(settings.database):
        return Finding("database", Verdict.OK, "embedded, made on the first start")

    async def look() -> SchemaStatus:
        async with database(replace(settings.database, share=True)) as dsn:
            return await database_status(dsn)

    try:
        with database_errors():
            return schema_finding(asyncio.run(look()), embedded=settings.database.url is None)
    except CliError as error:
        return Finding("database", Verdict.FAILED, f"{error.what}: {error.why}", error.advice)


def schema_finding(found: SchemaStatus, *, embedded: bool) -> Finding:
    """Tell how the schema stands to this release.

    Raises:
        SchemaError: If this release cannot run on it, and no migration mends that.
    """
    from opentsm.tsm.adapters.storage.migrate import require_fit

    require_fit(replace(found, pending=()))
    if not found.pending:
        return Finding("database", Verdict.OK, f"reached, {len(found.applied)} migrations")
    detail = f"reached, lacks {len(found.pending)} of {len(found.pending) + len(found.applied)} migrations"
    if not found.applied:
        detail = "reached, and empty"
    advice = "run `opentsm db migrate`" + ("; `opentsm serve` does it too" if embedded else "")
    return Finding("database", Verdict.WARNING, detail, advice)
