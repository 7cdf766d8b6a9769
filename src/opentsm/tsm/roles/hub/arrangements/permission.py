"""Whether the parties of a plan may do what it says: each session is asked for before anything is sent. Pure.

Whatever is not said in the matrix of rights is refused.
"""

from collections.abc import Iterable

from opentsm.card.codec.aid import Aid
from opentsm.card.gp.lifecycle import CardState
from opentsm.card.gp.se_rights import Act, Rights
from opentsm.tsm.domain.arrangement import ArrangedDomain, Arrangement
from opentsm.tsm.domain.card_content import ObservedContent
from opentsm.tsm.engine import activation_steps as a
from opentsm.tsm.engine import card_steps as k
from opentsm.tsm.engine import readings
from opentsm.tsm.engine import steps as s
from opentsm.tsm.engine.sessions import Plan, PlannedSession, SessionKind
from opentsm.tsm.kernel.errors import PlanRefusedError
from opentsm.tsm.kernel.ids import TenantId

# They change nothing on the card, or are between a party and its own application.
_FREE = (s.ReadRegistry, s.ProbeKeys, s.ProbePersonalization, s.ProbeTransaction)
_ACTS: dict[type[s.Step], Act] = {
    s.ReplaceKeys: Act.PUT_OWN_KEYS,
    s.ProveKeys: Act.PUT_OWN_KEYS,
    s.PutProofKey: Act.PUT_OWN_KEYS,
    s.Load: Act.LOAD,
    s.Install: Act.INSTALL,
    s.MakeSelectable: Act.INSTALL,
    s.Extradite: Act.EXTRADITE,
    s.Personalize: Act.PERSONALIZE,
    s.RestrictDomain: Act.UPDATE_REGISTRY,
    a.GrantAccess: Act.PERSONALIZE,
    a.RevokeAccess: Act.PERSONALIZE,
    a.SetContactless: Act.UPDATE_REGISTRY,
}

_CARD_ACTS = {
    CardState.CARD_LOCKED: Act.LOCK_CARD,
    CardState.SECURED: Act.UNLOCK_CARD,
    CardState.TERMINATED: Act.TERMINATE_CARD,
}


class Permission:
    """The rights of the parties of one arrangement on one secure element."""

    def __init__(
        self,
        arrangement: Arrangement,
        rights: Rights,
        *,
        issuer_id: TenantId,
        provider_id: TenantId,
        observed: ObservedContent,
    ) -> None:
        """Note what is asked.

        Args:
            arrangement: who holds which domain.
            rights: of the arrangement's configuration.
            issuer_id: whose secure element it is; its key set opens the issuer security domain at first.
            provider_id: whose service it is.
            observed: what is on the card.
        """
        self._arrangement = arrangement
        self._rights = rights
        self._issuer_id = issuer_id
        self._provider_id = provider_id
        self._observed = observed

    def check(self, plan: Plan) -> None:
        """Check every session of a plan.

        Raises:
            PlanRefusedError: a party may not do a step.
        """
        for session in plan.sessions:
            self.check_session(session)

    def check_session(self, session: PlannedSession) -> None:
        """Check one session.

        Raises:
            PlanRefusedError: the party may not do a step, or has no key of the domain.
        """
        if session.kind is SessionKind.PLAIN:
            return
        role = self.role_of(session.owner_id, session.key_sd)
        for step in session.steps:
            if isinstance(step, _FREE):
                continue
            act = self._act(step, session.key_sd)
            if act is None or self._rights.refused(role, (act,)):
                raise _refused(role, step.describe())

    def check_acts(self, owner_id: TenantId, domain: Aid, acts: Iterable[Act]) -> None:
        """Check what is not a step of a plan: acts of a party in a session with a domain's keys.

        Raises:
            PlanRefusedError: the party may not, or has no key of the domain.
        """
        role = self.role_of(owner_id, domain)
        for act in self._rights.refused(role, acts):
            raise _refused(role, act.value.replace("_", " "))

    def role_of(self, owner_id: TenantId, aid: Aid) -> str:
        """Return the role of a domain whose keys a party has.

        Raises:
            PlanRefusedError: it has none of this domain.
        """
        domain = self._arranged(aid)
        if domain is not None:
            holders = {domain.holder_id} if domain.parent else {domain.holder_id, self._issuer_id}
            if owner_id in holders:
                return domain.role
        place = self._arrangement.place_of(self._provider_id)
        if domain is None and place is not None and owner_id == self._provider_id:
            return place.role
        raise PlanRefusedError(f"By the arrangement the party does not hold the domain {aid}.")

    def _arranged(self, aid: Aid) -> ArrangedDomain | None:
        return next((one for one in self._arrangement.domains if one.aid == aid), None)

    def _act(self, step: s.Step, domain: Aid) -> Act | None:
        match step:
            case s.CreateSecurityDomain():
                return self._creation(step)
            case s.PutFirstKeys() | s.OfferKeys() | s.AgreeKeys():
                arranged = self._arranged(step.domain) is not None
                return Act.CREATE_ARRANGED if arranged else Act.CREATE_SERVICE_DOMAIN
            case s.Delete():
                return Act.DELETE if readings.below(self._observed, step.aid, domain) else Act.DELETE_FOREIGN
            case s.Lock() | s.Unlock():
                below = readings.below(self._observed, step.application, domain)
                return Act.LOCK if below else Act.LOCK_FOREIGN
            case k.SetCardState():
                return _CARD_ACTS.get(CardState(step.state))
            case _:
                return _ACTS.get(type(step))

    def _creation(self, step: s.CreateSecurityDomain) -> Act | None:
        """A domain is made with the privileges that the arrangement gives it, or not at all."""
        arranged = self._arranged(step.aid)
        if arranged is not None:
            return Act.CREATE_ARRANGED if step.privileges == arranged.privileges else None
        place = self._arrangement.place_of(self._provider_id)
        fits = place is not None and step.privileges == place.privileges
        return Act.CREATE_SERVICE_DOMAIN if fits else None


def _refused(role: str, what: str) -> PlanRefusedError:
    return PlanRefusedError(
        f"By the arrangement whoever holds the {role} may not {what}.",
        advice="Ask the party that may, or the issuer for another arrangement.",
    )
