"""The story of the leak test: everything a TSM does with keys and card data, and much that goes wrong.

All through the public HTTP APIs. Every secret that is made on the way is kept as a canary.
"""

import base64
import json
import random
import re
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from tests.scenario.leak_search import Canary, text_canary
from tests.scenario.leak_stage import Json, RememberingCard, Stage

from opentsm.card.crypto.kdf import sp800_108_cmac
from opentsm.card.crypto.secret import Secret
from opentsm.card.gp.diversification import DiversificationMethod, option_a

SPTSM = "/sptsm/1.0.4"
APPLICATION_KEYS = ("bank-ac", "purse-load", "purse-purchase", "purse-tac")
EXPIRY, PSN = "3011", "01"
KVN = {"scp03-i70": 0x30, "scp02-i55": 0x20}
MADE_UP = random.Random("OpenTSM's leak test")
"""Keys and card data look random, and are the same in every run: luck decides nothing."""


def digits(count: int) -> str:
    """Return made-up digits, the first of them 4."""
    return "4" + "".join(str(MADE_UP.randrange(10)) for _ in range(count - 1))


def key() -> bytes:
    """Return a key whose base64 nobody takes for a word, and that a URL must quote."""
    while True:
        made = MADE_UP.randbytes(16)
        text = base64.b64encode(made).decode()
        if all(re.search(kind, text) for kind in ("[a-z]", "[A-Z]", "[0-9]", "[+]", "/")):
            return made


@dataclass(frozen=True, repr=False)
class Cardholder:
    """Personalisation data of one bank card."""

    pan: str = field(default_factory=lambda: digits(16))
    name: str = field(default_factory=lambda: "QUILLFEATHER/" + MADE_UP.randbytes(4).hex().upper())
    discretionary: str = field(default_factory=lambda: digits(12))
    pin_block: str = field(default_factory=lambda: MADE_UP.randbytes(8).hex().upper())
    label: str = field(default_factory=lambda: "B-" + MADE_UP.randbytes(6).hex().upper())

    def data(self) -> dict[str, str]:
        """Return the values as `POST /v1/instances` takes them."""
        return {
            "pan": self.pan,
            "psn": PSN,
            "expiry": EXPIRY,
            "label": self.label,
            "cardholder": self.name,
            "discretionary": self.discretionary,
            "pin_block": self.pin_block,
        }

    def canaries(self, whose: str) -> list[Canary]:
        """Return what must not leak; sequence number and expiry are too short to be searched for."""
        return [
            text_canary(f"PAN of {whose}", self.pan),
            text_canary(f"track 2 of {whose}", f"{self.pan}D{EXPIRY}201{self.discretionary}"),
            text_canary(f"cardholder of {whose}", self.name),
            text_canary(f"discretionary data of {whose}", self.discretionary),
            Canary(f"PIN block of {whose}", bytes.fromhex(self.pin_block)),
            text_canary(f"label of {whose}", self.label),
        ]

    def card_key(self, master: bytes) -> bytes:
        """Return the key for application cryptograms that follows from the issuer's master key."""
        return option_a(Secret(master), bytes.fromhex((self.pan + PSN)[-16:])).reveal()


@dataclass(repr=False)
class Story:
    """The parties with their secrets, and what they do."""

    stage: Stage
    canaries: list[Canary] = field(default_factory=list)
    tokens: dict[str, str] = field(default_factory=dict)
    masters: dict[str, bytes] = field(default_factory=dict)
    applications: dict[str, bytes] = field(default_factory=dict)
    holders: dict[str, Cardholder] = field(default_factory=dict)
    cards: dict[str, RememberingCard] = field(default_factory=dict)
    elements: dict[str, str] = field(default_factory=dict)
    services: dict[str, str] = field(default_factory=dict)
    purse_id: bytes = field(default_factory=lambda: MADE_UP.randbytes(8))
    purse_label: str = field(default_factory=lambda: "P-" + MADE_UP.randbytes(6).hex().upper())
    _count: int = 0

    # --- requests --------------------------------------------------------------------------------------

    async def ask(self, method: str, path: str, who: str | None, *, status: int = 200, **more: Any) -> Any:
        """Send a request whose answer is known; every POST has an idempotency key."""
        token = None if who is None else self.tokens[who]
        if method == "POST" and not path.startswith(SPTSM):
            self._count += 1
            more["headers"] = {"Idempotency-Key": f"step-{self._count}"}
        answer = await self.stage.call(method, path, token, **more)
        assert answer.status_code == status, (method, path.partition("?")[0], answer.status_code, answer.text)
        if method == "POST" and more.get("headers"):
            again = await self.stage.call(method, path, token, label=f"a repeated {method} {path}", **more)
            assert again.content == answer.content
        return answer.json() if answer.content else None

    def keep(self, name: str, value: bytes | str) -> None:
        """Keep a secret as a canary."""
        self.canaries.append(text_canary(name, value) if isinstance(value, str) else Canary(name, value))

    # --- parties and keys ------------------------------------------------------------------------------

    async def gather(self) -> None:
        """Register the parties; import their keys."""
        self.tokens["operator"] = self.stage.operator_token
        self.keep("token of operator", self.tokens["operator"])
        for who, kind in (("issuer", "SE_ISSUER"), ("provider", "SERVICE_PROVIDER")):
            made = await self.ask(
                "POST", "/v1/parties", "operator", status=201, json={"kind": kind, "name": f"the {who}"}
            )
            self.tokens[who] = made["token"]
            self.keep(f"token of {who}", made["token"])
        for name in ("scp03", "scp02"):
            self.masters[name] = key()
            self.keep(f"issuer master key {name}", self.masters[name])
            body = {"key": self.masters[name].hex()}
            await self.ask("PUT", f"/v1/master-keys/{name}", "issuer", status=204, json=body)
        for name in APPLICATION_KEYS:
            self.applications[name] = key()
            self.keep(f"application master key {name}", self.applications[name])
            body = {"key": self.applications[name].hex()}
            await self.ask("PUT", f"/v1/application-keys/{name}", "provider", status=204, json=body)
        self.tokens["shelf"] = await self.ask("POST", f"{SPTSM}/auth", "provider")
        self.keep("short-term token", self.tokens["shelf"])

    # --- cards -----------------------------------------------------------------------------------------

    async def issue(self) -> None:
        """Make three cards; the last one does not hold the keys that its issuer says."""
        kinds = {"phone": "scp03-i70", "ring": "scp02-i55", "forgery": "scp03-i70"}
        for number, (name, profile) in enumerate(kinds.items()):
            family = profile.partition("-")[0]
            method = DiversificationMethod.KDF3 if family == "scp03" else DiversificationMethod.EMV
            master = MADE_UP.randbytes(16) if name == "forgery" else self.masters[family]
            card = RememberingCard(profile, MADE_UP.getrandbits(24) << 8 | number, Secret(master), method)
            self.cards[name] = card
            source = {
                "type": "diversified",
                "master": family,
                "method": method.name,
                "kdd": card.identity.kdd.hex(),
            }
            body = {
                "identifiers": [{"type": "CIN", "value": card.name}],
                "profile": profile,
                "key_sets": [{"kvn": KVN[profile], "source": source}],
            }
            made = await self.ask("POST", "/v1/secure-elements", "issuer", status=201, json=body)
            self.elements[name] = made["id"]
        offer = await self.ask("POST", "/v1/device-enrolments", "issuer", status=201, json={})
        self.keep("enrolment code", offer["code"])
        await self.stage.start_agent(list(self.cards.values()), offer["code"])

    # --- services --------------------------------------------------------------------------------------

    async def publish(self) -> None:
        """Upload load files and recipes; publish two services for both kinds of card."""
        bank = json.loads(files("opentsm.demo").joinpath("recipes/bank.json").read_text())
        bank["fields"] += [
            {"name": "cardholder", "type": "ascii", "min": 2, "max": 26, "secret": True},
            {"name": "discretionary", "type": "digits", "length": 12, "secret": True},
            {"name": "pin_block", "type": "hex", "length": 8, "secret": True},
        ]
        track = {
            "tlv": "57",
            "value": [
                {"nibbles": [{"field": "pan"}, "D", {"field": "expiry"}, "201", {"field": "discretionary"}]}
            ],
        }
        holder = {"tlv": "5F20", "value": [{"field": "cardholder"}]}
        for grouping in bank["groupings"]:
            if grouping["dgi"] == "0101":
                grouping["value"] = [{"tlv": "70", "value": [track, holder]}]
        bank["groupings"].insert(-1, {"dgi": "0B01", "value": [{"field": "pin_block"}]})
        transit = json.loads(files("opentsm.demo").joinpath("recipes/transit.json").read_text())
        await self._publish("bank", "bank.cap", bank, "F04F54534D010101", "F04F54534D0101")
        await self._publish("transit", "transit.ijc", transit, "F04F54534D020101", "F04F54534D0201")

    async def _publish(self, name: str, load_file: str, recipe: Json, instance: str, module: str) -> None:
        data = files("opentsm.demo").joinpath("caps", load_file).read_bytes()
        elf = await self._upload("executable-load-files", "elf", load_file, data)
        script = await self._upload(
            "personalization-scripts", "script", f"{name}.json", json.dumps(recipe).encode()
        )
        modules = await self.ask(
            "GET", f"{SPTSM}/executable-load-files/{elf['id']}/executable-modules", "shelf"
        )
        config = await self._shelve(
            "application-configs",
            {
                "instanceAid": instance,
                "personalizationConfig": {"personalizationScriptId": script["id"]},
            },
        )
        service = await self._shelve("services", {"name": name})
        module_id = next(one["id"] for one in modules if one["aid"] == module)
        flavor = await self._shelve(
            f"services/{service['id']}/flavors",
            {
                "executableLoadFileIds": [elf["id"]],
                "applicationInstantiationConfigs": [
                    {"executableModuleId": module_id, "applicationConfigId": config["id"]}
                ],
            },
        )
        profiles = await self.ask("GET", f"{SPTSM}/secure-component-profiles", "shelf")
        wanted = [profile["id"] for profile in profiles if profile["name"] in KVN]
        await self._shelve(
            f"services/{service['id']}/versions",
            {"tag": "1.0.0", "allowedDeployments": {flavor["id"]: wanted}},
        )
        await self.ask("POST", f"{SPTSM}/services/{service['id']}/flavors/{flavor['id']}/publish", "shelf")
        self.services[name] = service["id"]

    async def _upload(self, path: str, part: str, name: str, data: bytes) -> Json:
        form = {f"{part}File": (name, data)}
        made: Json = await self.ask(
            "POST", f"{SPTSM}/{path}", "shelf", data={f"{part}Filename": name}, files=form
        )
        return made

    async def _shelve(self, path: str, body: Json) -> Json:
        made: Json = await self.ask("POST", f"{SPTSM}/{path}", "shelf", json=body)
        return made

    # --- operations ------------------------------------------------------------------------------------

    async def deploy(self, service: str, card: str, data: dict[str, str]) -> str:
        """Deploy a service and return the instance's id."""
        body = {"service_id": self.services[service], "se_id": self.elements[card], "data": data}
        made = await self.ask("POST", "/v1/instances", "provider", status=202, json=body)
        await self.finish(made["operation"])
        return str(made["instance"]["id"])

    async def change(self, instance: str, change: str, body: Json | None = None) -> None:
        """Change an instance."""
        path = f"/v1/instances/{instance}/{change}"
        await self.finish(await self.ask("POST", path, "provider", status=202, json=body or {}))

    async def finish(self, operation: Json, state: str = "SUCCEEDED", who: str = "provider") -> None:
        """Wait until an operation has ended as it should."""
        path = f"/v1/operations/{operation['id']}?wait=20"
        for _ in range(20):
            operation = await self.ask("GET", path, who)
            if operation["ended_at"]:
                break
        assert operation["state"] == state, operation

    async def live(self) -> None:
        """Deploy, use, rotate, suspend, resume, fail, terminate."""
        for card in ("phone", "ring"):
            self.holders[card] = Cardholder()
            self.canaries += self.holders[card].canaries(card)
        self.keep("purse label", self.purse_label)
        self.keep("purse id", self.purse_id)
        bank = await self.deploy("bank", "phone", self.holders["phone"].data())
        ring = await self.deploy("bank", "ring", self.holders["ring"].data())
        purse = {"purse_id": self.purse_id.hex(), "label": self.purse_label, "limit": "100000"}
        transit = await self.deploy("transit", "phone", purse)
        self._application_keys()
        await self.change(transit, "top-ups", {"amount": 2500})
        for instance in (bank, ring, transit):
            await self.change(instance, "key-rotations")
        await self.change(bank, "suspensions", {"reason": "LOSS"})
        await self.change(bank, "resumptions")
        await self._forged()
        await self.change(ring, "terminations")
        await self.change(bank, "terminations")

    async def _forged(self) -> None:
        path = f"/v1/secure-elements/{self.elements['forgery']}/audits"
        await self.finish(await self.ask("POST", path, "issuer", status=202), "FAILED", "issuer")

    def _application_keys(self) -> None:
        """Keep the cards' own application keys; the cards hold them, so they are the right ones."""
        for card, holder in self.holders.items():
            key = holder.card_key(self.applications["bank-ac"])
            assert key in self.cards[card].stores()
            self.keep(f"application key of {card}'s bank card", key)
        for name in APPLICATION_KEYS[1:]:
            key = sp800_108_cmac(self.applications[name], b"OpenTSM app1", self.purse_id, 128)
            assert key in self.cards["phone"].stores()
            self.keep(f"the purse's {name} key", key)

    # --- looking around --------------------------------------------------------------------------------

    async def look(self) -> None:
        """Read everything that can be read."""
        own = f"{SPTSM}/services/{self.services['bank']}"
        shelf = ("services", "executable-load-files", "application-configs", "personalization-scripts")
        for path in (own, f"{own}/flavors", f"{own}/versions", *(f"{SPTSM}/{name}" for name in shelf)):
            await self.ask("GET", path, "shelf")
        for who in ("operator", "issuer", "provider"):
            for path in ("/v1/audit?limit=200", "/v1/operations?limit=200"):
                page = await self.ask("GET", path, who)
                for item in page["items"]:
                    if path.startswith("/v1/operations"):
                        await self.ask("GET", f"/v1/operations/{item['id']}", who)
        await self.ask("GET", "/v1/parties", "operator")
        for element in self.elements.values():
            await self.ask("GET", f"/v1/secure-elements/{element}", "issuer")
            await self.ask("GET", f"/v1/secure-elements/{element}/content", "issuer")
        await self.ask("GET", "/v1/secure-elements", "issuer")
        await self.ask("GET", "/v1/instances", "provider")
        for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"):
            await self.stage.call("GET", path, None)
