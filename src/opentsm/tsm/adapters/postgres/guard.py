"""Runs one PostgreSQL server for as long as its starter lives; started as a script of its own.

The starter holds the other end of standard input. When that closes, for whatever reason, `kill -9`
included, the server is shut down in an orderly way. When the guard itself is killed, the kernel tells the
server (Linux). Only the standard library, and nothing of OpenTSM, is imported.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys

PR_SET_PDEATHSIG = 1
# PostgreSQL: SIGINT is a fast shutdown, SIGQUIT an immediate one.
STOP_STEPS = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
POLL_INTERVAL_S = 0.2


def start_server(command: list[str], user: int | None, group: int | None) -> "subprocess.Popen[bytes]":
    """Start the server as the given user, or as ourselves."""
    libc = ctypes.CDLL(None)

    def die_with_guard() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)

    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        cwd="/",
        user=user,
        group=group,
        extra_groups=None if user is None else [],
        # The guard has one thread; the kernel forgets the setting on setuid, so it is made after that.
        preexec_fn=die_with_guard if sys.platform == "linux" else None,  # noqa: PLW1509
    )


def wait_for_end(server: "subprocess.Popen[bytes]") -> None:
    """Return when the starter is gone or the server has ended."""
    if hasattr(os, "pidfd_open"):
        handle = os.pidfd_open(server.pid)
        select.select([sys.stdin, handle], [], [])
        return
    while server.poll() is None and not select.select([sys.stdin], [], [], POLL_INTERVAL_S)[0]:
        pass


def stop_server(server: "subprocess.Popen[bytes]") -> int:
    """Shut the server down, less gently each time that it takes too long."""
    for number, timeout_s in STOP_STEPS:
        if server.poll() is None:
            server.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return server.wait(timeout_s)
    return server.wait()


def ignore(number: int, frame: object) -> None:
    """Do nothing; a function, unlike SIG_IGN, is not inherited by the server."""


def main() -> int:
    """Run the server that the first argument describes in JSON: `command`, `user`, `group`."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, ignore)
    order = json.loads(sys.argv[1])
    server = start_server(order["command"], order["user"], order["group"])
    wait_for_end(server)
    return stop_server(server)


if __name__ == "__main__":
    sys.exit(main())
