"""`opentsm db prune` and `opentsm audit verify` on a database of a server that ran, and on a changed one."""

import asyncio
import json
from pathlib import Path

import asyncpg
import httpx
from tests.e2e.test_cli_commands import opentsm
from tests.e2e.test_serve_process import bearer, ended, serving

from opentsm.cli.exit_codes import ExitCode
from opentsm.tsm.adapters.postgres import EmbeddedPostgres
from opentsm.tsm.ports.repositories import Expendable


def change(data_dir: Path, statement: str) -> None:
    """Change the database of a stopped server behind OpenTSM's back."""

    async def run(url: str) -> None:
        connection = await asyncpg.connect(url)
        await connection.execute("SET session_replication_role = replica")  # past the trigger
        assert await connection.execute(statement) == "UPDATE 1"
        await connection.close()

    server = EmbeddedPostgres(data_dir / "postgres")
    url = server.start_blocking()
    try:
        asyncio.run(run(url))
    finally:
        server.stop_blocking()


def test_house_when_a_server_ran_then_pruned_and_verified_and_a_changed_entry_is_found(
    open_data_dir: str,
) -> None:
    data_dir = Path(open_data_dir) / "data"
    place = {"OPENTSM_DATA_DIR": str(data_dir)}
    with serving(open_data_dir) as (process, ready):
        headers = {**bearer(ready), "Idempotency-Key": "once"}
        body = {"kind": "SE_ISSUER", "name": "Issuer"}
        made = httpx.post(f"{ready['base_url']}/v1/parties", json=body, headers=headers)
        assert made.status_code == 201, made.text
        metrics = httpx.get(f"{ready['base_url']}/metrics").text
        for kind in Expendable:
            assert f'opentsm_pruned_rows_total{{kind="{kind.value}"}} 0.0' in metrics
        process.terminate()
        assert ended(process)[0] == 0

    # answers to idempotency keys that are 0 days old are due at once
    due = {**place, "OPENTSM_RETENTION_IDEMPOTENCY_DAYS": "0"}
    counted = opentsm("db", "prune", "--dry-run", "--json", **due)
    assert counted.returncode == ExitCode.OK, counted.stderr
    expected = {kind.value: 0 for kind in Expendable} | {"idempotency_keys": 1}
    assert json.loads(counted.stdout) == {"dry_run": True, "removed": expected}
    pruned = opentsm("db", "prune", "--json", **due)
    assert json.loads(pruned.stdout) == {"dry_run": False, "removed": expected}
    again = json.loads(opentsm("db", "prune", "--dry-run", "--json", **due).stdout)
    assert set(again["removed"].values()) == {0}

    whole = opentsm("audit", "verify", "--json", **place)
    assert whole.returncode == ExitCode.OK, whole.stderr
    document = json.loads(whole.stdout)
    assert document["holds"]
    assert document["broken"] is None
    assert document["entries"] > 0
    change(data_dir, "UPDATE audit_entries SET actor = 'nobody' WHERE action = 'party.registered'")
    broken = opentsm("audit", "verify", "--json", **place)
    assert broken.returncode == ExitCode.FAILED
    document = json.loads(broken.stdout)
    assert not document["holds"]
    assert document["broken"]["reason"]
    assert "BROKEN" in broken.stderr
