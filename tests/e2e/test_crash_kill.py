"""kill -9 of server, agent and database while operations run: cards, purses and keys come out right.

In the suite the kills are at the ends of every secure channel session of every operation; with
OPENTSM_CRASH_ALL=1 (`./tsm test --crash-all`) before and after every C-APDU.
"""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from tests.e2e.crash_fleet import Fleet, Phase, Station, Victim, every_point, session_ends
from tests.e2e.crash_processes import processes_of
from tests.e2e.crash_reader import Point

CRASH_ALL = os.environ.get("OPENTSM_CRASH_ALL") == "1"
FLEET = 16
VICTIMS = tuple(Victim) if CRASH_ALL else (Victim.SERVER, Victim.AGENT, Victim.DATABASE)
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(3600 if CRASH_ALL else 300)]


@dataclass(slots=True)
class Campaign:
    """A running server, and at which points its operations are to be interrupted."""

    station: Station
    directory: Path
    points: dict[Phase, list[Point]]


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """Give a directory that every user can enter; no process that has to do with it may be left."""
    made = Path(tempfile.mkdtemp(prefix="otsm-crash-"))
    made.chmod(0o755)  # under root the database runs as another user
    (made / "server").mkdir(mode=0o755)
    yield made
    assert processes_of(made) == []
    shutil.rmtree(made)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def campaign(directory: Path) -> AsyncIterator[Campaign]:
    """Start a server; find the points by undisturbed runs."""
    async with Station.open(directory / "server") as station:
        made = Campaign(station, directory, {})
        async with Fleet.open(station, directory / "undisturbed", 1) as fleet:
            for phase in Phase:
                await fleet.run(phase)
                headers = fleet.cases[0].reader.headers
                made.points[phase] = every_point(headers) if CRASH_ALL else session_ends(headers)
        yield made


@pytest.mark.parametrize("victim", VICTIMS, ids=lambda victim: victim.value)
async def test_operations_when_a_process_is_killed_under_them_end_well(
    campaign: Campaign, victim: Victim
) -> None:
    points = {phase: list(found) for phase, found in campaign.points.items()}
    number = 0
    while any(points.values()):
        number += 1
        size = min(FLEET, max(map(len, points.values())))
        directory = campaign.directory / f"{victim.name.lower()}-{number}"
        async with Fleet.open(campaign.station, directory, size) as fleet:
            for phase in Phase:
                now, points[phase] = points[phase][:size], points[phase][size:]
                await fleet.run(phase, now, victim if now else None)
            # the server knows every purse's and every domain's state: undisturbed, all goes on at once
            await fleet.run(Phase.TOP_UP)
            await fleet.run(Phase.KEY_ROTATION)
