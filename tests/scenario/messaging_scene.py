"""A provider's own TSM, a server, a device and a virtual card; all goes through HTTP and the device link.

The provider's TSM knows the keys of its domain only as it would in the field: wrapped under its own transport
key (key provisioning mode 3).
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap
from tests.machine.bench import Device
from tests.machine.sp_tsm import SpTsm
from tests.scenario.api_bench import MASTER, ApiBench, Json
from tests.scenario.sptsm_bench import configure, release

from opentsm.card.codec.aid import Aid
from opentsm.card.crypto.secret import Secret
from opentsm.card.gp.diversification import DiversificationMethod, diversify
from opentsm.card.gp.keys import StaticKeys
from opentsm.tsm.domain.device import Device as DeviceRecord
from opentsm.tsm.domain.device import DeviceSession
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.ids import DeviceId, SeId, TenantId
from opentsm.tsm.roles.hub.order_answers import Report
from opentsm.vse.card import CardIdentity, KeyMaterial, VirtualCard
from opentsm.vse.nvm import MemoryNvm
from opentsm.vse.profiles import load_profile
from opentsm.workers.outbox import OutboxWorker

BADGE = Aid.from_hex("F04F54534D030001")
TRANSPORT = bytes(range(32))
OWNER = "2.25.1234567890"
RANDOM_KEYS = {"keyProvisioningMode": 3, "keyIndex": "t-1"}


@dataclass
class Scene:
    """Everything that the scenarios of messaging need."""

    api: ApiBench
    card: VirtualCard
    device: Device
    se_id: str
    cin: str
    service_id: str
    session_id: str

    # --- messages --------------------------------------------------------------------------------------

    async def call(
        self, function: str, body: Json, *, who: str = "provider", wait: float | None = None
    ) -> httpx.Response:
        """Call a function."""
        query = "" if wait is None else f"?wait={wait}"
        return await self.api.post(who, f"/v1/messaging/{function}{query}", body)

    async def good(self, function: str, body: Json, *, wait: float | None = None) -> Json:
        """Call a function, which must succeed, and return its data."""
        answer = await self.call(function, body, wait=wait)
        document = answer.json()
        status = document["FunctionExecutionStatus"]
        assert (answer.status_code, status) == (200, {"Status": "Executed-Success"}), answer.text
        data: Json = document.get("ResponseData", {})
        return data

    @property
    def element(self) -> Json:
        """Name the card as its provider knows it."""
        return {"SecureElement": {"SEId_CardUniqueData": self.cin}}

    def reference(self, name: str = "instance-1") -> Json:
        """Name an instance."""
        return {"ReferenceOwner": OWNER, "Reference": name}

    async def declare(self, name: str = "instance-1") -> Json:
        """Declare the instance of the service."""
        body = {
            **self.element,
            "Service": {"ServiceId": self.service_id},
            "ServiceInstanceReference": self.reference(name),
        }
        return await self.good("DeclareServiceInstanceReference", body)

    async def deploy(self, *commands: str) -> Json:
        """Deploy with commands and wait for the end."""
        body = {
            "ServiceInstanceReference": self.reference(),
            "ServiceCommand": [{"Command": f"{one}ServiceCommand"} for one in commands],
        }
        return await self.good("DeployService", body, wait=25)

    async def begin(self, **more: Any) -> int:
        """Begin a conversation and return its number."""
        data = await self.good("BeginConversation", {**self.element, **more})
        assert data["ConversationState"] == "OPEN"
        return int(data["ConversationID"])

    async def say(self, conversation: int, script: list[bytes]) -> list[str]:
        """Send a script, all of whose commands must succeed."""
        body = {"ConversationID": conversation, "CommandAPDU": [one.hex() for one in script]}
        data = await self.good("SendScript", body)
        assert "FailedAPDUIndex" not in data
        return list(data["ResponseAPDU"])

    async def end(self, conversation: int) -> None:
        """End a conversation."""
        body = {"ConversationID": conversation, "Status": "done"}
        data = await self.good("EndConversation", body)
        assert data["ConversationState"] == "ENDED"

    # --- the provider's own TSM --------------------------------------------------------------------------

    async def temporary_keys(self) -> tuple[Aid, SpTsm]:
        """Return the domain, and a TSM with the keys that the hub made for it, unwrapped."""
        body = {"ServiceInstanceReference": self.reference()}
        found = await self.good("LookupServiceInstanceReference", {**self.element, **self._service()})
        assert found["ServiceInstanceReference"] == self.reference()
        described = await self.good("GetServiceInstanceReferenceDescriptor", body)
        instances = await self.api.get("provider", f"/v1/instances?se_id={self.se_id}")
        (instance,) = instances.json()["items"]
        told = (await self.api.get("provider", f"/v1/instances/{instance['id']}/domain-keys")).json()
        clear = aes_key_unwrap(TRANSPORT, bytes.fromhex(told["keys"]))
        keys = StaticKeys(*(Secret(clear[at : at + 16]) for at in (0, 16, 32)))
        return Aid.from_hex(described["SecurityDomainAID"]), SpTsm(keys, told["key_version"])

    def _service(self) -> Json:
        return {"Service": {"ServiceId": self.service_id}}

    # --- the device --------------------------------------------------------------------------------------

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Let the worker and the device do their part meanwhile."""
        stop = asyncio.Event()
        worker = OutboxWorker(
            self.api.storage, self.api.container.handlers, self.api.world, self.api.notifier
        )
        tasks = [asyncio.create_task(worker.run(stop)), asyncio.create_task(self._poll(stop))]
        try:
            yield
        finally:
            stop.set()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await asyncio.wait_for(task, 60)

    async def _poll(self, stop: asyncio.Event) -> None:
        report = Report(polling=True)
        while not stop.is_set():
            report = await self.exchange(report, wait_s=0.2)

    async def exchange(self, report: Report, *, wait_s: float = 0.0) -> Report:
        """Let the device bring a report, fetch an order and run it."""
        link = self.api.container.device_link
        session = await link.session(await self._device_principal(), self.session_id)
        delivery = await link.exchange(session, report, wait_s=wait_s)
        return self.device.run(delivery) if delivery.commands else Report(polling=True)

    async def _device_principal(self) -> Principal:
        issuer = TenantId(self.api.ids["issuer"])
        digest = hashlib.sha256(self.session_id.encode()).digest()
        async with self.api.storage.transaction() as tx:
            session = await tx.devices.session(digest)
        assert session is not None
        return Principal(tenant_id=issuer, kind=TenantKind.SE_ISSUER, device_id=session.device_id)


async def build(api: ApiBench) -> Scene:
    """Register a card and publish a service for it, whose applications have no recipe."""
    identity = CardIdentity.from_serial(int.from_bytes(api.world.random(4), "big"))
    keys = diversify(Secret(bytes(range(16))), identity.kdd, DiversificationMethod.KDF3)
    card = VirtualCard.issue(
        load_profile("scp03-i70"), identity, KeyMaterial(keys.enc, keys.mac, keys.dek), MemoryNvm()
    )
    card.power_on()
    cin = identity.cin.hex().upper() + api.world.random(4).hex()
    source = {"type": "diversified", "master": MASTER, "method": "KDF3", "kdd": identity.kdd.hex()}
    made = await api.post(
        "issuer",
        "/v1/secure-elements",
        api.new_element(cin, key_sets=[{"kvn": 0x30, "source": source}]),
    )
    assert made.status_code == 201, made.text
    se_id = str(made.json()["id"])
    return Scene(
        api=api,
        card=card,
        device=Device(card),
        se_id=se_id,
        cin=cin,
        service_id=await _publish(api),
        session_id=await device_session(api, se_id),
    )


async def _publish(api: ApiBench) -> str:
    put = await api.client.put(
        "/v1/transport-keys/t-1",
        json={"key": TRANSPORT.hex()},
        headers={"Authorization": f"Bearer {await api.party('provider')}"},
    )
    assert put.status_code == 204, put.text
    token = (await api.post("provider", "/sptsm/1.0.4/auth")).json()
    transport = httpx.ASGITransport(app=api.app)  # type: ignore[arg-type]
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://tsm/sptsm/1.0.4", headers=headers
    ) as shelf:
        published = await configure(shelf, "badge.cap", instance=str(BADGE), features=RANDOM_KEYS)
        await release(shelf, published)
    return str(published.service["id"])


async def device_session(api: ApiBench, se_id: str) -> str:
    """Let a device have a session with a secure element, and return its id."""
    session_id, now = api.world.random(16).hex(), api.world.now()
    device_id, issuer = DeviceId(api.world.new_id()), TenantId(api.ids["issuer"])
    async with api.storage.transaction() as tx:
        await tx.devices.add(
            DeviceRecord(id=device_id, tenant_id=issuer, name="phone", public_key={}, created_at=now)
        )
        await tx.devices.add_session(
            DeviceSession(
                digest=hashlib.sha256(session_id.encode()).digest(),
                device_id=device_id,
                tenant_id=issuer,
                se_id=SeId(se_id),
                expires_at=now + timedelta(days=1),
                extended=True,
                ready=True,
            )
        )
        await tx.commit()
    return session_id


def envelope(answer: httpx.Response, http: int, status: str) -> Json:
    """Check that an answer is an envelope with a status, and return it."""
    document: Json = json.loads(answer.content)
    assert (answer.status_code, document["FunctionExecutionStatus"]["Status"]) == (http, status), answer.text
    assert answer.headers["content-type"].startswith("application/json")
    return document
