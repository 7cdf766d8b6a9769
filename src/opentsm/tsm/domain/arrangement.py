"""Who holds which security domain of a secure element: the roles of a configuration, given to parties.

A configuration (`card.gp.se_configurations`) says which domains a kind of secure element has and with which
privileges; an arrangement says, for an issuer's secure elements, which party holds each of them.
"""

from collections.abc import Mapping
from enum import Enum

from msgspec.structs import replace

from opentsm.card.codec.aid import Aid
from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.ids import ArrangementId, TenantId


class ContentMode(Enum):
    """How a service provider's content gets on a secure element (GlobalPlatform's three modes).

    CENTRALISED: the holder of the domain above loads and installs. DELEGATED: the provider does, each
    command with a token. AUTHORIZED: the provider does, through a domain with Authorized Management.
    """

    CENTRALISED = "CM"
    DELEGATED = "DM"
    AUTHORIZED = "AM"


class HandOverGrade(Enum):
    """What the one who creates a domain could learn of the keys that its owner puts there.

    RELAY_TRUSTED: PUT KEY under temporary keys that the creator knows. CONFIDENTIAL: keys agreed with the
    certified card.
    """

    RELAY_TRUSTED = "relay-trusted"
    CONFIDENTIAL = "confidential"


class ArrangedDomain(Record, frozen=True, kw_only=True):
    """One security domain: `role` is the configuration's, `parent` the name of the domain that creates it.

    `kvn` is the version of its holder's key set, `privileges` (24 bits) are those of the role on a card. The
    issuer security domain has no parent.
    """

    name: str
    role: str
    aid: Aid
    holder_id: TenantId
    kvn: int
    parent: str = ""
    privileges: int = 0


class ProviderPlace(Record, frozen=True, kw_only=True):
    """Where a provider's domains hang (`under` names a domain), with which role and privileges, and its mode.

    A provider in mode AUTHORIZED holds the domain `under` which its services' domains hang.
    `quota_bytes` is what its load files may take of a secure element (None: all there is).
    """

    mode: ContentMode = ContentMode.CENTRALISED
    under: str
    role: str
    privileges: int = 0
    quota_bytes: int | None = None


class Arrangement(Record, frozen=True, kw_only=True):
    """A configuration with its parties, made by an issuer for its secure elements.

    `places` are those of single providers, `place` that of all others (None: they have none).
    """

    id: ArrangementId
    issuer_id: TenantId
    name: str
    configuration: int
    domains: tuple[ArrangedDomain, ...]
    place: ProviderPlace | None = None
    places: dict[TenantId, ProviderPlace] = {}
    handover: HandOverGrade = HandOverGrade.RELAY_TRUSTED
    version: int = 0

    @property
    def top(self) -> ArrangedDomain:
        """Return the issuer security domain."""
        return next(one for one in self.domains if not one.parent)

    def on(self, key_versions: Mapping[str, int]) -> "Arrangement":
        """Return the arrangement on one secure element, whose domains may have other key versions by now.

        Args:
            key_versions: by the domain's AID in hex, where the arrangement's does not hold any more.
        """
        if not key_versions:
            return self
        domains = tuple(replace(one, kvn=key_versions.get(str(one.aid), one.kvn)) for one in self.domains)
        return replace(self, domains=domains)

    def domain(self, name: str) -> ArrangedDomain | None:
        """Return a domain by its name, or None."""
        return next((one for one in self.domains if one.name == name), None)

    def domain_with(self, privilege: int) -> ArrangedDomain | None:
        """Return the first domain that holds a privilege, or None."""
        return next((one for one in self.domains if one.privileges & privilege == privilege), None)

    def place_of(self, provider_id: TenantId) -> ProviderPlace | None:
        """Return where a provider's domains hang; None when it may have none."""
        return self.places.get(provider_id, self.place)
