"""Imports: a file of secure elements, sent in parts, worked off in batches, once each line.

A job's cursor (part and offset) moves in the transaction that stores a batch, so that a crash at any point
leaves every line either stored and counted, or still to come.
"""

from datetime import datetime
from enum import Enum

from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.ids import ImportId, TenantId


class ImportFormat(Enum):
    """JSON_LINES: one JSON object a line. CSV: RFC 4180 with a header, no line break inside a field."""

    JSON_LINES = "jsonl"
    CSV = "csv"


class ImportState(Enum):
    """RECEIVING: its sender sends parts, which are worked off meanwhile. PROCESSING: all are here.

    FINISHED, CANCELLED (by its sender) and STOPPED (too many lines were refused) are ends.
    """

    RECEIVING = "RECEIVING"
    PROCESSING = "PROCESSING"
    FINISHED = "FINISHED"
    CANCELLED = "CANCELLED"
    STOPPED = "STOPPED"


OVER = frozenset({ImportState.FINISHED, ImportState.CANCELLED, ImportState.STOPPED})


class ImportJob(Record, frozen=True, kw_only=True):
    """One import.

    `defaults` are the columns that a line may leave out; `columns` those of the CSV header. `parts` is how
    many there are, once its sender said so; `part` and `offset` say where the next batch begins, `batches`
    how many are stored. `busy`: a message that goes on with it is on its way. `lines` were read, of which
    `accepted` are new, `unchanged` were registered before with the same contents, and `refused` are in the
    report.
    """

    id: ImportId
    owner_id: TenantId
    sandbox: bool
    format: ImportFormat
    defaults: dict[str, str] = {}
    columns: tuple[str, ...] = ()
    stop_after: int
    state: ImportState = ImportState.RECEIVING
    created_at: datetime
    updated_at: datetime
    parts: int | None = None
    part: int = 0
    offset: int = 0
    batches: int = 0
    busy: bool = False
    lines: int = 0
    accepted: int = 0
    unchanged: int = 0
    refused: int = 0
    version: int = 0


class ImportPart(Record, frozen=True, kw_only=True):
    """A part of a file, whole lines, sealed, and emptied when its last line was stored.

    `digest` (SHA-256) stays, so that a part that is sent again is known; `end` is where it ends in the file.
    """

    job_id: ImportId
    number: int
    end: int
    digest: bytes
    sealed: bytes


class ImportRefusal(Record, frozen=True, kw_only=True):
    """A line that was refused, and why; never what stood in it."""

    line: int
    code: str
    detail: str
    field: str = ""


def part_context(job_id: ImportId, number: int) -> str:
    """Return what a part is sealed for."""
    return f"import:{job_id}/{number}"
