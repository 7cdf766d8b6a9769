"""Acts on a card as a whole: lock, unlock, terminate, and other keys for a domain that manages it. Pure.

Each is a reconciliation like all others: what is known is compared with what is wanted, and what is in doubt
is read or probed first.
"""

from opentsm.card.codec.aid import Aid
from opentsm.card.gp.lifecycle import CardState, card_state_name
from opentsm.tsm.domain.card_content import CARD_STATE_IN_DOUBT, ObservedContent
from opentsm.tsm.engine import steps as s
from opentsm.tsm.engine.card_steps import ProbeTermination, SetCardState
from opentsm.tsm.engine.sessions import Plan, PlannedSession, SessionKind
from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.errors import PlanRefusedError
from opentsm.tsm.kernel.ids import TenantId

# Figure 5-1: a lock and its end are moves between these two states
_FROM = {CardState.CARD_LOCKED: CardState.SECURED, CardState.SECURED: CardState.CARD_LOCKED}


class DomainHolder(Record, frozen=True, kw_only=True):
    """A party and the domain whose key set (`kvn`) it holds."""

    owner_id: TenantId
    aid: Aid
    kvn: int


def move_card(target: CardState, observed: ObservedContent, holder: DomainHolder) -> Plan:
    """Return what is to be done next to bring a card into a state.

    Args:
        target: CARD_LOCKED, SECURED (the end of a lock) or TERMINATED.
        observed: what is known of the card.
        holder: whose domain has the privilege for it (Card Lock, Card Terminate).

    Raises:
        PlanRefusedError: the card's life cycle has no such move.
    """
    known = observed.card_state
    if known == target:
        return Plan()
    if known == CARD_STATE_IN_DOUBT:
        return Plan(sessions=(_plain(holder, ProbeTermination()),))
    if not observed.fresh_through(holder.aid):
        return Plan(sessions=(_session(holder, holder.kvn, _reading(observed)),))
    before = _FROM.get(target)
    if before is not None and known not in (None, before):
        raise PlanRefusedError(
            f"The secure element is {card_state_name(known)}; only one that is {before.name} can become"
            f" {target.name}.",
        )
    steps: list[s.Step] = [SetCardState(state=target)]
    if target is not CardState.TERMINATED:  # a terminated card shows its registry to nobody
        steps.append(_reading(observed))
    return Plan(sessions=(_session(holder, holder.kvn, *steps),))


def replace_key_set(observed: ObservedContent, holder: DomainHolder, new_kvn: int, master: str = "") -> Plan:
    """Return what is to be done next until a domain has another key set of its holder's.

    Versions old and new differ, so that which of them the card has is asked for (GET DATA E0) before any
    session is tried: no retry is spent. What the card then says it has is proved by a session under it.

    Args:
        observed: what is known of the card.
        holder: of the domain, with the key version that is on record.
        new_kvn: the new version.
        master: handle of the master key that the new set is derived from; empty: random keys.

    Raises:
        PlanRefusedError: the card says that it has neither of the two sets.
    """
    domain = holder.aid.hex().upper()
    kvns = observed.keys.get(domain)
    if kvns is None:
        return Plan(sessions=(_plain(holder, s.ProbeKeys(domain=holder.aid)),))
    prove = _session(holder, new_kvn, s.ProveKeys(domain=holder.aid, kvn=new_kvn))
    if new_kvn in kvns:
        return Plan(sessions=(prove,)) if domain in observed.unproven else Plan()
    if holder.kvn not in kvns:
        raise PlanRefusedError(
            f"The security domain {holder.aid} says that it holds neither key version {holder.kvn:02X} nor"
            f" {new_kvn:02X}.",
            advice="Read the card; somebody else may have changed its keys.",
        )
    put = s.ReplaceKeys(domain=holder.aid, old_kvn=holder.kvn, new_kvn=new_kvn, master=master)
    return Plan(sessions=(_session(holder, holder.kvn, put), prove))


def _reading(observed: ObservedContent) -> s.Step:
    return s.ReadRegistry(pages=observed.status_pages)


def _session(holder: DomainHolder, kvn: int, *steps: s.Step) -> PlannedSession:
    return PlannedSession(
        kind=SessionKind.SECURE_CHANNEL,
        owner_id=holder.owner_id,
        selected=holder.aid,
        key_sd=holder.aid,
        kvn=kvn,
        steps=steps,
    )


def _plain(holder: DomainHolder, step: s.Step) -> PlannedSession:
    return PlannedSession(
        kind=SessionKind.PLAIN,
        owner_id=holder.owner_id,
        selected=holder.aid,
        key_sd=holder.aid,
        kvn=0,
        steps=(step,),
    )
