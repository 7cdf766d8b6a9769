"""Which device gets the order of a secure element that is bound to none."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest

from opentsm.tsm.domain.device import Trial, Turn
from opentsm.tsm.kernel.ids import DeviceId, SeId
from opentsm.tsm.roles.hub.turns import TURN, has_turn

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HONEST, ROGUE = map(DeviceId, ("honest", "rogue"))
SECOND = timedelta(seconds=1)


def trial(device: DeviceId, failures: int, *, barred: bool = False, last_at: datetime = NOW) -> Trial:
    return Trial(device_id=device, failures=failures, last_at=last_at, barred=barred)


def asks(
    device: DeviceId,
    *,
    turn: Turn | None = None,
    trials: Iterable[Trial] = (),
    rivals: Iterable[DeviceId] = (HONEST, ROGUE),
    now: datetime = NOW,
) -> bool:
    known = {trial.device_id: trial for trial in trials}
    return has_turn(device, 7, turn=turn, trials=known, rivals=tuple(rivals), now=now)


def held(by: DeviceId, sequence: int = 7) -> Turn:
    return Turn(se_id=SeId("se"), sequence=sequence, device_id=by, since=NOW)


def test_order_when_nobody_has_it_then_whoever_asks_first_gets_it() -> None:
    assert asks(HONEST)
    assert asks(ROGUE)
    assert asks(HONEST, turn=held(ROGUE, sequence=6)), "the turn of an earlier order is over"


def test_order_when_another_device_has_it_then_kept_for_that_one_for_one_turn() -> None:
    assert asks(ROGUE, turn=held(ROGUE))
    assert not asks(HONEST, turn=held(ROGUE))
    assert not asks(HONEST, turn=held(ROGUE), now=NOW + TURN - SECOND)
    assert asks(HONEST, turn=held(ROGUE), now=NOW + TURN)
    assert asks(ROGUE, turn=held(ROGUE), now=NOW + 9 * TURN), "alone it may take its time"


def test_device_when_it_failed_then_comes_after_the_others_but_not_for_ever() -> None:
    failed = [trial(ROGUE, 1)]
    assert not asks(ROGUE, trials=failed)
    assert asks(HONEST, trials=failed)
    assert asks(ROGUE, trials=failed, now=NOW + TURN), "nobody came who was before it"
    assert asks(ROGUE, trials=failed, rivals=[ROGUE]), "there is nobody else"
    assert asks(ROGUE, trials=[*failed, trial(HONEST, 1)]), "the other failed as often"


def test_device_when_its_cryptogram_was_wrong_then_comes_after_all_who_only_failed() -> None:
    trials = [trial(ROGUE, 1, barred=True), trial(HONEST, 5)]
    assert not asks(ROGUE, trials=trials)
    assert asks(HONEST, trials=trials)


@pytest.mark.parametrize("rogues", [1, 3, 10])
def test_honest_device_when_any_number_of_others_are_faster_then_has_its_turn_after_one_of_each(
    rogues: int,
) -> None:
    """They ask before it, every second, and never answer; it asks once in a long poll."""
    crowd = [DeviceId(f"rogue-{number}") for number in range(rogues)]
    trials: dict[DeviceId, Trial] = {}
    turn: Turn | None = None
    now = NOW
    while turn is None or turn.device_id != HONEST:
        askers = crowd + ([HONEST] if int((now - NOW).total_seconds()) % 25 == 0 else [])
        for device in askers:
            known = tuple(trials.values())
            if asks(device, turn=turn, trials=known, rivals=[*crowd, HONEST], now=now):
                if turn is not None and turn.device_id != device:
                    before = trials.get(turn.device_id)
                    failures = 1 if before is None else before.failures + 1
                    trials[turn.device_id] = trial(turn.device_id, failures, last_at=now)
                if turn is None or turn.device_id != device:
                    turn = Turn(se_id=SeId("se"), sequence=7, device_id=device, since=now)
        now += SECOND
        assert now - NOW <= (rogues + 1) * TURN + 25 * SECOND
