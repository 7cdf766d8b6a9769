"""The agent's durable memory of one secure element: what was begun, what was answered.

It makes orders run at most once: «begun n» is on the disk before the first C-APDU of order n, the
whole report before it is sent, and the report stays until the server has acknowledged it.
"""

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Final, Protocol

import msgspec

from opentsm.agent.errors import JournalError
from opentsm.agent.execution import interrupted_report
from opentsm.agent.messages import Report, decode_json

MAX_REPORTS: Final = 8
MAX_BYTES: Final = 8 * 1024 * 1024


class Store(Protocol):
    """Keeps one block of bytes; `save` returns when it would survive a power cut."""

    async def load(self) -> bytes | None:
        """Return what was saved last, None if nothing was."""

    async def save(self, data: bytes) -> None:
        """Replace it, whole or not at all."""


class MemoryStore:
    """Keeps the bytes in memory, for tests and benchmarks."""

    def __init__(self, data: bytes | None = None) -> None:
        self.data = data

    async def load(self) -> bytes | None:
        """Return what was saved last."""
        return self.data

    async def save(self, data: bytes) -> None:
        """Replace it."""
        self.data = data


class FileStore:
    """Keeps the bytes in a file of mode 0600, replaced atomically and synced."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def load(self) -> bytes | None:
        """Read the file."""
        try:
            return await asyncio.to_thread(self._path.read_bytes)
        except FileNotFoundError:
            return None

    async def save(self, data: bytes) -> None:
        """Write a new file beside the old one, sync it, rename it, sync the directory."""
        await asyncio.to_thread(write_durably, self._path, data)


def write_durably(path: Path, data: bytes) -> None:
    """Replace a file (mode 0600) so that a power cut leaves the old or the new one, whole."""
    new = path.with_name(path.name + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def journal_path(directory: Path, se_id: str) -> Path:
    """Name the journal file of a secure element; its identifier may hold any character."""
    return directory / f"{hashlib.sha256(se_id.encode()).hexdigest()[:32]}.json"


class _Record(msgspec.Struct):
    """What is kept: `highest` was begun last, `begun` has no report yet."""

    format: int = 1
    acknowledged: int = 0
    highest: int = 0
    begun: int | None = None
    reports: dict[int, Report] = msgspec.field(default_factory=dict)


class Journal:
    """The record of one secure element.

    Args:
        store: where it is kept; one journal, one store.
    """

    def __init__(self, store: Store, record: _Record) -> None:
        self._store = store
        self._record = record

    @classmethod
    async def open(cls, store: Store) -> "Journal":
        """Read the record; an order that was begun and has no report becomes INTERRUPTED.

        Args:
            store: where it is kept.

        Raises:
            JournalError: the record is damaged.
        """
        data = await store.load()
        try:
            record = decode_json(data, _Record) if data else _Record()
        except msgspec.DecodeError as error:
            raise JournalError(f"the journal cannot be read: {error}") from error
        if record.format != 1:
            raise JournalError(f"the journal has format {record.format}, this agent reads 1")
        if record.begun is not None:
            record.reports[record.begun] = interrupted_report(record.begun)
            record.begun = None
        return cls(store, record)

    @property
    def highest(self) -> int:
        """The number of the newest order that was begun or acknowledged; 0 when there is none."""
        return max(self._record.highest, self._record.acknowledged)

    @property
    def full(self) -> bool:
        """Whether no further order may begin before the server acknowledges."""
        return len(self._record.reports) >= MAX_REPORTS

    def recorded(self, sequence: int) -> Report | None:
        """Return the report of an order that is not acknowledged yet."""
        return self._record.reports.get(sequence)

    def acknowledge(self, sequence: int) -> None:
        """Forget the reports up to a number.

        Nothing is written: losing this is harmless, the next `begin` writes it.
        """
        self._record.acknowledged = max(self._record.acknowledged, sequence)
        for number in [n for n in self._record.reports if n <= sequence]:
            del self._record.reports[number]

    async def begin(self, sequence: int) -> None:
        """Record «begun n» durably. Only then may the card see the order.

        Args:
            sequence: larger than `highest`.

        Raises:
            JournalError: the number is not larger, another order is running, or it cannot be written.
        """
        if sequence <= self.highest or self._record.begun is not None or self.full:
            raise JournalError(f"order {sequence} must not begin after {self.highest}")
        self._record.begun = self._record.highest = sequence
        await self._save()

    async def finish(self, report: Report) -> None:
        """Record the whole report of the running order durably. Only then may it be sent.

        Args:
            report: carries the number of the running order.

        Raises:
            JournalError: no such order is running, or it cannot be written.
        """
        if report.order_sequence is None or report.order_sequence != self._record.begun:
            raise JournalError("this report belongs to no running order")
        self._record.reports[report.order_sequence] = report
        self._record.begun = None
        await self._save()

    async def _save(self) -> None:
        data = msgspec.json.encode(self._record)
        if len(data) > MAX_BYTES:
            raise JournalError(f"the journal would grow beyond {MAX_BYTES} bytes")
        try:
            await self._store.save(data)
        except OSError as error:
            raise JournalError(f"the journal cannot be written: {error}") from error
