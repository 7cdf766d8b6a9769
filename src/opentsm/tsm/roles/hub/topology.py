"""Which domains manage a card, as data from its profile and its arrangement."""

import msgspec

from opentsm.card.gp.privileges import Privilege
from opentsm.card.profiles import HandOver, SeProfile
from opentsm.tsm.domain.arrangement import ArrangedDomain, Arrangement, ContentMode
from opentsm.tsm.domain.card_content import MemoryNeeds
from opentsm.tsm.domain.secure_element import SecureElement
from opentsm.tsm.domain.space import SpaceLimits
from opentsm.tsm.engine.sessions import Keeper, Topology
from opentsm.tsm.kernel.errors import InvariantError, PlanRefusedError
from opentsm.tsm.kernel.ids import TenantId

replace = msgspec.structs.replace

# Security Domain and Trusted Path: without the second, personalisation through the domain fails (§6.7)
DOMAIN_PRIVILEGES = 0x808000

_OWN, _TEMPORARY, _OWN_VERSIONS = 4, 8, 4
_VERSIONS = 16  # each protocol has so many (SCP02: 20 to 2F, SCP03: 30 to 3F)


def topology(
    se: SecureElement, profile: SeProfile, provider_id: TenantId, arrangement: Arrangement | None = None
) -> Topology:
    """Return who manages this card for a service of a provider.

    Args:
        se: the secure element.
        profile: its card's profile.
        provider_id: whose service it is; the issuer's id where the card is only read or configured.
        arrangement: who holds its domains; None: the issuer manages, one domain a service.

    Raises:
        PlanRefusedError: by the arrangement the provider may have nothing on this secure element.
    """
    if arrangement is None:
        return _issuers(se, profile, provider_id)
    issuers = _issuers(se, profile, provider_id)
    top = _managed_by(issuers, arrangement.top) if se.isd_kvn == arrangement.top.kvn else issuers
    if provider_id == se.issuer_id:
        return top
    place = arrangement.place_of(provider_id)
    if place is None:
        raise PlanRefusedError(
            "By the arrangement of this secure element the service provider may have nothing on it.",
            advice="Ask the issuer for a place in the arrangement.",
        )
    under = arrangement.domain(place.under)
    if under is None:
        raise InvariantError("An arrangement names a domain that it does not have.")
    verifier = arrangement.domain_with(Privilege.TOKEN_VERIFICATION)
    delegated = place.mode is ContentMode.DELEGATED
    return replace(
        _managed_by(top, under) if under.parent else top,
        domain_privileges=place.privileges,
        mode=place.mode,
        tokens_by=verifier.holder_id if delegated and verifier is not None else None,
        quota_bytes=place.quota_bytes,
        handover=arrangement.handover,
        # the ARA-M comes with the card, under the issuer security domain
        keeper=Keeper(owner_id=top.manager_id, domain=top.manager_sd, kvn=top.manager_kvn)
        if under.parent
        else None,
    )


def _managed_by(managed: Topology, domain: ArrangedDomain) -> Topology:
    """Return the topology under a domain; of the issuer's only once its holder has put its keys there."""
    return replace(managed, manager_id=domain.holder_id, manager_sd=domain.aid, manager_kvn=domain.kvn)


def _issuers(se: SecureElement, profile: SeProfile, provider_id: TenantId) -> Topology:
    """Return the topology when one domain a service hangs under the issuer security domain."""
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
        handover_way=profile.handover,
        casd=None if profile.handover is HandOver.NONE else profile.casd_aid,
        contactless=profile.contactless,
        access_rules=profile.access_rules,
    )


def limited(found: Topology, profile: SeProfile, limits: SpaceLimits) -> Topology:
    """Return the topology whose new domains have limits of memory, where the card keeps such limits."""
    if not profile.memory_quotas:
        return found
    memory = MemoryNeeds(nonvolatile_quota=limits.domain_nonvolatile, volatile_quota=limits.domain_volatile)
    return replace(found, domain_memory=memory)


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


def managers_key_version(profile: SeProfile, arrangement: Arrangement | None, present: int) -> int:
    """Return the version for another key set of a domain that manages a card.

    A domain below shows this one's keys until it has its own, so the version is nobody else's.
    """
    taken = {present, *(() if arrangement is None else (one.kvn for one in arrangement.domains))}
    first = profile.first_kvn + _TEMPORARY + 1
    free = (kvn for kvn in range(first, profile.first_kvn + _VERSIONS) if kvn not in taken)
    found = next(free, None)
    if found is None:
        raise PlanRefusedError("The arrangement's domains leave no key version for another key set.")
    return found


def next_key_version(profile: SeProfile, present: int) -> int:
    """Return the version that follows in a rotation: versions take turns, so that old and new differ."""
    first = first_key_version(profile)
    return first + (present - first + 1) % _OWN_VERSIONS
