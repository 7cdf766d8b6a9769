"""The demo's child processes: started in sessions of their own, ended in order, whatever happens.

A child has the other end of a pipe as standard input and ends when that closes (`--attached`): it does not
outlive the demo, even one that is killed.
"""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from opentsm.demo.errors import ChildError

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 20.0
_LOG_TAIL_BYTES: Final = 1500


class Child:
    """One child process.

    Args:
        name: what people call it.
        log: where its standard error goes.
    """

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def start(
        self, command: Sequence[str], *, directory: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start it.

        Args:
            command: program and arguments.
            directory: its working directory, where no configuration file is.
            environment: variables that it gets beside the demo's own, of which settings are left out.

        Raises:
            ChildError: the program cannot be run.
        """
        log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                cwd=directory,
                env={**_clean_environment(), **(environment or {})},
                start_new_session=True,  # Ctrl-C reaches the demo only, which ends its children in order
            )
        except OSError as error:
            raise ChildError(f"the {self.name} cannot be started: {error}") from error
        finally:
            os.close(log)

    async def first_line(self) -> dict[str, Any]:
        """Return the JSON document of its first line.

        Raises:
            ChildError: it ended, or said nothing in time.
        """
        if self._process is None or self._process.stdout is None:
            raise ChildError(f"the {self.name} was not started")
        line = b""
        with contextlib.suppress(TimeoutError):
            line = await asyncio.wait_for(self._process.stdout.readline(), START_TIMEOUT_S)
        try:
            document: dict[str, Any] = json.loads(line)
        except ValueError:
            raise ChildError(
                f"the {self.name} did not start. {self.last_words()}",
                advice="`opentsm doctor` looks for what this machine lacks",
            ) from None
        return document

    async def stop(self) -> None:
        """End it: SIGTERM, and SIGKILL to its whole session when that takes too long."""
        process = self._process
        if process is None:
            return
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.communicate(), STOP_TIMEOUT_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.communicate()

    async def ended(self) -> None:
        """Wait until it ends, which it should not.

        Raises:
            ChildError: always.
        """
        if self._process is not None:
            code = await self._process.wait()
            raise ChildError(f"the {self.name} ended with code {code}. {self.last_words()}")

    def last_words(self) -> str:
        """Return the end of its log."""
        try:
            text = self._log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip()
        except OSError:
            text = ""
        return f"Its last words: {text}" if text else "It said nothing."

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


def _clean_environment() -> dict[str, str]:
    """Return the environment without settings: the demo's server is its own, not the user's."""
    return {name: value for name, value in os.environ.items() if not name.startswith("OPENTSM_")}
