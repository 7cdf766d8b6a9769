"""Sessions of a plan against the matrix of rights: what is not allowed is refused before anything is sent."""

import pytest
from tests.unit.tsm.roles.hub.test_topology_arranged import (
    CENTRAL,
    ISD,
    ISSUER,
    OTHER,
    PARTY,
    THIRD,
    arranged,
)

from opentsm.card.codec.aid import Aid
from opentsm.card.gp.se_rights import Act
from opentsm.tsm.bootstrap import se_rights
from opentsm.tsm.domain.card_content import CardObject, LoadFileReference, ObjectKind, ObservedContent
from opentsm.tsm.domain.tenant import HUB
from opentsm.tsm.engine import activation_steps as a
from opentsm.tsm.engine import steps as s
from opentsm.tsm.engine.sessions import Plan, PlannedSession, SessionKind
from opentsm.tsm.kernel.errors import PlanRefusedError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.roles.hub.arrangements.permission import Permission

SERVICE, APP, FOREIGN = (Aid.from_hex(aid) for aid in ("F04F545350000001", "F04F54535001", "F04F54535002"))
MODULE, PACKAGE = Aid.from_hex("A000000151535041"), Aid.from_hex("A0000001515350")
LOAD = s.Load(load_file=LoadFileReference(aid=PACKAGE, sha256="00" * 32, size=1), security_domain=CENTRAL)
EXTRADITE = s.Extradite(application=APP, security_domain=SERVICE)
OBSERVED = ObservedContent(
    objects=(
        CardObject(aid=SERVICE, kind=ObjectKind.SECURITY_DOMAIN, state=0x0F, security_domain=CENTRAL),
        CardObject(aid=APP, kind=ObjectKind.APPLICATION, state=0x07, security_domain=SERVICE),
        CardObject(aid=FOREIGN, kind=ObjectKind.APPLICATION, state=0x07, security_domain=ISD),
    )
)


def creation(aid: Aid, privileges: int) -> s.Step:
    return s.CreateSecurityDomain(
        aid=aid, load_file=PACKAGE, module=MODULE, privileges=privileges, parameters=b""
    )


def session(
    owner: TenantId, domain: Aid, *steps: s.Step, kind: SessionKind = SessionKind.SECURE_CHANNEL
) -> Plan:
    made = PlannedSession(kind=kind, owner_id=owner, selected=domain, key_sd=domain, kvn=1, steps=steps)
    return Plan(sessions=(made,))


def permission(provider: TenantId = OTHER) -> Permission:
    return Permission(arranged(), se_rights()[700], issuer_id=ISSUER, provider_id=provider, observed=OBSERVED)


ALLOWED = {
    "issuer makes the central domain": session(
        ISSUER, ISD, creation(CENTRAL, 0x80C000), s.PutFirstKeys(domain=CENTRAL, kvn=1, forwarded=True)
    ),
    "issuer deletes what is another's": session(ISSUER, ISD, s.Delete(aid=APP, kind=ObjectKind.APPLICATION)),
    "issuer writes access rules": session(
        ISSUER, ISD, a.GrantAccess(application=APP, device=b"", rule=b"\xe2\x00")
    ),
    "central loads": session(HUB, CENTRAL, LOAD, EXTRADITE),
    "central makes a service's domain": session(
        HUB, CENTRAL, creation(SERVICE, 0x808000), s.PutFirstKeys(domain=SERVICE, kvn=1, forwarded=True)
    ),
    "central deletes below a service's domain": session(
        HUB, CENTRAL, s.Delete(aid=APP, kind=ObjectKind.APPLICATION), s.Lock(application=APP)
    ),
    "provider replaces its keys": session(
        OTHER, SERVICE, s.ReplaceKeys(domain=SERVICE, old_kvn=1, new_kvn=2)
    ),
    "anybody reads": session(HUB, CENTRAL, s.ReadRegistry()),
    "plain session": session(OTHER, APP, LOAD, kind=SessionKind.PLAIN),
}
REFUSED = {
    "issuer loads": session(ISSUER, ISD, LOAD),
    "issuer extradites": session(ISSUER, ISD, EXTRADITE),
    "issuer makes a service's domain": session(ISSUER, ISD, creation(SERVICE, 0x808000)),
    "central domain with more privileges": session(ISSUER, ISD, creation(CENTRAL, 0x80D000)),
    "central makes an arranged domain": session(HUB, CENTRAL, creation(PARTY, 0x80C000)),
    "central makes a manager of a service's domain": session(HUB, CENTRAL, creation(SERVICE, 0x80C000)),
    "central gives an arranged domain keys": session(
        HUB, CENTRAL, s.PutFirstKeys(domain=PARTY, kvn=1, forwarded=True)
    ),
    "central deletes what is the issuer's": session(
        HUB, CENTRAL, s.Delete(aid=FOREIGN, kind=ObjectKind.APPLICATION)
    ),
    "central deletes what nobody knows": session(
        HUB, CENTRAL, s.Delete(aid=MODULE, kind=ObjectKind.APPLICATION)
    ),
    "central locks what is the issuer's": session(HUB, CENTRAL, s.Lock(application=FOREIGN)),
    "central with the issuer's domain": session(HUB, ISD, s.ProveKeys(domain=ISD, kvn=1)),
    "issuer with the central domain": session(ISSUER, CENTRAL, LOAD),
    "third party with the central domain": session(THIRD, CENTRAL, LOAD),
    "provider loads": session(OTHER, SERVICE, LOAD),
    "provider makes a domain": session(OTHER, SERVICE, creation(SERVICE, 0x808000)),
    "another's session with a service's domain": session(THIRD, SERVICE, s.ProveKeys(domain=SERVICE, kvn=1)),
    "top up in a secure channel": session(
        OTHER, SERVICE, s.TopUp(application=APP, transaction="00" * 8, amount=1)
    ),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_plan_when_the_matrix_allows_every_step_then_passed(name: str) -> None:
    permission().check(ALLOWED[name])


@pytest.mark.parametrize("name", REFUSED)
def test_plan_when_a_step_is_not_allowed_then_refused(name: str) -> None:
    with pytest.raises(PlanRefusedError):
        permission().check(REFUSED[name])


def test_plan_when_any_of_its_sessions_is_not_allowed_then_refused() -> None:
    both = Plan(sessions=(*ALLOWED["central loads"].sessions, *REFUSED["issuer loads"].sessions))
    with pytest.raises(PlanRefusedError):
        permission().check(both)


def test_acts_when_a_party_asks_for_them_then_by_its_domains_role() -> None:
    permission().check_acts(ISSUER, ISD, (Act.LOCK_CARD, Act.UNLOCK_CARD))
    for party, domain in ((HUB, CENTRAL), (HUB, ISD), (OTHER, SERVICE)):
        with pytest.raises(PlanRefusedError):
            permission().check_acts(party, domain, (Act.LOCK_CARD,))
