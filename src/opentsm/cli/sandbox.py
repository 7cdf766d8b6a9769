"""`opentsm sandbox`: a server with demo tenants and virtual secure elements, to try things out."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from opentsm.cli.attached import AttachedOption, when_input_ends
from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError, JsonOption, print_table, say, stdout_console
from opentsm.cli.settings import command_settings, database_errors

if TYPE_CHECKING:
    from opentsm.cli.running_server import RunningServer
    from opentsm.demo.playground import Playground
    from opentsm.tsm.config import Settings

sandbox_app = typer.Typer(no_args_is_help=False)

DEFAULT_PROFILE: Final = "scp03-i70"
MAX_SES: Final = 1000
_SHOWN: Final = ("base_url", "sptsm_url", "sp_token", "issuer_token", "operator_token", "device_state")


@sandbox_app.command("sandbox")
def sandbox(
    *,
    ses: Annotated[int, typer.Option(min=1, max=MAX_SES, help="How many virtual secure elements.")] = 2,
    profile: Annotated[
        list[str] | None, typer.Option(help="Card profile; may be repeated, then the cards take turns.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on (server.host).")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port; any free one unless it is set.")] = None,
    data_dir: Annotated[
        str | None, typer.Option(help="Directory to keep; without it everything is gone at the end.")
    ] = None,
    attached: AttachedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Serve with demo tenants and virtual secure elements with agents, until SIGTERM or Ctrl-C.

    With --json one line on stdout: base_url, sptsm_url, sp_token, issuer_token, operator_token, device_state,
    ses[].id.
    The virtual cards are not kept.
    """
    from opentsm.api.logs import configure_logs
    from opentsm.api.server import run
    from opentsm.vse.profiles import profile_names

    names = profile or [DEFAULT_PROFILE]
    unknown = [name for name in names if name not in profile_names()]
    if unknown:
        raise CliError(
            f"there is no card profile {unknown[0]!r}",
            advice="`opentsm vse profiles` lists them",
            code=ExitCode.USAGE,
        )
    with _directory(data_dir) as directory:
        settings = _settings(host, port, directory)
        if data_dir is None and settings.database.url is not None:
            raise CliError(
                "the sandbox would lose its keystores and leave its tenants in a database that stays",
                why="OPENTSM_DATABASE_URL is set and no directory to keep",
                advice="give --data-dir, or unset database.url for a database of the sandbox's own",
                code=ExitCode.USAGE,
            )
        configure_logs(settings.log)
        work = _Sandbox(settings, [names[n % len(names)] for n in range(ses)], directory, as_json=as_json)
        with database_errors():
            run(work.run(attached=attached))


@dataclass(slots=True)
class _Sandbox:
    """One run of the command."""

    settings: Settings
    profiles: list[str]
    directory: Path
    as_json: bool = field(kw_only=True)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def run(self, *, attached: bool) -> None:
        """Serve, and furnish as soon as requests are accepted."""
        from opentsm.cli.running_server import run_server

        if attached:
            when_input_ends(self._stop.set)
        await run_server(self.settings, self._ready, self._stop, at_end=self._leave)

    def _ready(self, server: RunningServer) -> None:
        self._tasks.append(asyncio.create_task(self._play(server)))

    async def _play(self, server: RunningServer) -> None:
        """Furnish and stay; a failure ends the server."""
        from opentsm.cli.readers import VirtualCardReader
        from opentsm.demo.playground import furnished

        token = server.operator_token_file.read_text("ascii").strip()
        # The cards are new on each start: what a killed sandbox left of its device is of no use.
        state = self.directory / "sandbox-agent"
        await asyncio.to_thread(shutil.rmtree, state, ignore_errors=True)
        try:
            async with furnished(
                server.base_url, token, self.profiles, state, VirtualCardReader
            ) as playground:
                self._show(playground)
                await asyncio.Event().wait()
        finally:
            self._stop.set()

    async def _leave(self) -> None:
        """End the agents.

        Raises:
            CliError: the sandbox could not be furnished.
        """
        for task in self._tasks:
            task.cancel()
        for ending in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(ending, Exception):
                raise CliError("the sandbox cannot be furnished", why=str(ending)) from ending

    def _show(self, playground: Playground) -> None:
        document = playground.document()
        if self.as_json:
            # One line: the process goes on, and whoever started it reads until the end of the line.
            sys.stdout.write(json.dumps(document) + "\n")
            sys.stdout.flush()
            return
        for name in _SHOWN:
            stdout_console().print(f"{name:15} {document[name]}", soft_wrap=True)
        print_table(("id", "identifier", "profile"), document["ses"])
        say(f"documentation: {playground.base_url}/docs; Ctrl-C ends the sandbox")


@contextmanager
def _directory(chosen: str | None) -> Iterator[Path]:
    """Give the directory to work in; one of our own is removed at the end."""
    if chosen is not None:
        yield Path(chosen).absolute()
        return
    directory = Path(tempfile.mkdtemp(prefix="opentsm-sandbox-"))
    if os.geteuid() == 0:
        directory.chmod(0o711)  # under root the database runs as another user, who must pass through
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _settings(host: str | None, port: int | None, directory: Path) -> Settings:
    flags = {"server.host": host, "server.port": None if port is None else str(port)}
    flags["data_dir"] = str(directory)
    settings = command_settings(flags)
    source = next(value.source for value in settings.values if value.name == "server.port")
    return command_settings({**flags, "server.port": "0"}) if source == "default" else settings
