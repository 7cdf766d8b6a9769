"""Memory of secure elements: quotas of providers, and what is free."""

from typing import Annotated

from litestar import Response, delete, get, post, put
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from msgspec import Meta

from opentsm.api.authentication import Caller
from opentsm.api.container import Services
from opentsm.api.idempotency import LOCATED
from opentsm.api.v1 import messages as m
from opentsm.api.v1.operations import accepted
from opentsm.api.v1.paging import After, Limit, read_page
from opentsm.tsm.domain.space import SpaceLimits, SpaceQuota
from opentsm.tsm.kernel.ids import ArrangementId, SeId, SpaceQuotaId, TenantId
from opentsm.tsm.roles.hub.space.quotas import MOST, NewQuota

_TAG = ["space"]
_Bytes = Annotated[int, Meta(ge=0, le=MOST)] | None
Amount = Annotated[
    int | None, QueryParameter(ge=1, le=MOST, description="bytes; the answer says whether so many are free")
]


class LimitsBody(m.Body, frozen=True, kw_only=True):
    """Most bytes on one secure element, and in one security domain there; null: as much as there is."""

    nonvolatile_bytes: _Bytes = None
    volatile_bytes: _Bytes = None
    domain_nonvolatile_bytes: _Bytes = None
    domain_volatile_bytes: _Bytes = None


class SpaceQuotaBody(LimitsBody, frozen=True, kw_only=True):
    """A quota for one provider (null: each without one of its own), on cards of a profile or arrangement."""

    provider_id: str | None = None
    profile: str | None = None
    arrangement_id: str | None = None


class SpaceQuotaAnswer(m.Answer, frozen=True, kw_only=True):
    """A quota; its version counts its changes."""

    id: str
    setter_id: str
    provider_id: str | None
    profile: str | None
    arrangement_id: str | None
    nonvolatile_bytes: int | None
    volatile_bytes: int | None
    domain_nonvolatile_bytes: int | None
    domain_volatile_bytes: int | None
    version: int


class SpaceQuotaPage(m.Answer, frozen=True, kw_only=True):
    """A page; `next` is the cursor for `after`, null on the last page."""

    items: list[SpaceQuotaAnswer]
    next: str | None


class SpaceAnswer(m.Answer, frozen=True, kw_only=True):
    """Memory that the caller may use of a secure element.

    `free_bytes` is null when the card never showed it; `read_at` is when it did, `fresh` that nothing is
    known to have changed since. `available` answers the amount that was asked for. `quota_bytes` and
    `used_bytes` are a provider's own.
    """

    free_bytes: int | None
    available: bool | None
    fresh: bool
    read_at: str | None
    age_s: int | None
    quota_bytes: int | None
    used_bytes: int | None
    reserved_bytes: int


@post("/space-quotas", opt=LOCATED, tags=_TAG, summary="Limit a provider's memory (issuer, operator)")
async def set_space_quota(
    principal: Caller, container: Services, data: JSONBody[SpaceQuotaBody]
) -> Response[SpaceQuotaAnswer]:
    """Say how many bytes a provider may use on each card of a profile or an arrangement."""
    new = NewQuota(
        provider_id=None if data.provider_id is None else TenantId(data.provider_id),
        profile=data.profile or "",
        arrangement_id=None if data.arrangement_id is None else ArrangementId(data.arrangement_id),
        limits=_limits(data),
    )
    made = await container.space.set_quota(principal, new)
    return Response(_view(made), status_code=201, headers={"Location": f"/v1/space-quotas/{made.id}"})


@get("/space-quotas", tags=_TAG, summary="List quotas")
async def list_space_quotas(
    principal: Caller, container: Services, limit: Limit = 50, after: After = None
) -> SpaceQuotaPage:
    """Return by id the quotas that an issuer set, or that name the provider; all of them to the operator."""
    items, following = await read_page(
        lambda page: container.space.quotas(principal, page), lambda one: one.id, limit, after
    )
    return SpaceQuotaPage(items=[_view(one) for one in items], next=following)


@get("/space-quotas/{quota_id:str}", tags=_TAG, summary="Show a quota")
async def show_space_quota(
    principal: Caller, container: Services, quota_id: FromPath[str]
) -> SpaceQuotaAnswer:
    """Return a quota that the caller set, or that names it."""
    return _view(await container.space.quota(principal, SpaceQuotaId(quota_id)))


@put("/space-quotas/{quota_id:str}", tags=_TAG, summary="Change a quota's limits (issuer, operator)")
async def change_space_quota(
    principal: Caller, container: Services, quota_id: FromPath[str], data: JSONBody[LimitsBody]
) -> SpaceQuotaAnswer:
    """Replace the limits; they count from the next request on, and what is on cards stays."""
    changed = await container.space.change_quota(principal, SpaceQuotaId(quota_id), _limits(data))
    return _view(changed)


@delete("/space-quotas/{quota_id:str}", tags=_TAG, summary="Lift a quota (issuer, operator)")
async def lift_space_quota(principal: Caller, container: Services, quota_id: FromPath[str]) -> None:
    """Remove a quota that the caller set."""
    await container.space.lift_quota(principal, SpaceQuotaId(quota_id))


@get("/secure-elements/{se_id:str}/space", tags=_TAG, summary="Show free memory, or whether so much is free")
async def show_space(
    principal: Caller, container: Services, se_id: FromPath[str], amount: FromQuery[Amount] = None
) -> SpaceAnswer:
    """Return what the card showed last: all to who manages it, to a provider what is left for it."""
    room = await container.space.room(principal, SeId(se_id))
    age = None if room.read_at is None else container.world.now() - room.read_at
    return SpaceAnswer(
        free_bytes=room.free,
        available=None if amount is None else room.has(amount),
        fresh=room.fresh,
        read_at=None if room.read_at is None else room.read_at.isoformat(),
        age_s=None if age is None else max(0, int(age.total_seconds())),
        quota_bytes=room.quota,
        used_bytes=room.used,
        reserved_bytes=room.reserved,
    )


@post(
    "/secure-elements/{se_id:str}/space-readings", tags=_TAG, status_code=202, summary="Read the free memory"
)
async def read_space(
    principal: Caller, container: Services, se_id: FromPath[str]
) -> Response[m.OperationAnswer]:
    """Ask for a fresh reading of the card: its issuer, the operator, or a provider with a service there."""
    return accepted(await container.space.read(principal, SeId(se_id)))


HANDLERS = (
    set_space_quota,
    list_space_quotas,
    show_space_quota,
    change_space_quota,
    lift_space_quota,
    show_space,
    read_space,
)


def _limits(data: LimitsBody) -> SpaceLimits:
    return SpaceLimits(
        nonvolatile=data.nonvolatile_bytes,
        volatile=data.volatile_bytes,
        domain_nonvolatile=data.domain_nonvolatile_bytes,
        domain_volatile=data.domain_volatile_bytes,
    )


def _view(quota: SpaceQuota) -> SpaceQuotaAnswer:
    limits = quota.limits
    return SpaceQuotaAnswer(
        id=quota.id,
        setter_id=quota.setter_id,
        provider_id=quota.provider_id,
        profile=quota.profile or None,
        arrangement_id=quota.arrangement_id,
        nonvolatile_bytes=limits.nonvolatile,
        volatile_bytes=limits.volatile,
        domain_nonvolatile_bytes=limits.domain_nonvolatile,
        domain_volatile_bytes=limits.domain_volatile,
        version=quota.version,
    )
