"""What a campaign of many members costs: run by hand, for docs/explanation/scaling.md.

.venv/bin/python -m tests.machine.campaign_size 100000
"""

import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path

import asyncpg
from tests.machine.campaign_bench import CampaignBench

from opentsm.tsm.adapters.postgres import EmbeddedPostgres
from opentsm.tsm.adapters.storage.migrate import apply_migrations
from opentsm.tsm.domain.campaign import CampaignState, Pace, Selection
from opentsm.tsm.domain.operation import OperationType
from opentsm.tsm.kernel.ids import CampaignId
from opentsm.tsm.roles.hub.campaigns.desk import NewCampaign

ELEMENTS = """
INSERT INTO secure_elements (id, issuer_id, identifiers, document, version)
SELECT e.new, issuer_id, identifiers, replace(document, s.id, e.new), version FROM secure_elements s
CROSS JOIN (SELECT lpad(to_hex(n), 12, '0') || '-7000-8000-0000-000000000000' AS new
    FROM generate_series(1, $1) n) e
WHERE s.id = $2
"""
INSTANCES = """
INSERT INTO service_instances (id, version, provider_id, se_id, state, document, sealed_data, service_id,
    version_tag, flavor_id, applications, created_at)
SELECT e.new, version, provider_id, e.new, state, replace(replace(document, i.id, e.new), i.se_id, e.new),
    sealed_data, service_id, version_tag, flavor_id, applications, created_at
FROM service_instances i
CROSS JOIN (SELECT lpad(to_hex(n), 12, '0') || '-7000-8000-0000-000000000000' AS new
    FROM generate_series(1, $1) n) e
WHERE i.id = $2
"""
TABLES = ("campaign_members", "campaign_counts", "campaigns")


async def measured(url: str, directory: Path, members: int) -> None:
    connection = await asyncpg.connect(url, command_timeout=600)
    await apply_migrations(connection)
    async with CampaignBench.open(url, directory, 1) as many:
        (station,) = many.stations
        await connection.execute(ELEMENTS, members, station.se_id)
        await connection.execute(INSTANCES, members, station.instance_id)
        await connection.execute("ANALYZE")
        await _campaign(many, connection, members)
    await connection.close()


async def _campaign(
    many: CampaignBench, connection: "asyncpg.Connection[asyncpg.Record]", members: int
) -> None:
    pace = Pace(per_second=1000, most_open=100_000)
    new = NewCampaign(
        name="many",
        type=OperationType.SUSPEND,
        selection=Selection(profile="scp03-i70"),
        pace=pace,
        by_hand=True,
    )
    began = time.perf_counter()
    campaign_id = (await many.campaigns.create(many.bench.principal, new)).campaign.id
    while (await many.campaign(campaign_id)).state is CampaignState.COLLECTING:
        await many.ticker.tick(campaign_id)
    took = time.perf_counter() - began
    size = sum([await connection.fetchval("SELECT pg_total_relation_size($1)", name) for name in TABLES])
    print(f"{members} members written in {took:.1f} s, {size / members:.0f} bytes each")
    await many.campaigns.start(many.bench.principal, campaign_id)
    await _ticks(many, campaign_id)


async def _ticks(many: CampaignBench, campaign_id: CampaignId) -> None:
    began, before = time.perf_counter(), 0
    for _ in range(5):
        await many.ticker.tick(campaign_id)
    counts = await many.counts(campaign_id)
    took = time.perf_counter() - began
    print(f"{counts.open - before} members begun in {took:.1f} s, {1000 * took / counts.open:.1f} ms each")
    await many.campaigns.pause(many.bench.principal, campaign_id)
    began = time.perf_counter()
    for _ in range(100):
        await many.ticker._judge(campaign_id)
    print(f"a look at the campaign: {10 * (time.perf_counter() - began):.2f} ms")


def main() -> None:
    directory = Path(tempfile.mkdtemp(prefix="opentsm-campaign-"))
    directory.chmod(0o755)
    server = EmbeddedPostgres(directory)
    try:
        asyncio.run(measured(server.start_blocking(), directory, int(sys.argv[1])))
    finally:
        server.stop_blocking()
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
