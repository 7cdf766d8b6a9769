"""`opentsm campaign`: what a server's campaigns do, and a rehearsal of one with many virtual cards."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Final

import typer

from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError, JsonOption, print_json, print_table, say
from opentsm.cli.resources import LimitOption
from opentsm.cli.server_client import Json, connected_client

if TYPE_CHECKING:
    from opentsm.demo.rehearsal.campaign import RehearsalFigures, RehearsalPlan

campaign_app = typer.Typer(no_args_is_help=True)

CampaignArgument = Annotated[str, typer.Argument(help="Id of the campaign.", metavar="ID")]
_COLUMNS: Final = (
    "id",
    "name",
    "type",
    "state",
    "total",
    "waiting",
    "open",
    "succeeded",
    "failed",
    "skipped",
)
_MEMBER: Final = ("position", "subject_id", "state", "code", "detail")
_TICKING: Final = ("COLLECTING", "RUNNING")
_LOOK_S: Final = 2.0
_FILES: Final = 65_536


@campaign_app.command("list")
def list_campaigns(limit: LimitOption = 100, as_json: JsonOption = False) -> None:
    """List campaigns."""
    with connected_client() as client:
        found = list(islice(client.pages("/v1/campaigns"), limit))
    if as_json:
        print_json({"items": found})
    else:
        print_table(_COLUMNS, [_flat(one) for one in found])


@campaign_app.command("show")
def show_campaign(campaign_id: CampaignArgument, as_json: JsonOption = False) -> None:
    """Show a campaign, with the members that failed (at most 100)."""
    with connected_client() as client:
        campaign = client.get(f"/v1/campaigns/{campaign_id}")
        path = f"/v1/campaigns/{campaign_id}/members"
        failed = list(islice(client.pages(path, state="FAILED"), 100))
    _show(campaign, failed, as_json=as_json)


@campaign_app.command("follow")
def follow_campaign(campaign_id: CampaignArgument, as_json: JsonOption = False) -> None:
    """Follow a campaign until it has ended or needs a person; exit code 1 when it is not COMPLETED."""
    told = ""
    with connected_client() as client:
        while True:
            campaign = client.get(f"/v1/campaigns/{campaign_id}")
            line = _line(campaign)
            if line != told:
                say(line)
            told = line
            if campaign["state"] not in _TICKING:
                break
            time.sleep(_LOOK_S)
    _show(campaign, [], as_json=as_json)
    if campaign["state"] != "COMPLETED":
        raise typer.Exit(ExitCode.FAILED)


@campaign_app.command("rehearse")
def rehearse_campaign(
    *,
    cards: Annotated[int, typer.Option(min=1, help="Virtual secure elements in this process.")] = 1000,
    drop: Annotated[float, typer.Option(min=0, max=100, help="Percent that drop their connection.")] = 5.0,
    seed: Annotated[int, typer.Option(help="Draws which of them, how, and where.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Update a service on many virtual cards as one campaign, on a server of its own; exit code 1 if wrong.

    Some of the cards lose their connection at random points and come back. What is right at the end is read
    from the cards' memories.
    """
    from opentsm.bench.server import ServerBenchError
    from opentsm.demo.errors import DemoError
    from opentsm.demo.rehearsal.campaign import RehearsalError, RehearsalPlan

    plan = RehearsalPlan(cards=cards, drop=drop / 100, seed=seed)
    _allow_files()
    try:
        figures = asyncio.run(_rehearsed(plan))
    except (ServerBenchError, RehearsalError, DemoError, TimeoutError) as error:
        raise CliError("the rehearsal failed", why=str(error)) from error
    document = {**dataclasses.asdict(figures), "passed": figures.passed}
    if as_json:
        print_json(document)
    else:
        print_table(
            ("figure", "value"), [{"figure": name, "value": str(value)} for name, value in document.items()]
        )
    if not figures.passed:
        raise typer.Exit(ExitCode.FAILED)


async def _rehearsed(plan: RehearsalPlan) -> RehearsalFigures:
    from opentsm.agent.http_exchange import http_client
    from opentsm.bench.server import server
    from opentsm.demo.http_api import open_client
    from opentsm.demo.rehearsal.campaign import rehearse

    async with (
        server() as found,
        open_client(found.base_url) as client,
        http_client(found.base_url) as devices,
    ):
        return await rehearse(plan, client, found.operator, devices, say)


def _allow_files() -> None:
    """Let this process and its server hold a connection for every card, where the system has such limits."""
    try:
        import resource
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, _FILES) if hard > 0 else _FILES, hard))


def _show(campaign: Json, failed: list[Json], *, as_json: bool) -> None:
    if as_json:
        print_json({**campaign, "failed_members": failed})
        return
    print_table(_COLUMNS, [_flat(campaign)])
    if campaign["reason"]:
        say(campaign["reason"])
    if failed:
        print_table(_MEMBER, failed)


def _flat(campaign: Json) -> Json:
    return {**campaign, **campaign["counts"]}


def _line(campaign: Json) -> str:
    counts = campaign["counts"]
    done = campaign["total"] - counts["waiting"] - counts["open"]
    speed = campaign["per_second"]
    until = f", done at {campaign['eta']}" if campaign["eta"] else ""
    told = ", ".join(f"{counts[name]} {name}" for name in ("open", "failed", "skipped"))
    pace = f", {speed:g} a second{until}" if speed else ""
    return f"{campaign['state']}: {done} of {campaign['total']}, {told}{pace}"
