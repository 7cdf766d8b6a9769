"""Bodies about operations."""

from datetime import datetime

from opentsm.api.v1.messages.base import Answer


class FailureAnswer(Answer, frozen=True, kw_only=True):
    """Why an operation failed; `status_word` is the card's."""

    code: str
    detail: str
    advice: str
    status_word: str | None
    step: str | None


class OperationAnswer(Answer, frozen=True, kw_only=True):
    """An operation and how far it has come; `plan` has one line a step."""

    id: str
    type: str
    state: str
    se_id: str
    instance_id: str | None
    plan: list[str]
    apdus: int
    bytes: int
    round_trips: int
    duration_ms: int | None
    result: dict[str, str | int]
    failure: FailureAnswer | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    valid_until: datetime | None


class OperationPage(Answer, frozen=True, kw_only=True):
    """A page; `next` is the cursor for `after`, null on the last page."""

    items: list[OperationAnswer]
    next: str | None
