"""Desired content minus observed content: the ordered steps that turn the one into the other.

Pure and printable: nothing is sent before a person could read it. What is not known is read or probed
first; what OpenTSM did not put on the card is never touched.
"""

from collections.abc import Iterable

from opentsm.card.codec.aid import Aid
from opentsm.card.gp.lifecycle import ApplicationState
from opentsm.card.profiles import FirstKeys
from opentsm.tsm.domain.card_content import (
    UNKNOWN,
    ApplicationSpecification,
    CardObject,
    Claim,
    DesiredContent,
    Goal,
    LoadFileReference,
    ObjectKind,
    ObservedContent,
)
from opentsm.tsm.engine import activation
from opentsm.tsm.engine import steps as s
from opentsm.tsm.engine.sessions import Plan, PlannedSession, SessionKind, Topology
from opentsm.tsm.kernel.errors import PlanRefusedError

LOCKED = 0x80


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
    if not observed.fresh:
        beside = activation.readings(topology) if desired is None else []
        return Plan(sessions=(_manager(topology, [s.ReadRegistry(pages=observed.status_pages)]), *beside))
    if desired is None:
        return Plan()
    return _Planner(desired, observed, topology, claims).plan()


def _manager(topology: Topology, steps: Iterable[s.Step]) -> PlannedSession:
    return PlannedSession(
        kind=SessionKind.SECURE_CHANNEL,
        owner_id=topology.manager_id,
        selected=topology.manager_sd,
        key_sd=topology.manager_sd,
        kvn=topology.manager_kvn,
        steps=tuple(steps),
    )


class _Planner:
    """The planning of one instance; every method reads, none changes what was given."""

    def __init__(
        self,
        desired: DesiredContent,
        observed: ObservedContent,
        topology: Topology,
        claims: tuple[Claim, ...],
    ) -> None:
        self.desired = desired
        self.description = desired.description
        self.observed = observed
        self.topology = topology
        self.claims = {claim.aid: claim for claim in claims}
        self.domain = observed.find(self.description.sd_aid)
        self.activation = activation.Activation(desired, observed, topology)

    def plan(self) -> Plan:
        if self.desired.goal is Goal.ABSENT:
            revocations = activation.revocations(self.desired, self.observed)
            return self._closed([*revocations, *self._removals()])
        self._refuse_foreign_objects()
        self.activation.refuse_impossible()
        self._refuse_used_transaction()
        probes = self._probes()
        if probes:
            return Plan(sessions=tuple(probes))
        if self.desired.transaction is not None:
            return self._value_plan()
        return self._content_plan()

    # --- ownership -------------------------------------------------------------------------------------

    def _ours(self, aid: Aid) -> bool:
        claim = self.claims.get(aid)
        return claim is not None and self.desired.instance_id in claim.instance_ids

    def _refuse_foreign_objects(self) -> None:
        own = [app.instance_aid for app in self.description.applications]
        if self.description.dedicated_sd:
            own.append(self.description.sd_aid)
        shared = [lf.aid for lf in self.description.load_files]
        for aid in (*own, *shared):
            if self.observed.find(aid) is not None and aid not in self.claims:
                raise PlanRefusedError(
                    f"The secure element already holds {aid}, which this TSM did not put there.",
                    advice="Remove it through whoever owns it, or give this service other AIDs.",
                )
        for aid in own:
            if self.observed.find(aid) is not None and not self._ours(aid):
                raise PlanRefusedError(
                    f"{aid} on this secure element belongs to another service instance.",
                    advice="Terminate that instance first, or give this service other AIDs.",
                )
        for load_file in self.description.load_files:
            self._refuse_other_code(load_file)

    def _refuse_other_code(self, load_file: LoadFileReference) -> None:
        """A load file that somebody else loaded can be used if it is the same and can be reached."""
        entry, claim = self.observed.find(load_file.aid), self.claims.get(load_file.aid)
        if entry is None or claim is None:
            return
        if claim.sha256 != load_file.sha256:
            raise PlanRefusedError(
                f"The secure element holds another load file under the AID {load_file.aid}.",
                advice="Terminate the services that use it, or give this load file another AID.",
            )
        if not self._ours(load_file.aid) and entry.security_domain != self._loads_into():
            raise PlanRefusedError(
                f"The load file {load_file.aid} lies in the security domain {entry.security_domain} of"
                " another service.",
                advice="Publish the services that share it with the option extradite.",
            )

    # --- what must be known first ------------------------------------------------------------------------

    def _probes(self) -> list[PlannedSession]:
        probes: list[PlannedSession] = []
        domain = self.description.sd_aid
        if self.domain is not None and domain.hex().upper() not in self.observed.keys:
            probes.append(self._plain(domain, s.ProbeKeys(domain=domain)))
        for app in self.description.applications:
            if self._personalization(app) == UNKNOWN and self._can_probe(app):
                probes.append(
                    self._plain(
                        app.instance_aid,
                        s.ProbePersonalization(application=app.instance_aid, data_object=app.probe or 0),
                    )
                )
        transaction = self.desired.transaction
        if transaction is not None and self.observed.transactions.get(transaction.id) == UNKNOWN:
            probes.append(
                self._plain(
                    transaction.application,
                    s.ProbeTransaction(application=transaction.application, transaction=transaction.id),
                )
            )
        return probes

    def _can_probe(self, app: ApplicationSpecification) -> bool:
        entry = self.observed.find(app.instance_aid)
        selectable = (
            entry is not None and entry.state & ApplicationState.SELECTABLE == ApplicationState.SELECTABLE
        )
        return app.probe is not None and selectable and entry is not None and not entry.state & LOCKED

    def _personalization(self, app: ApplicationSpecification) -> str | None:
        return self.observed.personalization.get(app.instance_aid.hex().upper())

    # --- value -----------------------------------------------------------------------------------------

    def _refuse_used_transaction(self) -> None:
        wanted = self.desired.transaction
        if wanted is None:
            return
        known = self.observed.credits.get(wanted.id)
        if known not in (None, f"{wanted.application}/{wanted.amount}"):
            raise PlanRefusedError(
                f"The transaction id {wanted.id} was used on this secure element for another credit.",
                advice="Nothing was credited. Request the top-up with a new transaction id.",
            )

    def _value_plan(self) -> Plan:
        transaction = self.desired.transaction
        assert transaction is not None
        if self.observed.transactions.get(transaction.id) == "applied":
            return Plan()
        entry = self.observed.find(transaction.application)
        if entry is None or entry.state & LOCKED or not entry.state & 0x04:
            raise PlanRefusedError(
                f"The application {transaction.application} cannot take value in its present state.",
                advice="Resume or deploy the service first.",
            )
        step = s.TopUp(
            application=transaction.application, transaction=transaction.id, amount=transaction.amount
        )
        return Plan(sessions=(self._plain(transaction.application, step),))

    # --- content ---------------------------------------------------------------------------------------

    def _content_plan(self) -> Plan:
        probes = self.activation.probes()
        if probes:
            return Plan(sessions=tuple(probes))
        first, rebuilt = self._preparation()
        provider = self._provider_sessions(rebuilt)
        final = [*self._final_steps(rebuilt), *self.activation.steps(rebuilt)]
        crs = self.activation.crs_sessions(rebuilt)
        sessions = [*first, *provider]
        if not sessions and not final:
            return Plan(sessions=tuple(crs))
        final.append(s.ReadRegistry(pages=self.observed.status_pages))
        if sessions and not provider and sessions[-1].selected == self.topology.manager_sd:
            last = sessions.pop()
            final = [*last.steps, *final]
        return Plan(sessions=(*sessions, _manager(self.topology, final), *crs))

    def _closed(self, steps: list[s.Step]) -> Plan:
        if not steps:
            return Plan()
        return Plan(
            sessions=(_manager(self.topology, [*steps, s.ReadRegistry(pages=self.observed.status_pages)]),)
        )

    def _preparation(self) -> tuple[list[PlannedSession], set[Aid]]:
        """Return the manager's first sessions, and the applications that are (re)built in them."""
        sessions: list[PlannedSession] = []
        steps: list[s.Step] = []
        if self.description.dedicated_sd:
            self._domain_steps(sessions, steps)
        steps += [self._load(lf) for lf in self.description.load_files if self.observed.find(lf.aid) is None]
        rebuilt: set[Aid] = set()
        for app in self.description.applications:
            built = self._application_steps(app)
            if any(isinstance(step, s.Install) for step in built):
                rebuilt.add(app.instance_aid)
            steps += built
        if steps:
            sessions.append(_manager(self.topology, steps))
        return sessions, rebuilt

    def _domain_steps(self, sessions: list[PlannedSession], steps: list[s.Step]) -> None:
        domain, topology = self.description.sd_aid, self.topology
        if self.domain is None:
            steps.append(
                s.CreateSecurityDomain(
                    aid=domain,
                    load_file=topology.domain_load_file,
                    module=topology.domain_module,
                    privileges=topology.domain_privileges,
                    parameters=topology.domain_parameters,
                )
            )
        if self._domain_kvns():
            return
        if topology.first_keys is FirstKeys.FORWARDED:
            steps.append(s.PutFirstKeys(domain=domain, kvn=topology.temporary_kvn, forwarded=True))
            return
        if steps:
            sessions.append(_manager(topology, steps))
            steps.clear()
        sessions.append(
            PlannedSession(
                kind=SessionKind.SECURE_CHANNEL,
                owner_id=topology.manager_id,
                selected=domain,
                key_sd=topology.manager_sd,
                kvn=topology.manager_kvn,
                steps=(s.PutFirstKeys(domain=domain, kvn=topology.temporary_kvn, forwarded=False),),
            )
        )

    def _domain_kvns(self) -> tuple[int, ...]:
        if self.domain is None:
            return ()
        return self.observed.keys.get(self.description.sd_aid.hex().upper(), ())

    def _load(self, load_file: LoadFileReference) -> s.Step:
        return s.Load(load_file=load_file, security_domain=self._loads_into())

    def _loads_into(self) -> Aid:
        return self.topology.manager_sd if self._loads_under_manager() else self.description.sd_aid

    def _loads_under_manager(self) -> bool:
        return self.description.extradite or not self.description.dedicated_sd

    def _application_steps(self, app: ApplicationSpecification) -> list[s.Step]:
        entry = self.observed.find(app.instance_aid)
        steps: list[s.Step] = []
        if entry is not None and not self._usable(app, entry):
            steps.append(s.Delete(aid=app.instance_aid, kind=ObjectKind.APPLICATION))
            entry = None
        if entry is None:
            at_once = app.make_selectable and app.personalization is None and not self.description.extradite
            steps.append(s.Install(application=app, make_selectable=at_once))
        if self.description.extradite and self._away_from_domain(entry):
            steps.append(s.Extradite(application=app.instance_aid, security_domain=self.description.sd_aid))
        return steps

    def _away_from_domain(self, entry: CardObject | None) -> bool:
        return entry is None or entry.security_domain != self.description.sd_aid

    def _usable(self, app: ApplicationSpecification, entry: CardObject) -> bool:
        """Say whether an existing instance can be kept: its personalisation is right, or not begun."""
        found = self._personalization(app)
        if app.personalization is None or found == app.personalization:
            return True
        return found is None and not entry.state & 0x04

    def _provider_sessions(self, rebuilt: set[Aid]) -> list[PlannedSession]:
        if not self.description.dedicated_sd:
            return []
        sessions: list[PlannedSession] = []
        kvns = self._domain_kvns() or (self.topology.temporary_kvn,)
        wanted = self.desired.key_version
        proof: list[s.Step] = []
        if wanted not in kvns:
            rotate = s.ReplaceKeys(domain=self.description.sd_aid, old_kvn=kvns[0], new_kvn=wanted)
            sessions.append(self._provider(kvns[0], [rotate]))
        if wanted not in kvns or self.description.sd_aid.hex().upper() in self.observed.unproven:
            proof.append(s.ProveKeys(domain=self.description.sd_aid, kvn=wanted))
        personalize: list[s.Step] = [
            s.Personalize(
                application=app.instance_aid,
                recipe_id=app.recipe_id or "",
                personalization=app.personalization,
            )
            for app in self.description.applications
            if app.personalization is not None
            and (app.instance_aid in rebuilt or self._personalization(app) != app.personalization)
        ]
        if personalize or proof:
            sessions.append(self._provider(wanted, personalize or proof))
        return sessions

    def _final_steps(self, rebuilt: set[Aid]) -> Iterable[s.Step]:
        for app in self.description.applications:
            entry = None if app.instance_aid in rebuilt else self.observed.find(app.instance_aid)
            at_once = app.personalization is None and not self.description.extradite
            if app.make_selectable and (
                (entry is None and not at_once) or (entry is not None and not entry.state & 0x04)
            ):
                yield s.MakeSelectable(application=app.instance_aid)
            locked = entry is not None and bool(entry.state & LOCKED)
            if self.desired.goal is Goal.SUSPENDED and not locked:
                yield s.Lock(application=app.instance_aid)
            if self.desired.goal is Goal.ACTIVE and locked:
                yield s.Unlock(application=app.instance_aid)

    # --- removal ---------------------------------------------------------------------------------------

    def _removals(self) -> list[s.Step]:
        steps: list[s.Step] = []
        for app in self.description.applications:
            self._remove(steps, app.instance_aid, ObjectKind.APPLICATION)
        for load_file in self.description.load_files:
            self._remove(steps, load_file.aid, ObjectKind.LOAD_FILE)
        if self.description.dedicated_sd:
            self._remove(steps, self.description.sd_aid, ObjectKind.SECURITY_DOMAIN)
        return steps

    def _remove(self, steps: list[s.Step], aid: Aid, kind: ObjectKind) -> None:
        claim = self.claims.get(aid)
        if self.observed.find(aid) is None or claim is None:
            return
        if set(claim.instance_ids) == {self.desired.instance_id}:
            steps.append(s.Delete(aid=aid, kind=kind))

    # --- sessions --------------------------------------------------------------------------------------

    def _provider(self, kvn: int, steps: Iterable[s.Step]) -> PlannedSession:
        return PlannedSession(
            kind=SessionKind.SECURE_CHANNEL,
            owner_id=self.topology.provider_id,
            selected=self.description.sd_aid,
            key_sd=self.description.sd_aid,
            kvn=kvn,
            steps=tuple(steps),
        )

    def _plain(self, aid: Aid, step: s.Step) -> PlannedSession:
        return PlannedSession(
            kind=SessionKind.PLAIN,
            owner_id=self.topology.provider_id,
            selected=aid,
            key_sd=aid,
            kvn=0,
            steps=(step,),
        )
