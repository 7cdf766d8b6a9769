"""The wipe of a sandbox party where there are several server processes, and where one of them is killed."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
from tests.scenario.api_bench import ApiBench

from opentsm.tsm.adapters.keystores.software import SoftwareKeystore
from opentsm.tsm.kernel.errors import KeystoreError
from opentsm.tsm.kernel.ids import KeyHandle, TenantId

PARTY = "sandbox provider"
KEY = KeyHandle("application/purse-load")
TAKEN_OVER = timedelta(seconds=61)

# A server that stands still in the middle of a wipe: it says so, and waits to be killed.
HANGING = """
import asyncio, sys
from opentsm.tsm.adapters.storage.belongings import PostgresBelongings
from opentsm.tsm.bootstrap import container
from opentsm.tsm.config import load_settings
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.ports.belongings import Belonging

dsn, directory, party, operator = sys.argv[1:]
remove = PostgresBelongings.remove

async def hangs(self, what, owner, limit):
    if what is not Belonging.CATALOGUE:
        return await remove(self, what, owner, limit)
    print("in the middle", flush=True)
    await asyncio.Event().wait()

PostgresBelongings.remove = hangs

async def main():
    settings = load_settings({"data_dir": directory}, environment={})
    async with container(settings, dsn) as parts:
        await parts.onboarding.wipe_party(Principal(tenant_id=operator, kind=TenantKind.OPERATOR), party)

asyncio.run(main())
"""


@pytest.fixture
async def api(scenario_dsn: str, tmp_path: Path) -> AsyncIterator[ApiBench]:
    async with ApiBench.open(scenario_dsn, tmp_path) as bench:
        await bench.party(PARTY)
        yield bench


async def wipe(api: ApiBench) -> None:
    answer = await api.post("operator", f"/v1/parties/{api.ids[PARTY]}/wipe")
    assert answer.status_code == 200, answer.text


def remove_keystore(directory: Path, party: str) -> None:
    (file,) = directory.rglob(f"{party}.sealed")
    file.unlink()


async def rows(dsn: str, party: str) -> list[int]:
    """Return how much a party has of what goes before the catalogue, of the catalogue, and of the wipe."""
    connection = await asyncpg.connect(dsn)
    counts = [
        await connection.fetchval(f"SELECT count(*) FROM {table} WHERE {column} = $1", party)
        for table, column in (("prepared_data", "provider_id"), ("catalogue", "owner_id"), ("outbox", "key"))
    ]
    await connection.close()
    return counts


async def test_wipe_when_another_process_holds_the_keys_then_it_forgets_them_at_once(
    api: ApiBench, scenario_dsn: str, tmp_path: Path
) -> None:
    await api.keystore(PARTY).generate(KEY)
    async with ApiBench.open(scenario_dsn, tmp_path) as other:
        other.ids[PARTY] = api.ids[PARTY]
        theirs = other.keystore(PARTY)
        await theirs.derive_application_key(KEY, bytes(8))
        await wipe(api)
        with pytest.raises(KeystoreError, match="has no key"):
            await theirs.derive_application_key(KEY, bytes(8))
        assert not await theirs.has(KEY)


async def test_wipe_when_another_process_uses_the_party_no_more_then_housekeeping_forgets(
    api: ApiBench, scenario_dsn: str, tmp_path: Path
) -> None:
    await api.keystore(PARTY).generate(KEY)
    async with ApiBench.open(scenario_dsn, tmp_path) as other:
        other.ids[PARTY] = api.ids[PARTY]
        theirs = other.keystore(PARTY)
        assert await theirs.has(KEY)
        await wipe(api)
        assert KEY in repr(theirs)
        await other.container.refresh_keystores()
        assert KEY not in repr(theirs)


async def test_keystore_when_another_process_adds_and_the_file_goes_then_told(
    api: ApiBench, scenario_dsn: str, tmp_path: Path
) -> None:
    async with ApiBench.open(scenario_dsn, tmp_path) as other:
        other.ids[PARTY] = api.ids[PARTY]
        theirs = other.keystore(PARTY)
        await api.keystore(PARTY).generate(KEY)
        mine = await api.keystore(PARTY).derive_application_key(KEY, bytes(8))
        assert await theirs.derive_application_key(KEY, bytes(8)) == mine
        assert isinstance(theirs, SoftwareKeystore)
        remove_keystore(tmp_path, api.ids[PARTY])
        with pytest.raises(KeystoreError, match="cannot be read"):
            await theirs.derive_application_key(KEY, bytes(8))


async def test_wipe_when_its_process_is_killed_then_another_brings_it_to_its_end(
    api: ApiBench, scenario_dsn: str, tmp_path: Path
) -> None:
    party = api.ids[PARTY]
    async with api.storage.transaction() as tx:
        await tx.catalogue.put(TenantId(party), "service", "s", {"id": "s"})
        await tx.commit()
    await api.keystore(PARTY).generate(KEY)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HANGING, scenario_dsn, str(tmp_path), party, "the operator",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert await process.stdout.readline() == b"in the middle\n"
    os.kill(process.pid, signal.SIGKILL)
    assert await process.wait() == -signal.SIGKILL
    assert await rows(scenario_dsn, party) == [0, 1, 1]
    await api.work()
    assert await rows(scenario_dsn, party) == [0, 1, 1]  # whoever began it might still be at work
    api.world.shift += TAKEN_OVER
    await api.work()
    assert await rows(scenario_dsn, party) == [0, 0, 0]
    assert not await api.keystore(PARTY).has(KEY)
    entries = (await api.get(PARTY, "/v1/audit", params={"limit": 200})).json()["items"]
    assert sorted(one["action"] for one in entries if one["action"].startswith("party.")) == [
        "party.wipe-begun",
        "party.wiped",
    ]


async def test_wipe_when_it_ended_then_nobody_takes_it_up_again(api: ApiBench, scenario_dsn: str) -> None:
    await wipe(api)
    async with api.storage.transaction() as tx:
        await tx.catalogue.put(TenantId(api.ids[PARTY]), "service", "s", {"id": "s"})
        await tx.commit()
    api.world.shift += TAKEN_OVER
    await api.work()
    assert await rows(scenario_dsn, api.ids[PARTY]) == [0, 1, 0]


async def test_wipe_message_when_the_party_is_no_sandbox_then_nothing_is_removed(
    api: ApiBench, scenario_dsn: str
) -> None:
    await api.party("provider")
    party = api.ids["provider"]
    async with api.storage.transaction() as tx:
        await tx.catalogue.put(TenantId(party), "service", "s", {"id": "s"})
        await tx.commit()
    for one in (party, "nobody"):
        await api.container.handlers["hub.wipe"]({"party": one, "by": "the operator"})
    assert await rows(scenario_dsn, party) == [0, 1, 0]
