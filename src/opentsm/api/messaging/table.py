"""What one function is: what it takes and answers, what it does, and how its answer is made from what it did.

A function that changes something is *act* and *tell*: `act` returns the subject of what it did (an
operation, a script, an instance), `tell` makes the answer from the subject. A repeated call is told again,
not done again.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from opentsm.api.container import ApiContainer
from opentsm.api.drain import Drain
from opentsm.api.messaging.records import Message, Status
from opentsm.tsm.domain.tenant import Principal


@dataclass(frozen=True, slots=True)
class Reply:
    """What a function has to say; `code`, `subject` and `message` are the status of what is no success."""

    data: Message | None = None
    status: Status = "Executed-Success"
    code: str = ""
    subject: str = ""
    message: str = ""
    http: int = 200


@dataclass(frozen=True, slots=True)
class Call:
    """Who calls, with what to work, and how long to wait for what takes time."""

    principal: Principal
    container: ApiContainer
    drain: Drain
    wait_s: float | None = None
    validity_s: int | None = None

    @property
    def valid_until(self) -> datetime | None:
        """Return until when the request is good, if it says so."""
        if self.validity_s is None:
            return None
        return self.container.world.now() + timedelta(seconds=self.validity_s)

    def on(self, container: ApiContainer) -> "Call":
        """Return the same call with another container."""
        return replace(self, container=container)


Ask = Callable[[Call, Any], Awaitable[Reply]]
Act = Callable[[Call, Any], Awaitable[str]]
Tell = Callable[[Call, str], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Function:
    """One function: `ask` of one that only reads, `act` and `tell` of one that changes something."""

    name: str
    summary: str
    takes: type[Message]
    answers: type[Message]
    ask: Ask | None = None
    act: Act | None = None
    tell: Tell | None = None


def reading(name: str, summary: str, takes: type[Message], answers: type[Message], ask: Ask) -> Function:
    """Return a function that only reads."""
    return Function(name, summary, takes, answers, ask=ask)


def changing(  # noqa: PLR0917 - the columns of a table
    name: str, summary: str, takes: type[Message], answers: type[Message], act: Act, tell: Tell
) -> Function:
    """Return a function that changes something."""
    return Function(name, summary, takes, answers, act=act, tell=tell)
