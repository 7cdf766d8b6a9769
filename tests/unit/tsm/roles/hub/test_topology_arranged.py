"""Who manages a card for a provider: with an arrangement, by mode, and without one."""

import json
from importlib.resources import files

import msgspec
import pytest

from opentsm.card.codec.aid import Aid
from opentsm.card.gp.privileges import Privilege
from opentsm.card.profiles import SeProfile
from opentsm.tsm.domain.arrangement import (
    ArrangedDomain,
    Arrangement,
    ContentMode,
    HandOverGrade,
    ProviderPlace,
)
from opentsm.tsm.domain.secure_element import SecureElement, SeIdentifier, SeIdentifierType
from opentsm.tsm.domain.tenant import HUB
from opentsm.tsm.kernel.errors import PlanRefusedError
from opentsm.tsm.kernel.ids import ArrangementId, SeId, TenantId
from opentsm.tsm.roles.hub.topology import DOMAIN_PRIVILEGES, topology

replace = msgspec.structs.replace
P = Privilege
ISSUER, THIRD, DELEGATED, OTHER = (TenantId(name) for name in ("issuer", "third", "delegated", "other"))
ISD, CENTRAL, PARTY = (Aid.from_hex(aid) for aid in ("A000000151000000", "F04F545344000001", "F04F545344AA"))
SERVICE = int(P.SECURITY_DOMAIN | P.TRUSTED_PATH)
SERVICE_DM = SERVICE | int(P.DELEGATED_MANAGEMENT)
ELEMENT = SecureElement(
    id=SeId("se"),
    issuer_id=ISSUER,
    identifiers=(SeIdentifier(type=SeIdentifierType.CIN, value="1"),),
    profile="se-700",
    isd_aid=ISD,
    isd_kvn=0x30,
)


def profile() -> SeProfile:
    text = files("opentsm.card").joinpath("profiles_data", "se-700.json").read_text()
    return SeProfile.from_dict(json.loads(text))


def arranged(**more: object) -> Arrangement:
    manager = int(P.SECURITY_DOMAIN | P.TRUSTED_PATH | P.AUTHORIZED_MANAGEMENT)
    domains = (
        ArrangedDomain(
            name="ISD",
            role="ISD",
            aid=ISD,
            holder_id=ISSUER,
            kvn=0x30,
            privileges=manager | P.TOKEN_VERIFICATION,
        ),
        ArrangedDomain(
            name="central",
            role="Central SD",
            aid=CENTRAL,
            holder_id=HUB,
            kvn=0x31,
            parent="ISD",
            privileges=manager,
        ),
        ArrangedDomain(
            name="party",
            role="Third-party SD",
            aid=PARTY,
            holder_id=THIRD,
            kvn=0x32,
            parent="ISD",
            privileges=manager,
        ),
    )
    made = Arrangement(
        id=ArrangementId("a"),
        issuer_id=ISSUER,
        name="figure 7",
        configuration=700,
        domains=domains,
        place=ProviderPlace(under="central", role="SP SD", privileges=SERVICE),
        places={
            THIRD: ProviderPlace(
                mode=ContentMode.AUTHORIZED, under="party", role="SP SD", privileges=SERVICE
            ),
            DELEGATED: ProviderPlace(
                mode=ContentMode.DELEGATED, under="central", role="SP SD with DM", privileges=SERVICE_DM
            ),
        },
        handover=HandOverGrade.CONFIDENTIAL,
    )
    return replace(made, **more)


def test_topology_when_not_arranged_then_the_issuer_manages() -> None:
    found = topology(ELEMENT, profile(), OTHER)
    assert (found.manager_id, found.manager_sd, found.manager_kvn) == (ISSUER, ISD, 0x30)
    assert (found.domain_privileges, found.mode) == (DOMAIN_PRIVILEGES, ContentMode.CENTRALISED)


def test_topology_when_centralised_then_the_central_tsm_manages() -> None:
    found = topology(ELEMENT, profile(), OTHER, arranged())
    assert (found.manager_id, found.manager_sd, found.manager_kvn) == (HUB, CENTRAL, 0x31)
    assert (found.provider_id, found.domain_privileges, found.tokens_by) == (OTHER, SERVICE, None)
    assert found.handover is HandOverGrade.CONFIDENTIAL


def test_topology_when_delegated_then_tokens_are_of_whoever_holds_the_verifying_domain() -> None:
    found = topology(ELEMENT, profile(), DELEGATED, arranged())
    assert (found.manager_id, found.manager_sd) == (HUB, CENTRAL)
    assert (found.mode, found.tokens_by) == (ContentMode.DELEGATED, ISSUER)
    assert found.domain_privileges == SERVICE_DM


def test_topology_when_authorized_then_the_provider_manages() -> None:
    found = topology(ELEMENT, profile(), THIRD, arranged())
    assert (found.manager_id, found.manager_sd, found.manager_kvn) == (THIRD, PARTY, 0x32)
    assert (found.mode, found.tokens_by) == (ContentMode.AUTHORIZED, None)


def test_topology_when_a_provider_has_no_place_then_refused() -> None:
    with pytest.raises(PlanRefusedError):
        topology(ELEMENT, profile(), OTHER, arranged(place=None))


def test_topology_when_the_card_is_only_read_then_through_the_issuers_domain() -> None:
    found = topology(ELEMENT, profile(), ISSUER, arranged(place=None))
    assert (found.manager_id, found.manager_sd, found.manager_kvn) == (ISSUER, ISD, 0x30)


def test_topology_when_the_central_tsm_holds_the_top_then_only_after_it_took_it_over() -> None:
    top = replace(arranged().domains[0], holder_id=HUB, kvn=0x31)
    place = ProviderPlace(under="ISD", role="SP SD", privileges=SERVICE)
    figure = arranged(domains=(top,), place=place, places={})
    before = topology(ELEMENT, profile(), OTHER, figure)
    assert (before.manager_id, before.manager_kvn) == (ISSUER, 0x30)
    after = topology(replace(ELEMENT, isd_kvn=0x31), profile(), OTHER, figure)
    assert (after.manager_id, after.manager_sd, after.manager_kvn) == (HUB, ISD, 0x31)
