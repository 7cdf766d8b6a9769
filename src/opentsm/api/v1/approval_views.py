"""What approvals look like from outside."""

from datetime import datetime

from litestar import Response

from opentsm.api.v1 import messages as m
from opentsm.tsm.domain.approval import Approval


class ApprovalAnswer(m.Answer, frozen=True, kw_only=True):
    """A dangerous act that waits for a decision, or what became of it; `outcome` names its operation."""

    id: str
    act: str
    subject: str
    parameters: dict[str, str | int]
    reason: str
    asked_by: str
    state: str
    decided_by: str | None
    decision: str
    outcome: dict[str, str]
    created_at: datetime
    expires_at: datetime
    decided_at: datetime | None


def approval_view(found: Approval) -> ApprovalAnswer:
    """Show an approval; the tokens of the two people stay unnamed."""
    return ApprovalAnswer(
        id=found.id,
        act=found.act.value,
        subject=found.subject,
        parameters=found.parameters,
        reason=found.reason,
        asked_by=found.asked_by.person,
        state=found.state.value,
        decided_by=None if found.decided_by is None else found.decided_by.person,
        decision=found.decision,
        outcome=found.outcome,
        created_at=found.created_at,
        expires_at=found.expires_at,
        decided_at=found.decided_at,
    )


def asked_answer(found: Approval) -> Response[ApprovalAnswer]:
    """Answer that an approval was made."""
    return Response(approval_view(found), status_code=201, headers={"Location": f"/v1/approvals/{found.id}"})
