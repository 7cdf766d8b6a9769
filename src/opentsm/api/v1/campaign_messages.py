"""Bodies about campaigns."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from opentsm.api.v1.messages.base import Answer, Body, Name

_Percent = Annotated[float, Meta(ge=0, le=100)]
_Id = Annotated[str, Meta(min_length=1, max_length=100)]
TypeName = Literal[
    "UPDATE", "PERSONALIZE", "SUSPEND", "RESUME", "TERMINATE", "ROTATE_KEYS", "DEPLOY", "AUDIT"
]
MemberStateName = Literal["WAITING", "OPEN", "SUCCEEDED", "FAILED", "SKIPPED", "CANCELLED"]
StateFilter = Literal[
    "NOT_DEPLOYED",
    "INITIALIZED",
    "INSTALLED",
    "PERSONALIZED",
    "ACTIVATED",
    "OPERATIONAL",
    "SUSPENDED",
    "IN_ERROR",
    "REGISTERED",
    "VERIFIED",
    "QUARANTINED",
]


class SelectionBody(Body, frozen=True, kw_only=True):
    """Which are members; what is left out does not matter. `listed`: they are handed in one by one."""

    service_id: _Id | None = None
    version: _Id | None = None
    profile: _Id | None = None
    state: StateFilter | None = None
    listed: bool = False


class PaceBody(Body, frozen=True, kw_only=True):
    """At most so many operations are begun a second, and so many open at once."""

    per_second: Annotated[float, Meta(gt=0, le=1000)] = 10.0
    most_open: Annotated[int, Meta(ge=1, le=100_000)] = 1000


class CanaryBody(Body, frozen=True, kw_only=True):
    """The first members go alone; with `by_hand` a person promotes the campaign after them."""

    members: Annotated[int, Meta(ge=1)] | None = None
    percent: Annotated[float, Meta(gt=0, le=100)] | None = None
    failure_percent: _Percent = 0.0
    by_hand: bool = False


class StopBody(Body, frozen=True, kw_only=True):
    """Stop when more than `failure_percent` of the last `window` outcomes failed."""

    failure_percent: _Percent = 10.0
    window: Annotated[int, Meta(ge=1, le=1000)] = 100
    minimum: Annotated[int, Meta(ge=1, le=1000)] = 20


class NewCampaignBody(Body, frozen=True, kw_only=True):
    """A campaign to make. `members` are ids of instances, or of secure elements for an AUDIT."""

    name: Name
    type: TypeName
    version: _Id | None = None
    data: dict[str, str] | None = None
    selection: SelectionBody
    members: Annotated[list[_Id], Meta(max_length=1000)] = []
    pace: PaceBody | None = None
    canary: CanaryBody | None = None
    stop: StopBody | None = None
    by_hand: bool = False
    valid_for_s: Annotated[int, Meta(ge=1, le=366 * 86_400)] | None = None
    valid_until: datetime | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class RetryBody(Body, frozen=True, kw_only=True):
    """What to call the new campaign; the name of the first when it is left out."""

    name: Name | None = None


class MemberLine(Body, frozen=True, kw_only=True):
    """A member: an instance, a secure element (of an AUDIT) by its id, or either by a card's identifier."""

    instance_id: _Id | None = None
    se_id: _Id | None = None
    identifier: _Id | None = None


class RefusedMember(Answer, frozen=True, kw_only=True):
    """A line that brought no member."""

    line: int
    code: str
    detail: str
    field: str | None


class MembersReport(Answer, frozen=True, kw_only=True):
    """How many lines were read, how many members are new, and the refused lines (the first 1,000)."""

    lines: int
    added: int
    refused: list[RefusedMember]


class CountsAnswer(Answer, frozen=True, kw_only=True):
    """Members by state."""

    waiting: int
    open: int
    succeeded: int
    failed: int
    skipped: int
    cancelled: int


class CampaignAnswer(Answer, frozen=True, kw_only=True):
    """A campaign and how far it has come.

    `total` grows while it is COLLECTING. `promoted`: all members may be begun, not only canaries.
    `per_second` is the speed of the last outcomes, `eta` when all will have one at that speed.
    """

    id: str
    name: str
    type: str
    version: str | None
    state: str
    reason: str
    tenant_id: str
    selection: SelectionBody
    failed_of: str | None
    pace: PaceBody
    canary: CanaryBody | None
    stop: StopBody | None
    canaries: int
    promoted: bool
    total: int
    counts: CountsAnswer
    per_second: float | None
    eta: datetime | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class CampaignPage(Answer, frozen=True, kw_only=True):
    """A page; `next` is the cursor for `after`, null on the last page."""

    items: list[CampaignAnswer]
    next: str | None


class MemberAnswer(Answer, frozen=True, kw_only=True):
    """A member; `code` and `detail` say why it failed or was skipped."""

    position: int
    subject_id: str
    state: str
    operation_id: str | None
    code: str
    detail: str
    ended_at: datetime | None


class MemberPage(Answer, frozen=True, kw_only=True):
    """A page; `next` is the cursor for `after`, null on the last page."""

    items: list[MemberAnswer]
    next: str | None
