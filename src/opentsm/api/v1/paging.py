"""Cursor pages: `limit` and `after` in, `items` and `next` out."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, TypeVar

from litestar.params import QueryParameter

from opentsm.tsm.ports.repositories import Page

Limit = Annotated[int, QueryParameter(ge=1, le=200, description="most entries of a page")]
After = Annotated[str | None, QueryParameter(description="cursor: `next` of the page before")]

T = TypeVar("T")


async def read_page(
    read: Callable[[Page], Awaitable[Sequence[T]]],
    cursor: Callable[[T], str],
    limit: int,
    after: str | None,
) -> tuple[Sequence[T], str | None]:
    """Read a page and say where the next one starts, if there is one.

    Args:
        read: reads a page.
        cursor: the cursor of an entry.
        limit: at most so many entries.
        after: start after this cursor.
    """
    items = await read(Page(limit=limit, after=after))
    if len(items) < limit:
        return items, None
    last = cursor(items[-1])
    more = await read(Page(limit=1, after=last))
    return items, last if more else None
