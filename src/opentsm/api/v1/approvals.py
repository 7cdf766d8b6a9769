"""Approvals: dangerous acts that one person of a party asks for, and another one decides about."""

from typing import Annotated, Literal

from litestar import Response, get, post
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import Meta

from opentsm.api.authentication import Caller
from opentsm.api.container import Services
from opentsm.api.idempotency import LOCATED
from opentsm.api.v1 import messages as m
from opentsm.api.v1.approval_views import ApprovalAnswer, approval_view, asked_answer
from opentsm.api.v1.operations import accepted
from opentsm.api.v1.paging import After, Limit, read_page
from opentsm.tsm.domain.approval import Act
from opentsm.tsm.kernel.ids import ApprovalId, SeId
from opentsm.tsm.roles.hub.approvals.acts import Asked
from opentsm.tsm.roles.hub.approvals.desk import DEFAULT_LIFE_S, LONGEST_LIFE_S, MAX_REASON, SHORTEST_LIFE_S

_TAG = ["approvals"]
Reason = Annotated[str, Meta(min_length=1, max_length=MAX_REASON)]
Waiting = Annotated[bool, QueryParameter(description="only those that nobody decided")]


class ApprovalBody(m.Body, frozen=True, kw_only=True):
    """A dangerous act to ask for.

    `subject` is the secure element, or the submission of a release. ROTATE_MANAGER_KEYS takes
    `security_domain` (else the issuer security domain) and `master` (else random keys), RELEASE_APPLET
    `profiles` (separated by commas, else those of the submission).
    """

    act: Literal["LOCK_CARD", "UNLOCK_CARD", "TERMINATE_CARD", "ROTATE_MANAGER_KEYS", "RELEASE_APPLET"]
    subject: Annotated[str, Meta(min_length=1, max_length=64)]
    parameters: dict[str, str] = {}
    reason: Reason
    life_s: Annotated[int, Meta(ge=SHORTEST_LIFE_S, le=LONGEST_LIFE_S)] = DEFAULT_LIFE_S


class DecisionBody(m.Body, frozen=True, kw_only=True):
    """What another person of the party decides, and why."""

    decision: Literal["approve", "refuse"]
    reason: Reason


class ApprovalPage(m.Answer, frozen=True, kw_only=True):
    """A page; `next` is the cursor for `after`, null on the last page."""

    items: list[ApprovalAnswer]
    next: str | None


# --- endpoints -------------------------------------------------------------------------------------------


@post("/approvals", opt=LOCATED, tags=_TAG, summary="Ask for a dangerous act (a named person)")
async def ask_approval(
    principal: Caller, container: Services, data: JSONBody[ApprovalBody]
) -> Response[ApprovalAnswer]:
    """Ask for an act that needs two people; another person of the party decides about it."""
    asked = Asked(act=Act(data.act), subject=data.subject, parameters=dict(data.parameters))
    return asked_answer(await container.approvals.ask(principal, asked, data.reason, life_s=data.life_s))


@get("/approvals", tags=_TAG, summary="List approvals")
async def list_approvals(
    principal: Caller,
    container: Services,
    waiting: Waiting = False,
    limit: Limit = 50,
    after: After = None,
) -> ApprovalPage:
    """Return the approvals of the caller's party by id."""
    items, following = await read_page(
        lambda page: container.approvals.approvals(principal, page, waiting=waiting),
        lambda one: one.id,
        limit,
        after,
    )
    return ApprovalPage(items=[approval_view(one) for one in items], next=following)


@get("/approvals/{approval_id:str}", tags=_TAG, summary="Show an approval")
async def show_approval(principal: Caller, container: Services, approval_id: FromPath[str]) -> ApprovalAnswer:
    """Return an approval of the caller's party."""
    return approval_view(await container.approvals.approval(principal, ApprovalId(approval_id)))


@post(
    "/approvals/{approval_id:str}/decisions",
    tags=_TAG,
    status_code=200,
    summary="Approve or refuse a dangerous act (another named person)",
)
async def decide_approval(
    principal: Caller, container: Services, approval_id: FromPath[str], data: JSONBody[DecisionBody]
) -> ApprovalAnswer:
    """Decide about what somebody else of the party asked for; an approval carries the act out at once."""
    decided = await container.approvals.decide(
        principal, ApprovalId(approval_id), approve=data.decision == "approve", reason=data.reason
    )
    return approval_view(decided)


@post(
    "/approvals/{approval_id:str}/cancellations",
    tags=_TAG,
    status_code=200,
    summary="Take back what was asked for",
)
async def cancel_approval(
    principal: Caller, container: Services, approval_id: FromPath[str]
) -> ApprovalAnswer:
    """Take an act back that nobody has decided about yet."""
    return approval_view(await container.approvals.cancel(principal, ApprovalId(approval_id)))


@post(
    "/secure-elements/{se_id:str}/card-locks",
    tags=_TAG,
    status_code=202,
    summary="Lock a card that was lost (issuer)",
)
async def lock_lost_card(
    principal: Caller, container: Services, se_id: FromPath[str]
) -> Response[m.OperationAnswer]:
    """Lock the whole card of which a loss was reported; it overtakes all else, and needs one person only."""
    return accepted(await container.card_acts.lock_for_loss(principal, SeId(se_id)))


HANDLERS = (ask_approval, list_approvals, show_approval, decide_approval, cancel_approval, lock_lost_card)
