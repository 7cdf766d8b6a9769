"""A campaign: one change of many service instances, or a reading of many secure elements, at a set pace.

Its members are written once. A tick moves a bounded number of them to operations; the outcome of each is
counted in the transaction in which its operation ends.
"""

import math
from datetime import datetime, timedelta
from enum import Enum

from opentsm.tsm.domain.operation import Operation, OperationState, OperationType
from opentsm.tsm.domain.tenant import TenantKind
from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.ids import CampaignId, OperationId, TenantId
from opentsm.tsm.kernel.transitions import TransitionTable


class CampaignState(Enum):
    """Who acts next: whoever made it (DRAFT, AWAITING_PROMOTION, PAUSED, STOPPED), the TSM, or nobody."""

    DRAFT = "DRAFT"
    COLLECTING = "COLLECTING"
    RUNNING = "RUNNING"
    AWAITING_PROMOTION = "AWAITING_PROMOTION"
    PAUSED = "PAUSED"
    STOPPED = "STOPPED"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"


class CampaignEvent(Enum):
    """What moves a campaign."""

    SETTLE = "SETTLE"
    START = "START"
    HOLD = "HOLD"
    PROMOTE = "PROMOTE"
    PAUSE = "PAUSE"
    RESUME = "RESUME"
    STOP = "STOP"
    COMPLETE = "COMPLETE"
    CANCEL = "CANCEL"


_S, _E = CampaignState, CampaignEvent

CAMPAIGN_STATES: TransitionTable[CampaignState, CampaignEvent] = TransitionTable(
    "campaign",
    {
        # its members are found by a filter, or handed in while it is a draft
        (_S.COLLECTING, _E.SETTLE): _S.DRAFT,
        (_S.COLLECTING, _E.START): _S.RUNNING,
        (_S.DRAFT, _E.START): _S.RUNNING,
        # the canaries are through; a person is to decide
        (_S.RUNNING, _E.HOLD): _S.AWAITING_PROMOTION,
        (_S.AWAITING_PROMOTION, _E.PROMOTE): _S.RUNNING,
        (_S.RUNNING, _E.PAUSE): _S.PAUSED,
        (_S.PAUSED, _E.RESUME): _S.RUNNING,
        # too many failed; a person may go on all the same
        (_S.RUNNING, _E.STOP): _S.STOPPED,
        (_S.STOPPED, _E.RESUME): _S.RUNNING,
        (_S.RUNNING, _E.COMPLETE): _S.COMPLETED,
        (_S.COLLECTING, _E.CANCEL): _S.CANCELLED,
        (_S.DRAFT, _E.CANCEL): _S.CANCELLED,
        (_S.RUNNING, _E.CANCEL): _S.CANCELLED,
        (_S.AWAITING_PROMOTION, _E.CANCEL): _S.CANCELLED,
        (_S.PAUSED, _E.CANCEL): _S.CANCELLED,
        (_S.STOPPED, _E.CANCEL): _S.CANCELLED,
    },
)

ENDED_CAMPAIGNS = frozenset({CampaignState.COMPLETED, CampaignState.CANCELLED})
TOLD = (
    CampaignState.RUNNING,
    CampaignState.AWAITING_PROMOTION,
    CampaignState.PAUSED,
    CampaignState.STOPPED,
    *ENDED_CAMPAIGNS,
)
CANARY_PASSED = "campaign.canary_passed"

ALLOWED_TYPES = {
    TenantKind.SERVICE_PROVIDER: (
        OperationType.UPDATE,
        OperationType.PERSONALIZE,
        OperationType.SUSPEND,
        OperationType.RESUME,
        OperationType.TERMINATE,
        OperationType.ROTATE_KEYS,
        OperationType.DEPLOY,
    ),
    TenantKind.SE_ISSUER: (OperationType.AUDIT, OperationType.SUSPEND, OperationType.RESUME),
    TenantKind.OPERATOR: (OperationType.AUDIT, OperationType.SUSPEND, OperationType.RESUME),
}


class MemberState(Enum):
    """WAITING for its turn; OPEN: its operation runs; SKIPPED: it could not take it, for a named reason."""

    WAITING = "WAITING"
    OPEN = "OPEN"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    CANCELLED = "CANCELLED"


class Action(Record, frozen=True, kw_only=True):
    """What every member's operation is to do; `sealed_data` are personalisation data for all of them,
    erased when it ends; `with_data` stays."""

    type: OperationType
    version: str | None = None
    sealed_data: bytes = b""
    with_data: bool = False
    valid_for_s: int | None = None
    valid_until: datetime | None = None


class Selection(Record, frozen=True, kw_only=True):
    """Which instances (of an AUDIT: secure elements) are members.

    Where a field is None it does not matter. `listed`: members are handed in one by one instead.
    `failed_of`: those that failed in another campaign.
    """

    service_id: str | None = None
    version: str | None = None
    profile: str | None = None
    state: str | None = None
    listed: bool = False
    failed_of: CampaignId | None = None


class Pace(Record, frozen=True, kw_only=True):
    """At most so many operations are begun in a second, and so many open at once."""

    per_second: float = 10.0
    most_open: int = 1000


class Canary(Record, frozen=True, kw_only=True):
    """The first members go alone: `members` of them, or `percent` of all, whichever is given.

    When their share of failures is at most `failure_percent`, the campaign goes on by itself, or waits for
    a person (`by_hand`).
    """

    members: int | None = None
    percent: float | None = None
    failure_percent: float = 0.0
    by_hand: bool = False


class StopRule(Record, frozen=True, kw_only=True):
    """Stop when more than `failure_percent` of the last `window` outcomes failed; `minimum` of them count."""

    failure_percent: float = 10.0
    window: int = 100
    minimum: int = 20


class Campaign(Record, frozen=True, kw_only=True):
    """What is to be done, to whom, how fast, and how far it has come.

    `position` is that of the last member whose turn has come, `total` of the last one there is; `collected`
    is where the collecting of members stands. `tokens` at `tokens_at` are the operations that the pace
    allows. What ended before `judged_from` does not count for the stop rule.
    """

    id: CampaignId
    tenant_id: TenantId
    tenant_kind: TenantKind
    sandbox: bool = False
    name: str = ""
    action: Action
    selection: Selection
    pace: Pace = Pace()
    canary: Canary | None = None
    stop: StopRule | None = None
    by_hand: bool = False
    state: CampaignState
    promoted: bool = False
    reason: str = ""
    total: int = 0
    collected: str = ""
    position: int = 0
    tokens: float = 0.0
    tokens_at: datetime | None = None
    judged_from: datetime | None = None
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    version: int = 0

    @property
    def of_elements(self) -> bool:
        """Say whether members are secure elements rather than service instances."""
        return self.action.type is OperationType.AUDIT

    @property
    def canaries(self) -> int:
        """Return how many members must have an outcome before all others; 0 when none must."""
        if self.canary is None or self.promoted:
            return 0
        share = math.ceil(self.total * (self.canary.percent or 0.0) / 100)
        return max(1, self.canary.members if self.canary.members is not None else share)


class Place(Record, frozen=True, kw_only=True):
    """Which member of which campaign an operation is for."""

    campaign_id: CampaignId
    position: int


class Member(Record, frozen=True, kw_only=True):
    """One instance or secure element of a campaign; `code` and `detail` say why it failed or was skipped."""

    position: int
    subject_id: str
    state: MemberState = MemberState.WAITING
    operation_id: OperationId | None = None
    code: str = ""
    detail: str = ""
    ended_at: datetime | None = None


class Counts(Record, frozen=True, kw_only=True):
    """How many members are in each state but WAITING."""

    open: int = 0
    succeeded: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0

    @property
    def begun(self) -> int:
        """Return how many have got an operation."""
        return self.open + self.succeeded + self.failed + self.cancelled

    @property
    def ended(self) -> int:
        """Return how many have an outcome."""
        return self.succeeded + self.failed + self.skipped + self.cancelled


class Recent(Record, frozen=True, kw_only=True):
    """The last outcomes: how many operations succeeded or failed, how many failed, and from when to when."""

    ended: int = 0
    failed: int = 0
    since: datetime | None = None
    until: datetime | None = None


_CANNOT = ("conflict", "orphaned", "secure_element_quarantined", "secure_element_retired")
_OUTCOMES = {
    OperationState.SUCCEEDED: MemberState.SUCCEEDED,
    OperationState.FAILED: MemberState.FAILED,
    OperationState.CANCELLED: MemberState.CANCELLED,
}


def outcome_of(operation: Operation) -> MemberState:
    """Return what an ended operation makes of its member: one that never could begin was skipped."""
    failure = operation.failure
    if failure is not None and operation.started_at is None and failure.code in _CANNOT:
        return MemberState.SKIPPED
    return _OUTCOMES[operation.state]


def too_many_failed(rule: StopRule | None, recent: Recent) -> bool:
    """Say whether the stop rule stops the campaign."""
    if rule is None or recent.ended < rule.minimum:
        return False
    return recent.failed * 100 > rule.failure_percent * recent.ended


def canary_failed(canary: Canary, counts: Counts) -> bool:
    """Say whether too many canaries failed."""
    return counts.failed * 100 > canary.failure_percent * (counts.succeeded + counts.failed)


_BURST_S = 2.0


def tokens_now(campaign: Campaign, now: datetime) -> float:
    """Return how many operations the pace allows now; what was not used is kept for two seconds."""
    rate = campaign.pace.per_second
    most = max(1.0, rate * _BURST_S)
    if campaign.tokens_at is None:
        return most / 2 if rate > 1 else 1.0
    passed = max(0.0, (now - campaign.tokens_at) / timedelta(seconds=1))
    return min(most, campaign.tokens + rate * passed)


def room(campaign: Campaign, counts: Counts, tokens: float) -> int:
    """Return how many operations may be begun now."""
    allowed = min(int(tokens), campaign.pace.most_open - counts.open)
    if campaign.canaries:
        allowed = min(allowed, campaign.canaries - counts.begun)
    return max(0, allowed)
