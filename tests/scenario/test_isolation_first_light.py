"""No route gives one party what belongs to another, whoever asks; every route of the app is asked.

The routes are taken from the application itself: a new one without an example here fails the test.
"""

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from litestar.routes import HTTPRoute
from msgspec.structs import replace
from tests.scenario.api_bench import ApiBench, Json, problem
from tests.scenario.figures import figure_500
from tests.scenario.messaging_bodies import bodies
from tests.scenario.sptsm_bench import pem

from opentsm.agent.device_key import DeviceKey
from opentsm.tsm.domain.exchange import Command, Expected
from opentsm.tsm.domain.prepared import PreparedData
from opentsm.tsm.kernel.ids import DeviceId, SeId
from opentsm.tsm.roles.hub.services import device_topic

CAPS = Path(__file__).parents[2] / "src/opentsm/demo"
SPTSM = "/sptsm/1.0.4"
MARK = "Quillfeather"  # in every name that the first parties give
PUBLIC = ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs")
PROVIDERS_KEYS = {
    *("PUT /v1/domain-master-keys/{index:str}", "PUT /v1/transport-keys/{index:str}"),
    "GET /v1/card-authorities",
    *("GET /v1/domain-key-sets", "GET /v1/attestation-keys", "POST /v1/attestation-keys"),
}
CALLS = {
    *("GET /v1/webhooks", "GET /v1/deliveries", "GET /v1/peer-identity", "GET /v1/campaigns"),
    "GET /v1/approvals",
    "GET /v1/applet-submissions",
    "GET /v1/space-quotas",
}
# What every issuer demands of load files is its own.
REVIEWERS = {
    *("GET /v1/release-policy", "PUT /v1/release-policy", "GET /v1/known-bad", "POST /v1/known-bad"),
}
OPERATORS_OF_ALL = {"GET /v1/network-operators", "GET /v1/network-operators/{network_operator_id:str}"}
# A provider that has the id of a secure element sees what its issuer says about it, and keeps its own note.
KNOWN_ELEMENT = {
    "GET /v1/secure-elements/{se_id:str}/data",
    "GET /v1/secure-elements/{se_id:str}/space",
    "PUT /v1/secure-elements/{se_id:str}/sp-data",
}
# What a party without any relation to the first ones may do with good success: things of its own.
OWN = {
    "other-issuer": {
        *CALLS,
        *REVIEWERS,
        *OPERATORS_OF_ALL,
        *("GET /v1/subscriptions", "GET /v1/imports", "POST /v1/imports"),
        "POST /v1/space-quotas",
        *("GET /v1/audit", "GET /v1/operations", "GET /v1/secure-elements"),
        *("POST /v1/secure-elements/import", "PUT /v1/master-keys/{handle:str}"),
        *("GET /v1/devices", "GET /v1/tokens", "GET /v1/arrangements"),
    },
    "other-provider": {
        *CALLS,
        *OPERATORS_OF_ALL,
        *KNOWN_ELEMENT,
        *PROVIDERS_KEYS,
        *("GET /v1/audit", "GET /v1/operations", "GET /v1/instances"),
        *("PUT /v1/application-keys/{name:str}", f"POST {SPTSM}/auth", "GET /v1/tokens"),
        *("GET /v1/prepared-data", "POST /v1/prepared-data/import"),
    },
    "other-shelf": {
        *CALLS,
        *OPERATORS_OF_ALL,
        *KNOWN_ELEMENT,
        *PROVIDERS_KEYS,
        *("GET /v1/audit", "GET /v1/operations", "GET /v1/instances", "PUT /v1/application-keys/{name:str}"),
        *("GET /v1/tokens", "GET /v1/prepared-data", "POST /v1/prepared-data/import"),
        *(f"GET {SPTSM}/service-providers/current", f"GET {SPTSM}/serviceproviders/current"),
        *(f"GET {SPTSM}/secure-component-profiles", f"GET {SPTSM}/secure-component-profiles/{{scpId:str}}"),
        *(f"GET {SPTSM}/services", f"GET {SPTSM}/executable-load-files"),
        *(f"GET {SPTSM}/application-configs", f"GET {SPTSM}/personalization-scripts"),
        *(f"GET {SPTSM}/certificates", f"GET {SPTSM}/spos-configs"),
        f"GET {SPTSM}/secure-component-profiles/{{scpId:str}}/elfs",
        f"GET {SPTSM}/secure-component-profiles/{{scpId:str}}/services",
        f"POST {SPTSM}/services",
    },
}
# SEC 2 §2.4.2: the base point of P-256 is as good a public key as any for somebody who never signs.
BASE_POINT = {
    "kty": "EC",
    "crv": "P-256",
    "x": "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY",
    "y": "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU",
}
OTHER_TSM = {"name": MARK, "key": BASE_POINT}
# What the owner is told of what exists: a domain that is not on its card, a version for no card profile.
NOT_YET = {"domain-keys": 409, "form": 400}
STRANGERS = (
    *(None, "nonsense", "other-issuer", "other-provider", "other-shelf"),
    *("other-device", "same-issuer-device", "expired-device"),
    # another provider's app on the very device that holds the first provider's service
    "other-app",
)
APP = "/v1/device-api/"


@dataclass
class Belongings:
    """What the first issuer and provider have, as path parameters; bodies that name it."""

    parameters: dict[str, str] = field(default_factory=dict)
    session_id: str = ""
    cin: str = ""
    arrangement: dict[str, Any] = field(default_factory=dict)

    def body(self, route: str) -> dict[str, Any]:
        """Return a body (as httpx takes it) with which the owner would succeed, or nearly so."""
        body = self._bodies().get(route)
        if isinstance(body, dict) and "multipart" in body:
            part = body["multipart"]
            form: dict[str, Any] = {"files": {f"{part}File": ("a", b"x")}, "data": {f"{part}Filename": "a"}}
            return form
        return {} if body is None else {"json": body}

    def _bodies(self) -> dict[str, Any]:
        own = self.parameters
        source = {"type": "diversified", "master": "isd-master", "method": "KDF3", "kdd": "00" * 10}
        element = {"identifiers": [{"type": "CIN", "value": self.cin}], "profile": "scp03-i70"}
        status = {"localAgentStatusEnum": "POLLING", "executedSeRamCommands": 0}
        return {
            "POST /v1/parties": {"kind": "SE_ISSUER", "name": "somebody"},
            "PUT /v1/parties/{party_id:str}/peerings": OTHER_TSM,
            "POST /v1/secure-elements": {
                **element,
                "key_sets": [{"kvn": 48, "source": {**source, "master": "x"}}],
            },
            **bodies(own),
            "POST /v1/secure-elements/lookups": {"identifier": {"value": own["alias"]}, "data": True},
            "PUT /v1/secure-elements/{se_id:str}/data": {"key_index": "1"},
            "PUT /v1/secure-elements/{se_id:str}/sp-data": {"value": "note"},
            "POST /v1/secure-elements/{se_id:str}/events": {"event": "LOST"},
            "POST /v1/subscriptions": {
                "identifier": {"type": "ALIAS", "value": "theirs"},
                "se_id": own["se_id"],
            },
            "POST /v1/subscriptions/lookups": {"type": "ALIAS", "value": own["alias"]},
            "POST /v1/subscriptions/{subscription_id:str}/events": {"event": "ENDED"},
            "POST /v1/network-operators": {"name": "mine"},
            "POST /v1/imports": {"format": "csv"},
            "POST /v1/imports/{import_id:str}/completion": {"parts": 0},
            "PUT /v1/imports/{import_id:str}/parts/{number:int}": [],
            "PUT /v1/network-operators/{network_operator_id:str}": {"name": "mine"},
            "PUT /v1/secure-elements/{se_id:str}/key-sets": {"key_sets": [{"kvn": 48, "source": source}]},
            "POST /v1/applet-submissions": a_load_file("nobody"),
            "POST /v1/applet-submissions/{submission_id:str}/reviews": {"decision": "approve", "reason": "r"},
            "POST /v1/applet-submissions/{submission_id:str}/signatures": {"domain": "F04F545344000003"},
            "POST /v1/applet-submissions/{submission_id:str}/withdrawals": {"reason": "r"},
            "PUT /v1/release-policy": {"requires_release": False},
            "POST /v1/known-bad": {"package": "F04F54534D0A", "reason": "r"},
            "PUT /v1/parties/{party_id:str}/rids": {"rids": ["F04F54534D"]},
            "POST /v1/approvals": {"act": "LOCK_CARD", "subject": own["se_id"], "reason": "lost"},
            "POST /v1/approvals/{approval_id:str}/decisions": {"decision": "approve", "reason": "seen"},
            "POST /v1/arrangements": self.arrangement,
            "PUT /v1/secure-elements/{se_id:str}/domains/{aid:str}/key-set": {"kvn": 0x31, "source": source},
            "POST /v1/secure-elements/{se_id:str}/configurations": {"arrangement_id": own["arrangement_id"]},
            "PUT /v1/arrangements/{arrangement_id:str}": self.arrangement,
            "PUT /v1/master-keys/{handle:str}": {"key": "0F" * 16},
            "PUT /v1/application-keys/{name:str}": {"key": "0F" * 16},
            "PUT /v1/domain-master-keys/{index:str}": {"key": "0F" * 16},
            "PUT /v1/transport-keys/{index:str}": {"key": "0F" * 16},
            "PUT /v1/card-authorities/{profile:str}": {"public_key": "04", "certificate": "7F21"},
            "POST /v1/device-enrolments": {"se_id": own["se_id"]},
            "POST /v1/devices": {"code": "A" * 32, "public_key": {"kty": "EC"}, "name": "x"},
            "POST /v1/device-tokens": {"assertion": "a.b.c"},
            "POST /v1/device-sessions": {"se": {"type": "eSE", "id": self.cin}},
            "PUT /v1/services/{service_id:str}/self-service": {"tokens_per_device": 1},
            "POST /v1/self-service-tokens": {"service_instance_id": own["instance_id"]},
            "POST /v1/instances": {"service_id": own["service_id"], "se_id": own["se_id"], "data": {}},
            "POST /v1/instances/{instance_id:str}/top-ups": {"amount": 100},
            "POST /v1/instances/{instance_id:str}/{change:str}": {},
            "POST /v1/space-quotas": {"profile": "scp03-i70", "nonvolatile_bytes": 1000},
            "PUT /v1/space-quotas/{quota_id:str}": {"nonvolatile_bytes": 1},
            "POST /v1/campaigns": {
                "name": "mine",
                "type": "SUSPEND",
                "selection": {"listed": True},
                "members": [own["instance_id"]],
            },
            "POST /gp/seram/handshake": {"secureElements": [{"seType": "eSE", "seId": self.cin}]},
            "POST /gp/seram/remoteManagement": {"localAgentStatus": status},
            f"POST {SPTSM}/services": {"name": "mine"},
            f"PUT {SPTSM}/services/{{serviceId:str}}": {"name": "taken"},
            f"POST {SPTSM}/services/{{serviceId:str}}/flavors": {"executableLoadFileIds": [own["elf_id"]]},
            f"POST {SPTSM}/services/{{serviceId:str}}/versions": {
                "tag": "2.0.0",
                "allowedDeployments": {own["flavor_id"]: []},
            },
            f"POST {SPTSM}/application-configs": {
                "instanceAid": "F04F54534D010101",
                "personalizationConfig": {"personalizationScriptId": own["script_id"]},
            },
            f"POST {SPTSM}/services/{{serviceId:str}}/flavors/{{flavorId:str}}/executable-load-files": {
                "executableLoadFileIds": [own["elf_id"]]
            },
            f"PUT {SPTSM}/services/{{serviceId:str}}/flavors/{{flavorId:str}}/executable-load-files": {
                "executableLoadFileIds": [own["elf_id"]]
            },
            **self._changes(),
        }

    def _changes(self) -> dict[str, Any]:
        """Return the bodies of what changes the shelf of the first provider."""
        own = self.parameters
        service = f"{SPTSM}/services/{{serviceId:str}}"
        version = f"{service}/versions/{{tag:str}}"
        spos = {"url": "https://taken.example/", "certificateId": own["cert_id"]}
        uploads = {
            f"{method} {SPTSM}/{path}{one}": {"multipart": part}
            for path, part, id_ in (
                ("executable-load-files", "elf", "elfId"),
                ("personalization-scripts", "script", "personalizationScriptId"),
                ("certificates", "cert", "certificateId"),
            )
            for method, one in (("POST", ""), ("PUT", f"/{{{id_}:str}}"))
        }
        return {
            **uploads,
            f"PUT {service}/flavors/{{flavorId:str}}": {"name": "taken"},
            f"PUT {version}": {"allowedDeployments": {}},
            f"POST {version}/flavors": {own["flavor_id"]: [own["scpId"]]},
            f"PUT {version}/flavors": [own["flavor_id"]],
            f"POST {version}/secure-component-profiles": {own["scpId"]: own["flavor_id"]},
            f"PUT {version}/secure-component-profiles": [own["scpId"]],
            f"PUT {SPTSM}/application-configs/{{applicationConfigId:str}}": {"instanceAid": "F04F54534D0101"},
            f"POST {SPTSM}/spos-configs": spos,
            f"PUT {SPTSM}/spos-configs/{{sposConfigId:str}}": spos,
        }


def routes(api: ApiBench) -> Iterator[tuple[str, str]]:
    """Return method and path of every route."""
    for route in api.app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                for method in sorted(handler.http_methods - {"OPTIONS", "HEAD"}):
                    yield str(method), route.path


@pytest.fixture
async def owned(api: ApiBench) -> Belongings:
    """Give the first parties something of every kind, and tokens to the strangers."""
    made = await furnish(api)
    await api.device(name="same-issuer-device")
    api.tokens["nonsense"] = "otsm_" + "A" * 43
    offer = await api.post("other-issuer", "/v1/device-enrolments", {})
    await enrol(api, offer.json()["code"], "other-device")
    await enrol(api, (await api.post("issuer", "/v1/device-enrolments", {})).json()["code"], "expired-device")
    async with api.storage.transaction() as tx:
        assert await tx.tenants.revoke_tokens(*(await device_of(api, "expired-device"))) == 1
        await tx.commit()
    api.tokens["other-shelf"] = await shelf_token(api, "other-provider")
    for app, party in (("app", "provider"), ("other-app", "other-provider")):
        api.tokens[app] = (await api.post(party, "/v1/access-tokens", {})).json()["token"]
    return made


async def device_of(api: ApiBench, name: str) -> tuple[Any, str]:
    """Return tenant and device of a device's token."""
    principal = await api.container.onboarding.authenticate(api.tokens[name])
    assert principal.device_id is not None
    return principal.tenant_id, principal.device_id


async def enrol(api: ApiBench, code: str, name: str) -> None:
    """Enrol a device with a code and keep its token."""
    key = DeviceKey.generate()
    made = await api.post(None, "/v1/devices", {"code": code, "public_key": key.public_jwk(), "name": name})
    assert made.status_code == 201, made.text
    issued = await api.post(None, "/v1/device-tokens", {"assertion": api.assertion(made.json()["id"], key)})
    api.tokens[name] = issued.json()["token"]


async def shelf_token(api: ApiBench, party: str) -> str:
    """Return a party's short-term token."""
    return str((await api.post(party, f"{SPTSM}/auth")).json())


async def furnish(api: ApiBench) -> Belongings:
    """Make one of everything for the first parties."""
    se = await api.element(f"{MARK}-{api.world.new_id()}")
    cin = str(se["identifiers"][0]["value"])
    device_id, _ = await api.device(str(se["id"]), name="own-device")
    async with api.storage.transaction() as tx:
        found = await tx.secure_elements.get(SeId(str(se["id"])))
        assert found is not None
        await tx.secure_elements.save(replace(found, device_id=DeviceId(device_id)))
        await tx.commit()
    arrangement = {**figure_500(api.ids["issuer"]), "name": MARK}
    arranged = await api.post("issuer", "/v1/arrangements", arrangement)
    assert arranged.status_code == 201, arranged.text
    instance = await api.instance(str(se["id"]))
    operation = await api.operation(str(se["id"]), instance_id=instance.id)
    async with api.storage.transaction() as tx:
        await tx.prepared_data.add(
            PreparedData(
                id="prepared",
                provider_id=instance.provider_id,
                service_id="transit",
                name=f"reference:{MARK}",
                created_at=api.world.now(),
                expires_at=api.world.now() + timedelta(days=1),
            )
        )
        await tx.commit()
    peering = await api.client.put(
        f"/v1/parties/{api.ids['provider']}/peerings",
        json=OTHER_TSM,
        headers={"Authorization": f"Bearer {await api.party('operator')}"},
    )
    assert peering.status_code == 200, peering.text
    operator = await api.post("operator", "/v1/network-operators", {"name": f"Netz {api.world.new_id()}"})
    subscriber = {"identifier": {"type": "ALIAS", "value": f"{MARK}-{cin[-12:]}"}, "se_id": str(se["id"])}
    subscription = await api.post("issuer", "/v1/subscriptions", subscriber | {"readers": []})
    assert subscription.status_code == 201, subscription.text
    job = await api.post("issuer", "/v1/imports", {"format": "csv"})
    named = {"provider_id": api.ids["provider"], "profile": "scp03-i70", "nonvolatile_bytes": 50_000}
    quota = await api.post("issuer", "/v1/space-quotas", named)
    assert quota.status_code == 201, quota.text
    api.tokens["shelf"] = await shelf_token(api, "provider")
    elf = await upload(api, "executable-load-files", "elf", "bank.cap", (CAPS / "caps/bank.cap").read_bytes())
    script = await upload(
        api, "personalization-scripts", "script", "bank.json", (CAPS / "recipes/bank.json").read_bytes()
    )
    cert = await upload(api, "certificates", "cert", "spos.pem", pem())
    spos = await shelve(
        api, "spos-configs", {"url": f"https://{MARK.lower()}.example/x", "certificateId": cert}
    )
    modules = await api.get("shelf", f"{SPTSM}/executable-load-files/{elf}/executable-modules")
    config = await shelve(
        api, "application-configs", {"instanceAid": "F04F54534D0101", "name": MARK, "description": MARK}
    )
    service = await shelve(api, "services", {"name": MARK})
    flavor = await shelve(api, f"services/{service}/flavors", {"name": MARK, "executableLoadFileIds": [elf]})
    await shelve(
        api, f"services/{service}/versions", {"tag": "1.0.0", "allowedDeployments": {flavor: []}}, key="tag"
    )
    headers = {"Authorization": f"Bearer {api.tokens['provider']}"}
    marked = await api.client.put(f"/v1/services/{service}/self-service", json={}, headers=headers)
    assert marked.status_code == 200, marked.text
    talk = {"SecureElement": {"SEId_CardUniqueData": cin}}
    begun = await api.post("provider", "/v1/messaging/BeginConversation?wait=0", talk)
    assert begun.status_code == 202, begun.text
    hook = await api.post(
        "provider", "/v1/webhooks", {"url": f"https://8.8.8.8/{MARK}", "events": ["instance.*"]}
    )
    assert hook.status_code == 201, hook.text
    campaign = {"name": MARK, "type": "SUSPEND", "selection": {"listed": True}, "by_hand": True}
    listed = await api.post("provider", "/v1/campaigns", {**campaign, "members": [instance.id]})
    assert listed.status_code == 201, listed.text
    ping = await api.post("provider", f"/v1/webhooks/{hook.json()['id']}/pings")
    token = (await api.get("provider", "/v1/tokens")).json()["items"][0]
    profile = str((await api.get("shelf", f"{SPTSM}/secure-component-profiles")).json()[0]["id"])
    return Belongings(
        parameters={
            "se_id": str(se["id"]),
            "aid": "F04F545344000001",
            "arrangement_id": str(arranged.json()["id"]),
            "instance_id": str(instance.id),
            "service_instance_id": str(instance.id),
            "process_id": str(operation.id),
            "operation_id": str(operation.id),
            "change": "suspensions",
            "handle": "isd-master",
            "profile": "se-700",
            "index": "t-1",
            "name": "bank-ac",
            "service_id": service,
            "flavor_id": flavor,
            "tag": "1.0.0",
            "elf_id": elf,
            "config_id": config,
            "script_id": script,
            "cert_id": cert,
            "spos_id": spos,
            "certificateId": cert,
            "sposConfigId": spos,
            "scpId": profile,
            "serviceId": service,
            "flavorId": flavor,
            "elfId": elf,
            "emId": str(modules.json()[0]["id"]),
            "applicationConfigId": config,
            "personalizationScriptId": script,
            "device_id": device_id,
            "webhook_id": str(hook.json()["id"]),
            "campaign_id": str(listed.json()["id"]),
            "approval_id": await an_approval(api, str(se["id"])),
            "submission_id": await a_submission(api),
            "entry_id": await a_bad_one(api),
            "move": "cancellations",
            "delivery_id": str(ping.json()["id"]),
            "prepared_id": "prepared",
            "network_operator_id": str(operator.json()["id"]),
            "subscription_id": str(subscription.json()["id"]),
            "import_id": str(job.json()["id"]),
            "quota_id": str(quota.json()["id"]),
            "alias": str(subscriber["identifier"]["value"]),  # type: ignore[index]
            "token_id": str(token["id"]),
            "key_id": str(peering.json()["key_id"]),
            "port": "segment-owner",
            "method": "forget_domain",
            "party_id": api.ids["provider"],
            "conversation_id": str(begun.json()["ResponseData"]["ConversationID"]),
        },
        session_id=await api.session(cin, device="own-device"),
        cin=cin,
        arrangement=arrangement,
    )


def a_load_file(reviewer: str) -> Json:
    """Word the submission of a load file."""
    file = (CAPS / "caps/bank.cap").read_bytes().hex()
    return {"reviewer_id": reviewer, "file_name": MARK, "file": file, "profiles": ["scp03-i70"]}


async def a_submission(api: ApiBench) -> str:
    """Let the provider hand a load file in to the issuer."""
    made = await api.post("provider", "/v1/applet-submissions", a_load_file(api.ids["issuer"]))
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


async def a_bad_one(api: ApiBench) -> str:
    """Let the issuer refuse a package."""
    made = await api.post("issuer", "/v1/known-bad", {"package": "F04F54534D0A", "reason": MARK})
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


async def an_approval(api: ApiBench, se_id: str) -> str:
    """Let one of two people of the issuer ask for a lock of its card."""
    for person in ("ada", "ben"):
        issued = await api.post("operator", f"/v1/parties/{api.ids['issuer']}/tokens", {"person": person})
        api.tokens[f"issuer-{person}"] = issued.json()["token"]
    body = {"act": "LOCK_CARD", "subject": se_id, "reason": MARK}
    asked = await api.post("issuer-ada", "/v1/approvals", body)
    assert asked.status_code == 201, asked.text
    return str(asked.json()["id"])


async def upload(api: ApiBench, path: str, part: str, name: str, data: bytes) -> str:
    """Upload a file and return its id."""
    shown = f"{MARK}-{name}"
    made = await api.client.post(
        f"{SPTSM}/{path}",
        data={f"{part}Filename": shown},
        files={f"{part}File": (shown, data)},
        headers={"Authorization": f"Bearer {api.tokens['shelf']}"},
    )
    assert made.status_code == 200, made.text
    return str(made.json()["id"])


async def shelve(api: ApiBench, path: str, body: Json, key: str = "id") -> str:
    """Make an object of the repository and return its id."""
    made = await api.post("shelf", f"{SPTSM}/{path}", body)
    assert made.status_code == 200, made.text
    return str(made.json()[key])


async def ask(api: ApiBench, owned: Belongings, who: str | None, method: str, path: str) -> httpx.Response:
    """Ask one route about what belongs to the first parties."""
    target = re.sub(r"\{(\w+):str\}", lambda match: owned.parameters[match[1]], path)
    target = target.replace("{number:int}", "0")
    query = {"sessionId": owned.session_id} if path.startswith("/gp/seram") else {}
    query |= {"profile": "scp03-i70"} if path.endswith("/form") else {}
    query |= {"version": "x.x.x"} if path.endswith("/deployment-available") else {}
    query = {"version": "x.x.x"} if path.startswith(APP) and path.endswith("/form") else query
    query |= {"newVersion": "x.x.x"} if path.endswith("/update-available") else {}
    headers = {} if who is None else {"Authorization": f"Bearer {await api.party(who)}"}
    if path.startswith(APP) and who is not None:
        device = "own-device" if who in ("app", "other-app") else who
        headers["Device-Authorization"] = f"Bearer {await api.party(device)}"
    body = owned.body(f"{method} {path}")
    return await api.client.request(method, target, params=query, headers=headers, **body)


async def picture(api: ApiBench, owned: Belongings) -> list[str]:
    """Return what the owners see of their things."""
    own = owned.parameters
    seen = []
    for who, path in (
        ("issuer", f"/v1/secure-elements/{own['se_id']}"),
        ("issuer", "/v1/operations"),
        ("provider", f"/v1/instances/{own['instance_id']}"),
        ("provider", f"/v1/operations/{own['operation_id']}"),
        ("provider", "/v1/operations"),
        ("provider", f"/v1/campaigns/{own['campaign_id']}"),
        *(
            ("shelf", f"{SPTSM}/{name}")
            for name in ("services", "application-configs", "executable-load-files")
        ),
        ("shelf", f"{SPTSM}/services/{own['service_id']}/flavors"),
        ("shelf", f"{SPTSM}/services/{own['service_id']}/versions"),
        *(
            ("shelf", f"{SPTSM}/{name}")
            for name in ("personalization-scripts", "certificates", "spos-configs")
        ),
    ):
        answer = await api.get(who, path)
        assert answer.status_code == 200, (path, answer.text)
        seen.append(answer.text)
    return seen


@pytest.mark.parametrize("who", STRANGERS)
async def test_route_when_a_stranger_asks_then_nothing_of_others_shows_or_changes(
    api: ApiBench, owned: Belongings, who: str | None
) -> None:
    before = await picture(api, owned)
    shared = ("network_operator_id",)  # every party may read which network operators there are
    ids = [v for k, v in owned.parameters.items() if k.endswith("_id") and k not in shared]
    marks = [MARK, owned.session_id, *ids]
    wrong = []
    for method, path in routes(api):
        route = f"{method} {path}"
        answer = await ask(api, owned, who, method, path)
        if path.startswith(PUBLIC):
            allowed = answer.status_code < 500
        elif answer.status_code < 300:
            allowed = route in OWN.get(str(who), ()) and not any(mark in answer.text for mark in marks)
        else:
            allowed = 400 <= answer.status_code < 500
        if not allowed:
            wrong.append(f"{route}: {answer.status_code}")
    assert wrong == [], "\n".join(wrong)
    assert await picture(api, owned) == before


def owners(path: str) -> tuple[str, ...]:
    """Return whose tokens open a path."""
    if path.startswith(SPTSM):
        return ("shelf",)
    if path.endswith("/peerings"):
        return ("operator",)
    return ("app",) if path.startswith(APP) else ("issuer", "provider")


async def test_route_when_the_owner_asks_then_it_is_really_there(api: ApiBench, owned: Belongings) -> None:
    """What strangers are refused exists: otherwise the test above would prove nothing."""
    found = 0
    for method, path in routes(api):
        if method != "GET" or "{" not in path:
            continue
        answers = [
            (await ask(api, owned, who, method, path)).status_code
            for who in owners(path)
            if "events" not in path
        ]
        if "events" not in path:
            # to an app: no card of its device can have the service, which its stranger does not find
            no_card = path.startswith(APP) and path.endswith("/form")
            there = 409 if no_card else NOT_YET.get(path.rpartition("/")[2], 200)
            assert there in answers, (path, answers)
            found += 1
    assert found >= 10


async def test_provider_when_looking_for_an_element_of_any_issuer_then_sees_three_fields(
    api: ApiBench, owned: Belongings
) -> None:
    for who, fields in (("other-provider", {"id", "profile", "state"}), ("other-issuer", set())):
        answer = await api.get(who, f"/v1/secure-elements?identifier={owned.cin}")
        assert answer.status_code == 200
        assert {name for item in answer.json()["items"] for name in item} == fields


@pytest.mark.parametrize("who", ["same-issuer-device", "other-device"])
async def test_session_when_another_device_uses_it_then_not_found(
    api: ApiBench, owned: Belongings, who: str
) -> None:
    for path in ("/gp/seram/handshake", "/gp/seram/remoteManagement"):
        problem(await ask(api, owned, who, "POST", path), 404, "not_found")


async def test_answer_when_replayed_by_another_token_then_the_secret_stays_hidden(
    api: ApiBench, owned: Belongings
) -> None:
    key = {"Idempotency-Key": "the-same"}
    first = await api.post("issuer", "/v1/device-enrolments", {}, headers=key)
    for who in ("other-issuer", "provider", "same-issuer-device"):
        answer = await api.post(who, "/v1/device-enrolments", {}, headers=key)
        assert first.json()["code"] not in answer.text
        assert "idempotency-replayed" not in answer.headers
    unknown = {**key, "Authorization": "Bearer otsm_unknown"}
    problem(await api.post(None, "/v1/device-enrolments", {}, headers=unknown), 401, "unauthenticated")


async def test_application_key_when_it_comes_unprotected_from_afar_then_refused(api: ApiBench) -> None:
    transport = httpx.ASGITransport(app=api.app, client=("192.0.2.7", 40000))  # type: ignore[arg-type]
    headers = {"Authorization": f"Bearer {await api.party('provider')}"}
    for scheme, status in (("http", 403), ("https", 204)):
        async with httpx.AsyncClient(transport=transport, base_url=f"{scheme}://tsm") as client:
            body = {"key": "0123456789ABCDEF0123456789ABCDEF"}
            answer = await client.put("/v1/application-keys/bank-ac", json=body, headers=headers)
        assert answer.status_code == status, answer.text


async def test_idempotency_key_when_stored_then_only_as_a_digest(api: ApiBench, scenario_dsn: str) -> None:
    pan = "4929123456789017"
    made = await api.post("issuer", "/v1/device-enrolments", {}, headers={"Idempotency-Key": pan})
    assert made.status_code == 201
    connection = await asyncpg.connect(scenario_dsn)
    rows = await connection.fetch("SELECT * FROM idempotency_keys")
    await connection.close()
    assert rows
    assert all(pan not in str(tuple(row)) for row in rows)


@pytest.mark.parametrize(
    "name", ['a"; x="b.json', "a\r\nSet-Cookie: a=b.json", "ä\u2028.json", "../../a.json"]
)
async def test_file_name_when_hostile_then_it_stays_inside_its_header(api: ApiBench, name: str) -> None:
    api.tokens["shelf"] = await shelf_token(api, "provider")
    data = (CAPS / "recipes/bank.json").read_bytes()
    headers = {"Authorization": f"Bearer {api.tokens['shelf']}"}
    made = await api.client.post(
        f"{SPTSM}/personalization-scripts",
        data={"scriptFilename": name},
        files={"scriptFile": ("x.json", data)},
        headers=headers,
    )
    assert made.status_code < 500
    if made.status_code == 200:
        got = await api.get("shelf", f"{SPTSM}/personalization-scripts/{made.json()['id']}/binary")
        assert "set-cookie" not in got.headers
        shown = got.headers["content-disposition"]
        assert re.fullmatch(
            r'attachment; filename="[^"\\\r\n]*"(; filename\*=UTF-8\'\'[A-Za-z0-9%._~-]*)?', shown
        )


@pytest.mark.parametrize(
    "path", ["/v1/parties", "/v1/device-tokens", "/v1/devices", "/v1/instances", f"{SPTSM}/services"]
)
@pytest.mark.parametrize("keyed", [False, True])
async def test_body_when_enormous_then_refused(api: ApiBench, path: str, keyed: bool) -> None:
    api.tokens["shelf"] = await shelf_token(api, "provider")
    who = {"/v1/parties": "operator", "/v1/instances": "provider"}.get(path, "shelf")
    headers = {"Idempotency-Key": "big"} if keyed else {}
    answer = await api.post(who, path, {"name": "x" * 11_000_000}, headers=headers)
    assert 400 <= answer.status_code < 500


@pytest.mark.parametrize(
    "text", ["\x00", "\ud800", "x" * 5000, "' OR 1=1 --", "%00", "\u202e", "{}", "../../etc/passwd"]
)
async def test_value_when_hostile_then_never_an_error_of_the_server(api: ApiBench, text: str) -> None:
    api.tokens["shelf"] = await shelf_token(api, "provider")
    quoted = json.dumps(text)
    content = {"Content-Type": "application/json"}
    for who, path, body in (
        ("operator", "/v1/parties", f'{{"kind": "SE_ISSUER", "name": {quoted}}}'),
        ("issuer", "/v1/device-enrolments", f'{{"se_id": {quoted}}}'),
        (
            "provider",
            "/v1/instances",
            f'{{"service_id": {quoted}, "se_id": {quoted}, "data": {{{quoted}: "1"}}}}',
        ),
        ("issuer", "/v1/device-tokens", f'{{"assertion": {quoted}}}'),
        (
            "issuer",
            "/v1/devices",
            f'{{"code": {quoted}, "public_key": {{"kty": {quoted}}}, "name": {quoted}}}',
        ),
        ("shelf", f"{SPTSM}/services", f'{{"name": {quoted}, "spParameters": {{{quoted}: {quoted}}}}}'),
    ):
        headers = {"Authorization": f"Bearer {await api.party(who)}", **content}
        answer = await api.client.post(path, content=body, headers=headers)
        assert answer.status_code < 500, (path, answer.text)
    if "\ud800" in text:
        return
    for who, path in (
        ("provider", "/v1/operations"),
        ("provider", "/v1/instances"),
        ("issuer", "/v1/secure-elements"),
        ("issuer", "/v1/audit"),
    ):
        for name in ("after", "subject", "se_id", "instance_id", "identifier", "limit"):
            answer = await api.get(who, path, params={name: text})
            assert answer.status_code < 500, (path, name, answer.text)


@pytest.mark.parametrize("after", ["9.9999999999999999999", "99999999999.1", "1.1.1", "-1.2", "².1", "x"])
async def test_audit_cursor_when_out_of_range_then_refused_or_empty(api: ApiBench, after: str) -> None:
    answer = await api.get("issuer", "/v1/audit", params={"after": after})
    assert answer.status_code < 500, answer.text


async def test_report_when_another_device_got_the_order_then_it_does_not_count(api: ApiBench) -> None:
    """Before a secure element is bound, several devices of its issuer may have sessions for it."""
    cin = api.world.new_id()
    se = await api.element(cin)
    sessions = {}
    for name in ("first", "second"):
        await api.device(name=name)
        sessions[name] = await api.session(cin, device=name)
        offer = {"secureElements": [{"seType": "eSE", "seId": cin}], "supportedVersions": ["2.0.0+opentsm.1"]}
        shaken = await api.post(name, f"/gp/seram/handshake?sessionId={sessions[name]}", offer)
        assert shaken.status_code == 200, shaken.text
    await api.order(se["id"], Command(apdu="00A4040000", expected=Expected(), meaning="select"))

    async def report(name: str, status: str, **more: Any) -> Json:
        body = {"localAgentStatus": {"localAgentStatusEnum": status}, **more}
        answer = await api.post(name, f"/gp/seram/remoteManagement?sessionId={sessions[name]}", body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    told = {
        "ramResponses": [{"ramResponseType": "seRamResponse", "listOfRAPDU": ["9000"]}],
        "orderSequence": 1,
    }
    assert (await report("first", "POLLING"))["orderSequence"] == 1
    forged = await report("second", "PROCESSED", **told)
    assert await api.answer(se["id"]) is None
    assert "orderSequence" not in forged  # it is the first one's turn
    await report("first", "POLLING")
    topic = device_topic(se["id"])
    await api.notifier.awaited(topic)  # those before
    last = asyncio.create_task(report("first", "PROCESSED", **told))
    await api.notifier.awaited(topic)  # the answer to the report waits for the next order
    api.notifier.notify(topic)
    await last
    assert (answer := await api.answer(se["id"])) is not None
    assert answer.responses == ("9000",)


async def test_device_when_another_was_enrolled_for_its_element_then_it_is_out_at_once(
    api: ApiBench, owned: Belongings
) -> None:
    body = {"se": {"type": "eSE", "id": owned.cin}}
    assert (await api.post("own-device", "/v1/device-sessions", body)).status_code == 201
    await api.device(owned.parameters["se_id"], name="replacement")
    problem(await api.post("own-device", "/v1/device-sessions", body), 409, "conflict")
    problem(await ask(api, owned, "own-device", "POST", "/gp/seram/handshake"), 404, "not_found")
    assert (await api.post("replacement", "/v1/device-sessions", body)).status_code == 201
