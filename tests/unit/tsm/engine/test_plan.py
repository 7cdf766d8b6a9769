"""Desired content minus observed content: what is planned, in which order, and what is refused."""

from typing import get_args

import msgspec
import pytest

from opentsm.card.codec.aid import Aid
from opentsm.card.profiles import Contactless, FirstKeys, HandOver
from opentsm.tsm.domain.arrangement import HandOverGrade
from opentsm.tsm.domain.card_content import (
    DEACTIVATED,
    UNKNOWN,
    ApplicationSpecification,
    CardObject,
    Claim,
    DesiredContent,
    Goal,
    LoadFileReference,
    ObjectKind,
    ObservedContent,
    ServiceDescription,
    ValueTransaction,
)
from opentsm.tsm.domain.delegation import ProofScheme, ProofUse
from opentsm.tsm.engine import activation, proof_keys
from opentsm.tsm.engine import content as c
from opentsm.tsm.engine import steps as s
from opentsm.tsm.engine.card_steps import SetCardState
from opentsm.tsm.engine.plan import plan
from opentsm.tsm.engine.proof_keys import Proofs
from opentsm.tsm.engine.sessions import Plan, SessionKind, Topology
from opentsm.tsm.kernel.errors import PlanRefusedError
from opentsm.tsm.kernel.ids import InstanceId, TenantId

replace = msgspec.structs.replace

ISD = Aid.from_hex("A000000151000000")
DOMAIN = Aid.from_hex("F04F54534DF001")
ELF = Aid.from_hex("F04F54534D02")
MODULE = Aid.from_hex("F04F54534D0201")
APP = Aid.from_hex("F04F54534D020101")
ISSUER, PROVIDER = TenantId("issuer"), TenantId("provider")
ME, OTHER = InstanceId("me"), InstanceId("other")
OWN_KVN, TEMPORARY_KVN = 0x34, 0x38

TOPOLOGY = Topology(
    manager_id=ISSUER,
    manager_sd=ISD,
    manager_kvn=0x30,
    provider_id=PROVIDER,
    domain_load_file=Aid.from_hex("A0000001515350"),
    domain_module=Aid.from_hex("A000000151535041"),
    domain_privileges=0x808000,
    domain_parameters=b"",
    temporary_kvn=TEMPORARY_KVN,
    first_keys=FirstKeys.FORWARDED,
)
CONFIDENTIAL = replace(
    TOPOLOGY,
    handover=HandOverGrade.CONFIDENTIAL,
    handover_way=HandOver.SCENARIO_3,
    casd=Aid.from_hex("A00000015153504341534400"),
)
DESCRIPTION = ServiceDescription(
    service_id="service",
    version_tag="1.0.0",
    flavor_id="flavor",
    provider_id=PROVIDER,
    sd_aid=DOMAIN,
    load_files=(LoadFileReference(aid=ELF, sha256="00" * 32, size=1000),),
    applications=(
        ApplicationSpecification(
            instance_aid=APP,
            load_file=ELF,
            module=MODULE,
            personalization="v1",
            recipe_id="recipe",
            probe=0xDF01,
        ),
    ),
)
EMPTY = ObservedContent(
    objects=(CardObject(aid=ISD, kind=ObjectKind.ISSUER_SECURITY_DOMAIN, state=0x0F, seen_through=ISD),),
    fresh=True,
)
CLAIMS = (
    Claim(aid=DOMAIN, kind=ObjectKind.SECURITY_DOMAIN, instance_ids=(ME,)),
    Claim(aid=ELF, kind=ObjectKind.LOAD_FILE, instance_ids=(ME,), sha256="00" * 32),
    Claim(aid=APP, kind=ObjectKind.APPLICATION, instance_ids=(ME,)),
)


def desired(goal: Goal = Goal.ACTIVE, **changes: object) -> DesiredContent:
    wanted = DesiredContent(instance_id=ME, description=DESCRIPTION, goal=goal, key_version=OWN_KVN)
    return replace(wanted, **changes)


def planned(observed: ObservedContent, goal: Goal = Goal.ACTIVE, **changes: object) -> Plan:
    return plan(desired(goal, **changes), observed, TOPOLOGY, CLAIMS)


def shape(made: Plan) -> list[tuple[str, int, list[str]]]:
    return [
        (session.owner_id, session.kvn, [type(step).__name__ for step in session.steps])
        for session in made.sessions
    ]


def carried_out(observed: ObservedContent, made: Plan) -> ObservedContent:
    """Return the content after the card confirmed every step of a plan."""
    for session in made.sessions:
        for step in session.steps:
            observed = c.confirm(observed, step, through=session.selected)
    return observed


DEPLOYED = carried_out(EMPTY, plan(desired(), EMPTY, TOPOLOGY, ()))


def test_plan_when_the_registry_is_not_known_reads_it_and_nothing_else() -> None:
    made = planned(ObservedContent())
    assert shape(made) == [(ISSUER, 0x30, ["ReadRegistry"])]
    assert not made.changes_card()


def test_plan_when_the_card_is_empty_is_the_default_plan_in_four_sessions() -> None:
    assert shape(plan(desired(), EMPTY, TOPOLOGY, ())) == [
        (ISSUER, 0x30, ["CreateSecurityDomain", "PutFirstKeys", "Load", "Install"]),
        (PROVIDER, TEMPORARY_KVN, ["ReplaceKeys"]),
        (PROVIDER, OWN_KVN, ["Personalize"]),
        (ISSUER, 0x30, ["MakeSelectable", "ReadRegistry"]),
    ]


def test_plan_when_first_keys_are_inherited_opens_a_session_on_the_new_domain() -> None:
    inherited = replace(TOPOLOGY, first_keys=FirstKeys.INHERITED)
    made = plan(desired(), EMPTY, inherited, ())
    assert shape(made)[:3] == [
        (ISSUER, 0x30, ["CreateSecurityDomain"]),
        (ISSUER, 0x30, ["PutFirstKeys"]),
        (ISSUER, 0x30, ["Load", "Install"]),
    ]
    assert (made.sessions[1].selected, made.sessions[1].key_sd) == (DOMAIN, ISD)


def test_plan_when_extradition_is_wanted_loads_under_the_manager_and_moves_the_instance() -> None:
    made = planned(EMPTY, description=replace(DESCRIPTION, extradite=True))
    load, _install, extradite = made.sessions[0].steps[2:]
    assert isinstance(load, s.Load)
    assert load.security_domain == ISD
    assert extradite == s.Extradite(application=APP, security_domain=DOMAIN)


def test_plan_when_everything_is_there_is_empty() -> None:
    assert planned(DEPLOYED).empty


def test_plan_when_carried_out_leaves_nothing_to_plan_from_any_interruption() -> None:
    """After every prefix of the default plan, what is planned next completes it."""
    whole = plan(desired(), EMPTY, TOPOLOGY, ())
    total = sum(len(session.steps) for session in whole.sessions)
    for done in range(total):
        observed, left = EMPTY, done
        for session in whole.sessions:
            for step in session.steps[:left]:
                observed = c.confirm(observed, step, through=session.selected)
            left = max(0, left - len(session.steps))
        rest = planned(observed)
        assert planned(carried_out(observed, rest)).empty, f"after {done} steps"


def test_plan_when_the_keys_of_the_domain_are_not_known_asks_the_domain_first() -> None:
    made = planned(replace(DEPLOYED, keys={}))
    assert [type(step) for session in made.sessions for step in session.steps] == [s.ProbeKeys]
    assert made.sessions[0].kind is SessionKind.PLAIN


def test_plan_when_personalisation_is_in_doubt_and_can_be_probed_asks_the_application() -> None:
    made = planned(replace(DEPLOYED, personalization={str(APP): UNKNOWN}))
    assert made.sessions[0].steps == (s.ProbePersonalization(application=APP, data_object=0xDF01),)


def test_plan_when_personalisation_is_in_doubt_and_cannot_be_probed_builds_the_instance_anew() -> None:
    not_selectable = tuple(
        replace(entry, state=0x03) if entry.aid == APP else entry for entry in DEPLOYED.objects
    )
    doubtful = replace(DEPLOYED, objects=not_selectable, personalization={str(APP): UNKNOWN})
    names = [name for _, _, steps in shape(planned(doubtful)) for name in steps]
    assert names == ["Delete", "Install", "Personalize", "MakeSelectable", "ReadRegistry"]


def test_plan_when_an_object_is_foreign_refuses_and_names_it() -> None:
    foreign = CardObject(aid=APP, kind=ObjectKind.APPLICATION, state=0x07, seen_through=ISD)
    with pytest.raises(PlanRefusedError, match=str(APP)):
        plan(desired(), replace(EMPTY, objects=(*EMPTY.objects, foreign)), TOPOLOGY, ())


def test_plan_when_an_application_belongs_to_another_instance_refuses() -> None:
    theirs = tuple(replace(claim, instance_ids=(OTHER,)) for claim in CLAIMS)
    with pytest.raises(PlanRefusedError, match="another service instance"):
        plan(desired(), DEPLOYED, TOPOLOGY, theirs)


def with_shared_load_file(sha256: str) -> tuple[ObservedContent, tuple[Claim, ...]]:
    """Return a card on which another instance loaded the load file, under the manager."""
    load_file = CardObject(
        aid=ELF, kind=ObjectKind.LOAD_FILE, state=0x01, security_domain=ISD, seen_through=ISD
    )
    claims = (Claim(aid=ELF, kind=ObjectKind.LOAD_FILE, instance_ids=(OTHER,), sha256=sha256),)
    return replace(EMPTY, objects=(*EMPTY.objects, load_file)), claims


def test_plan_when_another_instance_loaded_the_same_load_file_uses_it() -> None:
    observed, claims = with_shared_load_file("00" * 32)
    extraditing = replace(DESCRIPTION, extradite=True)
    names = [
        type(step).__name__
        for step in plan(desired(description=extraditing), observed, TOPOLOGY, claims).sessions[0].steps
    ]
    assert names == ["CreateSecurityDomain", "PutFirstKeys", "Install", "Extradite"]


def test_plan_when_a_load_file_of_the_same_aid_has_other_content_refuses() -> None:
    observed, claims = with_shared_load_file("11" * 32)
    with pytest.raises(PlanRefusedError, match="another load file under the AID"):
        plan(desired(description=replace(DESCRIPTION, extradite=True)), observed, TOPOLOGY, claims)


def test_plan_when_a_shared_load_file_lies_in_another_domain_refuses() -> None:
    observed, claims = with_shared_load_file("00" * 32)
    with pytest.raises(PlanRefusedError, match="for another service") as raised:
        plan(desired(), observed, TOPOLOGY, claims)
    advice = str(raised.value.advice)
    assert "option extradite (true in a flavor's featureConfig.genericOptions)" in advice
    assert "terminate the instance that is there, and deploy both anew" in advice


def test_plan_when_suspending_locks_and_when_resuming_unlocks() -> None:
    lock = planned(DEPLOYED, Goal.SUSPENDED)
    assert shape(lock) == [(ISSUER, 0x30, ["Lock", "ReadRegistry"])]
    suspended = carried_out(DEPLOYED, lock)
    assert planned(suspended, Goal.SUSPENDED).empty
    unlock = planned(suspended, Goal.ACTIVE)
    assert shape(unlock) == [(ISSUER, 0x30, ["Unlock", "ReadRegistry"])]
    assert carried_out(suspended, unlock).find(APP) == DEPLOYED.find(APP)


def test_plan_when_terminating_deletes_application_load_file_and_domain_in_this_order() -> None:
    made = planned(DEPLOYED, Goal.ABSENT)
    assert [step.aid for step in made.sessions[0].steps if isinstance(step, s.Delete)] == [APP, ELF, DOMAIN]
    assert planned(carried_out(DEPLOYED, made), Goal.ABSENT).empty


def test_plan_when_terminating_leaves_a_load_file_that_another_instance_uses() -> None:
    shared = tuple(
        replace(claim, instance_ids=(ME, OTHER)) if claim.aid == ELF else claim for claim in CLAIMS
    )
    made = plan(desired(Goal.ABSENT), DEPLOYED, TOPOLOGY, shared)
    assert [step.aid for step in made.sessions[0].steps if isinstance(step, s.Delete)] == [APP, DOMAIN]


def test_plan_when_terminating_never_deletes_what_nobody_claimed() -> None:
    assert plan(desired(Goal.ABSENT), DEPLOYED, TOPOLOGY, ()).empty


def test_plan_when_keys_shall_change_replaces_and_proves_them() -> None:
    assert shape(planned(DEPLOYED, key_version=0x35)) == [
        (PROVIDER, OWN_KVN, ["ReplaceKeys"]),
        (PROVIDER, 0x35, ["ProveKeys"]),
        (ISSUER, 0x30, ["ReadRegistry"]),
    ]


TRANSACTION = ValueTransaction(id="0102030405060708", application=APP, amount=500)


def test_plan_when_topping_up_credits_once_and_asks_the_purse_when_in_doubt() -> None:
    credit = planned(DEPLOYED, transaction=TRANSACTION)
    step = credit.sessions[0].steps[0]
    assert isinstance(step, s.TopUp)
    doubtful = c.doubt(DEPLOYED, step)
    probe = planned(doubtful, transaction=TRANSACTION)
    assert probe.sessions[0].steps == (s.ProbeTransaction(application=APP, transaction=TRANSACTION.id),)
    assert planned(c.confirm(DEPLOYED, step, through=APP), transaction=TRANSACTION).empty


@pytest.mark.parametrize("confirmed", [True, False])
def test_plan_when_a_transaction_id_was_used_for_another_credit_refuses(confirmed: bool) -> None:
    step = planned(DEPLOYED, transaction=TRANSACTION).sessions[0].steps[0]
    known = c.confirm(DEPLOYED, step, through=APP) if confirmed else c.doubt(DEPLOYED, step)
    with pytest.raises(PlanRefusedError, match="another credit"):
        planned(known, transaction=replace(TRANSACTION, amount=TRANSACTION.amount + 1))


def test_plan_when_topping_up_a_locked_purse_refuses() -> None:
    suspended = carried_out(DEPLOYED, planned(DEPLOYED, Goal.SUSPENDED))
    with pytest.raises(PlanRefusedError, match="cannot take value"):
        planned(suspended, Goal.SUSPENDED, transaction=TRANSACTION)


def test_plan_lines_when_printed_name_every_step() -> None:
    lines = plan(desired(), EMPTY, TOPOLOGY, ()).lines()
    assert len(lines) == 8
    assert lines[0] == f"{ISD} · create security domain {DOMAIN}"


# recovered in tests/machine/test_configure.py (what builds an arrangement) and test_card_acts.py
ELSEWHERE = (s.RestrictDomain, SetCardState)
CHANGING = [step for step in get_args(s.Step) if step.changes and step not in ELSEWHERE]
ASKING = (s.ReadRegistry, s.ProbeKeys, s.ProbePersonalization, s.ProbeTransaction)
NFC_TOPOLOGY = replace(TOPOLOGY, contactless=Contactless.CRS, access_rules=True)
NFC_DESCRIPTION = replace(
    DESCRIPTION,
    applications=(replace(DESCRIPTION.applications[0], contactless=True, accessible=True),),
    device_apps=(bytes(32),),
)


COMMANDING = replace(DESCRIPTION, applications=(replace(DESCRIPTION.applications[0], commands=True),))


def test_plan_when_a_recipe_has_commands_then_sent_once_and_last_of_all() -> None:
    made = plan(desired(description=COMMANDING), EMPTY, TOPOLOGY, ())
    assert "RunCommands" not in [kind for _, _, kinds in shape(made) for kind in kinds]
    following = plan(desired(description=COMMANDING), carried_out(EMPTY, made), TOPOLOGY, CLAIMS)
    assert shape(following) == [(PROVIDER, 0, ["RunCommands"])]
    done = carried_out(carried_out(EMPTY, made), following)
    assert plan(desired(description=COMMANDING), done, TOPOLOGY, CLAIMS).empty
    (step,) = following.sessions[0].steps
    again = replace(c.doubt(done, step), fresh=True)
    assert shape(plan(desired(description=COMMANDING), again, TOPOLOGY, CLAIMS)) == shape(following)


def planned_steps() -> dict[type[s.Step], s.Step]:
    """Return one step of every kind that is ever planned to change a card."""
    plans = [
        plan(desired(), EMPTY, TOPOLOGY, ()),
        plan(desired(description=replace(DESCRIPTION, extradite=True)), EMPTY, TOPOLOGY, ()),
        planned(DEPLOYED, Goal.SUSPENDED),
        planned(carried_out(DEPLOYED, planned(DEPLOYED, Goal.SUSPENDED))),
        planned(DEPLOYED, Goal.ABSENT),
        planned(DEPLOYED, transaction=TRANSACTION),
        *activation_plans(),
        plan(desired(description=COMMANDING), DEPLOYED, TOPOLOGY, CLAIMS),
        plan(desired(), replace(EMPTY, certificate=b"certificate"), CONFIDENTIAL, ()),
    ]
    keys = proof_keys.missing(DEPLOYED, ISD, Proofs({ProofUse.TOKEN: ProofScheme.EC_P256}))
    found = [step for made in plans for session in made.sessions for step in session.steps]
    return {type(step): step for step in (*found, *keys)}


def activation_plans() -> list[Plan]:
    """Return the plans that activate a deployed service, and that take this back."""
    wanted = desired(description=NFC_DESCRIPTION)
    known = replace(DEPLOYED, access=(), contactless={APP.hex().upper(): DEACTIVATED})
    on = plan(wanted, known, NFC_TOPOLOGY, CLAIMS)
    active = carried_out(activation.claim(known, ME, [t for one in on.sessions for t in one.steps]), on)
    return [on, plan(replace(wanted, goal=Goal.SUSPENDED), active, NFC_TOPOLOGY, CLAIMS)]


@pytest.mark.parametrize("kind", CHANGING)
def test_plan_when_any_step_is_in_doubt_asks_the_card_before_all_else(kind: type[s.Step]) -> None:
    """Recovery of a kind of step that is not listed in `planned_steps` would be a KeyError here."""
    step = planned_steps()[kind]
    doubtful = c.doubt(DEPLOYED, step)
    transaction = TRANSACTION if kind is s.TopUp else None
    made = planned(doubtful, transaction=transaction)
    assert made.sessions
    asked = [type(one) for session in made.sessions for one in session.steps]
    assert asked
    assert set(asked) <= set(ASKING)
    assert not made.changes_card()


def test_steps_when_they_are_listed_carry_no_token() -> None:
    """GPCS 2.3.1, section C.4: the manager's own sessions need none; docs/explanation/crash-safety.md."""
    names = {name for step in get_args(s.Step) for name in step.__struct_fields__}
    assert not [name for name in names if "token" in name]
