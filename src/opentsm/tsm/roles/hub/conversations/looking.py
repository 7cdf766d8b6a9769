"""What a provider's own TSM may know of a secure element: what fits on it, and what of its own is on it.

Nothing is sent to the card for it: the answers tell what it showed last.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.card_content import ObjectKind, ObservedContent
from opentsm.tsm.domain.secure_element import SecureElement, SeState
from opentsm.tsm.domain.service import ServiceInstance
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.errors import ConflictError, InvalidInputError, NotFoundError
from opentsm.tsm.kernel.ids import SeId
from opentsm.tsm.roles.hub.conversations.reach import own_instances
from opentsm.tsm.roles.hub.mandate import require
from opentsm.tsm.roles.hub.services import HubServices
from opentsm.tsm.roles.hub.space.room import fits_in, providers_room, site_of


class Ineligibility(Enum):
    """Why a service cannot be deployed on a secure element; the numbers never change."""

    OUT_OF_USE = 1
    NO_VERSION = 2
    ALREADY_THERE = 3
    NO_MEMORY = 4


@dataclass(frozen=True, slots=True)
class Component:
    """Something of the caller's own; `state` is None when it is not on the card."""

    aid: Aid
    kind: ObjectKind
    state: int | None


class Looking:
    """Questions about secure elements."""

    def __init__(self, services: HubServices) -> None:
        self._s = services

    async def ineligible(
        self, principal: Principal, se_id: SeId, service_id: str, version: str | None
    ) -> list[Ineligibility]:
        """Return why a service of the caller cannot be deployed on a secure element; empty: it can.

        Raises:
            NotFoundError: there is no such secure element or service for the caller.
        """
        require(principal, TenantKind.SERVICE_PROVIDER)
        se, _ = await self._known(principal, se_id)
        catalogue, owner = self._s.peers.catalogue(), principal.tenant_id
        await catalogue.deployable_versions(owner, service_id, se.profile)  # is it the caller's at all?
        reasons = []
        if se.state in (SeState.QUARANTINED, SeState.RETIRED):
            reasons.append(Ineligibility.OUT_OF_USE)
        try:
            description = await catalogue.describe(owner, service_id, version, se.profile)
        except (InvalidInputError, ConflictError):
            return [*reasons, Ineligibility.NO_VERSION]
        async with self._s.storage.transaction() as tx:
            own = await own_instances(tx, owner, se_id)
            if any(one.description.service_id == service_id for one in own):
                reasons.append(Ineligibility.ALREADY_THERE)
            site = await site_of(tx, self._s.profiles, se, owner)
            if site is not None and not await fits_in(tx, site, description):
                reasons.append(Ineligibility.NO_MEMORY)
        return reasons

    async def components(
        self, principal: Principal, se_id: SeId, aids: Sequence[Aid]
    ) -> tuple[list[Component], bool]:
        """Return components of the caller, and whether they are known to be so now.

        Raises:
            NotFoundError: there is no such secure element, or an AID is not the caller's there.
        """
        require(principal, TenantKind.SERVICE_PROVIDER)
        _, content = await self._known(principal, se_id)
        async with self._s.storage.transaction() as tx:
            own = await own_instances(tx, principal.tenant_id, se_id)
        kinds: dict[Aid, ObjectKind] = {}
        for description in (one.description for one in own):
            kinds |= dict.fromkeys((lf.aid for lf in description.load_files), ObjectKind.LOAD_FILE)
            kinds |= dict.fromkeys((a.instance_aid for a in description.applications), ObjectKind.APPLICATION)
            if description.dedicated_sd:
                kinds[description.sd_aid] = ObjectKind.SECURITY_DOMAIN
        found = []
        for number, aid in enumerate(aids):
            if aid not in kinds:
                raise NotFoundError(f"{aid} is not yours on this secure element.", field=f"/AID/{number}")
            entry = content.find(aid)
            found.append(Component(aid, kinds[aid], None if entry is None else entry.state))
        return found, content.fresh

    async def free_memory(
        self, principal: Principal, se_id: SeId, *, domain: Aid | None, service_id: str | None
    ) -> tuple[int | None, bool]:
        """Return the non-volatile memory that the caller may use, and whether it is known to be so now.

        It is never more than what its quotas leave, nor than what is free and not reserved.

        Raises:
            NotFoundError: there is no such secure element, or the caller has no such domain or service there.
        """
        require(principal, TenantKind.SERVICE_PROVIDER)
        se, content = await self._known(principal, se_id)
        async with self._s.storage.transaction() as tx:
            own = await own_instances(tx, principal.tenant_id, se_id)
            site = await site_of(tx, self._s.profiles, se, principal.tenant_id)
            named = [one.description for one in own if _is_named(one, domain, service_id)]
            service = named[0] if named and (domain is not None or service_id is not None) else None
            room = None if site is None else await providers_room(tx, site, service)
        if domain is not None and all(one.description.sd_aid != domain for one in own):
            raise NotFoundError("You have no such domain there.", field="/SecurityDomainAID")
        if service_id is not None and all(one.description.service_id != service_id for one in own):
            raise NotFoundError("You have no such service there.", field="/Service")
        return (None if room is None else room.free), content.fresh

    async def _known(self, principal: Principal, se_id: SeId) -> tuple[SecureElement, ObservedContent]:
        async with self._s.storage.transaction() as tx:
            se = await tx.secure_elements.get(se_id)
            if se is None or se.sandbox is not principal.sandbox:
                raise NotFoundError("There is no such secure element.", field="/SecureElement")
            return se, await tx.secure_elements.content(se_id)


def _is_named(one: ServiceInstance, domain: Aid | None, service_id: str | None) -> bool:
    description = one.description
    return domain in (None, description.sd_aid) and service_id in (None, description.service_id)
