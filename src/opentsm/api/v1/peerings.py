"""Peerings: which other TSMs this one works with, for whom."""

from base64 import urlsafe_b64decode
from datetime import datetime
from typing import Annotated

from litestar import delete, get, put
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from opentsm.api.authentication import Caller
from opentsm.api.container import Services
from opentsm.api.v1.messages import Answer, Body, Name
from opentsm.tsm.domain import peer_assertion as p
from opentsm.tsm.domain.peering import Peering
from opentsm.tsm.kernel.errors import InvalidInputError
from opentsm.tsm.kernel.ids import TenantId

_TAG = ["peers"]
_PATH = "/parties/{party_id:str}/peerings"
Coordinate = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{43}$")]


class PeerKey(Body, frozen=True, kw_only=True):
    """A public key of P-256 (RFC 7517)."""

    kty: Annotated[str, Meta(pattern="^EC$")]
    crv: Annotated[str, Meta(pattern="^P-256$")]
    x: Coordinate
    y: Coordinate
    kid: str = ""


class NewPeering(Body, frozen=True, kw_only=True):
    """Another TSM; with a `url` the party lives there, without it that TSM may ask for the party."""

    name: Name
    key: PeerKey
    url: Annotated[str, Meta(max_length=512)] = ""


class PeeringAnswer(Answer, frozen=True, kw_only=True):
    """A peering; `key_id` is the thumbprint of the other TSM's key (RFC 7638)."""

    party_id: str
    key_id: str
    name: str
    url: str
    created_at: datetime


class PeeringList(Answer, frozen=True, kw_only=True):
    """A party's peerings."""

    items: list[PeeringAnswer]


class PeerIdentityAnswer(Answer, frozen=True, kw_only=True):
    """The key by which other TSMs know this one."""

    kty: str
    crv: str
    x: str
    y: str
    kid: str


@get("/peer-identity", tags=_TAG, summary="Show the key by which other TSMs know this one")
async def show_identity(principal: Caller, container: Services) -> PeerIdentityAnswer:
    """Return this TSM's public key; give it to the operator of the other TSM by a way that both trust."""
    return PeerIdentityAnswer(**await container.peerings.identity(principal))


@put(_PATH, tags=_TAG, status_code=200, summary="Set a peering of a party (operator)")
async def set_peering(
    principal: Caller, container: Services, party_id: FromPath[str], data: JSONBody[NewPeering]
) -> PeeringAnswer:
    """Work with another TSM for this party; the same key again replaces what was said before."""
    found = await container.peerings.put(
        principal, TenantId(party_id), name=data.name, key=_point(data.key), url=data.url
    )
    return _shown(found)


@get(_PATH, tags=_TAG, summary="List the peerings of a party (operator)")
async def list_peerings(principal: Caller, container: Services, party_id: FromPath[str]) -> PeeringList:
    """Return all of them."""
    found = await container.peerings.list(principal, TenantId(party_id))
    return PeeringList(items=[_shown(one) for one in found])


@delete(_PATH + "/{key_id:str}", tags=_TAG, summary="End a peering (operator)")
async def end_peering(
    principal: Caller, container: Services, party_id: FromPath[str], key_id: FromPath[str]
) -> None:
    """Ask nothing of that TSM any more, and answer it nothing, for this party."""
    await container.peerings.remove(principal, TenantId(party_id), key_id)


def _point(key: PeerKey) -> bytes:
    point = b"\x04" + urlsafe_b64decode(f"{key.x}=") + urlsafe_b64decode(f"{key.y}=")
    try:
        p.thumbprint(point)
    except ValueError as error:
        raise InvalidInputError("key is not a point of P-256.", field="/key") from error
    return point


def _shown(peering: Peering) -> PeeringAnswer:
    return PeeringAnswer(
        party_id=peering.tenant_id,
        key_id=p.thumbprint(peering.key),
        name=peering.name,
        url=peering.url,
        created_at=peering.created_at,
    )
