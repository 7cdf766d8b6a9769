"""The wipe of a sandbox party: nothing of it stays but itself, its long-term tokens and the audit."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from tests.scenario.api_bench import ApiBench, Json, problem

from opentsm.card.codec.aid import Aid
from opentsm.demo.http_api import Caller
from opentsm.demo.services import BADGE, Shelf
from opentsm.tsm.adapters.storage.belongings import PostgresBelongings
from opentsm.tsm.domain.exchange import Segment, SegmentState
from opentsm.tsm.domain.secure_element import KeySet, SealedKeys
from opentsm.tsm.kernel.ids import KeyHandle, OperationId, SegmentId, SeId, TenantId
from opentsm.tsm.ports.belongings import Belonging

# Columns that name a party, of every table but the audit; an issuer's id stays in operations of others.
COLUMNS = """
SELECT table_name, column_name FROM information_schema.columns
WHERE table_schema = 'public' AND column_name IN ('tenant_id', 'owner_id', 'provider_id', 'issuer_id')
    AND table_name NOT LIKE 'audit%' AND (table_name, column_name) <> ('operations', 'issuer_id')
"""
DATA = {"rights": "front door"}
MINE, THEIRS, ISSUER = "sandbox provider", "sandbox other provider", "sandbox issuer"


@dataclass(slots=True)
class Scene:
    """Two sandbox providers with an instance each on the card of a sandbox issuer; orders are under way."""

    api: ApiBench
    dsn: str
    se: Json
    instances: dict[str, str]
    blocks: dict[str, str]

    async def rows(self, party: str) -> dict[str, int]:
        """Return how many rows of each table name a party."""
        connection = await asyncpg.connect(self.dsn)
        try:
            found = {}
            for table, column in await connection.fetch(COLUMNS):
                query = f"SELECT count(*) FROM {table} WHERE {column} = $1"
                found[f"{table}.{column}"] = await connection.fetchval(query, self.api.ids[party])
            return {name: count for name, count in found.items() if count}
        finally:
            await connection.close()

    async def wipe(self, party: str) -> Json:
        answer = await self.api.post("operator", f"/v1/parties/{self.api.ids[party]}/wipe")
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["removed"])

    async def block(self, party: str) -> bytes | None:
        async with self.api.storage.transaction() as tx:
            return await tx.load_files.block(self.blocks[party])

    async def actions(self, party: str) -> list[str]:
        items = (await self.api.get(party, "/v1/audit", params={"limit": 200})).json()["items"]
        return [one["action"] for one in items]


@pytest.fixture
async def api(scenario_dsn: str, tmp_path: Path) -> AsyncIterator[ApiBench]:
    allowed = {"deliveries__allowed_networks": "127.0.0.0/8", "deliveries__allow_http": "true"}
    async with ApiBench.open(scenario_dsn, tmp_path, **allowed) as bench:
        yield bench


@pytest.fixture
async def scene(api: ApiBench, scenario_dsn: str) -> Scene:
    cin = api.world.new_id()
    se = await api.element(cin, issuer=ISSUER)
    await api.device(issuer=ISSUER)
    await api.session(cin)
    await api.post(ISSUER, "/v1/device-enrolments", {})
    scene = Scene(api, scenario_dsn, se, {}, {})
    for party in (MINE, THEIRS):
        shelf = Shelf(await Caller(api.client, await api.party(party)).provider_door())
        load_file, recipe = await shelf.upload_load_file(BADGE), await shelf.upload_recipe(BADGE)
        service = await shelf.publish(BADGE, load_file, recipe, ["scp03-i70"])
        await api.keystore(party).generate(KeyHandle("application/some"))
        webhook = {"url": "http://127.0.0.1:9/", "events": ["operation.*", "instance.*"]}
        made = await api.post(party, "/v1/webhooks", webhook)
        assert made.status_code == 201, made.text
        await api.post(party, "/v1/access-tokens", {})
        line = {"service_id": service.id, "reference": "somebody", "data": DATA}
        headers = {"Authorization": f"Bearer {api.tokens[party]}"}
        kept = await api.client.post("/v1/prepared-data/import", content=json.dumps(line), headers=headers)
        assert kept.json()["kept"] == 1, kept.text
        body = {"service_id": service.id, "se_id": se["id"], "data": DATA}
        deployed = await api.post(party, "/v1/instances", body, headers={"Idempotency-Key": "a"})
        assert deployed.status_code == 202, deployed.text
        scene.instances[party] = str(deployed.json()["instance"]["id"])
        draft = {"name": "lock", "type": "SUSPEND", "selection": {"listed": True}, "by_hand": True}
        listed = await api.post(party, "/v1/campaigns", {**draft, "members": [scene.instances[party]]})
        assert listed.status_code == 201, listed.text
        await leave_traces(api, TenantId(api.ids[party]), SeId(se["id"]))
        async with api.storage.transaction() as tx:
            (file,) = await tx.catalogue.list(TenantId(api.ids[party]), "executable-load-file")
        scene.blocks[party] = str(dict(file)["_block"]["sha256"])  # type: ignore[index]
    await api.work()
    return scene


async def leave_traces(api: ApiBench, owner: TenantId, se_id: SeId) -> None:
    """Store what a session with the provider's own domain would leave."""
    domain = Aid.from_hex("F04F54534DF0000000000001")
    source = SealedKeys(blob=b"sealed")
    async with api.storage.transaction() as tx:
        await tx.key_sets.put(
            KeySet(owner_id=owner, se_id=se_id, sd_aid=domain, kvn=0x34, scp=3, key_length=16, source=source)
        )
        await tx.segments.add(
            Segment(
                id=SegmentId(api.world.new_id()),
                owner_id=owner,
                se_id=se_id,
                operation_id=OperationId("an earlier one"),
                sd_aid=domain,
                state=SegmentState.CHECKED,
                sealed=b"sealed",
            )
        )
        await tx.commit()


async def test_wipe_when_of_a_provider_then_nothing_of_it_stays_and_all_of_others(scene: Scene) -> None:
    api = scene.api
    theirs, issuers = await scene.rows(THEIRS), await scene.rows(ISSUER)
    before = await scene.rows(MINE)
    assert {"operations.tenant_id", "segments.owner_id", "key_sets.owner_id"} <= before.keys()
    removed = await scene.wipe(MINE)
    assert (removed["operations"], removed["instances"], removed["webhooks"]) == (1, 1, 1)
    assert (removed["campaigns"], removed["campaign_members"]) == (1, 1)
    assert await scene.rows(MINE) == {"access_tokens.tenant_id": 1}
    assert await scene.rows(THEIRS) == theirs
    del issuers["segments.owner_id"]  # the issuer's session was the removed operation's
    assert await scene.rows(ISSUER) == issuers
    assert await scene.block(MINE) is not None  # the other provider has the same load file
    assert not await api.keystore(MINE).has(KeyHandle("application/some"))
    assert await api.keystore(THEIRS).has(KeyHandle("application/some"))
    listed = await api.get(MINE, "/v1/instances")
    assert (listed.status_code, listed.json()["items"]) == (200, [])
    problem(await api.get(MINE, f"/v1/instances/{scene.instances[MINE]}"), 404, "not_found")


async def test_wipe_when_its_operation_worked_on_a_card_then_the_next_one_gets_its_turn(scene: Scene) -> None:
    api = scene.api
    states = await api.get(THEIRS, "/v1/operations")
    assert [one["state"] for one in states.json()["items"]] == ["QUEUED"]
    await scene.wipe(MINE)
    await api.work()
    (waited,) = (await api.get(THEIRS, "/v1/operations")).json()["items"]
    assert waited["state"] == "AWAITING_DEVICE"


async def test_wipe_when_of_an_issuer_then_what_providers_have_on_its_cards_ends(scene: Scene) -> None:
    api = scene.api
    removed = await scene.wipe(ISSUER)
    assert (removed["secure_elements"], removed["devices"], removed["enrolment_codes"]) == (1, 1, 1)
    assert await scene.rows(ISSUER) == {"access_tokens.tenant_id": 1}
    for party in (MINE, THEIRS):
        instance = (await api.get(party, f"/v1/instances/{scene.instances[party]}")).json()
        assert instance["state"] == "TERMINATED"
        assert instance["end_reason"] == "secure_element_wiped"
        operations = (await api.get(party, "/v1/operations")).json()["items"]
        failed, ended = sorted(operations, key=lambda one: str(one["state"]))
        assert (failed["type"], failed["failure"]["code"]) == ("DEPLOY", "secure_element_wiped")
        assert (ended["type"], ended["state"]) == ("TERMINATE", "SUCCEEDED")
        assert ended["result"] == {"reason": "secure_element_wiped"}
        told = (await api.get(party, "/v1/deliveries")).json()["items"]
        assert {"operation.failed", "instance.terminated"} <= {one["event"] for one in told}
    assert await api.work() >= 0  # what still waits about the card finds nothing to do, and does not fail
    assert (await api.get(MINE, "/v1/secure-elements", params={"identifier": "x"})).status_code == 200
    # the issuer begins anew with the same names and keys
    await api.keystore(ISSUER).generate(KeyHandle("isd-master"))
    await api.element(scene.se["identifiers"][0]["value"], issuer=ISSUER)


async def test_wipe_when_it_is_done_then_the_audit_has_it_and_every_chain_holds(scene: Scene) -> None:
    before = await scene.actions(MINE)
    await scene.wipe(MINE)
    after = await scene.actions(MINE)
    assert sorted(after) == sorted([*before, "party.wipe-begun", "party.wiped"])
    async with scene.api.storage.transaction() as tx:
        for party in (MINE, THEIRS, ISSUER):
            lengths = [await tx.audit.verify(TenantId(scene.api.ids[party]), n) for n in range(64)]
            assert sum(lengths) == len(await scene.actions(party))


async def test_wipe_when_it_broke_off_then_repeated_it_goes_on(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove = PostgresBelongings.remove

    async def dies(self: PostgresBelongings, what: Belonging, owner: TenantId, limit: int) -> int:
        if what is Belonging.CATALOGUE:
            raise OSError("the process died here")
        return await remove(self, what, owner, limit)

    path = f"/v1/parties/{scene.api.ids[MINE]}/wipe"
    with monkeypatch.context() as broken:
        broken.setattr(PostgresBelongings, "remove", dies)
        assert (await scene.api.post("operator", path)).status_code >= 500
    left = await scene.rows(MINE)
    assert "catalogue.owner_id" in left
    assert "service_instances.provider_id" not in left
    removed = await scene.wipe(MINE)
    assert "instances" not in removed
    assert await scene.rows(MINE) == {"access_tokens.tenant_id": 1}
    assert await scene.wipe(MINE) == {}


async def test_wipe_when_batches_are_small_then_it_takes_many_transactions(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opentsm.tsm.roles.hub.wiping.BATCH", 1)
    assert (await scene.wipe(MINE))["catalogue"] > 1
    assert await scene.rows(MINE) == {"access_tokens.tenant_id": 1}


async def test_wipe_when_the_party_is_no_sandbox_then_conflict_and_nothing_is_removed(api: ApiBench) -> None:
    await api.party("provider")
    await api.element()
    for party in ("provider", "issuer"):
        found = problem(await api.post("operator", f"/v1/parties/{api.ids[party]}/wipe"), 409, "conflict")
        assert "sandbox" in found["detail"]
    assert len((await api.get("issuer", "/v1/secure-elements")).json()["items"]) == 1
    problem(await api.post("operator", "/v1/parties/nobody/wipe"), 404, "not_found")


@pytest.mark.parametrize("who", [MINE, ISSUER, "provider", "issuer"])
async def test_wipe_when_asked_for_by_anybody_else_then_forbidden(api: ApiBench, who: str) -> None:
    await api.party(MINE)
    problem(await api.post(who, f"/v1/parties/{api.ids[MINE]}/wipe"), 403, "forbidden")
