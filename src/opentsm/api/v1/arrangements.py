"""Arrangements: which party holds which security domain of an issuer's secure elements."""

from typing import Annotated, Literal

from litestar import Response, get, post, put
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from opentsm.api.authentication import Caller
from opentsm.api.container import Services
from opentsm.api.idempotency import LOCATED
from opentsm.api.v1 import messages as m
from opentsm.api.v1.arrangement_views import ArrangementAnswer, arrangement_view
from opentsm.api.v1.operations import accepted
from opentsm.api.v1.paging import After, Limit, read_page
from opentsm.api.v1.secure_elements import new_key_set
from opentsm.card.codec.aid import Aid
from opentsm.card.errors import AidError
from opentsm.tsm.domain.arrangement import (
    ArrangedDomain,
    ContentMode,
    HandOverGrade,
    ProviderPlace,
)
from opentsm.tsm.kernel.errors import InvalidInputError
from opentsm.tsm.kernel.ids import ArrangementId, SeId, TenantId
from opentsm.tsm.roles.hub.arrangements.desk import NewArrangement

_TAG = ["arrangements"]
_Holder = Annotated[str, Meta(max_length=64, description="a party's id; `hub` for the central TSM")]


class DomainBody(m.Body, frozen=True, kw_only=True):
    """A security domain of the card: its role in the configuration, who holds it, under which other one.

    `kvn` is the version of its holder's key set; the issuer security domain alone has no parent.
    """

    name: Annotated[str, Meta(min_length=1, max_length=50)]
    role: str
    aid: m.AidHex
    holder_id: _Holder
    kvn: Annotated[int, Meta(ge=1, le=127)]
    parent: str = ""


class PlaceBody(m.Body, frozen=True, kw_only=True):
    """Where a service provider's domains hang (`under`: a domain's name), with which role, in which mode."""

    mode: Literal["CM", "DM", "AM"] = "CM"
    under: str
    role: str


class ArrangementBody(m.Body, frozen=True, kw_only=True):
    """An arrangement; `places` are those of single providers by id, `place` that of all others.

    Without `handover` it is the configuration's: confidential in 700 and 800.
    """

    name: m.Name
    configuration: int
    domains: Annotated[list[DomainBody], Meta(min_length=1, max_length=16)]
    place: PlaceBody | None = None
    places: dict[str, PlaceBody] = {}
    handover: Literal["relay-trusted", "confidential"] | None = None


class ConfigurationBody(m.Body, frozen=True, kw_only=True):
    """Which arrangement to build; none: the one that the secure element refers to."""

    arrangement_id: str | None = None


class ArrangementPage(m.Answer, frozen=True, kw_only=True):
    """A page; `next` is the cursor for `after`, null on the last page."""

    items: list[ArrangementAnswer]
    next: str | None


# --- endpoints -------------------------------------------------------------------------------------------


@post("/arrangements", opt=LOCATED, tags=_TAG, summary="Make an arrangement (issuer)")
async def create_arrangement(
    principal: Caller, container: Services, data: JSONBody[ArrangementBody]
) -> Response[ArrangementAnswer]:
    """Say which party holds which security domain of a configuration; checked against its data."""
    made = await container.arrangements.create(principal, _new(data))
    return Response(
        arrangement_view(made), status_code=201, headers={"Location": f"/v1/arrangements/{made.id}"}
    )


@post(
    "/secure-elements/{se_id:str}/configurations",
    tags=_TAG,
    status_code=202,
    summary="Build an arrangement on a card (issuer)",
)
async def configure_secure_element(
    principal: Caller, container: Services, se_id: FromPath[str], data: JSONBody[ConfigurationBody]
) -> Response[m.OperationAnswer]:
    """Make the security domains of the arrangement that the card does not have; each holder puts its keys."""
    named = None if data.arrangement_id is None else ArrangementId(data.arrangement_id)
    return accepted(await container.requests.configure(principal, SeId(se_id), named))


@put(
    "/secure-elements/{se_id:str}/domains/{aid:str}/key-set",
    tags=_TAG,
    status_code=204,
    summary="Register the key set of a domain (its holder)",
)
async def register_held_keys(
    principal: Caller,
    container: Services,
    se_id: FromPath[str],
    aid: FromPath[str],
    data: JSONBody[m.KeySetBody],
) -> None:
    """Register the key set of a domain that a card came with; the operator that of the central TSM's."""
    try:
        domain = Aid.from_hex(aid)
    except AidError:
        raise InvalidInputError("The domain's AID is 5 to 16 bytes in hex.", field="aid") from None
    await container.onboarding.register_held_keys(principal, SeId(se_id), domain, new_key_set(data))


@get("/arrangements", tags=_TAG, summary="List arrangements (issuer)")
async def list_arrangements(
    principal: Caller, container: Services, limit: Limit = 50, after: After = None
) -> ArrangementPage:
    """Return the issuer's arrangements by id; all of them to the operator."""
    items, following = await read_page(
        lambda page: container.arrangements.arrangements(principal, page), lambda one: one.id, limit, after
    )
    return ArrangementPage(items=[arrangement_view(one) for one in items], next=following)


@get("/arrangements/{arrangement_id:str}", tags=_TAG, summary="Show an arrangement (issuer)")
async def show_arrangement(
    principal: Caller, container: Services, arrangement_id: FromPath[str]
) -> ArrangementAnswer:
    """Return an arrangement of the caller."""
    found = await container.arrangements.arrangement(principal, ArrangementId(arrangement_id))
    return arrangement_view(found)


@put("/arrangements/{arrangement_id:str}", tags=_TAG, summary="Change an arrangement (issuer)")
async def change_arrangement(
    principal: Caller, container: Services, arrangement_id: FromPath[str], data: JSONBody[ArrangementBody]
) -> ArrangementAnswer:
    """Replace an arrangement; once secure elements refer to it, only its name, and places be added."""
    changed = await container.arrangements.change(principal, ArrangementId(arrangement_id), _new(data))
    return arrangement_view(changed)


def _new(data: ArrangementBody) -> NewArrangement:
    return NewArrangement(
        name=data.name,
        configuration=data.configuration,
        domains=tuple(
            ArrangedDomain(
                name=one.name,
                role=one.role,
                aid=Aid.from_hex(one.aid),
                holder_id=TenantId(one.holder_id),
                kvn=one.kvn,
                parent=one.parent,
            )
            for one in data.domains
        ),
        place=None if data.place is None else _place(data.place),
        places={TenantId(provider): _place(one) for provider, one in data.places.items()},
        handover=None if data.handover is None else HandOverGrade(data.handover),
    )


def _place(data: PlaceBody) -> ProviderPlace:
    return ProviderPlace(mode=ContentMode(data.mode), under=data.under, role=data.role)
