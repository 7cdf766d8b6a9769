"""A card that is full is brought back to what it was: nothing for a deployment, the version before for an
update. The operation then fails, with the figures.

Of a deployment that began on an instance in error nothing is undone: what was there before it is not known to
be of no use (BSI TR-03165 §3.2.2, In Error).
"""

import msgspec

from opentsm.card.profiles import SeProfile
from opentsm.tsm.domain.operation import Failure, Operation, OperationType
from opentsm.tsm.domain.service import InstanceState
from opentsm.tsm.engine import steps as s
from opentsm.tsm.engine.sessions import PlannedSession
from opentsm.tsm.ports.peer import SegmentReport
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.case import Case
from opentsm.tsm.roles.hub.services import HubServices
from opentsm.tsm.roles.hub.space.booking import CARD_FULL, RESERVING

replace = msgspec.structs.replace

# what an application says of itself is not what the card says of its memory
_OF_THE_CARD = (s.Load, s.Install, s.CreateSecurityDomain, s.PutFirstKeys, s.ReplaceKeys, s.Personalize)


def refused_for_memory(
    operation: Operation, session: PlannedSession, report: SegmentReport, profile: SeProfile
) -> tuple[str, str] | None:
    """Return the step and the status word with which the card said that its memory is full, if it did."""
    if operation.type not in RESERVING or operation.undoing is not None:
        return None
    words = profile.memory_full.split()
    for step, outcome in zip(session.steps, report.steps, strict=True):
        if not outcome.done and outcome.status_word is not None:
            full = outcome.status_word in words and isinstance(step, _OF_THE_CARD)
            return (step.describe(), outcome.status_word) if full else None
    return None


async def begin_undoing(services: HubServices, case: Case, step: str, status_word: str) -> Failure | None:
    """Let a case bring its card back to what it was; the failure where that is not known, or not possible."""
    async with services.storage.transaction() as tx:
        failure = await _card_full(tx, case.operation, step, status_word)
    if not _may_undo(case):
        return failure
    case.note("operation.undoing", {"code": failure.code})
    case.operation = replace(case.operation, undoing=failure, refused=None, attempts=0)
    case.content = replace(case.content, fresh=False)
    return None


def _may_undo(case: Case) -> bool:
    """Say whether it is known what the card was before, and whether it can be made again from here."""
    instance = case.instance
    if instance is None or instance.keys_elsewhere:
        return False
    return case.operation.type is OperationType.UPDATE or (
        case.operation.start_state is not InstanceState.IN_ERROR
    )


async def _card_full(tx: UnitOfWork, operation: Operation, step: str, status_word: str) -> Failure:
    """Return the failure of an operation whose card is full, with what it was expected to need."""
    reservation = await tx.space.reservation(operation.id)
    figures = ""
    if reservation is not None:
        before = reservation.free_before
        figures = f" About {reservation.needs.nonvolatile} bytes were expected to be needed"
        figures += "." if before is None else f"; {before} were free."
    return Failure(
        code=CARD_FULL,
        detail=f"The secure element is full: it refused to {step} ({status_word}).{figures}",
        advice="Remove something from it, or choose another secure element; then ask again.",
        status_word=status_word,
        step=step,
    )


def undone(case: Case, failure: Failure) -> Failure:
    """Return the failure when the card is as it was before; registry and free memory were read again."""
    free = case.content.free_memory
    now = "" if free is None else f", and has {free} bytes free"
    return replace(failure, detail=f"{failure.detail} It was brought back to what it held before{now}.")


def not_undone(failure: Failure, reason: Failure) -> Failure:
    """Return the failure when the card could not be brought back."""
    return replace(
        failure,
        detail=f"{failure.detail} It could not be brought back to what it held before: {reason.detail}",
        advice="Terminate the instance to remove what is left, or deploy it again.",
    )
