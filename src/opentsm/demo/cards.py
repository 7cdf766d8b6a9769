"""The demo's secure elements: virtual cards that listen for the agent and are held to terminals."""

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from types import MappingProxyType
from typing import TypeVar

from opentsm.card.crypto.secret import Secret
from opentsm.card.gp.diversification import DiversificationMethod, diversify
from opentsm.card.profiles import SeProfile
from opentsm.card.scp.channel import StaticKeys
from opentsm.demo.terminals.link import Transmit
from opentsm.vse.card import CardIdentity, KeyMaterial, VirtualCard
from opentsm.vse.nvm import MemoryNvm, Nvm
from opentsm.vse.profiles import load_profile
from opentsm.vse.vpcd import VpcdEndpoint

T = TypeVar("T")
MASTER_BYTES = 16
NO_DOMAINS: "Mapping[str, MasterKey]" = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class MasterKey:
    """An issuer's master key: cards of one protocol family are derived from it."""

    handle: str
    method: DiversificationMethod
    key: Secret


@dataclass(slots=True)
class DemoCard:
    """One virtual secure element with what its issuer knows about it.

    `lock` is held for an operation and for a tap: a terminal and an order never meet on the card.
    """

    name: str
    profile: SeProfile
    identity: CardIdentity
    master: MasterKey
    card: VirtualCard = field(repr=False)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    endpoint: VpcdEndpoint | None = None
    port: int = 0
    id: str = ""

    @property
    def se_id(self) -> str:
        """The name by which the device agent knows the card: IIN and CIN."""
        return (self.identity.iin + self.identity.cin).hex().upper()

    @property
    def keys(self) -> StaticKeys:
        """The issuer's key set of this card."""
        return diversify(self.master.key, self.identity.kdd, self.master.method)

    async def listen(self) -> None:
        """Wait for a reader on a loopback port."""
        self.endpoint = VpcdEndpoint(self.card)
        self.port = await self.endpoint.listen("127.0.0.1", 0)

    async def close(self) -> None:
        """Stop listening."""
        if self.endpoint is not None:
            await self.endpoint.close()

    async def tap(self, terminal: Callable[[Transmit], Awaitable[T]]) -> T:
        """Hold the card to a terminal: it meets a card that was just reset, and leaves it so."""

        async def transmit(command: bytes) -> bytes:
            return self.card.transmit(command)

        async with self.lock:
            with self._field():
                return await terminal(transmit)

    @contextmanager
    def _field(self) -> Iterator[None]:
        powered = self.card.is_powered
        self.card.power_off()
        self.card.power_on()
        try:
            yield
        finally:
            self.card.power_off()
            if powered:  # the agent left it on, and expects it so
                self.card.power_on()

    def registration(self, arrangement_id: str | None = None) -> dict[str, object]:
        """Return the card as `POST /v1/secure-elements` wants it.

        One whose domains belong to several parties is also named as its certificate and its tokens name it.

        Args:
            arrangement_id: says who holds its domains; None: the issuer all.
        """
        named = [{"type": "CIN", "value": self.se_id}]
        if arrangement_id is not None:
            own = {"type": "CIN", "value": self.identity.cin.hex().upper()}
            named = [{"type": "GENERIC", "value": self.se_id}, own]
        return {
            "identifiers": named,
            "profile": self.profile.name,
            "isd_aid": str(self.profile.isd_aid),
            "key_sets": [self.key_set(self.master, self.profile.initial_kvn)],
            "arrangement_id": arrangement_id,
        }

    def key_set(self, master: MasterKey, kvn: int) -> dict[str, object]:
        """Return a key set of this card as the API wants it."""
        source = {
            "type": "diversified",
            "master": master.handle,
            "method": master.method.name,
            "kdd": self.identity.kdd.hex().upper(),
        }
        return {"kvn": kvn, "source": source}


def new_masters() -> dict[int, MasterKey]:
    """Make an issuer's master keys, by secure channel protocol."""
    return {
        2: MasterKey("cards-scp02", DiversificationMethod.EMV, Secret(secrets.token_bytes(MASTER_BYTES))),
        3: MasterKey("cards-scp03", DiversificationMethod.KDF3, Secret(secrets.token_bytes(MASTER_BYTES))),
    }


def new_central_master() -> MasterKey:
    """Make the central TSM's master key for domains that cards come with."""
    return MasterKey("central-domains", DiversificationMethod.KDF3, Secret(secrets.token_bytes(MASTER_BYTES)))


def issue_card(
    name: str,
    profile: str,
    masters: dict[int, MasterKey],
    nvm: Nvm | None = None,
    domains: Mapping[str, MasterKey] = NO_DOMAINS,
) -> DemoCard:
    """Make a card with keys derived from the issuer's master key.

    Args:
        name: what people call it.
        profile: of the card.
        masters: the issuer's, by secure channel protocol.
        nvm: its memory; None: it lasts as long as the process.
        domains: other parties' master keys, by the AID of the domain that the card comes with.
    """
    host = host_profile(profile)
    identity = CardIdentity.from_serial(secrets.randbits(32))
    master = masters[host.scp]
    material = _material(master, identity)
    domain_keys = {bytes.fromhex(aid): _material(one, identity) for aid, one in domains.items()}
    card = VirtualCard.issue(
        load_profile(profile), identity, material, nvm or MemoryNvm(), domain_keys=domain_keys
    )
    return DemoCard(name, host, identity, master, card)


def _material(master: MasterKey, identity: CardIdentity) -> KeyMaterial:
    keys = diversify(master.key, identity.kdd, master.method)
    return KeyMaterial(keys.enc, keys.mac, keys.dek)


def host_profile(name: str) -> SeProfile:
    """Read a packaged card profile."""
    packaged = files("opentsm.card").joinpath("profiles_data", f"{name}.json")
    return SeProfile.from_dict(json.loads(packaged.read_text("utf-8")))
