"""Imports of secure elements: a file in parts of whole lines, its progress, the report of refused lines."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from litestar import Request, Response, get, post, put
from litestar.params import FromPath, JSONBody, PathParameter, QueryParameter
from litestar.response import Stream

from opentsm.api.authentication import Caller
from opentsm.api.container import Services
from opentsm.api.idempotency import LOCATED
from opentsm.api.v1 import import_views as m
from opentsm.api.v1.paging import After, Limit, read_page
from opentsm.tsm.domain.imports import ImportFormat
from opentsm.tsm.kernel.errors import InvalidInputError
from opentsm.tsm.kernel.ids import ImportId
from opentsm.tsm.roles.hub.registry.import_jobs import MAX_PART_BYTES

_TAG = ["imports"]
_REPORT_PAGE = 1000
_TYPES = {"csv": "text/csv", "jsonl": "application/x-ndjson"}
PartNumber = Annotated[int, PathParameter(ge=0, le=1_000_000, description="from 0, in order")]
ReportFormat = Annotated[Literal["csv", "jsonl"], QueryParameter(description="how to write the report")]


@post("/imports", opt=LOCATED, tags=_TAG, summary="Begin an import of secure elements (issuer)")
async def begin_import(
    principal: Caller, container: Services, data: JSONBody[m.NewImport]
) -> Response[m.ImportAnswer]:
    """Begin an import; then PUT its parts, and say when it is complete."""
    made = await container.imports.begin(principal, ImportFormat(data.format), data.defaults, data.stop_after)
    return m.begun(made)


@get("/imports", tags=_TAG, summary="List imports (issuer)")
async def list_imports(
    principal: Caller, container: Services, limit: Limit = 50, after: After = None
) -> m.ImportPage:
    """Return the issuer's imports."""
    page, following = await read_page(
        lambda page: container.imports.jobs(principal, page), lambda one: one.job.id, limit, after
    )
    return m.ImportPage(items=[m.progress(one) for one in page], next=following)


@get("/imports/{import_id:str}", tags=_TAG, summary="Show an import's progress (issuer)")
async def show_import(principal: Caller, container: Services, import_id: FromPath[str]) -> m.ImportAnswer:
    """Return how far an import is."""
    return m.progress(await container.imports.job(principal, ImportId(import_id)))


@put(
    "/imports/{import_id:str}/parts/{number:int}",
    tags=_TAG,
    summary="Send a part (issuer)",
    description="The body is whole lines of the file, at most 1 MiB, as they are. Parts are sent in order; "
    "the same part again changes nothing. 409 `import_backlog` asks to send it again later.",
    request_max_body_size=MAX_PART_BYTES,
)
async def put_import_part(
    principal: Caller,
    container: Services,
    request: Request[Any, Any, Any],
    import_id: FromPath[str],
    number: PartNumber,
) -> m.ImportAnswer:
    """Take a part; it is worked off in the background."""
    data = await request.body()
    return m.progress(await container.imports.put_part(principal, ImportId(import_id), number, data))


@post("/imports/{import_id:str}/completion", tags=_TAG, status_code=200, summary="All is sent (issuer)")
async def complete_import(
    principal: Caller, container: Services, import_id: FromPath[str], data: JSONBody[m.ImportCompletion]
) -> m.ImportAnswer:
    """Say that all parts were sent; the import ends with the last line."""
    return m.progress(await container.imports.complete(principal, ImportId(import_id), data.parts))


@post("/imports/{import_id:str}/cancellation", tags=_TAG, status_code=200, summary="End an import (issuer)")
async def cancel_import(principal: Caller, container: Services, import_id: FromPath[str]) -> m.ImportAnswer:
    """End an import; what it stored stays, what was sent and not stored is forgotten."""
    return m.progress(await container.imports.cancel(principal, ImportId(import_id)))


@get("/imports/{import_id:str}/refused", tags=_TAG, summary="List refused lines (issuer)")
async def list_refused(
    principal: Caller, container: Services, import_id: FromPath[str], limit: Limit = 50, after: After = None
) -> m.RefusedPage:
    """Return refused lines by number; the cursor is a line's number."""
    if after is not None and not (after.isascii() and after.isdigit() and len(after) < 10):
        raise InvalidInputError("The cursor of a refused line is its number.", field="after")
    page = await container.imports.refusals(principal, ImportId(import_id), int(after or 0), limit + 1)
    items = [m.refused_line(one) for one in page[:limit]]
    return m.RefusedPage(items=items, next=str(items[-1].line) if len(page) > limit else None)


@get("/imports/{import_id:str}/refused-report", tags=_TAG, summary="Download the refused lines (issuer)")
async def download_refused(
    principal: Caller, container: Services, import_id: FromPath[str], format: ReportFormat = "csv"
) -> Stream:
    """Return all refused lines as a file."""
    id_ = ImportId(import_id)
    first = await container.imports.refusals(principal, id_, 0, _REPORT_PAGE)

    async def rows() -> AsyncIterator[bytes]:
        yield m.report_head(format)
        page = first
        while page:
            yield m.report_rows(page, format)
            page = await container.imports.refusals(principal, id_, page[-1].line, _REPORT_PAGE)

    disposition = {"Content-Disposition": f'attachment; filename="refused.{format}"'}
    return Stream(rows(), media_type=_TYPES[format], headers=disposition)


HANDLERS = [
    begin_import,
    list_imports,
    show_import,
    put_import_part,
    complete_import,
    cancel_import,
    list_refused,
    download_refused,
]
