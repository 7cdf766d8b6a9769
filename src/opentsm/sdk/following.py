"""Follows a process to its end: by server-sent events, and by polling where they do not come through.

Progress never goes back and the start is told once, however often a connection is lost on the way.
"""

import asyncio
from contextlib import suppress
from typing import Final

import httpx
import msgspec

from opentsm.sdk.backend import LONG_POLL_S, Backend, Patience
from opentsm.sdk.errors import NetworkConnectionError, TsmApiError, TsmInternalError, error_class
from opentsm.sdk.event_stream import EventTooLongError, read_events
from opentsm.sdk.listener import ProcessListener
from opentsm.sdk.messages import Process, ProcessProgress, ProcessResult, ProcessStart

PROCESSES: Final = "/v1/device-api/processes"
START, PROGRESS, RESULT = "onProcessStart", "onProcessProgress", "onProcessResult"


class _Narrator:
    """Tells a listener each thing once."""

    def __init__(self, listener: ProcessListener) -> None:
        self._listener = listener
        self._started = False
        self._last: ProcessProgress | None = None
        self.heard = 0

    def start(self, notice: ProcessStart) -> None:
        if not self._started:
            self._listener.on_process_start(notice)
            self._started = True

    def progress(self, notice: ProcessProgress) -> None:
        if self._last is not None and notice.progress < self._last.progress:
            return
        if notice != self._last:
            self._last = notice
            self.heard += 1
            self._listener.on_process_progress(notice)


class Follower:
    """Follows processes.

    Args:
        backend: has them.
        patience: with lost connections.
        events: whether to ask for server-sent events at all.
    """

    def __init__(self, backend: Backend, patience: Patience | None = None, *, events: bool = True) -> None:
        self._backend = backend
        self._patience = patience or Patience()
        self._events = events

    async def follow(self, process: Process, listener: ProcessListener | None) -> ProcessResult:
        """Return the result of a process.

        Args:
            process: as the call answered it.
            listener: is told.

        Raises:
            TsmApiError: it failed; `result` says how far it came.
        """
        listener = listener or ProcessListener()
        narrator = _Narrator(listener)
        try:
            narrator.start(process.start())
        except Exception:
            # §3.2.1: a process whose start cannot be told is aborted
            with suppress(TsmApiError):  # it may have ended meanwhile
                await self._backend.post(f"{PROCESSES}/{process.process_id}/cancellations", {}, Process)
            raise
        result = process.result
        if result is None and self._events:
            result = await self._by_events(process.process_id, narrator)
        if result is None:
            result = await self._by_polling(process, narrator)
        listener.on_process_result(result)
        status = result.process_info.execution_status
        if status:
            raise error_class(status)(result.process_info.execution_message or None, result=result)
        return result

    async def _by_events(self, process_id: str, narrator: _Narrator) -> ProcessResult | None:
        """Return the result, or None when the stream does not hold."""
        failures = 0
        while failures < self._patience.attempts:
            heard = narrator.heard
            try:
                result = await self._stream(process_id, narrator)
            except (NetworkConnectionError, EventTooLongError, httpx.StreamError):
                result = None
            except _NoEventsError:
                return None
            if result is not None:
                return result
            failures = failures + 1 if narrator.heard == heard else 1
            await asyncio.sleep(self._patience.pause_s(failures - 1))
        return None

    async def _stream(self, process_id: str, narrator: _Narrator) -> ProcessResult | None:
        async with self._backend.stream(f"{PROCESSES}/{process_id}/events") as answer:
            if not answer.headers.get("Content-Type", "").startswith("text/event-stream"):
                raise _NoEventsError
            async for event in read_events(answer.aiter_lines()):
                try:
                    if event.name == START:
                        narrator.start(msgspec.json.decode(event.data, type=ProcessStart))
                    elif event.name == PROGRESS:
                        narrator.progress(msgspec.json.decode(event.data, type=ProcessProgress))
                    elif event.name == RESULT:
                        return msgspec.json.decode(event.data, type=ProcessResult)
                except msgspec.DecodeError as error:
                    raise TsmInternalError(f"Internal error: an event of the TSM is none: {error}") from error
        return None

    async def _by_polling(self, process: Process, narrator: _Narrator) -> ProcessResult:
        while True:
            narrator.progress(process.progressed())
            if process.result is not None:
                return process.result
            process = await self._backend.get(
                f"{PROCESSES}/{process.process_id}", Process, wait=f"{LONG_POLL_S:g}"
            )


class _NoEventsError(Exception):
    """What came is no stream of events."""
