"""One service, published once, on three cards: centralised, delegated and authorised; all through HTTP.

The provider does the same on each card, and each card is in the end as it was before.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from tests.machine.bench import Device
from tests.scenario.api_bench import MASTER, ApiBench, Json
from tests.scenario.figures import figure_700
from tests.scenario.messaging_scene import Scene, device_session
from tests.scenario.sptsm_bench import Published, configure, good, release, upload_script

from opentsm.card.codec.aid import Aid
from opentsm.card.crypto.secret import Secret
from opentsm.card.gp import commands
from opentsm.card.gp.diversification import DiversificationMethod, diversify
from opentsm.vse.card import CardIdentity, KeyMaterial, VirtualCard
from opentsm.vse.nvm import MemoryNvm
from opentsm.vse.profiles import load_profile

BADGE = Aid.from_hex("F04F54534D030101")
PROFILE, OLDER, NEWER = "se-700-blank", "1.0.0", "1.1.0"
RECIPE = Path(__file__).parents[2] / "src/opentsm/demo/recipes/badge.json"
MODES = ("CM", "DM", "AM")


@dataclass
class Stand:
    """A card in one mode, with its device at work."""

    mode: str
    scene: Scene

    async def done(self, answer: httpx.Response) -> Json:
        """Wait for the end of an operation that was asked for, and return it."""
        assert answer.status_code == 202, answer.text
        body = answer.json()
        id_ = body["operation"]["id"] if "operation" in body else body["id"]
        async with asyncio.timeout(60):
            while True:
                found: Json = (await self.scene.api.get("operator", f"/v1/operations/{id_}?wait=5")).json()
                if found["state"] in ("SUCCEEDED", "FAILED", "CANCELLED"):
                    assert found["state"] == "SUCCEEDED", (self.mode, found["failure"], found["plan"])
                    return found

    def card(self) -> tuple[set[bytes], set[bytes]]:
        """Return the AIDs of all instances and load files."""
        image = self.scene.card.image()
        return {one.aid for one in image.instances}, {one.aid for one in image.load_files}

    def stored(self) -> set[bytes]:
        """Return what the badge holds."""
        (found,) = [one for one in self.scene.card.image().instances if one.aid == bytes(BADGE)]
        return set(found.store.values())

    def selectable(self) -> bool:
        """Say whether a reader finds the badge."""
        return self.scene.card.transmit(commands.select(BADGE).to_bytes())[-2:] == b"\x90\x00"


async def shelf(api: ApiBench) -> httpx.AsyncClient:
    token = (await api.post("provider", "/sptsm/1.0.4/auth")).json()
    transport = httpx.ASGITransport(app=api.app)  # type: ignore[arg-type]
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.AsyncClient(transport=transport, base_url="http://tsm/sptsm/1.0.4", headers=headers)


async def published(api: ApiBench) -> Published:
    """Publish the badge once."""
    for name in ("badge-reader", "badge-proof"):
        headers = {"Authorization": f"Bearer {await api.party('provider')}"}
        body = {"key": bytes(range(16)).hex()}
        put = await api.client.put(f"/v1/application-keys/{name}", json=body, headers=headers)
        assert put.status_code == 204, put.text
    async with await shelf(api) as client:
        script = await good(await upload_script(client, json.loads(RECIPE.read_text())))
        made = await configure(client, "badge.cap", instance=str(BADGE), script_id=str(script["id"]))
        first = await release(client, made, PROFILE)
        newer = {"tag": NEWER, "allowedDeployments": first["allowedDeployments"]}
        await good(await client.post(f"{made.path}/versions", json=newer))
        return made


async def stand(api: ApiBench, mode: str, service_id: str) -> Stand:
    """Register a card in one mode, and let its issuer build the arrangement on it."""
    for name in ("issuer", "provider", "third party"):
        await api.party(name)
    ids = api.ids
    third = ids["provider"] if mode == "AM" else ids["third party"]
    figure = figure_700(ids["issuer"], third, ids["provider"] if mode == "DM" else None)
    arranged = await api.post(
        "issuer", "/v1/arrangements", {**figure, "name": mode, "handover": "relay-trusted"}
    )
    assert arranged.status_code == 201, arranged.text
    identity = CardIdentity.from_serial(int.from_bytes(api.world.random(4), "big"))
    keys = diversify(Secret(bytes(range(16))), identity.kdd, DiversificationMethod.KDF3)
    material = KeyMaterial(keys.enc, keys.mac, keys.dek)
    card = VirtualCard.issue(load_profile(PROFILE), identity, material, MemoryNvm())
    card.power_on()
    cin = identity.cin.hex().upper()
    source = {"type": "diversified", "master": MASTER, "method": "KDF3", "kdd": identity.kdd.hex()}
    element = api.new_element(cin, profile=PROFILE, key_sets=[{"kvn": 0x30, "source": source}])
    made = await api.post("issuer", "/v1/secure-elements", element)
    assert made.status_code == 201, made.text
    se_id = str(made.json()["id"])
    session = await device_session(api, se_id)
    found = Stand(mode, Scene(api, card, Device(card), se_id, cin, service_id, session))
    async with found.scene.at_work():
        body = {"arrangement_id": arranged.json()["id"]}
        await found.done(await api.post("issuer", f"/v1/secure-elements/{se_id}/configurations", body))
    return found


@pytest.fixture
async def service(api: ApiBench) -> AsyncIterator[Published]:
    yield await published(api)


async def test_service_when_published_once_then_lives_and_ends_the_same_in_every_mode(
    api: ApiBench, service: Published
) -> None:
    plans: dict[str, list[str]] = {}
    for mode in MODES:
        here = await stand(api, mode, str(service.service["id"]))
        before = here.card()
        async with here.scene.at_work():
            body = {
                "service_id": service.service["id"],
                "version": OLDER,
                "se_id": here.scene.se_id,
                "data": {"rights": "door-1"},
            }
            made = await api.post("provider", "/v1/instances", body)
            plans[mode] = (await here.done(made))["plan"]
            instance = f"/v1/instances/{made.json()['instance']['id']}"
            assert b"door-1" in here.stored(), mode
            assert here.selectable(), mode
            await here.done(await api.post("provider", f"{instance}/suspensions", {}))
            assert not here.selectable(), mode
            await here.done(await api.post("provider", f"{instance}/resumptions", {}))
            assert here.selectable(), mode
            renewed = {"data": {"rights": "door-2"}}
            await here.done(await api.post("provider", f"{instance}/personalizations", renewed))
            assert b"door-2" in here.stored(), mode
            await here.done(await api.post("provider", f"{instance}/updates", {"version": NEWER}))
            assert (await api.get("provider", instance)).json()["version"] == NEWER
            await here.done(await api.post("provider", f"{instance}/key-rotations", {}))
            await here.done(await api.post("provider", f"{instance}/terminations", {}))
        assert here.card() == before, mode
    assert {mode: any("token" in line for line in plan) for mode, plan in plans.items()} == {
        "CM": False,
        "DM": True,
        "AM": False,
    }
