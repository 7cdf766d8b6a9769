"""Server-sent events, as much of them as the device API uses.

Source: HTML Living Standard §9.2.6 (event, data, comments; id and retry are passed over).
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

MAX_EVENT = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Event:
    """A named event and its data."""

    name: str
    data: str


class EventTooLongError(ValueError):
    """An event is longer than what is taken."""


async def read_events(lines: AsyncIterator[str]) -> AsyncIterator[Event]:
    """Read events; one that the stream ends in the middle of is dropped, as the standard has it.

    Raises:
        EventTooLongError: the server sends more than fits.
    """
    name, data, size = "message", list[str](), 0
    async for line in lines:
        if line == "":
            if data:
                yield Event(name, "\n".join(data))
            name, data, size = "message", [], 0
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        size += len(value)
        if size > MAX_EVENT:
            raise EventTooLongError
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
