"""Which processes still work on a cluster, told by where they work and not by a number in a file."""

from __future__ import annotations

import os
import select
import signal
import sys
from pathlib import Path
from time import monotonic

PROC = Path("/proc")


def processes_in(directory: Path) -> list[int]:
    """Return the processes whose working directory is `directory`; PostgreSQL's all work in their cluster.

    Returns:
        Process ids; always empty where there is no /proc.
    """
    wanted = str(directory)
    return [int(entry.name) for entry in PROC.glob("[0-9]*") if _working_directory(entry) == wanted]


def _working_directory(entry: Path) -> str:
    try:
        return os.readlink(entry / "cwd")  # noqa: PTH115 (a string, resolved by the kernel)
    except OSError:
        return ""


def end_processes_in(directory: Path, grace_s: float) -> bool:
    """Wait until no process works in a directory; end those that stay.

    Args:
        directory: A cluster directory whose lock the caller holds.
        grace_s: Seconds that orphans get to end by themselves, then again after each signal.

    Returns:
        Whether the directory is free now.
    """
    for number in (None, signal.SIGQUIT, signal.SIGKILL):
        orphans = processes_in(directory)
        if number is not None:
            for pid in orphans:
                _signal(pid, number)
        deadline = monotonic() + grace_s
        for pid in orphans:
            wait_for_exit(pid, max(0.0, deadline - monotonic()))
        if not processes_in(directory):
            return True
    return False


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def wait_for_exit(pid: int, timeout_s: float) -> bool:
    """Wait until a process that may not be our child has ended (Linux).

    Returns:
        Whether it has ended.
    """
    if sys.platform != "linux":
        return not is_alive(pid)
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], timeout_s)[0])
    finally:
        os.close(handle)


def is_alive(pid: int) -> bool:
    """Tell whether a process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
