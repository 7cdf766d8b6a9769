"""What arrangements look like from outside."""

from opentsm.api.v1 import messages as m
from opentsm.card.gp.privileges import Privilege
from opentsm.tsm.domain.arrangement import Arrangement, ProviderPlace


class DomainAnswer(m.Answer, frozen=True, kw_only=True):
    """A security domain of an arrangement, with the privileges of its role."""

    name: str
    role: str
    aid: str
    holder_id: str
    kvn: int
    parent: str
    privileges: list[str]


class PlaceAnswer(m.Answer, frozen=True, kw_only=True):
    """A provider's place, with the privileges of its domains."""

    mode: str
    under: str
    role: str
    privileges: list[str]


class ArrangementAnswer(m.Answer, frozen=True, kw_only=True):
    """An arrangement; its version counts its changes."""

    id: str
    name: str
    configuration: int
    domains: list[DomainAnswer]
    place: PlaceAnswer | None
    places: dict[str, PlaceAnswer]
    handover: str
    version: int


def arrangement_view(found: Arrangement) -> ArrangementAnswer:
    """Show an arrangement."""
    return ArrangementAnswer(
        id=found.id,
        name=found.name,
        configuration=found.configuration,
        domains=[
            DomainAnswer(
                name=one.name,
                role=one.role,
                aid=str(one.aid),
                holder_id=one.holder_id,
                kvn=one.kvn,
                parent=one.parent,
                privileges=_names(one.privileges),
            )
            for one in found.domains
        ],
        place=None if found.place is None else _place_view(found.place),
        places={provider: _place_view(one) for provider, one in found.places.items()},
        handover=found.handover.value,
        version=found.version,
    )


def _place_view(place: ProviderPlace) -> PlaceAnswer:
    return PlaceAnswer(
        mode=place.mode.value, under=place.under, role=place.role, privileges=_names(place.privileges)
    )


def _names(privileges: int) -> list[str]:
    return [str(one) for one in Privilege if one & privileges == one and one]
