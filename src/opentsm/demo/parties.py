"""Who takes part in the demo, and what each brings along; all of it through the public API."""

import secrets
from dataclasses import dataclass
from typing import Final

import httpx

from opentsm.card.crypto.kdf import sp800_108_cmac
from opentsm.card.crypto.secret import Secret
from opentsm.demo.cards import DemoCard, MasterKey
from opentsm.demo.http_api import Caller, Json
from opentsm.demo.terminals.door import BadgeKeys

# How the keystore derives a card's application key (docs/reference/personalization.md).
_APPLICATION_KEY_LABEL: Final = b"OpenTSM app1"
_KEY_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Parties:
    """Operator, issuer and provider at the API; `provider_door` is the provider at the TR-03165 API."""

    operator: Caller
    issuer: Caller
    provider: Caller
    provider_door: Caller
    provider_token: str
    issuer_token: str
    issuer_id: str


async def register_parties(
    client: httpx.AsyncClient, operator_token: str, *, names: str, sandbox: bool = False
) -> Parties:
    """Register an issuer and a service provider.

    Args:
        client: reaches the server.
        operator_token: the operator's.
        names: what both names begin with.
        sandbox: whether they meet only other sandbox parties, and can be wiped.
    """
    operator = Caller(client, operator_token)
    more: Json = {"sandbox": True} if sandbox else {}
    issuer = await operator.post("/v1/parties", {"kind": "SE_ISSUER", "name": f"{names} issuer", **more})
    kind = "SERVICE_PROVIDER"
    provider = await operator.post("/v1/parties", {"kind": kind, "name": f"{names} provider", **more})
    caller = Caller(client, provider["token"])
    return Parties(
        operator=operator,
        issuer=Caller(client, issuer["token"]),
        provider=caller,
        provider_door=await caller.provider_door(),
        provider_token=provider["token"],
        issuer_token=issuer["token"],
        issuer_id=issuer["id"],
    )


async def register_provider(operator: Caller, name: str, *, sandbox: bool = False) -> tuple[str, Caller]:
    """Register a further service provider; return its id and itself at the API."""
    body = {"kind": "SERVICE_PROVIDER", "name": name, "sandbox": sandbox}
    made = await operator.post("/v1/parties", body)
    return str(made["id"]), operator.like(made["token"])


async def import_master(holder: Caller, master: MasterKey) -> None:
    """Give its holder's keystore a master key, as a key ceremony would; the operator acts for the hub."""
    body = {"key": master.key.reveal().hex()}
    await holder.put(f"/v1/master-keys/{master.handle}", body)


async def register_card(issuer: Caller, card: DemoCard, arrangement_id: str | None = None) -> None:
    """Register a card; its keys follow from a master key that the issuer has imported."""
    document = await issuer.post("/v1/secure-elements", card.registration(arrangement_id))
    card.id = str(document["id"])


async def enrolment_code(issuer: Caller) -> str:
    """Return a one-time code for a device of this issuer."""
    offer = await issuer.post("/v1/device-enrolments", {})
    return str(offer["code"])


@dataclass(frozen=True, slots=True)
class ApplicationKeys:
    """The provider's master keys, which its terminals and bank hold too."""

    cryptogram: Secret
    load: Secret
    purchase: Secret
    tac: Secret

    @classmethod
    def generate(cls) -> "ApplicationKeys":
        """Make new ones."""
        return cls(*(Secret(secrets.token_bytes(_KEY_BYTES)) for _ in range(4)))

    async def give_to(self, provider: Caller) -> None:
        """Import them into the provider's keystore, under the names that recipes use."""
        named = {
            "bank-ac": self.cryptogram,
            "purse-load": self.load,
            "purse-purchase": self.purchase,
            "purse-tac": self.tac,
        }
        for name, key in named.items():
            await provider.put(f"/v1/application-keys/{name}", {"key": key.reveal().hex()})

    def purchase_key(self, purse_id: bytes) -> Secret:
        """Return a purse's purchase key, as the gate's security module derives it."""
        return _card_key(self.purchase, purse_id)

    def tac_key(self, purse_id: bytes) -> Secret:
        """Return a purse's key of transaction authentication codes."""
        return _card_key(self.tac, purse_id)


@dataclass(frozen=True, slots=True)
class BadgeMasters:
    """The master keys of a provider whose badges open doors."""

    reader: Secret
    badge: Secret

    @classmethod
    def generate(cls) -> "BadgeMasters":
        """Make new ones."""
        return cls(*(Secret(secrets.token_bytes(_KEY_BYTES)) for _ in range(2)))

    async def give_to(self, provider: Caller) -> None:
        """Import them into the provider's keystore, under the names that the recipe uses."""
        for name, key in {"badge-reader": self.reader, "badge-proof": self.badge}.items():
            await provider.put(f"/v1/application-keys/{name}", {"key": key.reveal().hex()})

    def keys_of(self, badge_id: bytes) -> BadgeKeys:
        """Return a badge's keys, as the door's security module derives them."""
        return BadgeKeys(_card_key(self.reader, badge_id), _card_key(self.badge, badge_id))


def _card_key(master: Secret, diversifier: bytes) -> Secret:
    return Secret(sp800_108_cmac(master.reveal(), _APPLICATION_KEY_LABEL, diversifier, 8 * _KEY_BYTES))
