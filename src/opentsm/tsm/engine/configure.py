"""Building an arrangement: its domains minus those on the card, as sessions of the parties that hold them.

Pure. Whoever holds a domain makes those below it and gives them temporary keys; each holder then replaces
them by its own and proves that, before anything else is done. A card that is half built is completed.
"""

from collections.abc import Mapping

from opentsm.card.codec.aid import Aid
from opentsm.card.gp.privileges import Privilege
from opentsm.card.profiles import FirstKeys
from opentsm.tsm.domain.arrangement import ArrangedDomain, Arrangement
from opentsm.tsm.domain.card_content import CardObject, ObjectKind, ObservedContent
from opentsm.tsm.domain.delegation import ProofUse
from opentsm.tsm.engine import proof_keys
from opentsm.tsm.engine import steps as s
from opentsm.tsm.engine.proof_keys import NO_PROOFS, Proofs
from opentsm.tsm.engine.sessions import Plan, PlannedSession, SessionKind, Topology, managed
from opentsm.tsm.kernel.errors import PlanRefusedError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.kernel.wording import quoted

_LOCKED, _PERSONALIZED = 0x80, 0x0F
_PRIVILEGES = {
    ProofUse.TOKEN: Privilege.TOKEN_VERIFICATION,
    ProofUse.RECEIPT: Privilege.RECEIPT_GENERATION,
    ProofUse.DAP: Privilege.MANDATED_DAP_VERIFICATION,
}


def configure(
    arrangement: Arrangement,
    observed: ObservedContent,
    topology: Topology,
    issuer_id: TenantId,
    restrictions: Mapping[str, int],
    *,
    proofs: Proofs = NO_PROOFS,
) -> Plan:
    """Return what is to be done next until the card has all domains of its arrangement.

    Args:
        arrangement: the domains, and who holds them.
        observed: what is known to be on the card.
        topology: who manages the card now through the issuer security domain: its holder, or the issuer.
        issuer_id: who holds the card's first key set.
        restrictions: by a domain's name, what a Restrict parameter is to take away from it (Table 11-53).
        proofs: the keys for tokens and receipts that the card is to have.

    Raises:
        PlanRefusedError: what is on the card contradicts the arrangement.
    """
    return _Configuration(arrangement, observed, topology, issuer_id, restrictions, proofs=proofs).plan()


class _Configuration:
    def __init__(
        self,
        arrangement: Arrangement,
        observed: ObservedContent,
        topology: Topology,
        issuer_id: TenantId,
        restrictions: Mapping[str, int],
        *,
        proofs: Proofs,
    ) -> None:
        self._arrangement = arrangement
        self._observed = observed
        self._topology = topology
        self._issuer_id = issuer_id
        self._restrictions = restrictions
        self._proofs = proofs
        self._top = arrangement.top

    def plan(self) -> Plan:
        if self._top_in_doubt():
            return Plan(sessions=(_probe(self._top.aid, self._issuer_id),))
        if not self._observed.fresh_through(self._top.aid):
            return Plan(sessions=(self._reading_now(),))
        below = [domain for domain in self._arrangement.domains if domain.parent]
        probes = [_probe(one.aid, one.holder_id) for one in below if self._unknown(one)]
        probes += [_probe(one.aid, one.holder_id) for one in self._verifiers() if self._not_known(one)]
        if probes:
            return Plan(sessions=tuple(probes))
        sessions = self._take_over()
        for domain in self._in_order(below):
            sessions += self._domain(domain)
        for domain in self._verifiers():
            steps = proof_keys.missing(self._observed, domain.aid, self._proofs_of(domain))
            sessions += [_session(domain, domain.kvn, steps)] if steps else []
        final = [step for domain in self._arrangement.domains for step in self._restriction(domain)]
        if not sessions and not final:
            return Plan()
        return Plan(sessions=(*sessions, _session(self._top, self._top.kvn, [*final, self._reading()])))

    def _reading(self) -> s.Step:
        return s.ReadRegistry(pages=self._observed.status_pages)

    # --- the issuer security domain --------------------------------------------------------------------

    def _top_kvns(self) -> tuple[int, ...] | None:
        return self._observed.keys.get(_hex(self._top.aid))

    def _top_in_doubt(self) -> bool:
        """The key set of the issuer security domain is to change, and which one is there is not known."""
        return self._topology.manager_kvn != self._top.kvn and self._top_kvns() is None

    def _present_kvn(self) -> int:
        kvns = self._top_kvns() or (self._topology.manager_kvn,)
        return self._top.kvn if self._top.kvn in kvns else self._topology.manager_kvn

    def _reading_now(self) -> PlannedSession:
        """Return a reading through the issuer security domain, by whoever holds it at this moment."""
        if self._present_kvn() == self._top.kvn:
            return _session(self._top, self._top.kvn, [self._reading()])
        return managed(self._topology, [self._reading()])

    def _take_over(self) -> list[PlannedSession]:
        """Return the sessions in which the domain's holder puts its own keys in place of the first ones."""
        top, old = self._top, self._present_kvn()
        sessions: list[PlannedSession] = []
        if old != top.kvn:
            giver = None if top.holder_id == self._topology.manager_id else self._topology.manager_id
            rotate = s.ReplaceKeys(domain=top.aid, old_kvn=old, new_kvn=top.kvn)
            sessions.append(_session(top, old, [rotate], keys_from=giver))
        if old != top.kvn or _hex(top.aid) in self._observed.unproven:
            sessions.append(_session(top, top.kvn, [s.ProveKeys(domain=top.aid, kvn=top.kvn)]))
        return sessions

    # --- the domains below -----------------------------------------------------------------------------

    def _in_order(self, below: list[ArrangedDomain]) -> list[ArrangedDomain]:
        """Return parents before children."""
        done, left = [self._top.name], list(below)
        ordered: list[ArrangedDomain] = []
        while left:
            ready = [one for one in left if one.parent in done]
            if not ready:
                raise PlanRefusedError("The arrangement's domains are below each other in a circle.")
            ordered += ready
            done += [one.name for one in ready]
            left = [one for one in left if one not in ready]
        return ordered

    def _unknown(self, domain: ArrangedDomain) -> bool:
        return self._observed.find(domain.aid) is not None and _hex(domain.aid) not in self._observed.keys

    def _parent(self, domain: ArrangedDomain) -> ArrangedDomain:
        found = self._arrangement.domain(domain.parent)
        if found is None:
            raise PlanRefusedError(f"The arrangement has no domain {quoted(domain.parent)}.")
        return found

    def _domain(self, domain: ArrangedDomain) -> list[PlannedSession]:
        parent, entry = self._parent(domain), self._observed.find(domain.aid)
        kvns = self._kvns(domain, parent, entry)
        sessions: list[PlannedSession] = []
        if not kvns:
            self._refuse_versions(domain)
            sessions += self._creation(domain, parent, present=entry is not None)
            kvns = (self._topology.temporary_kvn,)
        if domain.kvn not in kvns:
            if kvns != (self._topology.temporary_kvn,):
                raise PlanRefusedError(
                    f"The security domain {domain.aid} holds key versions that nobody of the arrangement put"
                    f" there: {', '.join(f'{kvn:02X}' for kvn in kvns)}.",
                    advice="Give the arrangement the version that its holder has, or remove the domain.",
                )
            rotate = s.ReplaceKeys(domain=domain.aid, old_kvn=kvns[0], new_kvn=domain.kvn)
            giver = None if parent.holder_id == domain.holder_id else parent.holder_id
            sessions.append(_session(domain, kvns[0], [rotate], keys_from=giver))
        if domain.kvn not in kvns or _hex(domain.aid) in self._observed.unproven:
            sessions.append(_session(domain, domain.kvn, [s.ProveKeys(domain=domain.aid, kvn=domain.kvn)]))
        return sessions

    def _kvns(
        self, domain: ArrangedDomain, parent: ArrangedDomain, entry: CardObject | None
    ) -> tuple[int, ...]:
        if entry is None:
            return ()
        fits = (entry.kind, entry.privileges, entry.security_domain) == (
            ObjectKind.SECURITY_DOMAIN,
            domain.privileges,
            parent.aid,
        )
        if not fits or entry.state & _LOCKED:
            raise PlanRefusedError(
                f"The secure element holds {domain.aid}, and not as the arrangement has it: with other"
                " privileges, under another domain, or locked.",
                advice="Remove it through whoever holds it, or give the arrangement another AID.",
            )
        known = self._observed.keys.get(_hex(domain.aid), ())
        # a domain that is PERSONALIZED has keys: those that look like its parent's are its own
        return known or ((domain.kvn,) if entry.state & _PERSONALIZED == _PERSONALIZED else ())

    def _refuse_versions(self, domain: ArrangedDomain) -> None:
        """Until it has keys of its own a domain shows its ancestors': the versions must differ."""
        above = domain
        while above.parent:
            above = self._parent(above)
            if above.kvn in (domain.kvn, self._topology.temporary_kvn):
                raise PlanRefusedError(
                    f"{quoted(domain.name)} and {quoted(above.name)} above it have the same key version.",
                    advice="Give the arrangement different versions for them.",
                )

    def _creation(
        self, domain: ArrangedDomain, parent: ArrangedDomain, *, present: bool
    ) -> list[PlannedSession]:
        """Return the sessions of the holder of the domain above: the new domain, and its temporary keys."""
        topology = self._topology
        create = s.CreateSecurityDomain(
            aid=domain.aid,
            load_file=topology.domain_load_file,
            module=topology.domain_module,
            privileges=domain.privileges,
            parameters=topology.domain_parameters,
        )
        steps: list[s.Step] = [] if present else [create]
        forwarded = topology.first_keys is FirstKeys.FORWARDED
        keys = s.PutFirstKeys(domain=domain.aid, kvn=topology.temporary_kvn, forwarded=forwarded)
        if forwarded:
            return [_session(parent, parent.kvn, [*steps, keys])]
        made = [_session(parent, parent.kvn, steps)] if steps else []
        inherited = PlannedSession(
            kind=SessionKind.SECURE_CHANNEL,
            owner_id=parent.holder_id,
            selected=domain.aid,
            key_sd=parent.aid,
            kvn=parent.kvn,
            steps=(keys,),
        )
        return [*made, inherited]

    # --- tokens and receipts -----------------------------------------------------------------------------

    def _verifiers(self) -> list[ArrangedDomain]:
        """Return the domains that verify tokens or make receipts, where somebody works with tokens."""
        return [one for one in self._arrangement.domains if self._proofs_of(one).schemes]

    def _proofs_of(self, domain: ArrangedDomain) -> Proofs:
        held = {
            use: scheme
            for use, scheme in self._proofs.schemes.items()
            if self._arrangement.domain_with(_PRIVILEGES[use]) == domain
        }
        return Proofs(held, self._proofs.number)

    def _not_known(self, domain: ArrangedDomain) -> bool:
        there = domain == self._top or self._observed.find(domain.aid) is not None
        return there and proof_keys.to_be_probed(self._observed, domain.aid, self._proofs_of(domain))

    def _restriction(self, domain: ArrangedDomain) -> list[s.Step]:
        """The registry does not show restrictions; to repeat one changes nothing."""
        functions = self._restrictions.get(domain.name, 0)
        if self._observed.restricted.get(_hex(domain.aid), 0) & functions == functions:
            return []
        return [s.RestrictDomain(domain=domain.aid, functions=functions)]


def _session(
    domain: ArrangedDomain, kvn: int, steps: list[s.Step], *, keys_from: TenantId | None = None
) -> PlannedSession:
    return PlannedSession(
        kind=SessionKind.SECURE_CHANNEL,
        owner_id=domain.holder_id,
        selected=domain.aid,
        key_sd=domain.aid,
        kvn=kvn,
        steps=tuple(steps),
        keys_from=keys_from,
    )


def _probe(domain: Aid, owner_id: TenantId) -> PlannedSession:
    return PlannedSession(
        kind=SessionKind.PLAIN,
        owner_id=owner_id,
        selected=domain,
        key_sd=domain,
        kvn=0,
        steps=(s.ProbeKeys(domain=domain),),
    )


def _hex(aid: Aid) -> str:
    return aid.hex().upper()
