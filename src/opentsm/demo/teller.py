"""Tells the story while it happens: chapters, one line a step, plans, progress bars, the summary."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from opentsm.demo.http_api import Json

_PULSE: Final = None


class Teller:
    """Writes the story to a console; bars only on a terminal.

    Args:
        console: where to.
        steps: how many steps the story has, for the bar.
    """

    def __init__(self, console: Console, steps: int) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._story: TaskID = self._progress.add_task("the whole demo", total=steps, note="")
        self.step = ""

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def chapter(self, title: str) -> None:
        """Begin a chapter."""
        self._console.print(f"\n[bold]{escape(title)}[/bold]")

    @contextmanager
    def doing(self, text: str) -> Iterator[list[str]]:
        """Do one step; the line appears when it is done, with the notes that the step adds."""
        self.step = text
        notes: list[str] = []
        task = self._progress.add_task(text, total=_PULSE, note="")
        try:
            yield notes
        finally:
            self._progress.remove_task(task)
        self._progress.advance(self._story)
        note = f"  [dim]{escape('; '.join(notes))}[/dim]" if notes else ""
        self._console.print(f"  [green]✔[/green] {escape(text)}{note}", soft_wrap=True)

    def plan(self, text: str, lines: Sequence[str]) -> None:
        """Print a plan before it is applied."""
        self._console.print(f"  [cyan]plan[/cyan] for: {escape(text)}")
        for number, line in enumerate(lines, 1):
            self._console.print(f"    [dim]{number:2}.[/dim] {escape(line)}", soft_wrap=True)

    def lines(self, lines: Sequence[str]) -> None:
        """Print what a step showed, line by line."""
        for line in lines:
            self._console.print(f"      [dim]{escape(line)}[/dim]", soft_wrap=True)

    @contextmanager
    def operation(self, text: str) -> Iterator["OperationLine"]:
        """Follow one operation with a bar of its own."""
        self.step = text
        line = OperationLine(self, self._progress, self._progress.add_task(text, total=_PULSE, note=""))
        try:
            yield line
        finally:
            line.close()
        self._progress.advance(self._story)
        self._console.print(f"  [green]✔[/green] {escape(text)}  [dim]{line.note}[/dim]", soft_wrap=True)

    def summary(self, operations: Sequence[Json], seconds: float) -> None:
        """Print what the operations cost."""
        table = Table(title="Operations", title_justify="left")
        table.add_column("operation")
        table.add_column("service")
        table.add_column("card")
        for name in ("state", "APDUs", "bytes", "round trips", "ms"):
            table.add_column(name, justify="left" if name == "state" else "right")
        for one in operations:
            table.add_row(
                one["type"],
                escape(one["service"]) or "–",
                one["card"],
                one["state"],
                *(str(one[name]) for name in ("apdus", "bytes", "round_trips", "duration_ms")),
            )
        totals = [
            str(sum(int(one[name] or 0) for one in operations))
            for name in ("apdus", "bytes", "round_trips", "duration_ms")
        ]
        table.add_section()
        table.add_row(f"{len(operations)} operations", "", "", "", *totals)
        self._console.print()
        self._console.print(table)
        self._console.print(
            f"[bold green]Every step was verified on the cards.[/bold green] {seconds:.1f} s in all."
        )


class OperationLine:
    """The line of one operation."""

    def __init__(self, teller: Teller, progress: Progress, task: TaskID) -> None:
        self._teller = teller
        self._progress = progress
        self._task = task
        self._planned: tuple[str, ...] = ()
        self.note = ""

    def show(self, text: str, operation: Json) -> None:
        """Show how far it is; its plan as soon as there is one, and again when it was made anew."""
        plan = tuple(operation["plan"])
        if plan and plan != self._planned:
            self._planned = plan
            self._teller.plan(text, plan)
        self.note = (
            f"{operation['apdus']} APDUs, {operation['bytes']} bytes, {operation['round_trips']} round trips"
        )
        self._progress.update(self._task, note=f"{operation['state']} {self.note}")

    def close(self) -> None:
        """Take the bar away."""
        self._progress.remove_task(self._task)
