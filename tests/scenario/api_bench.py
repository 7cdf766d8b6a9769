"""Parties, tokens and requests for the scenarios of the HTTP API."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import structlog
from litestar import Litestar
from msgspec.structs import replace

from opentsm.agent.device_key import DeviceKey
from opentsm.api.app import create_app
from opentsm.card.codec.aid import Aid
from opentsm.card.crypto.secret import Secret
from opentsm.tsm.adapters.keystores.software import SoftwareKeystore
from opentsm.tsm.adapters.notifier import LocalNotifier
from opentsm.tsm.adapters.storage.postgres import PostgresStorage
from opentsm.tsm.adapters.world import SystemWorld
from opentsm.tsm.bootstrap import Container, assemble
from opentsm.tsm.config import load_settings
from opentsm.tsm.domain.card_content import ApplicationSpecification, LoadFileReference, ServiceDescription
from opentsm.tsm.domain.exchange import Command, DeviceOrder, OrderAnswer, OrderState
from opentsm.tsm.domain.operation import Operation, OperationState, OperationType
from opentsm.tsm.domain.secure_element import DiversifiedKeys
from opentsm.tsm.domain.service import InstanceState, ServiceInstance
from opentsm.tsm.kernel.documents import from_json, to_json
from opentsm.tsm.kernel.ids import InstanceId, KeyHandle, OperationId, SeId, TenantId
from opentsm.tsm.roles.hub.services import answer_context, commands_context, device_topic
from opentsm.workers.outbox import OutboxWorker

Json = dict[str, Any]
MASTER = "isd-master"
KDD = bytes(range(10)).hex().upper()
APPLET = Aid.from_hex("F04F54534D020101")


class MovableWorld(SystemWorld):
    """The real clock, which a test can set forward."""

    def __init__(self) -> None:
        self.shift = timedelta()

    def now(self) -> datetime:
        """Return the shifted time."""
        return super().now() + self.shift


class WatchedNotifier(LocalNotifier):
    """Tells a test when somebody waits for a topic."""

    def __init__(self) -> None:
        super().__init__()
        self._asked: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def wait(self, topic: str, timeout_s: float) -> bool:
        """Wait, and tell."""
        self._asked[topic].set()
        return await super().wait(topic, timeout_s)

    async def awaited(self, topic: str) -> None:
        """Return when somebody waits for the topic, anew for each call."""
        async with asyncio.timeout(120):
            await self._asked[topic].wait()
        self._asked[topic].clear()


@dataclass
class ApiBench:
    """A TSM and a client of it; every token a test may need."""

    container: Container
    app: Litestar
    client: httpx.AsyncClient
    world: MovableWorld
    storage: PostgresStorage
    notifier: WatchedNotifier
    keystores: dict[str, SoftwareKeystore] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)

    @classmethod
    @asynccontextmanager
    async def open(cls, dsn: str, directory: Path, **flags: str) -> AsyncIterator["ApiBench"]:
        """Start a TSM over a database; `flags` are settings, a double underscore for the dot."""
        chosen = {name.replace("__", "."): value for name, value in flags.items()}
        many = {"limits.failed_proofs": "1000000"}  # whole suites of refusals come from one address
        settings = load_settings({"data_dir": str(directory), **many, **chosen}, environment={})
        world, notifier = MovableWorld(), WatchedNotifier()
        storage = PostgresStorage(dsn, world=world, notifier=notifier, max_connections=6)
        await storage.open()
        container = assemble(settings, storage, world, notifier)
        app = create_app(container)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://tsm") as client:
            yield cls(container, app, client, world, storage, notifier)
        await storage.close()
        structlog.contextvars.clear_contextvars()

    async def party(self, name: str) -> str:
        """Return the token of a party, which is registered when a test first needs it.

        What it is follows from its name: `… issuer`, `sandbox …`.
        """
        if name == "operator" and name not in self.tokens:
            own = f"operator {self.world.new_id()}"
            self.tokens[name] = await self.container.onboarding.issue_operator_token(own)
        if name not in self.tokens:
            kind = "SE_ISSUER" if name.endswith("issuer") else "SERVICE_PROVIDER"
            sandbox = name.startswith("sandbox")
            body = {"kind": kind, "name": f"{name} {self.world.new_id()}", "sandbox": sandbox}
            made = await self.post("operator", "/v1/parties", body)
            assert made.status_code == 201, made.text
            self.tokens[name], self.ids[name] = made.json()["token"], made.json()["id"]
            if kind == "SE_ISSUER":
                await self.keystore(name).import_key(KeyHandle(MASTER), Secret(bytes(range(16))))
        return self.tokens[name]

    # --- requests --------------------------------------------------------------------------------------

    async def get(self, who: str | None, path: str, **more: Any) -> httpx.Response:
        """Send a GET as a party."""
        return await self.client.get(path, headers=await self._headers(who, more), **more)

    async def post(self, who: str | None, path: str, body: object = None, **more: Any) -> httpx.Response:
        """Send a POST with a JSON body as a party."""
        return await self.client.post(path, json=body, headers=await self._headers(who, more), **more)

    async def _headers(self, who: str | None, more: Json) -> dict[str, str]:
        headers: dict[str, str] = more.pop("headers", {})
        return headers if who is None else {"Authorization": f"Bearer {await self.party(who)}", **headers}

    # --- things to have --------------------------------------------------------------------------------

    def keystore(self, party: str) -> SoftwareKeystore:
        """Return a party's keystore, the one that the server uses."""
        found = self.container.onboarding._s.keystore_of(TenantId(self.ids[party]))
        assert isinstance(found, SoftwareKeystore)
        return found

    def new_element(self, cin: str | None = None, **more: Any) -> Json:
        """Word the registration of a secure element."""
        source = {"type": "diversified", "master": MASTER, "method": "KDF3", "kdd": KDD}
        return {
            "identifiers": [{"type": "CIN", "value": cin or self.world.new_id()}],
            "profile": "scp03-i70",
            "key_sets": [{"kvn": 0x30, "source": source}],
            **more,
        }

    async def kcvs(self) -> list[str]:
        """Return the check values of the key set that `new_element` describes."""
        await self.party("issuer")
        source = DiversifiedKeys(master=KeyHandle(MASTER), method="KDF3", kdd=bytes.fromhex(KDD))
        return [kcv.hex() for kcv in await self.keystore("issuer").key_check_values(source, scp=3)]

    async def element(self, cin: str | None = None, *, issuer: str = "issuer") -> Json:
        """Register a secure element and return it."""
        made = await self.post(issuer, "/v1/secure-elements", self.new_element(cin))
        assert made.status_code == 201, made.text
        return dict(made.json())

    async def device(
        self, se_id: str | None = None, *, name: str = "device", issuer: str = "issuer"
    ) -> tuple[str, DeviceKey]:
        """Enrol a device; its token is kept under `name`."""
        body = {} if se_id is None else {"se_id": se_id}
        offer = (await self.post(issuer, "/v1/device-enrolments", body)).json()
        key = DeviceKey.generate()
        enrolment = {"code": offer["code"], "public_key": key.public_jwk(), "name": name}
        made = await self.post(None, "/v1/devices", enrolment)
        assert made.status_code == 201, made.text
        issued = await self.post(
            None, "/v1/device-tokens", {"assertion": self.assertion(made.json()["id"], key)}
        )
        assert issued.status_code == 200, issued.text
        self.tokens[name] = issued.json()["token"]
        return made.json()["id"], key

    def assertion(self, device_id: str, key: DeviceKey) -> str:
        """Sign an assertion."""
        return key.assertion(device_id, now=self.world.now().timestamp(), nonce=self.world.random(16))

    async def session(self, cin: str, *, device: str = "device") -> str:
        """Open a device session and return its id."""
        made = await self.post(device, "/v1/device-sessions", {"se": {"type": "eSE", "id": cin}})
        assert made.status_code == 201, made.text
        return str(made.json()["session_id"])

    async def instance(self, se_id: str, state: InstanceState = InstanceState.OPERATIONAL) -> ServiceInstance:
        """Store an instance of the provider, as if it had been deployed."""
        await self.party("provider")
        provider = TenantId(self.ids["provider"])
        instance = ServiceInstance(
            id=InstanceId(self.world.new_id()),
            provider_id=provider,
            se_id=SeId(se_id),
            description=_description(provider),
            state=state,
            key_version=0x34,
            created_at=self.world.now(),
        )
        async with self.storage.transaction() as tx:
            for entity, id_ in (("service", "transit"), ("version", "transit/1.0.0"), ("flavor", "flavor")):
                await tx.catalogue.put(provider, entity, id_, {"id": id_})
            await tx.instances.add(instance)
            await tx.commit()
        return instance

    async def operation(
        self, se_id: str, *, party: str = "provider", instance_id: InstanceId | None = None
    ) -> Operation:
        """Store an operation that nobody works on."""
        await self.party(party)
        operation = Operation(
            id=OperationId(self.world.new_id()),
            tenant_id=TenantId(self.ids[party]),
            se_id=SeId(se_id),
            type=OperationType.DEPLOY,
            instance_id=instance_id,
            created_at=self.world.now(),
        )
        async with self.storage.transaction() as tx:
            await tx.operations.add(operation)
            await tx.commit()
        return operation

    async def order(self, se_id: str, *commands: Command) -> Operation:
        """Store an order for a secure element, as the conductor does; return its operation."""
        operation = replace(await self.operation(se_id), state=OperationState.AWAITING_DEVICE)
        keystore = self.container.device_link._s.keystore
        async with self.storage.transaction() as tx:
            se = await tx.secure_elements.get(SeId(se_id))
            assert se is not None
            context = commands_context(se.id, se.next_order)
            sealed = await keystore.seal(to_json(commands), context=context)
            await tx.operations.save(operation)
            order = DeviceOrder(
                se_id=se.id,
                sequence=se.next_order,
                operation_id=operation.id,
                state=OrderState.IN_FLIGHT,
                sealed_commands=sealed,
                body=len(commands),
            )
            await tx.orders.add(order)
            await tx.secure_elements.save(replace(se, next_order=se.next_order + 1))
            await tx.commit()
        self.notifier.notify(device_topic(se.id))
        return operation

    async def answer(self, se_id: str, sequence: int = 1) -> OrderAnswer | None:
        """Return the answer that is stored for an order; None while it is in flight."""
        async with self.storage.transaction() as tx:
            order = await tx.orders.get(SeId(se_id), sequence)
        assert order is not None
        if order.state is OrderState.IN_FLIGHT:
            return None
        keystore = self.container.device_link._s.keystore
        opened = await keystore.open(order.sealed_answer, context=answer_context(order.se_id, order.sequence))
        return from_json(OrderAnswer, opened)

    async def work(self) -> int:
        """Let the worker do everything that is due."""
        worker = OutboxWorker(
            self.storage,
            self.container.handlers,
            self.world,
            self.container.notifier,
            failures_raise=True,
        )
        return await worker.drain()


def _description(provider: TenantId) -> ServiceDescription:
    package = Aid.from_hex("F04F54534D02")
    return ServiceDescription(
        service_id="transit",
        version_tag="1.0.0",
        flavor_id="flavor",
        provider_id=provider,
        sd_aid=Aid.from_hex("F04F54534DF0000000000001"),
        load_files=(LoadFileReference(aid=package, sha256="00" * 32, size=10),),
        applications=(
            ApplicationSpecification(
                instance_aid=APPLET, load_file=package, module=Aid.from_hex("F04F54534D0201")
            ),
        ),
    )


def problem(answer: httpx.Response, status: int, code: str) -> Json:
    """Check that an answer is a problem document and return it."""
    assert answer.headers["content-type"].startswith("application/problem+json"), answer.text
    document: Json = json.loads(answer.content)
    assert (answer.status_code, document["status"], document["code"]) == (status, status, code), document
    assert document["request_id"] == answer.headers["x-request-id"]
    return document
