"""What is to leave the card: all that an instance claimed, or what its description does not name any more.

Pure. Applications go first, then load files after those that import them, then the domain. What another
instance claims too stays. Card Specification 2.3.1 §11.2.
"""

from collections.abc import Iterable

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.card_content import Claim, ObjectKind
from opentsm.tsm.engine import steps as s
from opentsm.tsm.engine.content import named
from opentsm.tsm.engine.identity import build_of, needed
from opentsm.tsm.engine.view import View

_ORDER = (ObjectKind.APPLICATION, ObjectKind.LOAD_FILE, ObjectKind.SECURITY_DOMAIN)


def removals(view: View) -> list[s.Step]:
    """Return the steps that remove everything of an instance."""
    return _deletions(view, view.claims.values())


def obsolete(view: View) -> list[s.Step]:
    """Return the steps that remove what the description does not name, or names with other content.

    Source: BSI TR-03165 §4.2.5.4.
    """
    wanted = named(view.description)
    gone = {aid for aid in view.claims if aid not in wanted} | _rebuilt(view)
    gone |= _reloaded(view, moved=bool(gone))
    return _deletions(view, [claim for claim in view.claims.values() if claim.aid in gone])


def _rebuilt(view: View) -> set[Aid]:
    """Return the applications that were built from something else."""
    built = view.observed.built
    return {
        app.instance_aid
        for app in view.description.applications
        if view.observed.find(app.instance_aid) is not None
        and built.get(app.instance_aid.hex().upper()) not in (None, build_of(view.description, app))
    }


def _reloaded(view: View, *, moved: bool) -> set[Aid]:
    """Return the load files with other content, or in another domain, and those that import them."""
    description, changed = view.description, set[Aid]()
    for file in description.load_files:
        entry = view.observed.find(file.aid)
        elsewhere = entry is not None and entry.security_domain not in (None, view.loads_into())
        # a domain with Delegated Management installs from its own load files only
        if view.other_code(file) or ((moved or view.delegated) and elsewhere):
            changed.add(file.aid)
    return {
        file.aid
        for file in description.load_files
        if any(one.aid in changed for one in needed(description, file.aid))
    }


def _deletions(view: View, claims: Iterable[Claim]) -> list[s.Step]:
    mine = [c for c in claims if view.only_ours(c.aid) and view.observed.find(c.aid) is not None]
    mine.sort(key=lambda claim: _place(view, claim))
    return [s.Delete(aid=claim.aid, kind=claim.kind) for claim in mine]


def _place(view: View, claim: Claim) -> tuple[int, int, int]:
    """Order by kind; of load files those of an earlier description first, importing ones before imported."""
    if claim.kind is not ObjectKind.LOAD_FILE:
        return _ORDER.index(claim.kind), 0, 0
    files = [file.aid for file in view.description.load_files]
    if claim.aid in files:
        return _ORDER.index(claim.kind), 1, -files.index(claim.aid)
    return _ORDER.index(claim.kind), 0, -list(view.claims).index(claim.aid)
