"""Use cases about quotas: an issuer, or the operator for what the central TSM manages, limits providers.

A quota counts from the next request or plan on; what is on the cards already stays.
"""

import msgspec

from opentsm.tsm.domain.arrangement import Arrangement
from opentsm.tsm.domain.space import SpaceLimits, SpaceQuota
from opentsm.tsm.domain.tenant import HUB, Principal, TenantKind
from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.errors import InvalidInputError, NotFoundError, PreconditionFailedError
from opentsm.tsm.kernel.ids import ArrangementId, SpaceQuotaId, TenantId
from opentsm.tsm.kernel.wording import quoted
from opentsm.tsm.ports.repositories import Page
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.mandate import require
from opentsm.tsm.roles.hub.requesting import Requesting

replace = msgspec.structs.replace

# what INSTALL can tell a card: four bytes, of which the highest bit stays unused (Table 11-49)
MOST = 0x7FFFFFFF
_NONE = "There is no such quota."


class NewQuota(Record, frozen=True, kw_only=True):
    """A quota as its setter describes it; see `domain.space.SpaceQuota`."""

    provider_id: TenantId | None = None
    profile: str = ""
    arrangement_id: ArrangementId | None = None
    limits: SpaceLimits


class Quotas(Requesting):
    """Sets and shows quotas."""

    async def set_quota(self, principal: Principal, new: NewQuota) -> SpaceQuota:
        """Limit what a provider, or every provider without a quota of its own, may use of secure elements.

        Raises:
            ForbiddenError: the caller is neither issuer nor operator.
            InvalidInputError: there is no such provider, profile or arrangement, or a limit is impossible.
            ConflictError: there is one for this provider and these cards.
        """
        setter = _setter(principal)
        async with self._s.storage.transaction() as tx:
            await self._check(tx, principal, setter, new)
            quota = SpaceQuota(
                id=SpaceQuotaId(self._s.world.new_id()),
                setter_id=setter,
                provider_id=new.provider_id,
                profile=new.profile,
                arrangement_id=new.arrangement_id,
                limits=new.limits,
            )
            await tx.space.add_quota(quota)
            await _audit(tx, principal, quota, "space-quota.set")
            await tx.commit()
        return quota

    async def change_quota(
        self, principal: Principal, quota_id: SpaceQuotaId, limits: SpaceLimits, *, version: int | None = None
    ) -> SpaceQuota:
        """Replace the limits of a quota.

        Args:
            principal: who set it.
            quota_id: which.
            limits: the new ones.
            version: that of the quota which the caller saw; None for whichever there is.

        Raises:
            NotFoundError: the caller set none of this id.
            InvalidInputError: a limit is impossible.
            PreconditionFailedError: it has another version by now.
        """
        setter = _setter(principal)
        _check_limits(limits)
        async with self._s.storage.transaction() as tx:
            known = await _own(tx, setter, quota_id)
            if version not in (None, known.version):
                raise PreconditionFailedError
            changed = await tx.space.save_quota(replace(known, limits=limits))
            await _audit(tx, principal, changed, "space-quota.changed")
            await tx.commit()
        return changed

    async def lift_quota(self, principal: Principal, quota_id: SpaceQuotaId) -> None:
        """Remove a quota.

        Raises:
            NotFoundError: the caller set none of this id.
        """
        setter = _setter(principal)
        async with self._s.storage.transaction() as tx:
            known = await _own(tx, setter, quota_id)
            await tx.space.remove_quota(known)
            await _audit(tx, principal, known, "space-quota.lifted")
            await tx.commit()

    async def quota(self, principal: Principal, quota_id: SpaceQuotaId) -> SpaceQuota:
        """Return a quota that the caller set, or that names it; the operator may see all.

        Raises:
            NotFoundError: there is none of this id for the caller.
        """
        _named(principal)
        async with self._s.storage.transaction() as tx:
            found = await tx.space.quota(quota_id)
        if found is None or not _may_see(principal, found):
            raise NotFoundError(_NONE)
        return found

    async def quotas(self, principal: Principal, page: Page) -> list[SpaceQuota]:
        """Return a page by id: those that an issuer set, that name a provider, or all for the operator."""
        _named(principal)
        async with self._s.storage.transaction() as tx:
            if principal.kind is TenantKind.SERVICE_PROVIDER:
                return list(await tx.space.quotas_of(principal.tenant_id, page))
            issuer = None if principal.kind is TenantKind.OPERATOR else principal.tenant_id
            return list(await tx.space.quotas(issuer, page))

    async def _check(self, tx: UnitOfWork, principal: Principal, setter: TenantId, new: NewQuota) -> None:
        _check_limits(new.limits)
        if bool(new.profile) is (new.arrangement_id is not None):
            raise InvalidInputError("Name a card profile or an arrangement.", field="/profile")
        if new.profile and new.profile not in self._s.profiles:
            raise InvalidInputError(f"The card profile {quoted(new.profile)} is not known.", field="/profile")
        if new.arrangement_id is not None:
            arrangement = await tx.arrangements.get(new.arrangement_id)
            if arrangement is None or not _manages(arrangement, setter):
                raise InvalidInputError("There is no such arrangement.", field="/arrangement_id")
        if new.provider_id is not None:
            provider = await tx.tenants.get(new.provider_id)
            kind = None if provider is None else provider.kind
            meets = provider is not None and (setter == HUB or provider.sandbox is principal.sandbox)
            if kind is not TenantKind.SERVICE_PROVIDER or not meets:
                raise InvalidInputError("There is no such service provider.", field="/provider_id")


def _named(principal: Principal) -> None:
    require(principal, TenantKind.SE_ISSUER, TenantKind.OPERATOR, TenantKind.SERVICE_PROVIDER)


def _setter(principal: Principal) -> TenantId:
    """Return in whose name the caller sets quotas: the operator acts for the central TSM."""
    require(principal, TenantKind.SE_ISSUER, TenantKind.OPERATOR)
    return HUB if principal.kind is TenantKind.OPERATOR else principal.tenant_id


def _manages(arrangement: Arrangement, setter: TenantId) -> bool:
    if setter == HUB:
        return any(domain.holder_id == HUB for domain in arrangement.domains)
    return arrangement.issuer_id == setter


def _may_see(principal: Principal, quota: SpaceQuota) -> bool:
    own = principal.tenant_id in (quota.setter_id, quota.provider_id)
    return own or principal.kind is TenantKind.OPERATOR


async def _own(tx: UnitOfWork, setter: TenantId, quota_id: SpaceQuotaId) -> SpaceQuota:
    found = await tx.space.quota(quota_id)
    if found is None or found.setter_id != setter:
        raise NotFoundError(_NONE)
    return found


def _check_limits(limits: SpaceLimits) -> None:
    """Refuse limits that are none, or too large to be told to a card, or contradict each other."""
    values = msgspec.structs.asdict(limits)
    if all(value is None for value in values.values()):
        raise InvalidInputError("A quota without any limit limits nothing.", field="/nonvolatile_bytes")
    for name, value in values.items():
        if value is not None and not 0 <= value <= MOST:
            raise InvalidInputError(f"A limit is 0 to {MOST} bytes.", field=f"/{name}_bytes")
    for kind in ("nonvolatile", "volatile"):
        whole, domain = values[kind], values[f"domain_{kind}"]
        if whole is not None and domain is not None and domain > whole:
            raise InvalidInputError(
                "One security domain may not use more than all together.", field=f"/domain_{kind}_bytes"
            )


async def _audit(tx: UnitOfWork, principal: Principal, quota: SpaceQuota, action: str) -> None:
    limits = {k: v for k, v in msgspec.structs.asdict(quota.limits).items() if v is not None}
    details: dict[str, str | int] = {"target": quota.target, "provider": quota.provider_id or "*", **limits}
    await tx.audit.append(
        principal.tenant_id, actor=principal.tenant_id, action=action, subject=quota.id, details=details
    )
