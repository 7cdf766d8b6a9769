"""Which domains manage a card, as data from its profile."""

from opentsm.card.profiles import SeProfile
from opentsm.tsm.domain.secure_element import SecureElement
from opentsm.tsm.engine.sessions import Topology
from opentsm.tsm.kernel.ids import TenantId

# Security Domain and Trusted Path: without the second, personalisation through the domain fails (§6.7)
DOMAIN_PRIVILEGES = 0x808000

_OWN, _TEMPORARY, _OWN_VERSIONS = 4, 8, 4


def topology(se: SecureElement, profile: SeProfile, provider_id: TenantId) -> Topology:
    """Return who manages this card when one domain a service hangs under the issuer security domain."""
    return Topology(
        manager_id=se.issuer_id,
        manager_sd=se.isd_aid,
        manager_kvn=se.isd_kvn,
        provider_id=provider_id,
        domain_load_file=profile.ssd_package,
        domain_module=profile.ssd_module,
        domain_privileges=DOMAIN_PRIVILEGES,
        # tag 81: the secure channel protocol that the new domain shall offer
        domain_parameters=bytes((0x81, 0x02, profile.scp, profile.i)),
        temporary_kvn=temporary_key_version(profile),
        first_keys=profile.first_keys,
        contactless=profile.contactless,
        access_rules=profile.access_rules,
    )


def temporary_key_version(profile: SeProfile) -> int:
    """Return the version of the key set that a new domain has until its provider takes over."""
    return profile.first_kvn + _TEMPORARY


def first_key_version(profile: SeProfile) -> int:
    """Return the version of a provider's first own key set."""
    return profile.first_kvn + _OWN


def reserved_key_versions(profile: SeProfile) -> frozenset[int]:
    """Return the versions that service providers' domains use, which an issuer's keys must not have."""
    first = first_key_version(profile)
    return frozenset({*range(first, first + _OWN_VERSIONS), temporary_key_version(profile)})


def next_key_version(profile: SeProfile, present: int) -> int:
    """Return the version that follows in a rotation: versions take turns, so that old and new differ."""
    first = first_key_version(profile)
    return first + (present - first + 1) % _OWN_VERSIONS
