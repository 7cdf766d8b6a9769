"""Space is reserved in the transaction that asks for an operation, checked again before the card is changed,
and given back in the transaction that ends it.

Who reserves holds the secure element, so of two requests the second sees what the first took.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from opentsm.card.profiles import SeProfile
from opentsm.tsm.domain.card_content import ALL_STAGES, Goal, ServiceDescription
from opentsm.tsm.domain.operation import Operation, OperationState, OperationType
from opentsm.tsm.domain.space import Reservation, SizedPart, SpaceNeeds
from opentsm.tsm.engine.space import Estimate, estimate, in_domain, learned
from opentsm.tsm.engine.view import View
from opentsm.tsm.kernel.errors import NoSpaceError, PlanRefusedError, QuotaExceededError
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.case import Case
from opentsm.tsm.roles.hub.space.ground import Ground, Site, survey

replace = msgspec.structs.replace

RESERVING = (OperationType.DEPLOY, OperationType.UPDATE)
CARD_FULL = "card_full"
# what a card showed longer ago is read again before it is changed
TRUSTED = timedelta(days=1)
_QUOTA_ADVICE = (
    "Terminate another service of the provider there, wait for or cancel what it has asked for, or ask who"
    " set the quota for more."
)
_FREE_ADVICE = "Nothing was sent to it. Remove something from it, or choose another secure element."


async def reserve(
    tx: UnitOfWork, profiles: Mapping[str, SeProfile], operation: Operation, now: datetime
) -> None:
    """Reserve what a new operation needs; nothing for one that brings nothing to a card.

    Args:
        tx: the transaction that stores the operation.
        profiles: card profiles by name.
        operation: not stored yet.
        now: the time.

    Raises:
        QuotaExceededError: the provider may not use so much.
        NoSpaceError: by what the card showed last, it has not so much.
    """
    if operation.type not in RESERVING or operation.instance_id is None:
        return
    se = await tx.secure_elements.hold(operation.se_id)
    instance = await tx.instances.get(operation.instance_id)
    profile = None if se is None else profiles.get(se.profile)
    if se is None or instance is None or profile is None:
        return
    case = Case(
        operation=operation,
        se=se,
        instance=instance,
        content=await tx.secure_elements.content(se.id),
        claims=await tx.secure_elements.claims(se.id),
        order=None,
        arrangement=await tx.arrangements.get(se.arrangement_id) if se.arrangement_id else None,
    )
    try:
        ground, wanted = await _look(tx, case, profile)
    except PlanRefusedError:  # it has no place there: the plan will say so, in its turn
        return
    needs = wanted.net(ground.sizing)
    _check_quota(case, ground, needs)
    if case.content.fresh:
        _check_free(case, ground, needs, now)
    await tx.space.reserve(_reservation(case, ground, wanted, needs))


async def fits(tx: UnitOfWork, case: Case, profile: SeProfile, now: datetime) -> bool:
    """Check an operation against quota and card before the first command that changes the card.

    Args:
        tx: a transaction, which the caller commits.
        case: the operation, about to change the card.
        profile: of the card.
        now: the time.

    Returns:
        False when the card must be read before it can be said.

    Raises:
        QuotaExceededError: the provider may not use so much.
        NoSpaceError: the card has not so much.
    """
    operation = case.operation
    if operation.type not in RESERVING or operation.changed_card or operation.undoing is not None:
        return True
    ground, wanted = await _look(tx, case, profile)
    # who asked first is served first: what was asked for later does not count
    older = tuple(one for one in ground.reservations if one.operation_id < operation.id)
    ground = Ground(ground.limits, ground.sizing, ground.services, ground.used, older)
    needs = wanted.net(ground.sizing)
    _check_quota(case, ground, needs)
    read_at, begun = case.content.read_at, operation.started_at
    read_by_itself = read_at is not None and begun is not None and read_at >= begun
    try:
        _check_free(case, ground, needs, now)
    except NoSpaceError:
        if read_by_itself:
            raise
        return False
    if not read_by_itself and read_at is not None and now - read_at > TRUSTED:
        return False
    reservation = _reservation(case, ground, wanted, needs)
    await tx.space.reserve(replace(reservation, free_before=case.content.free_memory))
    return True


async def release(tx: UnitOfWork, operation: Operation) -> None:
    """Give back what an operation that has ended reserved; what it brought to the card counts as used now."""
    if operation.type in RESERVING:
        await tx.space.release(operation.id)


async def conclude(tx: UnitOfWork, case: Case) -> None:
    """Give back what an ended operation reserved, and keep what its card showed about the sizes of parts."""
    if case.operation.type not in RESERVING:
        return
    reservation = await tx.space.reservation(case.operation.id)
    if reservation is None:
        return
    await tx.space.release(case.operation.id)
    sizes = learned(reservation.parts, _taken(case, reservation))
    if sizes:
        await tx.space.learn(case.se.issuer_id, case.se.profile, sizes)


def _taken(case: Case, reservation: Reservation) -> int:
    """Return how many bytes an operation's parts took, by the card's own account; 0: nothing to learn."""
    operation, before, after = case.operation, reservation.free_before, case.content.free_memory
    if before is None or reservation.freed:
        return 0
    if operation.failure is not None and operation.failure.code == CARD_FULL:
        # they need more than there was
        return max(before + 1, sum(part.size for part in reservation.parts))
    complete = case.instance is not None and set(case.stages()) == set(ALL_STAGES)
    if operation.state is not OperationState.SUCCEEDED or not complete or not case.content.fresh:
        return 0
    return 0 if after is None else before - after


async def _look(tx: UnitOfWork, case: Case, profile: SeProfile) -> tuple[Ground, Estimate]:
    topology, desired, instance = case.topology(profile), case.desired(), case.instance
    assert desired is not None
    assert instance is not None
    site = Site(case.se, case.content, case.arrangement, topology, profile)
    ground = await survey(tx, site, wanted=(desired.description,), operation=case.operation)
    if desired.goal is Goal.ABSENT:
        return ground, Estimate((), ())
    view = View(desired, case.content, topology, case.claims)
    return ground, estimate(view, instance.description, profile)


def _reservation(case: Case, ground: Ground, wanted: Estimate, needs: SpaceNeeds) -> Reservation:
    assert case.instance is not None
    sizing = ground.sizing
    return Reservation(
        operation_id=case.operation.id,
        se_id=case.se.id,
        provider_id=case.provider_id,
        instance_id=case.instance.id,
        needs=needs,
        parts=tuple(
            SizedPart(key=part.key, size=sizing.bytes_of(part), nominal=part.nominal) for part in wanted.added
        ),
        freed=sizing.needs(wanted.freed).nonvolatile,
    )


def _check_quota(case: Case, ground: Ground, needs: SpaceNeeds) -> None:
    if needs == SpaceNeeds():
        return
    reserved = ground.reserved(provider_id=case.provider_id)
    for kind, name in (("nonvolatile", "non-volatile"), ("volatile", "volatile")):
        limit, need = getattr(ground.limits, kind), getattr(needs, kind)
        taken, waiting = getattr(ground.used, kind), getattr(reserved, kind)
        if limit is not None and need and taken + waiting + need > limit:
            raise QuotaExceededError(
                f"The service needs about {need} bytes of {name} memory. The provider's quota on this secure"
                f" element is {limit} bytes; it uses {taken}, and {waiting} are reserved for it.",
                advice=_QUOTA_ADVICE,
            )
    _check_domain(ground, case.description())


def _check_domain(ground: Ground, description: ServiceDescription) -> None:
    whole = in_domain(description, ground.sizing)
    for kind, name in (("nonvolatile", "non-volatile"), ("volatile", "volatile")):
        limit, need = getattr(ground.limits, f"domain_{kind}"), getattr(whole, kind)
        if limit is not None and need > limit:
            raise QuotaExceededError(
                f"The service needs about {need} bytes of {name} memory in its security domain"
                f" {description.sd_aid}; the quota of one is {limit} bytes.",
                advice="Make the service smaller, or ask who set the quota for more.",
            )


def _check_free(case: Case, ground: Ground, needs: SpaceNeeds, now: datetime) -> None:
    free, read_at = case.content.free_memory, case.content.read_at
    waiting = ground.reserved().nonvolatile
    if free is None or not needs.nonvolatile or waiting + needs.nonvolatile <= free:
        return
    age = "" if read_at is None else f" {max(0, int((now - read_at).total_seconds()))} seconds ago"
    raise NoSpaceError(
        f"The service needs about {needs.nonvolatile} bytes. The secure element had {free} bytes free{age},"
        f" of which {waiting} are reserved.",
        advice=_FREE_ADVICE,
    )
