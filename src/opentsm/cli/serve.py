"""`opentsm serve`: the server, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from opentsm.cli.attached import AttachedOption, when_input_ends
from opentsm.cli.output import JsonOption, say
from opentsm.cli.settings import command_settings, database_errors

if TYPE_CHECKING:
    from opentsm.cli.running_server import RunningServer

serve_app = typer.Typer(no_args_is_help=False)

HostOption = Annotated[str | None, typer.Option(help="Address to listen on (server.host).")]
PortOption = Annotated[int | None, typer.Option(help="TCP port, 0 for any free one (server.port).")]
DataDirOption = Annotated[str | None, typer.Option(help="Directory of everything that is kept (data_dir).")]


@dataclass(frozen=True, slots=True)
class _Announcement:
    """Says where the server is, once it accepts requests."""

    as_json: bool

    def __call__(self, server: RunningServer) -> None:
        if not self.as_json:
            say(f"OpenTSM serves at {server.base_url} (documentation: {server.base_url}/docs)")
            say(f"the operator's token is in {server.operator_token_file}; Ctrl-C ends the server")
            return
        # One line: the process goes on, and whoever started it reads until the end of the line.
        document = {"base_url": server.base_url, "operator_token_file": str(server.operator_token_file)}
        sys.stdout.write(json.dumps(document) + "\n")
        sys.stdout.flush()


@serve_app.command("serve")
def serve(
    *,
    host: HostOption = None,
    port: PortOption = None,
    data_dir: DataDirOption = None,
    attached: AttachedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run the server until SIGTERM or Ctrl-C; requests and messages in work are finished.

    With --json one line on stdout says where the server is once it accepts requests; logs go to stderr.
    """
    from opentsm.api.logs import configure_logs
    from opentsm.api.server import run
    from opentsm.cli.running_server import run_server

    flags = {"server.host": host, "server.port": None if port is None else str(port), "data_dir": data_dir}
    settings = command_settings(flags)
    configure_logs(settings.log)

    async def main() -> None:
        stop = asyncio.Event()
        if attached:
            when_input_ends(stop.set)
        await run_server(settings, _Announcement(as_json), stop)

    with database_errors():
        run(main())
