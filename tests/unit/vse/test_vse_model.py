"""The card beside a small model of it: whatever is sent, both say the same and hold the same.

Long: `pytest -m campaign tests/unit/vse/test_vse_model.py`.
"""

from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.unit.vse.card_consequences import CardBesideModel


def run(examples: int, steps: int, *, derandomize: bool) -> Counter[tuple[str, bool]]:
    """Run the machine; return how often each order was carried out and refused."""
    CardBesideModel.tally.clear()
    run_state_machine_as_test(
        CardBesideModel,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=derandomize,
            database=None,
            # Making a failure smaller takes minutes: that is the campaign's work.
            phases=[Phase.generate] if derandomize else [Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
    return Counter(CardBesideModel.tally)


def test_card_when_any_commands_come_is_what_the_model_says() -> None:
    tally = run(100, 40, derandomize=True)
    orders = Counter({key: times for key, times in tally.items() if key[0] != "in locked card"})
    done = sum(times for (_, carried_out), times in orders.items() if carried_out)
    assert done > 0.5 * orders.total()
    assert orders["wrong token", False] > 10


@pytest.mark.campaign
def test_card_when_a_long_campaign_runs_is_what_the_model_says() -> None:
    run(2_000, 80, derandomize=False)
