"""Plans that hand a new domain over confidentially: in which order, when again, and when not at all."""

import msgspec
import pytest
from tests.unit.tsm.engine.test_plan import (
    CLAIMS,
    CONFIDENTIAL,
    DESCRIPTION,
    DOMAIN,
    EMPTY,
    ISSUER,
    OWN_KVN,
    PROVIDER,
    TEMPORARY_KVN,
    TOPOLOGY,
    carried_out,
    desired,
    shape,
)

from opentsm.card.profiles import FirstKeys, HandOver
from opentsm.tsm.domain.arrangement import HandOverGrade
from opentsm.tsm.domain.card_content import KeyProvisioning, KeyProvisioningMode, ObservedContent
from opentsm.tsm.engine import content as c
from opentsm.tsm.engine import steps as s
from opentsm.tsm.engine.plan import plan
from opentsm.tsm.engine.sessions import Plan, SessionKind, Topology
from opentsm.tsm.kernel.errors import PlanRefusedError

replace = msgspec.structs.replace

ASKED = replace(EMPTY, certificate=b"certificate")
HEX = DOMAIN.hex().upper()


def made(observed: ObservedContent = ASKED, topology: Topology = CONFIDENTIAL) -> Plan:
    return plan(desired(), observed, topology, CLAIMS)


def kinds(found: Plan) -> list[str]:
    return [type(step).__name__ for session in found.sessions for step in session.steps]


def test_plan_when_confidential_asks_for_the_cards_certificate_first() -> None:
    assert shape(made(EMPTY)) == [(PROVIDER, 0, ["ReadCardCertificate"])]


def test_plan_when_confidential_agrees_in_the_managers_channel_and_proves_by_personalising() -> None:
    assert shape(made()) == [
        (ISSUER, 0x30, ["CreateSecurityDomain", "OfferKeys"]),
        (ISSUER, 0x30, ["AgreeKeys"]),
        (ISSUER, 0x30, ["Load", "Install"]),
        (PROVIDER, OWN_KVN, ["Personalize"]),
        (ISSUER, 0x30, ["MakeSelectable", "ReadRegistry"]),
    ]
    kind = [session.kind for session in made().sessions[:3]]
    assert kind == [SessionKind.SECURE_CHANNEL, SessionKind.CONTINUED, SessionKind.SECURE_CHANNEL]
    assert made().sessions[1].steps == (
        s.AgreeKeys(domain=DOMAIN, kvn=OWN_KVN, owner_id=PROVIDER, certificate=b"certificate"),
    )


def test_plan_when_confidential_and_nothing_is_personalised_proves_the_keys_all_the_same() -> None:
    apps = tuple(replace(app, personalization=None) for app in DESCRIPTION.applications)
    found = plan(desired(description=replace(DESCRIPTION, applications=apps)), ASKED, CONFIDENTIAL, CLAIMS)
    assert (PROVIDER, OWN_KVN, ["ProveKeys"]) in shape(found)


def test_plan_when_the_owner_chose_its_keys_sends_them_under_the_agreed_ones() -> None:
    provisioning = KeyProvisioning(mode=KeyProvisioningMode.GIVEN)
    chosen = desired(description=replace(DESCRIPTION, key_provisioning=provisioning))
    found = shape(plan(chosen, ASKED, CONFIDENTIAL, CLAIMS))
    assert (PROVIDER, TEMPORARY_KVN, ["ReplaceKeys"]) in found
    agreed = plan(chosen, ASKED, CONFIDENTIAL, CLAIMS).sessions[1].steps[0]
    assert isinstance(agreed, s.AgreeKeys) and agreed.kvn == TEMPORARY_KVN
    half = c.confirm(ASKED, agreed, through=agreed.domain)
    assert half.grades == {HEX: HandOverGrade.CONFIDENTIAL}


def test_plan_when_cards_inherit_keys_agrees_all_the_same() -> None:
    inherited = replace(CONFIDENTIAL, first_keys=FirstKeys.INHERITED)
    assert shape(made(topology=inherited)) == shape(made())


def test_plan_when_the_agreement_is_in_doubt_reads_asks_for_the_keys_and_goes_on() -> None:
    agreement = made().sessions[1].steps[0]
    before = carried_out(ASKED, Plan(sessions=made().sessions[:1]))
    doubted = c.doubt(before, agreement)
    assert kinds(made(doubted)) == ["ReadRegistry"]
    read = replace(doubted, fresh=True)
    assert kinds(made(read)) == ["ProbeKeys"]
    without = replace(read, keys={HEX: ()})
    assert kinds(made(without))[:2] == ["OfferKeys", "AgreeKeys"]
    there = replace(read, keys={HEX: (OWN_KVN,)}, unproven=(HEX,))
    assert shape(made(there))[:2] == [
        (ISSUER, 0x30, ["Load", "Install"]),
        (PROVIDER, OWN_KVN, ["Personalize"]),
    ]


def test_plan_when_confidential_and_the_card_has_no_way_is_refused() -> None:
    without = replace(CONFIDENTIAL, handover_way=HandOver.NONE, casd=None)
    with pytest.raises(PlanRefusedError, match="no way to do that"):
        made(EMPTY, without)
    with pytest.raises(PlanRefusedError, match="no way to do that"):
        made(ASKED, without)


def test_plan_when_the_domain_has_keys_that_its_creator_knows_is_refused() -> None:
    first = plan(desired(), EMPTY, TOPOLOGY, ())
    half = carried_out(EMPTY, Plan(sessions=first.sessions[:1]))
    assert half.grades == {HEX: HandOverGrade.RELAY_TRUSTED}
    with pytest.raises(PlanRefusedError, match="its creator knows"):
        made(half)


def test_plan_when_the_provider_makes_its_own_domain_hands_nothing_over() -> None:
    own = replace(CONFIDENTIAL, manager_id=PROVIDER)
    found = made(EMPTY, own)
    assert "AgreeKeys" not in kinds(found)
    (first,) = [step for one in found.sessions for step in one.steps if isinstance(step, s.PutFirstKeys)]
    assert not first.handed_over
    assert HEX not in carried_out(EMPTY, found).grades
    above = replace(EMPTY, grades={own.manager_sd.hex().upper(): HandOverGrade.CONFIDENTIAL})
    assert carried_out(above, found).grades[HEX] is HandOverGrade.CONFIDENTIAL


def test_plan_when_rotating_later_keeps_the_grade() -> None:
    deployed = carried_out(ASKED, made())
    rotated = plan(desired(key_version=OWN_KVN + 1), deployed, CONFIDENTIAL, CLAIMS)
    assert kinds(rotated)[0] == "ReplaceKeys"
    assert carried_out(deployed, rotated).grades == {HEX: HandOverGrade.CONFIDENTIAL}
