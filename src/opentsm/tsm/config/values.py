"""How the texts of settings are read; a `ValueError` says what is needed."""

from collections.abc import Callable
from enum import Enum
from typing import TypeVar

E = TypeVar("E", bound=Enum)
MAX_DAYS = 36500
MAX_COUNT = 2**40


def url(text: str) -> str:
    """Read a PostgreSQL URL."""
    if not text.startswith(("postgresql://", "postgres://")):
        raise ValueError("a postgresql:// URL is needed")
    return text


def port(text: str) -> int:
    """Read a TCP port."""
    port = int(text) if text.isdecimal() else -1
    if not 0 <= port <= 65535:
        raise ValueError("a number from 0 (any free port) to 65535 is needed")
    return port


def seconds(text: str) -> float:
    """Read a time in seconds, above 0."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise ValueError("a number of seconds above 0 is needed")
    return seconds


def count(text: str) -> int:
    """Read a whole number above 0."""
    number = int(text) if text.isascii() and text.isdecimal() else 0
    if not 0 < number <= MAX_COUNT:
        raise ValueError(f"a whole number from 1 to {MAX_COUNT} is needed")
    return number


def days(text: str) -> float:
    """Read a time in days, from 0."""
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0 <= days <= MAX_DAYS:
        raise ValueError(f"a number of days from 0 to {MAX_DAYS} is needed")
    return days


def boolean(text: str) -> bool:
    """Read yes or no."""
    values = {"true": True, "yes": True, "1": True, "on": True}
    values |= {"false": False, "no": False, "0": False, "off": False}
    if text.lower() not in values:
        raise ValueError("true or false is needed")
    return values[text.lower()]


def choice(kind: type[E]) -> Callable[[str], E]:
    """Return a reader of the values of an enumeration."""

    def parse(text: str) -> E:
        try:
            return kind(text.lower())
        except ValueError:
            raise ValueError(f"one of {choices(kind)} is needed") from None

    return parse


def choices(kind: type[Enum]) -> str:
    """Return the values of an enumeration, as words."""
    return ", ".join(str(member.value) for member in kind)
