"""`opentsm demo`: the whole path once, on virtual secure elements."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import typer

from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError, JsonOption, print_json, stderr_console, stdout_console

if TYPE_CHECKING:
    from opentsm.demo.http_api import Json
    from opentsm.demo.teller import Teller

demo_app = typer.Typer(no_args_is_help=False)

PROGRAM = (sys.executable, "-m", "opentsm.cli")


@demo_app.command("demo")
def demo(as_json: JsonOption = False) -> None:
    """Show the whole path once: services on four virtual secure elements, verified on the cards.

    Exit code 0 only if every step was verified. Ctrl-C leaves no process behind.
    """
    from opentsm.demo.errors import DemoError
    from opentsm.demo.story import STEPS
    from opentsm.demo.teller import Teller

    console = stderr_console() if as_json else stdout_console()
    try:
        with Teller(console, STEPS) as teller:
            document = asyncio.run(_tell(teller))
    except DemoError as error:
        raise CliError(f"the demo failed at: {error.step}", why=error.why, advice=error.advice) from error
    except asyncio.CancelledError:
        raise CliError("the demo was ended by a signal", code=ExitCode.INTERRUPTED) from None
    if as_json:
        print_json(document)


async def _tell(teller: Teller) -> Json:
    from opentsm.demo.story import tell

    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP):
        with suppress(NotImplementedError):
            loop.add_signal_handler(number, task.cancel if task else loop.stop)
    return await tell(PROGRAM, teller)
