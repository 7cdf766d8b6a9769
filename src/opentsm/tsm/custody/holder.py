"""What a custodian works with: the party, its keystore, its part of the storage, the cards it knows."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from opentsm.card.codec.aid import Aid
from opentsm.card.profiles import SeProfile
from opentsm.tsm.custody.card_trust import CardTrust
from opentsm.tsm.custody.plain import PlainSessions
from opentsm.tsm.domain.secure_element import KeySet, KeySource
from opentsm.tsm.engine import steps as s
from opentsm.tsm.engine.compile import PersonalizationCommand, PersonalizationItem
from opentsm.tsm.kernel.ids import KeyHandle, TenantId
from opentsm.tsm.ports.delegation import TokenIssuer
from opentsm.tsm.ports.keystore import ChannelContext, Keystore
from opentsm.tsm.ports.peer import SegmentRequest
from opentsm.tsm.ports.unit_of_work import Storage
from opentsm.tsm.ports.world import World


@dataclass(frozen=True, slots=True)
class ProvisionedKeySet:
    """A key set that was not made at random: where its keys come from, and their check values."""

    source: KeySource
    kcvs: tuple[bytes, ...]


AGREEMENT = KeyHandle("transport-agreement")


def transport_handle(issuer_id: TenantId, provider_id: TenantId) -> KeyHandle:
    """Return the handle of the transport key that an issuer and a provider made in a ceremony."""
    return KeyHandle(f"transport/{issuer_id}/{provider_id}")


def agreed_handle(issuer_id: TenantId, issuer: bytes, provider_id: TenantId, provider: bytes) -> KeyHandle:
    """Return the handle of the transport key that two parties agree on with these public keys."""
    keys = hashlib.sha256(issuer + provider).hexdigest()[:32]
    return KeyHandle(f"transport/{issuer_id}/{provider_id}/{keys}")


class PersonalizationSource(Protocol):
    """Makes the data groupings of a personalisation; a provider has one, an issuer has none."""

    async def groupings(
        self, request: SegmentRequest, step: s.Personalize, keys: KeySet, context: ChannelContext
    ) -> tuple[PersonalizationItem, ...]:
        """Return what the application gets: an attestation token, groupings, encrypted where so said."""
        ...

    async def commands(
        self, request: SegmentRequest, step: s.RunCommands
    ) -> tuple[PersonalizationCommand, ...]:
        """Return what a recipe sends to the application itself."""
        ...


class KeyProvisioner(Protocol):
    """Makes the key set of a service's own security domain as its provider asked for it."""

    async def provision(
        self, request: SegmentRequest, profile: SeProfile, sd_aid: Aid, kvn: int
    ) -> ProvisionedKeySet | None:
        """Return a key set that comes from the provider; None: any random one will do."""
        ...


@dataclass(frozen=True, slots=True)
class Custody:
    """What a custodian works with.

    `issuer_of` finds the party that issues tokens of delegated management; `trust` says by whom cards must be
    certified for keys to be agreed with them (None: with no card).
    """

    tenant_id: TenantId
    storage: Storage
    keystore: Keystore
    world: World
    profiles: Mapping[str, SeProfile]
    personalization: PersonalizationSource | None = None
    plain: PlainSessions | None = None
    provisioner: KeyProvisioner | None = None
    issuer_of: Callable[[TenantId], TokenIssuer] | None = None
    trust: CardTrust | None = None
