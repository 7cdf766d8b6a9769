"""Cursor pages: `limit`, `after` and `order` in, `items` and `next` out."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Annotated, Literal, TypeVar

from litestar.params import QueryParameter

from opentsm.tsm.ports.repositories import Page

Limit = Annotated[int, QueryParameter(ge=1, le=200, description="most entries of a page")]
After = Annotated[str | None, QueryParameter(description="cursor: `next` of the page before")]
Order = Annotated[
    Literal["asc", "desc"],
    QueryParameter(description="by id, that is by age: `asc` oldest first, `desc` newest first"),
]
CreatedAfter = Annotated[
    datetime | None, QueryParameter(description="only what was created at this time or later (RFC 3339)")
]
CreatedBefore = Annotated[
    datetime | None, QueryParameter(description="only what was created before this time (RFC 3339)")
]

T = TypeVar("T")


async def read_page(
    read: Callable[[Page], Awaitable[Sequence[T]]],
    cursor: Callable[[T], str],
    limit: int,
    after: str | None,
    order: str = "asc",
) -> tuple[Sequence[T], str | None]:
    """Read a page and say where the next one starts, if there is one.

    Args:
        read: reads a page.
        cursor: the cursor of an entry.
        limit: at most so many entries.
        after: start after this cursor.
        order: `desc` reads from the end.
    """
    descending = order == "desc"
    items = await read(Page(limit=limit, after=after, descending=descending))
    if len(items) < limit:
        return items, None
    last = cursor(items[-1])
    more = await read(Page(limit=1, after=last, descending=descending))
    return items, last if more else None
