"""The demo's secure elements: virtual cards that listen for the agent and are held to terminals."""

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
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

    def registration(self) -> dict[str, object]:
        """Return the card as `POST /v1/secure-elements` wants it."""
        source = {
            "type": "diversified",
            "master": self.master.handle,
            "method": self.master.method.name,
            "kdd": self.identity.kdd.hex().upper(),
        }
        return {
            "identifiers": [{"type": "CIN", "value": self.se_id}],
            "profile": self.profile.name,
            "isd_aid": str(self.profile.isd_aid),
            "key_sets": [{"kvn": self.profile.initial_kvn, "source": source}],
        }


def new_masters() -> dict[int, MasterKey]:
    """Make an issuer's master keys, by secure channel protocol."""
    return {
        2: MasterKey("cards-scp02", DiversificationMethod.EMV, Secret(secrets.token_bytes(MASTER_BYTES))),
        3: MasterKey("cards-scp03", DiversificationMethod.KDF3, Secret(secrets.token_bytes(MASTER_BYTES))),
    }


def issue_card(name: str, profile: str, masters: dict[int, MasterKey], nvm: Nvm | None = None) -> DemoCard:
    """Make a card with keys derived from the issuer's master key."""
    host = host_profile(profile)
    identity = CardIdentity.from_serial(secrets.randbits(32))
    master = masters[host.scp]
    keys = diversify(master.key, identity.kdd, master.method)
    material = KeyMaterial(keys.enc, keys.mac, keys.dek)
    card = VirtualCard.issue(load_profile(profile), identity, material, nvm or MemoryNvm())
    return DemoCard(name, host, identity, master, card)


def host_profile(name: str) -> SeProfile:
    """Read a packaged card profile."""
    packaged = files("opentsm.card").joinpath("profiles_data", f"{name}.json")
    return SeProfile.from_dict(json.loads(packaged.read_text("utf-8")))
