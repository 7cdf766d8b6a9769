"""Records to rows and back: a document column for most of a record, columns of their own for large blobs."""

from datetime import datetime, timedelta
from typing import TypeVar

import asyncpg
from msgspec.structs import replace

from opentsm.tsm.kernel.documents import Record, from_json, to_json
from opentsm.tsm.ports.repositories import Page

RecordT = TypeVar("RecordT", bound=Record)

MAX_PAGE = 200
_BEHIND_EVERY_ID = "~"
# Between the making of a record's id and of its `created_at` lies less than this.
_SLACK = timedelta(minutes=1)


def document(record: Record, *blobs: str) -> str:
    """Write a record as its document, without the named byte fields, which have columns of their own."""
    return to_json(replace(record, **dict.fromkeys(blobs, b""))).decode()


def versioned(kind: type[RecordT], row: asyncpg.Record, *blobs: str) -> RecordT:
    """Read a record from its document column, its version column and the columns of the named byte fields."""
    columns = {name: row[name] for name in ("version", *blobs)}
    return replace(from_json(kind, row["document"]), **columns)


def optional(kind: type[RecordT], row: asyncpg.Record | None) -> RecordT | None:
    """Read a record from the document column of a row, if there is a row."""
    return None if row is None else from_json(kind, row["document"])


def page_arguments(page: Page) -> tuple[str, int]:
    """Return the cursor ('' is before every id) and the limit (1 … 200) of a page."""
    return page.after or "", max(1, min(page.limit, MAX_PAGE))


def range_arguments(
    page: Page, created_from: datetime | None, created_before: datetime | None
) -> tuple[str, str, int]:
    """Return the ids between which a page lies, both excluded, and its limit (1 … 200).

    Ids begin with the time, so the times of a search bound them too, nearly; the rest is for a filter.
    """
    low = "" if created_from is None else first_id_at(created_from - _SLACK)
    high = _BEHIND_EVERY_ID if created_before is None else first_id_at(created_before + _SLACK)
    cursor, limit = page_arguments(page)
    if page.descending:
        return low, min(cursor or high, high), limit
    return max(cursor, low), high, limit


def first_id_at(moment: datetime) -> str:
    """Return a text before which all ids stand that were made before a moment, and no other."""
    digits = f"{int(moment.timestamp() * 1000):012x}"
    return f"{digits[:8]}-{digits[8:]}"
