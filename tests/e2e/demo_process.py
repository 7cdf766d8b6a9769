"""Runs our command line as a real process, with a temporary directory by which its children are found."""

import os
import select
import subprocess
import sys
import time
from pathlib import Path

PROGRAM = (sys.executable, "-m", "opentsm.cli")


def start(
    directory: str, *words: str, stdin: int | None = None, environment: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start a command whose temporary files, and those of its children, are in the directory."""
    return subprocess.Popen(
        [*PROGRAM, *words],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": directory, "NO_COLOR": "1", **(environment or {})},
        cwd=directory,
    )


def processes_with(word: str) -> dict[int, str]:
    """Return the command lines of the processes that name a word in them."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if word in line:
                found[int(entry.name)] = line
    return found


def require_nothing_left(directory: str, *, within_s: float = 0.0) -> None:
    """Fail when a process works in the directory after this time."""
    deadline = time.monotonic() + within_s
    while left := processes_with(directory):
        assert time.monotonic() < deadline, f"left behind: {left}"
        _wait_for_end(next(iter(left)), deadline - time.monotonic())


def _wait_for_end(pid: int, within_s: float) -> None:
    """Return when the process has ended, or the time is over."""
    try:
        ending = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        select.select([ending], [], [], max(within_s, 0.0))
    finally:
        os.close(ending)
