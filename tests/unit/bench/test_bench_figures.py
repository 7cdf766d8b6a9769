"""The measurements measure what they say; how fast it is stands in no test."""

import json

from typer.testing import CliRunner

from opentsm.bench import card, wrap
from opentsm.bench.rates import measure_in_turns, median_ratio
from opentsm.cli.bench import bench_app


def test_contestants_when_measured_take_turns() -> None:
    calls: list[str] = []
    work = {name: lambda name=name: calls.append(name) for name in ("a", "b")}
    rates = measure_in_turns(work, rounds=3, turn_s=1e-9)
    assert {name: len(values) for name, values in rates.items()} == {"a": 3, "b": 3}
    turns = [name for name, before in zip(calls, [None, *calls], strict=False) if name != before]
    assert turns == ["a", "b"] * 3


def test_ratio_when_the_machine_slows_down_is_that_of_each_round() -> None:
    assert median_ratio([30.0, 3.0, 300.0], [10.0, 1.0, 100.0]) == 3.0


def test_wrap_when_measured_names_peers_and_floor() -> None:
    figures = wrap.measure(rounds=1, turn_s=0.001)
    assert figures.yubikit_per_s is not None  # installed with the tests
    assert figures.ratio_yubikit == figures.wraps_per_s / figures.yubikit_per_s
    assert figures.ratio_naive == figures.wraps_per_s / figures.naive_per_s
    if figures.openssl_floor_per_s is not None:
        assert figures.ratio_floor == figures.wraps_per_s / figures.openssl_floor_per_s


def test_card_when_measured_answers_every_command() -> None:
    figures = card.measure(rounds=1, turn_s=0.001)
    assert min(figures.reads_per_s, figures.full_reads_per_s, figures.writes_per_s) > 0


def test_command_when_asked_for_json_prints_the_figures_alone() -> None:
    done = CliRunner().invoke(bench_app, ["card", "--rounds", "1", "--turn-ms", "1", "--json"])
    assert done.exit_code == 0
    assert set(json.loads(done.stdout)) == set(card.CardFigures.__dataclass_fields__)
