"""`opentsm bench`: measurements, as ratios against a peer or a floor of the same run."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from opentsm.cli.output import CliError, JsonOption, print_json, print_table, say

if TYPE_CHECKING:
    from collections.abc import Mapping

RoundsOption = Annotated[int, typer.Option("--rounds", min=1, help="Turns of every contestant.")]
TurnOption = Annotated[int, typer.Option("--turn-ms", min=1, help="Processor milliseconds a turn.")]

bench_app = typer.Typer(no_args_is_help=True, help="Measure, against peers and floors of the same run.")


@bench_app.command()
def wrap(*, rounds: RoundsOption = 7, turn_ms: TurnOption = 200, as_json: JsonOption = False) -> None:
    """Measure how fast SCP03 commands are protected, against yubikit and OpenSSL."""
    from opentsm.bench import wrap as contest

    say("bench: protecting commands of 200 bytes, C-MAC and C-ENC, in turns")
    _show(dataclasses.asdict(contest.measure(rounds=rounds, turn_s=turn_ms / 1000)), as_json=as_json)


@bench_app.command()
def card(*, rounds: RoundsOption = 7, turn_ms: TurnOption = 200, as_json: JsonOption = False) -> None:
    """Measure how many secured commands a virtual card answers a second."""
    from opentsm.bench import card as contest

    say("bench: commands to a virtual card, in turns")
    _show(dataclasses.asdict(contest.measure(rounds=rounds, turn_s=turn_ms / 1000)), as_json=as_json)


@bench_app.command()
def fleet(
    *,
    cards: Annotated[int, typer.Option(min=1, help="Virtual secure elements in this process.")] = 10_000,
    profile: Annotated[str, typer.Option(help="Their card profile (SCP03).")] = "scp03-i70",
    as_json: JsonOption = False,
) -> None:
    """Measure what many virtual cards in one process cost, and how many commands they answer."""
    from opentsm.bench import fleet as contest

    say(f"bench: {cards} virtual secure elements in one process")
    _show(dataclasses.asdict(contest.measure(cards=cards, profile=profile)), as_json=as_json)


@bench_app.command()
def catalogue(
    *,
    rate: Annotated[float, typer.Option(min=1, help="Requests that arrive a second.")] = 200,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of floor and reads.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long a turn is.")] = 10,
    services: Annotated[int, typer.Option(min=1, help="Services in the repository.")] = 50,
    load_files: Annotated[int, typer.Option(min=1, help="Load files in the repository.")] = 40,
    as_json: JsonOption = False,
) -> None:
    """Measure reads of a provider's repository on a real server, beside its empty handler.

    Requests arrive at random, whether or not earlier ones were answered, and a request's time runs from the
    moment at which it should have been sent.
    """
    from opentsm.bench import catalogue as contest
    from opentsm.bench.server import ServerBenchError

    say(f"bench: {rate:g} reads a second of a repository with {services} services, floor in turns")
    size = contest.Size(services=services, load_files=load_files)
    try:
        figures = contest.measure(rate=rate, rounds=rounds, seconds=seconds, size=size)
    except ServerBenchError as error:
        raise CliError("the measurement cannot be made", why=str(error)) from error
    _show(dataclasses.asdict(figures), as_json=as_json)


@bench_app.command("import")
def import_(
    *,
    elements: Annotated[int, typer.Option("--secure-elements", min=1, help="Lines of the file.")] = 10_000,
    lookups: Annotated[int, typer.Option(min=1, help="Look-ups of each kind afterwards.")] = 500,
    as_json: JsonOption = False,
) -> None:
    """Measure an import of secure elements on a real server, and look-ups by any name afterwards."""
    from opentsm.bench import imports as contest
    from opentsm.bench.server import ServerBenchError

    say(f"bench: a file of {elements} secure elements with derived key sets, then look-ups")
    try:
        figures = contest.measure(elements=elements, lookups=lookups)
    except ServerBenchError as error:
        raise CliError("the measurement cannot be made", why=str(error)) from error
    _show(dataclasses.asdict(figures), as_json=as_json)


@bench_app.command()
def deliveries(
    *,
    count: Annotated[int, typer.Option("--deliveries", min=1, help="Deliveries a round.")] = 2_000,
    endpoints: Annotated[int, typer.Option(min=1, help="Endpoints that they go to.")] = 8,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of floor and deliveries.")] = 3,
    as_json: JsonOption = False,
) -> None:
    """Measure how many webhooks one worker delivers a second, beside bare posts to the same receiver."""
    from opentsm.bench import deliveries as contest

    say(f"bench: {count} deliveries to {endpoints} endpoints, in turns with as many bare posts")
    figures = contest.measure(deliveries=count, endpoints=endpoints, rounds=rounds)
    _show(dataclasses.asdict(figures), as_json=as_json)


def _show(figures: Mapping[str, float | int | str | None], *, as_json: bool) -> None:
    rounded = {name: _rounded(value) for name, value in figures.items()}
    if as_json:
        print_json(rounded)
    else:
        print_table(
            ("figure", "value"), [{"figure": name, "value": value} for name, value in rounded.items()]
        )


def _rounded(value: float | str | None) -> float | int | str | None:
    if value is None or isinstance(value, int | str):
        return value
    return round(value) if value >= 100 else round(value, 3)
