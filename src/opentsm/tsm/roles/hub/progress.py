"""How far an operation is, in percent; it never goes back."""

from opentsm.tsm.domain.operation import ENDED, Operation, OperationState
from opentsm.tsm.engine.sessions import Plan
from opentsm.tsm.kernel.documents import from_json

_STARTED, _READ, _ALMOST, _DONE = 5, 15, 99, 100


def progress_of(operation: Operation) -> int:
    """Return how far an operation is, in percent.

    The first reading of the card counts little, what changes it counts most. A plan that is made anew after
    a lost answer may begin before the point that was reached: the operation remembers how far it was.
    """
    if operation.state in ENDED:
        return _DONE
    return max(operation.progress, _of_plan(operation))


def _of_plan(operation: Operation) -> int:
    if operation.state in (OperationState.REQUESTED, OperationState.QUEUED):
        return 0
    if not operation.plan_document:
        return _STARTED
    plan = from_json(Plan, operation.plan_document)
    low, high = (_READ, _ALMOST) if plan.changes_card() else (_STARTED, _READ)
    return low + (high - low) * min(operation.session, len(plan.sessions)) // max(1, len(plan.sessions))


def changes_of(made: Plan) -> set[str]:
    """Return the descriptions of the plan's changing steps."""
    return {step.describe() for session in made.sessions for step in session.steps if step.changes}


def first_changes(made: Plan) -> set[str]:
    """Return the descriptions of the plan's first changing step."""
    for session in made.sessions:
        for step in session.steps:
            if step.changes:
                return {step.describe()}
    return set()
