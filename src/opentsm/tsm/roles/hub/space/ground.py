"""What is known of the memory of one secure element for one provider, read in the caller's transaction.

Every query is by an index and finds what concerns this secure element only.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from opentsm.card.profiles import SeProfile
from opentsm.tsm.domain.arrangement import Arrangement
from opentsm.tsm.domain.card_content import ObservedContent, ServiceDescription
from opentsm.tsm.domain.operation import Operation
from opentsm.tsm.domain.secure_element import SecureElement
from opentsm.tsm.domain.service import InstanceState
from opentsm.tsm.domain.space import Reservation, SpaceLimits, SpaceNeeds, target_of
from opentsm.tsm.domain.tenant import HUB
from opentsm.tsm.engine.sessions import Topology
from opentsm.tsm.engine.space import Part, Sizing, parts_of, used
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.unit_of_work import UnitOfWork


async def limits_of(
    tx: UnitOfWork, se: SecureElement, arrangement: Arrangement | None, topology: Topology
) -> SpaceLimits:
    """Return the limits of a provider on a secure element: the strictest of all that apply.

    The issuer's count always, the central TSM's where it manages the domain above the provider's, and the
    quota of the provider's place in the arrangement. Of one setter's the one for the arrangement goes before
    the one for the card profile, and one that names the provider before one for all.
    """
    limits = SpaceLimits(nonvolatile=topology.quota_bytes)
    named = [] if arrangement is None else [target_of("", arrangement.id)]
    targets = [*named, target_of(se.profile, None)]
    for setter in sorted({se.issuer_id} | ({topology.manager_id} & {HUB})):
        found = await tx.space.quota_for(setter, topology.provider_id, targets)
        if found is not None:
            limits = limits.lower(found.limits)
    return limits


async def sizing_of(tx: UnitOfWork, se: SecureElement, profile: SeProfile, parts: Iterable[Part]) -> Sizing:
    """Return what parts take on cards of this issuer and profile."""
    keys = sorted({part.key for part in parts})
    return Sizing(profile, await tx.space.sizes(se.issuer_id, profile.name, keys) if keys else {})


@dataclass(frozen=True, slots=True)
class Ground:
    """Limits, what is used and reserved on a card, sizes of parts; `services` are the provider's."""

    limits: SpaceLimits
    sizing: Sizing
    services: tuple[ServiceDescription, ...]
    used: SpaceNeeds
    reservations: tuple[Reservation, ...]

    def reserved(self, *, provider_id: TenantId | None = None) -> SpaceNeeds:
        """Return what is reserved, by one provider or by all."""
        whole = SpaceNeeds()
        for one in self.reservations:
            if provider_id in (None, one.provider_id):
                whole = whole.plus(one.needs)
        return whole


@dataclass(frozen=True, slots=True)
class Site:
    """A secure element, what is known to be on it, and who manages it for a provider."""

    se: SecureElement
    content: ObservedContent
    arrangement: Arrangement | None
    topology: Topology
    profile: SeProfile


async def survey(
    tx: UnitOfWork,
    site: Site,
    *,
    wanted: Iterable[ServiceDescription] = (),
    operation: Operation | None = None,
) -> Ground:
    """Return what is known for the provider of a site's topology.

    Args:
        tx: the caller's transaction.
        site: where.
        wanted: descriptions whose parts are to be sized beside those that are there.
        operation: whose reservation does not count, nor those of others for its instance: they bring the
            same things.
    """
    provider, profile = site.topology.provider_id, site.profile
    services = tuple(
        one.description
        for one in await tx.instances.on_secure_element(site.se.id)
        if one.provider_id == provider and one.state is not InstanceState.TERMINATED
    )
    parts = [part for one in (*services, *wanted) for part in parts_of(one, profile).values()]
    sizing = await sizing_of(tx, site.se, profile, parts)
    found = await tx.space.reservations(site.se.id)
    return Ground(
        limits=await limits_of(tx, site.se, site.arrangement, site.topology),
        sizing=sizing,
        services=services,
        used=used(services, site.content, sizing),
        reservations=tuple(one for one in found if not _same_work(one, operation)),
    )


def _same_work(one: Reservation, operation: Operation | None) -> bool:
    if operation is None:
        return False
    return one.operation_id == operation.id or one.instance_id == operation.instance_id
