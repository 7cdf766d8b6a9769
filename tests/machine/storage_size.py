"""Measure what a secure element and a deployment cost in the database; see docs/explanation/scaling.md.

Run: .venv/bin/python -m tests.machine.storage_size --secure-elements 20000 --deployments 100 --top-ups 50
"""

import argparse
import asyncio
import json
import shutil
import tempfile
import time
from pathlib import Path

import asyncpg
from tests.machine.bench import MASTER, Bench

from opentsm.tsm.adapters.postgres import EmbeddedPostgres
from opentsm.tsm.adapters.storage.migrate import apply_migrations
from opentsm.tsm.domain.operation import OperationState
from opentsm.tsm.domain.secure_element import DiversifiedKeys, SeIdentifier, SeIdentifierType
from opentsm.tsm.roles.hub.registration import NewKeySet, NewSecureElement

PROFILE, KVN, KDD_BYTES, WRITERS = "scp03-i70", 0x30, 10, 8
SIZES = """
    SELECT relname AS name, pg_relation_size(oid) AS rows, pg_total_relation_size(oid) AS total
    FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""


async def measure(
    dsn: str, directory: Path, secure_elements: int, deployments: int, top_ups: int
) -> dict[str, object]:
    """Return bytes a secure element, a deployment and a top-up, table by table (rows; rows and indexes)."""
    connection = await asyncpg.connect(dsn)
    await apply_migrations(connection)
    empty = await sizes(connection)
    began = time.monotonic()
    await register(dsn, directory / "registered", secure_elements)
    rate = secure_elements / (time.monotonic() - began)
    registered = await sizes(connection)
    benches = [await seeded(dsn, directory / str(number)) for number in range(deployments)]
    before = await sizes(connection)
    for bench in benches:
        await deploy(bench)
    deployed = await sizes(connection)
    contents = [await content_bytes(connection, benches[-1])]
    await top_up(benches[-1], top_ups)
    contents.append(await content_bytes(connection, benches[-1]))
    topped_up = await sizes(connection)
    await connection.close()
    return {
        "secure_elements": secure_elements,
        "registered_per_second": round(rate),
        "bytes_per_secure_element": per_unit(empty, registered, secure_elements),
        "deployments": deployments,
        "bytes_per_deployment": per_unit(before, deployed, deployments),
        "top_ups": top_ups,
        "content_bytes_before_and_after": contents,
        "bytes_per_top_up": per_unit(deployed, topped_up, top_ups),
    }


async def sizes(connection: "asyncpg.Connection[asyncpg.Record]") -> dict[str, tuple[int, int]]:
    """Return each table's size without and with its indexes, dead rows removed."""
    await connection.execute("VACUUM FULL")
    return {row["name"]: (row["rows"], row["total"]) for row in await connection.fetch(SIZES)}


def per_unit(
    before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]], units: int
) -> dict[str, list[int]]:
    """Return what one unit added to each table, largest first, and the sum."""
    grown = {
        name: [round((now - then) / units) for now, then in zip(after[name], before[name], strict=True)]
        for name in after
    }
    kept = dict(sorted(((n, g) for n, g in grown.items() if g[1]), key=lambda item: -item[1][1]))
    return {"all": [sum(column) for column in zip(*kept.values(), strict=True)], **kept}


async def register(dsn: str, directory: Path, count: int) -> None:
    """Register secure elements through the use case, as an issuer's import does."""
    bench = Bench(dsn, directory)
    await bench.open()
    await bench.seed()

    onboarding = bench.onboarding()

    async def write(first: int) -> None:
        for number in range(first, count, WRITERS):
            source = DiversifiedKeys(master=MASTER, method="KDF3", kdd=number.to_bytes(KDD_BYTES, "big"))
            new = NewSecureElement(
                identifiers=(SeIdentifier(type=SeIdentifierType.CIN, value=f"4250{number:016d}"),),
                profile=PROFILE,
                key_sets=(NewKeySet(kvn=KVN, source=source),),
            )
            await onboarding.register_secure_element(bench.issuer_principal, new)

    await asyncio.gather(*(write(first) for first in range(WRITERS)))
    await bench.close()


async def seeded(dsn: str, directory: Path) -> Bench:
    """Return a TSM, closed again, with parties, a new virtual card and a service to deploy on it."""
    bench = Bench(dsn, directory)
    await bench.open()
    await bench.seed()
    await bench.close()
    return bench


async def content_bytes(connection: "asyncpg.Connection[asyncpg.Record]", bench: Bench) -> int:
    """Return the length of what is on record of one card's content."""
    query = "SELECT length(document) FROM se_contents WHERE se_id = $1"
    return int(await connection.fetchval(query, bench.se_id))


async def top_up(bench: Bench, times: int) -> None:
    """Top the purse of one card up, again and again."""
    await bench.open()
    for _ in range(times):
        asked = await bench.requests.top_up(bench.principal, bench.instance_id, amount=1)
        operation = await bench.run(asked.id)
        if operation.state is not OperationState.SUCCEEDED:
            raise SystemExit(f"a top-up failed: {operation.failure}")
    await bench.close()


async def deploy(bench: Bench) -> None:
    """Deploy a personalised service."""
    await bench.open()
    operation = await bench.run((await bench.deploy()).id)
    if operation.state is not OperationState.SUCCEEDED:
        raise SystemExit(f"a deployment failed: {operation.failure}")
    await bench.close()


def main() -> None:
    """Measure on an embedded database of its own, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--secure-elements", type=int, default=20000)
    parser.add_argument("--deployments", type=int, default=100)
    parser.add_argument("--top-ups", type=int, default=50)
    asked = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="opentsm-size-"))
    directory.chmod(0o755)
    server = EmbeddedPostgres(directory / "postgres")
    dsn = server.start_blocking()
    try:
        found = asyncio.run(measure(dsn, directory, asked.secure_elements, asked.deployments, asked.top_ups))
        print(json.dumps(found, indent=2))
    finally:
        server.stop_blocking()
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
