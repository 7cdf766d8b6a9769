"""Rates of several contestants, in calls a second of one core.

They are measured in turns and in processor time, so that a busy machine slows them all alike.
"""

from collections.abc import Callable, Mapping
from statistics import median
from time import process_time

Work = Callable[[], object]

_CALLS_BETWEEN_CLOCKS = 100


def measure_in_turns(
    contestants: Mapping[str, Work], *, rounds: int, turn_s: float
) -> dict[str, list[float]]:
    """Measure every contestant once a round.

    Args:
        contestants: name to one call of its work.
        rounds: 1 or more.
        turn_s: seconds a turn.

    Returns:
        Calls a second, one value a round.
    """
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, work in contestants.items():
            rates[name].append(_rate(work, turn_s))
    return rates


def median_ratio(rates: list[float], others: list[float]) -> float:
    """Return the median of the ratios of each round."""
    return median(mine / other for mine, other in zip(rates, others, strict=True))


def _rate(work: Work, turn_s: float) -> float:
    calls, start, now = 0, process_time(), 0.0
    while now < turn_s:
        for _ in range(_CALLS_BETWEEN_CLOCKS):
            work()
        calls += _CALLS_BETWEEN_CLOCKS
        now = process_time() - start
    return calls / now
