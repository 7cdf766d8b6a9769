"""Bodies about the audit."""

from datetime import datetime

from opentsm.api.v1.messages.base import Answer


class AuditEntryAnswer(Answer, frozen=True, kw_only=True):
    """An audit entry; `digest` covers the entry and `previous`, the digest before it in its shard."""

    cursor: str
    shard: int
    number: int
    at: datetime
    actor: str
    action: str
    subject: str
    details: dict[str, str | int]
    previous: str
    digest: str


class AuditPage(Answer, frozen=True, kw_only=True):
    """A page; `next` is the cursor for `after`, null on the last page."""

    items: list[AuditEntryAnswer]
    next: str | None
