"""What a reading of the card's registry through one security domain makes known. Pure.

A domain without Global Registry shows itself and what is associated with it, directly or indirectly: all
else is unknown, not absent (GPCS 2.3.1 §9.6.5).
"""

import msgspec

from opentsm.card.codec.aid import Aid
from opentsm.card.gp.privileges import Privilege
from opentsm.tsm.domain.card_content import CardObject, ObjectKind, ObservedContent
from opentsm.tsm.engine.content import gone

replace = msgspec.structs.replace

MAX_STATUS_PAGES = 64  # a card that never comes to the end of its registry is not asked for ever more


def read(
    observed: ObservedContent,
    objects: tuple[CardObject, ...],
    *,
    through: Aid,
    complete: bool,
    card_state: int | None,
    free_memory: int | None,
    more: bool = False,
) -> ObservedContent:
    """Return the content after the card's registry was read through one security domain.

    Entries that were seen through another domain stay, unless they lie below this one, which shows its whole
    hierarchy, or it sees everything; what vanished takes its facts with it. What other domains see stays as
    fresh as it was. An incomplete reading leaves the content stale; if the
    card has `more` than it was asked for, it is asked for more pages next time. A reading that broke off says
    nothing about how many there are.
    """
    if not complete:
        pages = min(observed.status_pages * 2, MAX_STATUS_PAGES) if more else observed.status_pages
        return replace(observed, fresh=False, status_pages=pages)
    everything = _sees_everything(objects, through)
    kept = tuple(
        o
        for o in observed.objects
        if not everything and o.seen_through not in (None, through) and not _below(observed, o, through)
    )
    seen = {o.aid for o in objects}
    vanished = [o.aid for o in observed.objects if o.aid not in seen and o not in kept]
    observed = gone(observed, vanished)
    merged = (*(o for o in kept if o.aid not in seen), *objects)
    return replace(
        observed,
        objects=merged,
        fresh=True,
        readers=() if everything else _readers(observed, through),
        # only the issuer security domain, or one with Global Registry, shows the card's state
        card_state=observed.card_state if card_state is None else card_state,
        free_memory=observed.free_memory if free_memory is None else free_memory,
    )


def _sees_everything(objects: tuple[CardObject, ...], through: Aid) -> bool:
    """Say whether a domain's reading is the whole registry (GPCS 2.3.1 §9.6.5).

    One byte of privileges (Card Specification 2.1.1) does not tell it: there the issuer's domain sees all.
    """
    reader = next((o for o in objects if o.aid == through), None)
    if reader is None:
        return False
    whole = bool(reader.privileges & Privilege.GLOBAL_REGISTRY)
    return whole or (reader.kind is ObjectKind.ISSUER_SECURITY_DOMAIN and not reader.privileges & 0xFFFF)


def _readers(observed: ObservedContent, through: Aid) -> tuple[Aid, ...]:
    if not observed.fresh:
        return (through,)
    known = observed.readers
    return known if not known or through in known else (*known, through)


def below(observed: ObservedContent, aid: Aid, domain: Aid) -> bool:
    """Say whether an object on the card is a domain itself, or associated with it directly or indirectly."""
    entry = observed.find(aid)
    return aid == domain or (entry is not None and _below(observed, entry, domain))


def _below(observed: ObservedContent, entry: CardObject, domain: Aid) -> bool:
    """Say whether an entry is associated with a domain, directly or through others (GPCS 2.3.1 §7.2)."""
    passed: set[Aid] = set()
    above = entry.security_domain
    while above is not None and above not in passed:
        if above == domain:
            return True
        passed.add(above)
        found = observed.find(above)
        above = None if found is None else found.security_domain
    return False
