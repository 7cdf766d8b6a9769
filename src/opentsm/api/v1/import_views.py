"""Bodies about imports, and what a job looks like from outside."""

import csv
import io
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from litestar import Response
from msgspec import Meta

from opentsm.api.v1.messages.base import Answer, Body
from opentsm.tsm.domain.imports import ImportRefusal
from opentsm.tsm.roles.hub.registry.import_jobs import ImportProgress

REPORT = ("line", "code", "field", "detail")


class NewImport(Body, frozen=True, kw_only=True):
    """An import to begin. `defaults` are columns that a line may leave out, for example `profile`, `kvn`,
    `master` and `method`; more than `stop_after` refused lines end it."""

    format: Literal["jsonl", "csv"]
    defaults: dict[str, Annotated[str, Meta(max_length=200)]] = {}
    stop_after: Annotated[int, Meta(ge=1, le=100_000)] = 10_000


class ImportCompletion(Body, frozen=True, kw_only=True):
    """How many parts the file has."""

    parts: Annotated[int, Meta(ge=0)]


class ImportAnswer(Answer, frozen=True, kw_only=True):
    """An import: how much of its file is here, and what became of its lines so far."""

    id: str
    format: str
    state: str
    created_at: datetime
    updated_at: datetime
    parts: int
    received_bytes: int
    worked_parts: int
    lines: int
    accepted: int
    unchanged: int
    refused: int


class ImportPage(Answer, frozen=True, kw_only=True):
    """A page; `next` is the cursor for `after`, null on the last page."""

    items: list[ImportAnswer]
    next: str | None


class RefusedImportLine(Answer, frozen=True, kw_only=True):
    """A refused line: its number in the file, the field at fault and why; never what stood there."""

    line: int
    code: str
    field: str
    detail: str


class RefusedPage(Answer, frozen=True, kw_only=True):
    """A page by line; `next` is the cursor for `after`, null on the last page."""

    items: list[RefusedImportLine]
    next: str | None


def progress(found: ImportProgress) -> ImportAnswer:
    """Show an import."""
    job = found.job
    return ImportAnswer(
        id=job.id,
        format=job.format.value,
        state=job.state.value,
        created_at=job.created_at,
        updated_at=job.updated_at,
        parts=found.parts,
        received_bytes=found.received_bytes,
        worked_parts=job.part,
        lines=job.lines,
        accepted=job.accepted,
        unchanged=job.unchanged,
        refused=job.refused,
    )


def begun(found: ImportProgress) -> Response[ImportAnswer]:
    """Answer with an import that was made."""
    location = {"Location": f"/v1/imports/{found.job.id}"}
    return Response(progress(found), status_code=201, headers=location)


def refused_line(found: ImportRefusal) -> RefusedImportLine:
    """Show a refused line."""
    return RefusedImportLine(line=found.line, code=found.code, field=found.field, detail=found.detail)


def report_rows(page: Sequence[ImportRefusal], format_: str) -> bytes:
    """Write refused lines as CSV (RFC 4180) or JSON lines."""
    if format_ == "jsonl":
        return b"".join(msgspec.json.encode(refused_line(one)) + b"\n" for one in page)
    text = io.StringIO()
    writer = csv.writer(text)
    for one in page:
        writer.writerow((one.line, one.code, one.field, one.detail))
    return text.getvalue().encode()


def report_head(format_: str) -> bytes:
    """Return what a report begins with."""
    return b"" if format_ == "jsonl" else (",".join(REPORT) + "\r\n").encode()
