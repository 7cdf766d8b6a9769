"""Which device may try to prove a secure element that is bound to none; docs/explanation/security.md.

Any device of the issuer may carry bytes for such a secure element, and none has proved yet that it reaches
the card. One at a time gets an order, for a limited time; whoever had a turn in vain comes after the others.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from opentsm.tsm.domain.device import DeviceSession, Trial, Turn
from opentsm.tsm.domain.secure_element import SecureElement
from opentsm.tsm.kernel.ids import DeviceId
from opentsm.tsm.ports.unit_of_work import UnitOfWork

TURN = timedelta(seconds=60)


def has_turn(
    device_id: DeviceId,
    sequence: int,
    *,
    turn: Turn | None,
    trials: Mapping[DeviceId, Trial],
    rivals: Collection[DeviceId],
    now: datetime,
) -> bool:
    """Say whether a device may have an order.

    Args:
        device_id: who asks.
        sequence: the order.
        turn: who had an order last, and since when.
        trials: of all devices that had a turn in vain.
        rivals: all devices that have a session now.
        now: the present time.
    """
    own = trials.get(device_id)
    free_at = now if own is None else own.last_at
    others = set(rivals)
    if turn is not None and turn.sequence == sequence:
        if turn.device_id == device_id:
            return True
        free_at = turn.since + TURN
        if now < free_at:
            return False
        others.discard(turn.device_id)  # it let its turn pass
    first = min(_rank(trials.get(other)) for other in {*others, device_id})
    # those before it have one turn's time to ask; then it is not kept waiting for them
    return _rank(own) <= first or now >= free_at + TURN


def _rank(trial: Trial | None) -> tuple[bool, int]:
    return (False, 0) if trial is None else (trial.barred, trial.failures)


async def may_take(
    tx: UnitOfWork, se: SecureElement, session: DeviceSession, sequence: int, now: datetime
) -> bool:
    """Say whether the session's device may have the order now."""
    if not se.admits(session.device_id):
        return False
    if se.device_id is not None:
        return True
    return has_turn(
        session.device_id,
        sequence,
        turn=await tx.turns.turn(se.id),
        trials={trial.device_id: trial for trial in await tx.turns.trials(se.id)},
        rivals=await tx.turns.rivals(se.id, now),
        now=now,
    )


async def take(tx: UnitOfWork, session: DeviceSession, sequence: int, now: datetime) -> None:
    """Note that the device has the order; another that had it let its turn pass."""
    before = await tx.turns.turn(session.se_id)
    if before is not None and before.sequence == sequence and before.device_id != session.device_id:
        await tx.turns.fail(session.se_id, before.device_id, now, barred=False)
    await tx.turns.put_turn(
        Turn(se_id=session.se_id, sequence=sequence, device_id=session.device_id, since=now)
    )
