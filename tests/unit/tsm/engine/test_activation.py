"""What activation plans: only the difference, only our own rules, and nothing that the card cannot do."""

import msgspec
import pytest

from opentsm.card.codec.aid import Aid
from opentsm.card.gp.access_rules import AccessRule, ApduFilter, RuleTarget
from opentsm.card.profiles import Contactless, FirstKeys
from opentsm.tsm.domain.card_content import (
    ACTIVATED,
    DEACTIVATED,
    NON_ACTIVATABLE,
    ApplicationSpecification,
    CardObject,
    DesiredContent,
    Goal,
    ObjectKind,
    ObservedContent,
    ServiceDescription,
    Stage,
)
from opentsm.tsm.engine import activation
from opentsm.tsm.engine import activation_steps as a
from opentsm.tsm.engine.activation import Activation
from opentsm.tsm.engine.sessions import SessionKind, Topology
from opentsm.tsm.kernel.documents import from_json, to_json
from opentsm.tsm.kernel.errors import PlanRefusedError
from opentsm.tsm.kernel.ids import InstanceId, TenantId

replace = msgspec.structs.replace

ISD, APP = Aid.from_hex("A000000151000000"), Aid.from_hex("F04F54534D020101")
KEY = "F04F54534D020101"
ME, OTHER = InstanceId("me"), InstanceId("other")
FIRST, SECOND = b"\x11" * 32, b"\x22" * 20
TOPOLOGY = Topology(
    manager_id=TenantId("issuer"),
    manager_sd=ISD,
    manager_kvn=0x30,
    provider_id=TenantId("provider"),
    domain_load_file=ISD,
    domain_module=ISD,
    domain_privileges=0,
    domain_parameters=b"",
    temporary_kvn=0x38,
    first_keys=FirstKeys.FORWARDED,
    contactless=Contactless.CRS,
    access_rules=True,
)
WANTED = DesiredContent(
    instance_id=ME,
    description=ServiceDescription(
        service_id="s",
        version_tag="1.0.0",
        flavor_id="f",
        provider_id=TenantId("provider"),
        sd_aid=Aid.from_hex("F04F54534DF001"),
        load_files=(),
        applications=(
            ApplicationSpecification(
                instance_aid=APP, load_file=ISD, module=ISD, accessible=True, contactless=True
            ),
        ),
        device_apps=(FIRST,),
    ),
    goal=Goal.ACTIVE,
    key_version=0x34,
)
CARD = ObservedContent(
    objects=(CardObject(aid=APP, kind=ObjectKind.APPLICATION, state=0x07),),
    fresh=True,
    access=(),
    contactless={KEY: DEACTIVATED},
)


def rule(device: bytes, *, nfc: bool = True) -> bytes:
    return AccessRule(RuleTarget(aid=bytes(APP), device=device), apdu=True, nfc=nfc).to_bytes()


def holding(*rules: bytes, own: InstanceId = ME, state: str = ACTIVATED) -> ObservedContent:
    """Return a card on which rules are that this TSM stored."""
    return replace(
        CARD,
        access=tuple(activation.access_of(one) for one in rules),
        own_access={one.hex().upper(): own for one in rules},
        contactless={KEY: state},
    )


def described(**changes: object) -> DesiredContent:
    return replace(WANTED, description=replace(WANTED.description, **changes))


def changes(
    desired: DesiredContent, observed: ObservedContent, topology: Topology = TOPOLOGY
) -> list[object]:
    planner = Activation(desired, observed, topology)
    assert planner.probes() == []
    sessions = planner.crs_sessions(set())
    assert all(one.kind is SessionKind.PLAIN for one in sessions)
    return [*planner.steps(set()), *(step for one in sessions for step in one.steps)]


def test_changes_when_nothing_is_there_then_rule_and_activation() -> None:
    grant = a.GrantAccess(application=APP, device=FIRST, rule=rule(FIRST))
    assert changes(WANTED, CARD) == [grant, a.SetContactless(application=APP, activate=True)]


def test_changes_when_all_is_there_then_none() -> None:
    assert changes(WANTED, holding(rule(FIRST))) == []


def test_changes_when_an_update_exchanges_the_device_app_then_only_the_difference() -> None:
    wanted = described(device_apps=(SECOND,))
    assert changes(wanted, holding(rule(FIRST))) == [
        a.RevokeAccess(application=APP, device=FIRST, rule=rule(FIRST)),
        a.GrantAccess(application=APP, device=SECOND, rule=rule(SECOND)),
    ]


def test_changes_when_an_update_ends_nfc_then_the_rule_changes_and_it_is_deactivated() -> None:
    (app,) = WANTED.description.applications
    wanted = described(applications=(replace(app, contactless=False),))
    assert changes(wanted, holding(rule(FIRST))) == [
        a.RevokeAccess(application=APP, device=FIRST, rule=rule(FIRST)),
        a.GrantAccess(application=APP, device=FIRST, rule=rule(FIRST, nfc=False)),
        a.SetContactless(application=APP, activate=False),
    ]


def test_changes_when_suspended_then_all_is_taken_back_unread() -> None:
    unread = replace(holding(rule(FIRST)), access=None, contactless={})
    assert changes(replace(WANTED, goal=Goal.SUSPENDED), unread) == [
        a.RevokeAccess(application=APP, device=FIRST, rule=rule(FIRST)),
        a.SetContactless(application=APP, activate=False),
    ]


@pytest.mark.parametrize("state", [DEACTIVATED, NON_ACTIVATABLE])
def test_changes_when_suspended_and_not_active_then_none(state: str) -> None:
    assert changes(replace(WANTED, goal=Goal.SUSPENDED), holding(state=state)) == []


def test_changes_when_the_stage_is_not_wanted_then_none() -> None:
    assert changes(replace(WANTED, stages=frozenset({Stage.INSTALL, Stage.PERSONALIZE})), CARD) == []


def test_changes_when_the_application_is_not_selectable_then_none() -> None:
    (app,) = WANTED.description.applications
    assert changes(described(applications=(replace(app, make_selectable=False),)), CARD) == []


@pytest.mark.parametrize("missing", [{"accessible": False}, {}])
def test_changes_when_no_app_is_named_or_none_may_then_no_rule(missing: dict[str, bool]) -> None:
    (app,) = WANTED.description.applications
    wanted = described(applications=(replace(app, **missing),), device_apps=(FIRST,) if missing else ())
    assert changes(wanted, replace(CARD, access=None, contactless={KEY: ACTIVATED})) == []


def test_rules_when_they_are_of_others_then_stay() -> None:
    foreign = replace(holding(rule(SECOND)), own_access={})
    assert not any(isinstance(step, a.RevokeAccess) for step in changes(WANTED, foreign))
    others = holding(rule(SECOND), own=OTHER)
    assert not any(isinstance(step, a.RevokeAccess) for step in changes(WANTED, others))
    assert activation.revocations(WANTED, others) == []


def test_rule_when_somebody_else_stored_the_same_then_not_stored_again() -> None:
    assert changes(WANTED, replace(holding(rule(FIRST)), own_access={})) == []


def test_rule_when_a_foreign_one_is_narrower_then_ours_is_stored_beside_it() -> None:
    target = RuleTarget(aid=bytes(APP), device=FIRST)
    narrow = AccessRule(target, apdu=True, filters=(ApduFilter(bytes(4), bytes(4)),), nfc=True)
    there = replace(CARD, access=(activation.access(narrow),), contactless={KEY: ACTIVATED})
    (step,) = changes(WANTED, there)
    assert isinstance(step, a.GrantAccess)


def test_registry_update_when_there_is_no_crs_then_nothing_is_read_and_no_session_opened() -> None:
    topology = replace(TOPOLOGY, contactless=Contactless.REGISTRY_UPDATE)
    planner = Activation(WANTED, replace(holding(rule(FIRST)), contactless={}), topology)
    assert planner.probes() == []
    assert planner.crs_sessions(set()) == []
    assert list(planner.steps(set())) == [a.SetContactless(application=APP, activate=True)]


def test_probes_when_something_is_not_known_then_it_is_read_and_nothing_else() -> None:
    planner = Activation(WANTED, replace(CARD, access=None, contactless={}), TOPOLOGY)
    assert [step for one in planner.probes() for step in one.steps] == [a.ReadAccess(), a.ReadContactless()]
    (app,) = WANTED.description.applications
    plain = described(applications=(replace(app, contactless=False, accessible=False),))
    assert Activation(plain, replace(CARD, access=None), TOPOLOGY).probes() == []
    assert Activation(plain, replace(CARD, objects=(), contactless={}), TOPOLOGY).probes() == []


@pytest.mark.parametrize("lacking", [{"contactless": Contactless.NONE}, {"access_rules": False}])
def test_refusal_when_the_card_cannot_then_only_where_it_is_wanted(lacking: dict[str, object]) -> None:
    topology = replace(TOPOLOGY, **lacking)
    with pytest.raises(PlanRefusedError):
        Activation(WANTED, CARD, topology).refuse_impossible()
    Activation(replace(WANTED, goal=Goal.SUSPENDED), CARD, topology).refuse_impossible()
    (app,) = WANTED.description.applications
    modest = described(applications=(replace(app, contactless=False, accessible=False),))
    Activation(modest, CARD, topology).refuse_impossible()


def test_ownership_when_a_reading_hides_the_rule_then_stays_until_its_deletion_is_confirmed() -> None:
    hidden = activation.read(holding(rule(FIRST)), (), None)
    assert hidden.own_access
    (revoke,) = activation.revocations(WANTED, hidden)
    assert activation.confirmed(hidden, revoke).own_access == {}


def test_content_when_stored_as_a_document_then_comes_back() -> None:
    content = holding(rule(FIRST), rule(SECOND))
    assert from_json(ObservedContent, to_json(content)) == content
