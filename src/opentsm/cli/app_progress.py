"""A bar for a process on a terminal, lines elsewhere; on stderr either way."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from opentsm.cli.output import say, stderr_console
from opentsm.sdk import ProcessListener, ProcessProgress, ProcessStart

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_WHOLE = 100


class ProgressListener(ProcessListener):
    """Shows what a process is doing."""

    def __init__(self) -> None:
        self._console = stderr_console()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def on_process_start(self, process_start_info: ProcessStart) -> None:
        """Say which process it is."""
        say(f"process {process_start_info.process_id}")
        if self._console.is_terminal:
            from rich.progress import Progress

            self._bar = Progress(console=self._console)
            self._bar.start()
            self._task = self._bar.add_task("begun", total=_WHOLE)

    def on_process_progress(self, process_progress_info: ProcessProgress) -> None:
        """Show how far it is."""
        name = process_progress_info.operation.name.removeprefix("SERVICE_").lower().replace("_", " ")
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=process_progress_info.progress, description=name)
        else:
            say(f"{process_progress_info.progress:3} % {name}")
