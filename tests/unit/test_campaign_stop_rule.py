"""When a campaign stops by itself: not before enough outcomes are there, and at more than the share only."""

import pytest

from opentsm.tsm.domain.campaign import Recent, StopRule, too_many_failed


@pytest.mark.parametrize(
    ("ended", "failed", "stops"),
    [(19, 19, False), (20, 2, False), (20, 3, True), (100, 10, False), (100, 11, True), (0, 0, False)],
    ids=["too few", "the share", "more than the share", "of a window", "more of a window", "none"],
)
def test_stop_rule_when_outcomes_are_counted_then_stops_above_its_share(
    ended: int, failed: int, stops: bool
) -> None:
    rule = StopRule(failure_percent=10, window=100, minimum=20)
    assert too_many_failed(rule, Recent(ended=ended, failed=failed)) is stops
