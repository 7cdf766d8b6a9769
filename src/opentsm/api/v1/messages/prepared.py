"""Bodies about personalisation data that wait for their instance."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from opentsm.api.v1.messages.base import Answer, Body
from opentsm.api.v1.messages.secure_elements import Identifier, RefusedLine


class PreparedLine(Body, frozen=True, kw_only=True):
    """Data for one future instance; exactly one of `se_id`, `identifier` and `reference` says for whom."""

    service_id: str
    version: str | None = None
    se_id: str | None = None
    identifier: Identifier | None = None
    reference: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    profile: str | None = None
    data: dict[str, str]
    deploy: bool = False
    valid_until: datetime | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class PreparedDeployment(Answer, frozen=True, kw_only=True):
    """A deployment that a line asked for."""

    line: int
    operation_id: str


class PreparedReport(Answer, frozen=True, kw_only=True):
    """What became of an upload; `deployed` names the operations, also those of an earlier upload."""

    lines: int
    kept: int
    unchanged: int
    deployed: list[PreparedDeployment]
    refused: list[RefusedLine]


class PreparedAnswer(Answer, frozen=True, kw_only=True):
    """Prepared data without the data; used ones name their instance and the operation that deploys it."""

    id: str
    service_id: str
    version: str | None
    se_id: str | None
    identifier: Identifier | None
    reference: str | None
    instance_id: str | None
    operation_id: str | None
    created_at: datetime
    expires_at: datetime


class PreparedPage(Answer, frozen=True, kw_only=True):
    """A page; `next` is the cursor for `after`, null on the last page."""

    items: list[PreparedAnswer]
    next: str | None
