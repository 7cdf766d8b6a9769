"""Authorities for cards: whom a provider believes that a card is a card, for confidential hand-overs."""

from typing import Annotated, Literal, Protocol

from litestar import delete, get, put
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter, SkipValidation
from msgspec import Meta

from opentsm.api.authentication import Caller
from opentsm.api.v1 import messages as m
from opentsm.tsm.domain.card_trust import CardAuthority
from opentsm.tsm.roles.sp.card_authorities import CardAuthorities

_TAG = ["card authorities"]
_Hex = Annotated[str, Meta(pattern="^([0-9A-Fa-f]{2})+$", max_length=1000)]
_Curve = Literal["P_256", "P_384", "BRAINPOOL_P256R1"]


class AuthoritiesContainer(Protocol):
    """What these routes need of the application."""

    @property
    def card_authorities(self) -> CardAuthorities:
        """Return the use cases about authorities for cards."""
        ...


_Container = NamedDependency[SkipValidation[AuthoritiesContainer]]
_Profile = Annotated[str, PathParameter(description="the card profile")]


class CardAuthorityBody(m.Body, frozen=True, kw_only=True):
    """An authority's public key (04, X, Y), and the caller's own certificate by it (tag 7F21), in hex.

    With `required` the caller takes over no security domain of such a card in a weaker grade.
    """

    public_key: _Hex
    certificate: _Hex
    curve: _Curve = "P_256"
    required: bool = False


class CardAuthorityAnswer(m.Answer, frozen=True, kw_only=True):
    """An authority that is trusted for the cards of a profile."""

    profile: str
    curve: str
    public_key: str
    certificate: str
    required: bool


class CardAuthorityList(m.Answer, frozen=True, kw_only=True):
    """All that the caller trusts; `signing_key` (P-256) is what an authority certifies for the caller."""

    signing_key: str
    items: list[CardAuthorityAnswer]


@get("/card-authorities", tags=_TAG, summary="List authorities for cards (provider; operator: central TSM)")
async def list_card_authorities(principal: Caller, container: _Container) -> CardAuthorityList:
    """Return whom the caller trusts for which cards."""
    desk = container.card_authorities
    key = await desk.signing_key(principal)
    found = await desk.all(principal)
    return CardAuthorityList(signing_key=key.hex().upper(), items=[_shown(one) for one in found])


@put(
    "/card-authorities/{profile:str}",
    tags=_TAG,
    status_code=200,
    summary="Trust an authority for cards (provider; operator: central TSM)",
)
async def put_card_authority(
    principal: Caller, container: _Container, profile: _Profile, data: JSONBody[CardAuthorityBody]
) -> CardAuthorityAnswer:
    """Trust an authority for the cards of a profile, in place of any other."""
    made = await container.card_authorities.put(
        principal,
        profile,
        curve=data.curve,
        point=bytes.fromhex(data.public_key),
        certificate=bytes.fromhex(data.certificate),
        required=data.required,
    )
    return _shown(made)


@delete(
    "/card-authorities/{profile:str}",
    tags=_TAG,
    status_code=204,
    summary="Trust nobody for cards of a profile (provider; operator: central TSM)",
)
async def remove_card_authority(principal: Caller, container: _Container, profile: _Profile) -> None:
    """Trust nobody any more for the cards of a profile."""
    await container.card_authorities.remove(principal, profile)


def _shown(found: CardAuthority) -> CardAuthorityAnswer:
    return CardAuthorityAnswer(
        profile=found.profile,
        curve=found.curve,
        public_key=found.point.hex().upper(),
        certificate=found.certificate.hex().upper(),
        required=found.required,
    )
