"""The outcome of a member: written and counted in the transaction in which its operation ends."""

from opentsm.tsm.domain.campaign import Member, outcome_of
from opentsm.tsm.domain.operation import Operation
from opentsm.tsm.ports.unit_of_work import UnitOfWork


async def settle(tx: UnitOfWork, operation: Operation) -> None:
    """Write what an ended operation makes of its member; nothing when it belongs to no campaign."""
    if operation.campaign_id is None:
        return
    failure = operation.failure
    await tx.campaigns.settle_member(
        operation.campaign_id,
        Member(
            position=operation.campaign_position,
            subject_id=operation.instance_id or operation.se_id,
            state=outcome_of(operation),
            code="" if failure is None else failure.code,
            detail="" if failure is None else failure.detail,
            ended_at=operation.ended_at,
        ),
    )
