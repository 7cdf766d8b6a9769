"""The planning of one instance's content by the card's manager and the provider, in the centralised mode.

Pure: every method reads, none changes what was given. `engine.delegated` plans the delegated mode.
"""

from collections.abc import Iterable

from opentsm.card.codec.aid import Aid
from opentsm.card.profiles import FirstKeys
from opentsm.tsm.domain.card_content import (
    UNKNOWN,
    ApplicationSpecification,
    CardObject,
    Goal,
    LoadFileReference,
    ObjectKind,
    Stage,
)
from opentsm.tsm.engine import activation
from opentsm.tsm.engine import steps as s
from opentsm.tsm.engine.hand_over import HandOver
from opentsm.tsm.engine.identity import build_of
from opentsm.tsm.engine.ownership import refuse_foreign_objects
from opentsm.tsm.engine.removal import obsolete
from opentsm.tsm.engine.sessions import Plan, PlannedSession, SessionKind, managed
from opentsm.tsm.engine.view import LOCKED, View
from opentsm.tsm.kernel.errors import PlanRefusedError


def kept_elsewhere(domain: Aid, consequence: str) -> PlanRefusedError:
    """Return the refusal of what needs keys that the provider put on the card from a TSM of its own."""
    return PlanRefusedError(
        f"The keys of the security domain {domain} are kept by its provider's own TSM: {consequence}.",
        advice="Do it in a conversation, or terminate the instance and deploy it again.",
    )


class Planner:
    """The planning of one instance; every method reads, none changes what was given."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.desired = view.desired
        self.description = view.description
        self.observed = view.observed
        self.topology = view.topology
        self.obsolete = obsolete(view)
        self.gone = {step.aid for step in self.obsolete if isinstance(step, s.Delete)}
        self.domain = self._find(self.description.sd_aid)
        self.activation = activation.Activation(self.desired, self.observed, self.topology)
        self.hand_over = HandOver(view)
        self.extradites = self.description.extradite and view.loads_into() != self.description.sd_aid

    def plan(self) -> Plan:
        refuse_foreign_objects(self.view)
        self.activation.refuse_impossible()
        self._refuse_used_transaction()
        probes = self._probes()
        if probes:
            return Plan(sessions=tuple(probes))
        if self.desired.transaction is not None:
            return self._value_plan()
        return self._content_plan()

    def _find(self, aid: Aid) -> CardObject | None:
        """Return an entry that is there and stays."""
        return None if aid in self.gone else self.observed.find(aid)

    # --- what must be known first ------------------------------------------------------------------------

    def _probes(self) -> list[PlannedSession]:
        probes: list[PlannedSession] = []
        domain = self.description.sd_aid
        if self.domain is not None and domain.hex().upper() not in self.observed.keys:
            probes.append(self._plain(domain, s.ProbeKeys(domain=domain)))
        if self.hand_over.needs_certificate(self.domain):
            probes.append(self._plain(*self.hand_over.reading()))
        for app in self.description.applications:
            unknown = self.view.personalization(app) == UNKNOWN and app.instance_aid not in self.gone
            if unknown and self.view.can_probe(app):
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
            return Plan(sessions=(*crs, *self._command_sessions()))
        final.append(s.ReadRegistry(pages=self.observed.status_pages))
        if sessions and not provider and sessions[-1].selected == self.topology.manager_sd:
            last = sessions.pop()
            final = [*last.steps, *final]
        return Plan(sessions=(*sessions, managed(self.topology, final), *crs))

    def _command_sessions(self) -> list[PlannedSession]:
        """Return the recipes' commands that were not sent yet: last of all, to what can be selected."""
        return [
            self._plain(
                app.instance_aid,
                s.RunCommands(
                    application=app.instance_aid,
                    recipe_id=app.recipe_id or "",
                    personalization=app.personalization or "",
                ),
            )
            for app in self.description.applications
            if app.commands
            and self.view.personalization(app) == app.personalization
            and self.observed.commands.get(app.instance_aid.hex().upper()) != app.personalization
            and self.view.selectable(app)
        ]

    def _preparation(self) -> tuple[list[PlannedSession], set[Aid]]:
        """Return the manager's first sessions, and the applications that are (re)built in them."""
        sessions: list[PlannedSession] = []
        steps: list[s.Step] = list(self.obsolete)
        if self.description.dedicated_sd:
            self._domain_steps(sessions, steps)
        content, rebuilt = self._content_steps()
        steps += content
        if steps:
            sessions.append(managed(self.topology, steps))
        return sessions, rebuilt

    def _content_steps(self) -> tuple[list[s.Step], set[Aid]]:
        """Return loads and installations, and the applications that are (re)built by them."""
        steps = [self._load(lf) for lf in self.description.load_files if self._find(lf.aid) is None]
        rebuilt: set[Aid] = set()
        for app in self.description.applications:
            built = self._application_steps(app)
            if any(isinstance(step, s.Install) for step in built):
                rebuilt.add(app.instance_aid)
            steps += built
        return steps, rebuilt

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
                    memory=topology.domain_memory,
                )
            )
        if self._domain_kvns():
            return
        if self.desired.keys_elsewhere:
            raise kept_elsewhere(domain, "it is not on the card any more with its keys")
        if self.hand_over.confidential:
            sessions += self.hand_over.sessions(steps)
            steps.clear()
            return
        handed_over = topology.manager_id != topology.provider_id
        if topology.first_keys is FirstKeys.FORWARDED:
            steps.append(
                s.PutFirstKeys(
                    domain=domain, kvn=topology.temporary_kvn, forwarded=True, handed_over=handed_over
                )
            )
            return
        if steps:
            sessions.append(managed(topology, steps))
            steps.clear()
        sessions.append(
            PlannedSession(
                kind=SessionKind.SECURE_CHANNEL,
                owner_id=topology.manager_id,
                selected=domain,
                key_sd=topology.manager_sd,
                kvn=topology.manager_kvn,
                steps=(
                    s.PutFirstKeys(
                        domain=domain, kvn=topology.temporary_kvn, forwarded=False, handed_over=handed_over
                    ),
                ),
            )
        )

    def _domain_kvns(self) -> tuple[int, ...]:
        if self.domain is None:
            return ()
        return self.observed.keys.get(self.description.sd_aid.hex().upper(), ())

    def _load(self, load_file: LoadFileReference) -> s.Step:
        return s.Load(load_file=load_file, security_domain=self.view.loads_into())

    def _application_steps(self, app: ApplicationSpecification) -> list[s.Step]:
        entry = self._find(app.instance_aid)
        steps: list[s.Step] = []
        if entry is not None and not self.view.usable(app):
            steps.append(s.Delete(aid=app.instance_aid, kind=ObjectKind.APPLICATION))
            entry = None
        if entry is None:
            at_once = self._selectable_at_once(app)
            build = build_of(self.description, app)
            steps.append(s.Install(application=app, make_selectable=at_once, build=build))
        if self.extradites and self._away_from_domain(entry):
            steps.append(s.Extradite(application=app.instance_aid, security_domain=self.description.sd_aid))
        return steps

    def _selectable_at_once(self, app: ApplicationSpecification) -> bool:
        wanted = app.make_selectable and self.view.wants(Stage.ACTIVATE)
        return wanted and app.personalization is None and not self.extradites

    def _away_from_domain(self, entry: CardObject | None) -> bool:
        return entry is None or entry.security_domain != self.description.sd_aid

    def _provider_sessions(self, rebuilt: set[Aid]) -> list[PlannedSession]:
        if not self.description.dedicated_sd:
            return []
        sessions, proof = self._own_keys()
        personalize = self._personalizations(rebuilt)
        if personalize or proof:
            sessions.append(self._provider(self.desired.key_version, personalize or proof))
        return sessions

    def _own_keys(self) -> tuple[list[PlannedSession], list[s.Step]]:
        """Return the session that gives the domain its owner's keys, and what proves them if nothing does."""
        if self.desired.keys_elsewhere:
            return [], []
        kvns = self._domain_kvns()
        self.hand_over.refuse_known(kvns)
        agreed = not kvns and self.hand_over.confidential
        kvns = kvns or (self.hand_over.first_kvn,)
        wanted, domain = self.desired.key_version, self.description.sd_aid
        unproven = domain.hex().upper() in self.observed.unproven
        proof: list[s.Step] = [s.ProveKeys(domain=domain, kvn=wanted)]
        if wanted in kvns:
            return [], proof if unproven or agreed else []
        rotate = s.ReplaceKeys(domain=domain, old_kvn=kvns[0], new_kvn=wanted)
        return [self._provider(kvns[0], [rotate])], proof

    def _personalizations(self, rebuilt: set[Aid]) -> list[s.Step]:
        found: list[s.Step] = [
            s.Personalize(
                application=app.instance_aid,
                recipe_id=app.recipe_id or "",
                personalization=app.personalization,
            )
            for app in self.description.applications
            if app.personalization is not None
            and self.view.wants(Stage.PERSONALIZE)
            and (app.instance_aid in rebuilt or self.view.personalization(app) != app.personalization)
        ]
        if found and self.desired.keys_elsewhere:
            raise kept_elsewhere(self.description.sd_aid, "applications cannot be personalised from here")
        return found

    def _final_steps(self, rebuilt: set[Aid]) -> Iterable[s.Step]:
        for app in self.description.applications:
            entry = None if app.instance_aid in rebuilt else self._find(app.instance_aid)
            selectable = self._selectable_at_once(app) if entry is None else bool(entry.state & 0x04)
            if app.make_selectable and self.view.wants(Stage.ACTIVATE) and not selectable:
                yield s.MakeSelectable(application=app.instance_aid)
            if not self.desired.final:
                continue
            locked = entry is not None and bool(entry.state & LOCKED)
            if self.desired.goal is Goal.SUSPENDED and not locked:
                yield s.Lock(application=app.instance_aid)
            if self.desired.goal is Goal.ACTIVE and locked:
                yield s.Unlock(application=app.instance_aid)

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
