"""What one operation of TR-03165 §4.1.6 is, and the usual kinds of them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from opentsm.tsm.roles.sp.catalogue import SpCatalogue

UseCase = Callable[..., Awaitable[Any]]


class Body(Enum):
    """What a request carries: nothing, a JSON document, or a form with one file."""

    NONE = "none"
    JSON = "json"
    LOAD_FILE = "elf"
    SCRIPT = "script"
    CERTIFICATE = "cert"


class Answer(Enum):
    """What comes back: one document, a list of them, a file, or nothing."""

    ONE = "one"
    LIST = "list"
    FILE = "file"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: `schema` names what the answer holds, `takes` what the body holds."""

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    id: str
    summary: str
    use_case: Callable[[SpCatalogue], UseCase]
    schema: str = ""
    answer: Answer = Answer.ONE
    body: Body = Body.NONE
    takes: str = ""


def get(
    path: str, id_: str, schema: str, summary: str, use_case: Callable[[SpCatalogue], UseCase]
) -> Operation:
    """Return an operation that shows one document."""
    return Operation("GET", path, id_, summary, use_case, schema)


def list_(
    path: str, id_: str, schema: str, summary: str, use_case: Callable[[SpCatalogue], UseCase]
) -> Operation:
    """Return an operation that lists documents."""
    return Operation("GET", path, id_, summary, use_case, schema, Answer.LIST)


def file(path: str, id_: str, summary: str, use_case: Callable[[SpCatalogue], UseCase]) -> Operation:
    """Return an operation that answers a file."""
    return Operation("GET", path, id_, summary, use_case, answer=Answer.FILE)


def create(
    path: str, id_: str, schema: str, summary: str, use_case: Callable[[SpCatalogue], UseCase]
) -> Operation:
    """Return an operation that makes a document."""
    return Operation("POST", path, id_, summary, use_case, schema, body=Body.JSON, takes=f"New{schema}")


def delete(path: str, id_: str, summary: str, use_case: Callable[[SpCatalogue], UseCase]) -> Operation:
    """Return an operation that deletes."""
    return Operation("DELETE", path, id_, summary, use_case, answer=Answer.NOTHING)


def modify(
    path: str, id_: str, schema: str, summary: str, use_case: Callable[[SpCatalogue], UseCase]
) -> Operation:
    """Return an operation that replaces what may be edited of a document."""
    return Operation("PUT", path, id_, summary, use_case, schema, body=Body.JSON, takes=f"Changed{schema}")
