"""Carry a plan out in one session, or print it; progress goes to stderr."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

import typer

from opentsm.card.errors import CardError
from opentsm.card.gp.instructions import Ins
from opentsm.card.gp.script import Script
from opentsm.cli.desk import plans
from opentsm.cli.desk.options import Desk
from opentsm.cli.desk.reports import info_lines
from opentsm.cli.desk.session import Session
from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError, print_json, stderr_console

if TYPE_CHECKING:
    from rich.progress import Progress

_T = TypeVar("_T")


def carry_out(
    desk: Desk, script: Callable[[int], Script], done: dict[str, object], *, dry_run: bool, as_json: bool
) -> None:
    """Print the plan, or carry it out in one session and say what was done."""
    if dry_run:
        show_plan(plans.plan_document(_made(script, desk.assumed_block_size())), as_json=as_json)
        return

    async def run() -> int:
        async with desk.link() as link:
            session = await desk.session(link)
            plan = _made(script, session.block_size)
            await _send_all(session, plan)
            return len(plan)

    count = run_work(run())
    print_done({**done, "apdus": count}, as_json=as_json)


def _made(script: Callable[[int], Script], size: int) -> Script:
    try:
        return script(size)
    except CardError as error:
        raise CliError(str(error), code=ExitCode.BAD_INPUT) from error


async def _send_all(session: Session, plan: Script) -> None:
    blocks = sum(step.command.ins == Ins.LOAD for step in plan.steps)
    with _progress() as progress:
        task = progress.add_task("load", total=blocks, visible=bool(blocks))
        for step in plan.steps:
            await session.require(step.command, step.meaning)
            progress.advance(task, step.command.ins == Ins.LOAD)


def _progress() -> Progress:
    """Return a progress bar on stderr; it shows on a terminal only."""
    from rich.progress import Progress

    return Progress(console=stderr_console(), transient=True, disable=not sys.stderr.isatty())


def show_plan(steps: Iterable[Mapping[str, object]], *, as_json: bool) -> None:
    """Print what would be sent."""
    steps = list(steps)
    if as_json:
        print_json({"plan": steps})
        return
    for number, step in enumerate(steps, 1):
        typer.echo(f"{number:3} {step['step']}\n    {step['apdu']}")


def print_done(document: dict[str, object], *, as_json: bool) -> None:
    """Print what was done."""
    if as_json:
        print_json(document)
        return
    for line in info_lines(document):
        typer.echo(line)


def run_work(work: Awaitable[_T]) -> _T:
    """Run a verb to its end."""

    async def run() -> _T:
        return await work

    return asyncio.run(run())
