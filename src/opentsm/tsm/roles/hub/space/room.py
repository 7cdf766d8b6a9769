"""How much memory a party may use of a secure element: the amount, or whether so much is there.

A provider is told what is left for it: of its quota, and of the free memory that nobody reserved. How much
the others use or may use it does not learn.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from opentsm.card.profiles import SeProfile
from opentsm.tsm.domain.arrangement import Arrangement
from opentsm.tsm.domain.card_content import ObservedContent, ServiceDescription
from opentsm.tsm.domain.secure_element import SecureElement
from opentsm.tsm.engine.space import in_domain, parts_of
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.space.ground import Ground, Site, survey
from opentsm.tsm.roles.hub.topology import topology


@dataclass(frozen=True, slots=True)
class Room:
    """Memory of a secure element for one party.

    Args:
        free: bytes of non-volatile memory that it may use now at most; None: not known.
        fresh: nothing can have changed since `read_at`, as far as is known.
        read_at: when the card showed it; None: it never did.
        quota: what a provider may use in all; None: as much as there is.
        used: what its services take, as far as they were seen there.
        reserved: what is reserved: by its own operations, by all for who manages the card.
    """

    free: int | None
    fresh: bool
    read_at: datetime | None
    quota: int | None
    used: int | None
    reserved: int

    def has(self, amount: int) -> bool | None:
        """Say whether so many bytes are there; None: not known."""
        return None if self.free is None else amount <= self.free


async def managers_room(tx: UnitOfWork, content: ObservedContent, se: SecureElement) -> Room:
    """Return the room for whoever manages a card: all that is free and not reserved."""
    reserved = sum(one.needs.nonvolatile for one in await tx.space.reservations(se.id))
    free = None if content.free_memory is None else max(0, content.free_memory - reserved)
    return Room(free, content.fresh, content.read_at, None, None, reserved)


async def site_of(
    tx: UnitOfWork, profiles: Mapping[str, SeProfile], se: SecureElement, provider_id: TenantId
) -> Site | None:
    """Return what is known of a secure element for a provider; None when its profile is not known.

    Raises:
        PlanRefusedError: by the arrangement the provider may have nothing there.
    """
    profile = profiles.get(se.profile)
    if profile is None:
        return None
    arrangement: Arrangement | None = None
    if se.arrangement_id is not None:
        arrangement = await tx.arrangements.get(se.arrangement_id)
    who = topology(se, profile, provider_id, arrangement)
    return Site(se, await tx.secure_elements.content(se.id), arrangement, who, profile)


async def providers_room(tx: UnitOfWork, site: Site, service: ServiceDescription | None = None) -> Room:
    """Return the room for the provider of a site; within the domain of a service, if one is named."""
    ground = await survey(tx, site)
    own = ground.reserved(provider_id=site.topology.provider_id).nonvolatile
    quota = ground.limits.nonvolatile
    bounds = [] if quota is None else [quota - ground.used.nonvolatile - own]
    if service is not None and ground.limits.domain_nonvolatile is not None:
        bounds.append(ground.limits.domain_nonvolatile - in_domain(service, ground.sizing).nonvolatile)
    free = site.content.free_memory
    left = None if free is None else free - ground.reserved().nonvolatile
    return Room(
        free=None if left is None else max(0, min(left, *bounds)) if bounds else max(0, left),
        fresh=site.content.fresh,
        read_at=site.content.read_at,
        quota=quota,
        used=ground.used.nonvolatile,
        reserved=own,
    )


async def fits_in(tx: UnitOfWork, site: Site, service: ServiceDescription) -> bool:
    """Say whether a service that is not on a card would fit there, as far as is known."""
    ground: Ground = await survey(tx, site, wanted=(service,))
    missing = (
        part for aid, part in parts_of(service, site.profile).items() if site.content.find(aid) is None
    )
    room = await providers_room(tx, site)
    return room.has(ground.sizing.needs(missing).nonvolatile) is not False
