"""Delegated mode: the manager makes and removes the provider's domain, all content is the provider's work.

Pure. Every content command of the provider's sessions goes with a token of the party that holds the Token
Verification key. GPCS 2.3.1 §9.1.3.3, §9.2.3, Table 11-1.
"""

from collections.abc import Iterable

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.card_content import ObjectKind
from opentsm.tsm.engine import activation
from opentsm.tsm.engine import steps as s
from opentsm.tsm.engine.planner import Planner, kept_elsewhere
from opentsm.tsm.engine.removal import removals
from opentsm.tsm.engine.sessions import Plan, PlannedSession, SessionKind, managed
from opentsm.tsm.engine.view import View


class Deletions:
    """Deletions, parted by who carries them out: each domain with Delegated Management its own content."""

    def __init__(self, view: View, steps: Iterable[s.Step]) -> None:
        self._view = view
        self.by_domain: dict[Aid, list[s.Step]] = {}
        self.managers: list[s.Step] = []
        for step in steps:
            domain = self._domain_of(step)
            if domain is None:
                self.managers.append(step)
            else:
                self.by_domain.setdefault(domain, []).append(step)

    def _domain_of(self, step: s.Step) -> Aid | None:
        """Return the domain whose owner deletes an object; None: the manager does."""
        if not isinstance(step, s.Delete) or step.kind is ObjectKind.SECURITY_DOMAIN:
            return None
        entry = self._view.observed.find(step.aid)
        domain = None if entry is None else entry.security_domain or self._view.description.sd_aid
        if domain is None or not self._view.only_ours(domain) or not self._view.may_delegate(domain):
            return None
        # without keys nobody but the manager reaches it
        return None if self._view.observed.keys.get(domain.hex().upper()) == () else domain

    def probes(self) -> list[PlannedSession]:
        """Return the questions for the keys of domains where they are not known."""
        known = self._view.observed.keys
        return [
            _plain_probe(self._view, domain) for domain in self.by_domain if domain.hex().upper() not in known
        ]

    def sessions(self, *, but: Aid | None = None) -> list[PlannedSession]:
        """Return a session with each domain, but for one."""
        kvns = self._view.observed.keys
        return [
            delegated_session(self._view, domain, kvns[domain.hex().upper()][0], steps)
            for domain, steps in self.by_domain.items()
            if domain != but
        ]


def _plain_probe(view: View, domain: Aid) -> PlannedSession:
    return PlannedSession(
        kind=SessionKind.PLAIN,
        owner_id=view.topology.provider_id,
        selected=domain,
        key_sd=domain,
        kvn=0,
        steps=(s.ProbeKeys(domain=domain),),
    )


def delegated_session(view: View, domain: Aid, kvn: int, steps: Iterable[s.Step]) -> PlannedSession:
    """Return a session of the provider with its domain, whose content commands carry tokens.

    Raises:
        PlanRefusedError: its keys are in no keystore of ours.
    """
    if view.desired.keys_elsewhere and domain == view.description.sd_aid:
        raise kept_elsewhere(domain, "what it holds can be changed from there only")
    return PlannedSession(
        kind=SessionKind.SECURE_CHANNEL,
        owner_id=view.topology.provider_id,
        selected=domain,
        key_sd=domain,
        kvn=kvn,
        steps=tuple(steps),
        tokens_by=view.topology.tokens_by,
    )


def removal(view: View) -> Plan | None:
    """Return the plan that removes everything of an instance; None when no part of it was delegated."""
    deletions = Deletions(view, removals(view))
    if not deletions.by_domain:
        return None
    probes = deletions.probes()
    if probes:
        return Plan(sessions=tuple(probes))
    revocations = activation.revocations(view.desired, view.observed)
    reading = s.ReadRegistry(pages=view.observed.status_pages)
    last = managed(view.topology, [*revocations, *deletions.managers, reading])
    return Plan(sessions=(*deletions.sessions(), last))


class DelegatedPlanner(Planner):
    """Plans one instance whose provider manages the content of its domain itself."""

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self.deletions = Deletions(view, self.obsolete)

    def _probes(self) -> list[PlannedSession]:
        found = super()._probes()
        asked = {session.selected for session in found}
        return [*found, *(probe for probe in self.deletions.probes() if probe.selected not in asked)]

    def _content_plan(self) -> Plan:
        probes = self.activation.probes()
        if probes:
            return Plan(sessions=tuple(probes))
        sessions = [*self.deletions.sessions(but=self.description.sd_aid), *self._managers_sessions()]
        keys, proof = self._own_keys()
        content, rebuilt = self._delegated_steps()
        access = list(self.activation.access_steps())
        crs = self.activation.crs_sessions(rebuilt)
        reading = s.ReadRegistry(pages=self.observed.status_pages)
        sessions += keys
        if content or proof:
            own = content or proof
            own = own if access else [*own, reading]
            sessions.append(self._delegated(own))
        if access:
            sessions.append(managed(self.topology, [*access, reading]))
        if not sessions:
            return Plan(sessions=(*crs, *self._command_sessions()))
        return Plan(sessions=(*sessions, *crs))

    def _managers_sessions(self) -> list[PlannedSession]:
        """Return what only the domain above does: remove domains, make one, give it its first keys."""
        sessions: list[PlannedSession] = []
        steps = list(self.deletions.managers)
        self._domain_steps(sessions, steps)
        if steps:
            sessions.append(managed(self.topology, steps))
        return sessions

    def _delegated_steps(self) -> tuple[list[s.Step], set[Aid]]:
        """Return all that the provider does in its domain, and the applications that are (re)built by it."""
        steps = list(self.deletions.by_domain.get(self.description.sd_aid, ()))
        content, rebuilt = self._content_steps()
        final = [*self._final_steps(rebuilt), *self.activation.updates(rebuilt)]
        return [*steps, *content, *self._personalizations(rebuilt), *final], rebuilt

    def _delegated(self, steps: Iterable[s.Step]) -> PlannedSession:
        kvn = self.desired.key_version
        return delegated_session(self.view, self.description.sd_aid, kvn, steps)
