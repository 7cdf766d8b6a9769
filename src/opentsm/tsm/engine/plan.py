"""Desired content minus observed content: the ordered steps that turn the one into the other.

Pure and printable: nothing is sent before a person could read it. What is not known is read or probed
first; what OpenTSM did not put on the card is never touched.
"""

import msgspec

from opentsm.tsm.domain.card_content import Claim, DesiredContent, Goal, ObservedContent
from opentsm.tsm.engine import activation, delegated
from opentsm.tsm.engine import activation_steps as a
from opentsm.tsm.engine import steps as s
from opentsm.tsm.engine.planner import Planner
from opentsm.tsm.engine.removal import removals
from opentsm.tsm.engine.sessions import Plan, PlannedSession, SessionKind, Topology, managed
from opentsm.tsm.engine.view import View

replace = msgspec.structs.replace


def plan(
    desired: DesiredContent | None,
    observed: ObservedContent,
    topology: Topology,
    claims: tuple[Claim, ...],
) -> Plan:
    """Return what is to be done next.

    Args:
        desired: what should be on the card for one instance; None: only know what is there.
        observed: what is known to be on the card.
        topology: who manages this card.
        claims: which objects OpenTSM put there, and for which instances.

    Raises:
        PlanRefusedError: an object that OpenTSM did not put there stands in the way, or the card's state
            does not allow what is wanted.
    """
    return _kept(_plan(desired, observed, topology, claims), topology)


def _plan(
    desired: DesiredContent | None,
    observed: ObservedContent,
    topology: Topology,
    claims: tuple[Claim, ...],
) -> Plan:
    if not observed.fresh_through(topology.manager_sd):
        beside = activation.readings(topology) if desired is None else []
        return Plan(sessions=(managed(topology, [s.ReadRegistry(pages=observed.status_pages)]), *beside))
    if desired is None:
        return Plan()
    view = View(desired, observed, topology, claims)
    if desired.goal is Goal.ABSENT:
        return delegated.removal(view) or _closed(
            view, [*activation.revocations(desired, observed), *removals(view)]
        )
    return (delegated.DelegatedPlanner if view.delegated else Planner)(view).plan()


def _kept(made: Plan, topology: Topology) -> Plan:
    """Return the plan with the changes of access rules in sessions of their keeper, each after its own."""
    keeper = topology.keeper
    if keeper is None:
        return made
    sessions: list[PlannedSession] = []
    for session in made.sessions:
        rules = tuple(one for one in session.steps if isinstance(one, a.GrantAccess | a.RevokeAccess))
        others = tuple(one for one in session.steps if one not in rules)
        if others:
            sessions.append(replace(session, steps=others))
        if rules:
            sessions.append(
                PlannedSession(
                    kind=SessionKind.SECURE_CHANNEL,
                    owner_id=keeper.owner_id,
                    selected=keeper.domain,
                    key_sd=keeper.domain,
                    kvn=keeper.kvn,
                    steps=rules,
                )
            )
    return Plan(sessions=tuple(sessions))


def _closed(view: View, steps: list[s.Step]) -> Plan:
    if not steps:
        return Plan()
    reading = s.ReadRegistry(pages=view.observed.status_pages)
    return Plan(sessions=(managed(view.topology, [*steps, reading]),))
