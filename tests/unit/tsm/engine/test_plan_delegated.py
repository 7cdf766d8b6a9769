"""Delegated and authorised mode: whose session does what, and which commands go with a token."""

import msgspec
import pytest
from tests.unit.tsm.engine.test_plan import (
    APP,
    CLAIMS,
    DOMAIN,
    ELF,
    EMPTY,
    ISD,
    ISSUER,
    OWN_KVN,
    PROVIDER,
    TEMPORARY_KVN,
    TOPOLOGY,
    carried_out,
    desired,
    shape,
)

from opentsm.card.codec.aid import Aid
from opentsm.card.profiles import Contactless
from opentsm.tsm.domain.arrangement import ContentMode
from opentsm.tsm.domain.card_content import (
    UNKNOWN,
    CardObject,
    Claim,
    Goal,
    LoadFileReference,
    ObjectKind,
    ObservedContent,
)
from opentsm.tsm.engine import content as c
from opentsm.tsm.engine import readings
from opentsm.tsm.engine.plan import plan
from opentsm.tsm.engine.sessions import Plan
from opentsm.tsm.kernel.errors import PlanRefusedError
from opentsm.tsm.kernel.ids import InstanceId, TenantId

replace = msgspec.structs.replace
CENTRAL, HUB = Aid.from_hex("F04F545344000001"), TenantId("hub")
DM = replace(
    TOPOLOGY,
    manager_id=HUB,
    manager_sd=CENTRAL,
    mode=ContentMode.DELEGATED,
    tokens_by=ISSUER,
    domain_privileges=0xA08000,
)
AM = replace(TOPOLOGY, manager_id=PROVIDER, manager_sd=CENTRAL, mode=ContentMode.AUTHORIZED)
BLANK = replace(
    EMPTY,
    objects=(
        *EMPTY.objects,
        CardObject(
            aid=CENTRAL,
            kind=ObjectKind.SECURITY_DOMAIN,
            state=0x0F,
            privileges=0x80C000,
            security_domain=ISD,
            seen_through=CENTRAL,
        ),
    ),
)


def delegated(observed: ObservedContent, goal: Goal = Goal.ACTIVE, **changes: object) -> Plan:
    return plan(desired(goal, **changes), observed, DM, CLAIMS)


DEPLOYED = carried_out(BLANK, plan(desired(), BLANK, DM, ()))


def test_delegated_deployment_when_the_card_is_blank_leaves_the_manager_only_the_domain() -> None:
    assert shape(plan(desired(), BLANK, DM, ())) == [
        (HUB, 0x30, ["CreateSecurityDomain", "PutFirstKeys"]),
        (PROVIDER, TEMPORARY_KVN, ["ReplaceKeys"]),
        (PROVIDER, OWN_KVN, ["Load", "Install", "Personalize", "MakeSelectable", "ReadRegistry"]),
    ]


def test_delegated_plan_when_printed_says_which_steps_go_with_a_token() -> None:
    lines = plan(desired(), BLANK, DM, ()).lines()
    assert [line for line in lines if line.endswith("(with a token)")] == [
        f"{DOMAIN} · load {ELF} (1000 bytes) into {DOMAIN} (with a token)",
        f"{DOMAIN} · install {APP} from {ELF} (with a token)",
        f"{DOMAIN} · make {APP} selectable (with a token)",
    ]


def test_delegated_deployment_when_carried_out_leaves_nothing_to_do() -> None:
    assert delegated(DEPLOYED).empty


def test_delegated_deployment_when_extradition_is_wanted_loads_into_the_own_domain_all_the_same() -> None:
    description = replace(desired().description, extradite=True)
    steps = plan(desired(description=description), BLANK, DM, ()).lines()
    assert f"{DOMAIN} · load {ELF} (1000 bytes) into {DOMAIN} (with a token)" in steps
    assert not any("extradite" in line for line in steps)


def test_delegated_suspension_when_wanted_is_the_providers_and_takes_no_token() -> None:
    made = delegated(DEPLOYED, Goal.SUSPENDED)
    assert shape(made) == [(PROVIDER, OWN_KVN, ["Lock", "ReadRegistry"])]
    assert "token" not in " ".join(made.lines())


def test_delegated_resumption_when_wanted_unlocks_in_the_providers_session() -> None:
    suspended = carried_out(DEPLOYED, delegated(DEPLOYED, Goal.SUSPENDED))
    assert shape(delegated(suspended)) == [(PROVIDER, OWN_KVN, ["Unlock", "ReadRegistry"])]


def test_delegated_removal_when_wanted_is_the_providers_and_the_domain_goes_through_the_manager() -> None:
    made = delegated(DEPLOYED, Goal.ABSENT)
    assert shape(made) == [
        (PROVIDER, OWN_KVN, ["Delete", "Delete"]),
        (HUB, 0x30, ["Delete", "ReadRegistry"]),
    ]
    assert [session.tokens_by for session in made.sessions] == [ISSUER, None]
    assert delegated(carried_out(DEPLOYED, made), Goal.ABSENT).empty


def test_delegated_removal_when_the_domain_was_never_given_keys_is_the_managers() -> None:
    created = plan(desired(), BLANK, DM, ()).sessions[0].steps[0]
    bare = c.confirm(BLANK, created, through=CENTRAL)
    assert shape(delegated(bare, Goal.ABSENT)) == [(HUB, 0x30, ["Delete", "ReadRegistry"])]


def test_delegated_removal_when_the_keys_are_not_known_asks_for_them_first() -> None:
    forgotten = replace(DEPLOYED, keys={})
    assert shape(delegated(forgotten, Goal.ABSENT)) == [(PROVIDER, 0, ["ProbeKeys"])]


def test_delegated_key_change_when_wanted_replaces_and_proves_them() -> None:
    assert shape(delegated(DEPLOYED, key_version=0x35)) == [
        (PROVIDER, OWN_KVN, ["ReplaceKeys"]),
        (PROVIDER, 0x35, ["ProveKeys", "ReadRegistry"]),
    ]


def test_delegated_plan_when_personalisation_is_in_doubt_rebuilds_with_a_token() -> None:
    doubtful = replace(DEPLOYED, personalization={APP.hex().upper(): UNKNOWN})
    selectable = replace(
        doubtful, objects=tuple(replace(o, state=0x03) if o.aid == APP else o for o in doubtful.objects)
    )
    made = delegated(selectable)
    assert shape(made) == [
        (PROVIDER, OWN_KVN, ["Delete", "Install", "Personalize", "MakeSelectable", "ReadRegistry"])
    ]


def test_delegated_update_when_the_domain_is_another_one_parts_the_deletions() -> None:
    other = Aid.from_hex("F04F54534DF002")
    description = replace(
        desired().description,
        sd_aid=other,
        load_files=(LoadFileReference(aid=ELF, sha256="11" * 32, size=1000),),
    )
    made = plan(desired(description=description), DEPLOYED, DM, CLAIMS)
    assert shape(made) == [
        (PROVIDER, OWN_KVN, ["Delete", "Delete"]),
        (HUB, 0x30, ["Delete", "CreateSecurityDomain", "PutFirstKeys"]),
        (PROVIDER, TEMPORARY_KVN, ["ReplaceKeys"]),
        (PROVIDER, OWN_KVN, ["Load", "Install", "Personalize", "MakeSelectable", "ReadRegistry"]),
    ]
    assert [session.selected for session in made.sessions] == [DOMAIN, CENTRAL, other, other]


def test_delegated_contactless_when_the_card_has_no_crs_is_a_registry_update_with_a_token() -> None:
    description = desired().description
    app = replace(description.applications[0], contactless=True)
    wanted = desired(description=replace(description, applications=(app,)))
    made = plan(wanted, BLANK, replace(DM, contactless=Contactless.REGISTRY_UPDATE), ())
    assert f"{DOMAIN} · activate {APP} on the contactless interface (with a token)" in made.lines()


def test_delegated_plan_when_the_load_file_is_a_neighbours_is_refused() -> None:
    other = InstanceId("other")
    load_file = CardObject(aid=ELF, kind=ObjectKind.LOAD_FILE, state=1, security_domain=CENTRAL)
    shared = Claim(aid=ELF, kind=ObjectKind.LOAD_FILE, instance_ids=(other,), sha256="00" * 32)
    with pytest.raises(PlanRefusedError) as refused:
        plan(desired(), replace(BLANK, objects=(*BLANK.objects, load_file)), DM, (shared,))
    assert "its own load files only" in (refused.value.advice or "")


def test_mode_when_changed_later_does_not_change_what_a_domain_may() -> None:
    """The domain was made without Delegated Management: its manager goes on with it."""
    central = replace(DM, domain_privileges=0x808000, mode=ContentMode.CENTRALISED, tokens_by=None)
    deployed = carried_out(BLANK, plan(desired(), BLANK, central, ()))
    made = plan(desired(Goal.ABSENT), deployed, DM, CLAIMS)
    assert shape(made) == [(HUB, 0x30, ["Delete", "Delete", "Delete", "ReadRegistry"])]


def test_authorised_deployment_when_the_card_is_blank_is_all_the_providers() -> None:
    made = plan(desired(), BLANK, AM, ())
    assert {session.owner_id for session in made.sessions} == {PROVIDER}
    assert all(session.tokens_by is None for session in made.sessions)
    deployed = carried_out(BLANK, made)
    assert plan(desired(), deployed, AM, CLAIMS).empty
    gone = plan(desired(Goal.ABSENT), deployed, AM, CLAIMS)
    assert shape(gone) == [(PROVIDER, 0x30, ["Delete", "Delete", "Delete", "ReadRegistry"])]


def test_reading_when_made_through_the_domain_above_shows_what_vanished_below() -> None:
    seen = replace(BLANK.objects[-1], seen_through=CENTRAL)
    read = readings.read(DEPLOYED, (seen,), through=CENTRAL, complete=True, card_state=None, free_memory=None)
    assert {entry.aid for entry in read.objects} == {ISD, CENTRAL}


def test_reading_when_made_through_one_domain_keeps_what_lies_elsewhere() -> None:
    elsewhere = CardObject(
        aid=Aid.from_hex("F04F54534DF0AA"),
        kind=ObjectKind.APPLICATION,
        state=7,
        security_domain=ISD,
        seen_through=ISD,
    )
    before = replace(DEPLOYED, objects=(*DEPLOYED.objects, elsewhere), card_state=0x0F)
    read = readings.read(before, (), through=DOMAIN, complete=True, card_state=None, free_memory=None)
    assert elsewhere in read.objects
    assert read.card_state == 0x0F
    assert read.find(APP) is None
