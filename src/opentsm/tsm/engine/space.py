"""How much memory an instance takes of a card: estimated part by part, before anything is loaded. Pure.

A part is a load file, an application or a security domain. What it takes is what cards of its kind reported,
or what the card profile says until one did. GPCS 2.3.1 §9.7: how a card counts is its own business.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from opentsm.card.codec.aid import Aid
from opentsm.card.profiles import SeProfile
from opentsm.tsm.domain.card_content import (
    ApplicationSpecification,
    LoadFileReference,
    ObservedContent,
    ServiceDescription,
)
from opentsm.tsm.domain.space import SizedPart, SpaceNeeds
from opentsm.tsm.engine import steps as s
from opentsm.tsm.engine.removal import obsolete
from opentsm.tsm.engine.view import View

# a measurement moves an estimate by no more than this factor: cards are not believed everything
BOUND = 4
DOMAIN = "domain"


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that takes memory: what it is for every card of a profile, and what it should take."""

    key: str
    nominal: int
    volatile: int = 0


@dataclass(frozen=True, slots=True)
class Sizing:
    """What parts take on cards of one profile: `measured` in bytes by the parts' keys."""

    profile: SeProfile
    measured: Mapping[str, int] = field(default_factory=dict)

    def bytes_of(self, part: Part) -> int:
        """Return the non-volatile memory that a part takes."""
        return bounded(self.measured.get(part.key, part.nominal), part.nominal)

    def needs(self, parts: Iterable[Part]) -> SpaceNeeds:
        """Return what parts take together."""
        listed = list(parts)
        return SpaceNeeds(
            nonvolatile=sum(map(self.bytes_of, listed)), volatile=sum(part.volatile for part in listed)
        )


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an operation brings to a card, and what it deletes before."""

    added: tuple[Part, ...]
    freed: tuple[Part, ...]

    def net(self, sizing: Sizing) -> SpaceNeeds:
        """Return what must be free for it; it may be less than nothing for neither kind."""
        added, freed = sizing.needs(self.added), sizing.needs(self.freed)
        return SpaceNeeds(
            nonvolatile=max(0, added.nonvolatile - freed.nonvolatile),
            volatile=max(0, added.volatile - freed.volatile),
        )


def bounded(value: int, nominal: int) -> int:
    """Return a measured size within the bounds of what was expected."""
    return min(max(value, nominal // BOUND), nominal * BOUND)


def parts_of(description: ServiceDescription, profile: SeProfile) -> dict[Aid, Part]:
    """Return the parts of a description by the AIDs of their objects, each load file once."""
    found = {file.aid: _load_file(file, profile) for file in description.load_files}
    digests = {file.aid: file.sha256 for file in description.load_files}
    for app in description.applications:
        found[app.instance_aid] = _application(app, digests.get(app.load_file, str(app.load_file)), profile)
    if description.dedicated_sd:
        found[description.sd_aid] = Part(DOMAIN, profile.domain_bytes)
    return found


def _load_file(file: LoadFileReference, profile: SeProfile) -> Part:
    return Part(f"load:{file.sha256}", file.size + profile.load_file_bytes)


def _application(app: ApplicationSpecification, digest: str, profile: SeProfile) -> Part:
    """An application takes what it reserves at once (D8); its quota (C8) is the most it can ever take."""
    memory = app.memory
    size, reserved = profile.instance_bytes, memory.nonvolatile_reserved
    if reserved is not None:
        size += reserved
    elif memory.nonvolatile_quota is not None:
        size = min(size, max(1, memory.nonvolatile_quota))
    return Part(f"app:{digest}:{app.module}:{reserved or 0}", size, memory.volatile_reserved or 0)


def estimate(view: View, previous: ServiceDescription, profile: SeProfile) -> Estimate:
    """Return what is to be brought to the card for an instance, and what goes before.

    Args:
        view: desired and observed content.
        previous: what the instance was made of until now.
        profile: of the card.
    """
    wanted, before = parts_of(view.description, profile), parts_of(previous, profile)
    gone = [step.aid for step in obsolete(view) if isinstance(step, s.Delete)]
    absent = [aid for aid in wanted if view.observed.find(aid) is None or aid in gone]
    freed = (before.get(aid) or wanted.get(aid) for aid in gone)
    return Estimate(
        added=tuple(wanted[aid] for aid in absent), freed=tuple(part for part in freed if part is not None)
    )


def used(descriptions: Iterable[ServiceDescription], content: ObservedContent, sizing: Sizing) -> SpaceNeeds:
    """Return what services take of a card as it was last seen; what several of them share counts once."""
    found: dict[Aid, Part] = {}
    for description in descriptions:
        found |= parts_of(description, sizing.profile)
    return sizing.needs(part for aid, part in found.items() if content.find(aid) is not None)


def in_domain(description: ServiceDescription, sizing: Sizing) -> SpaceNeeds:
    """Return what a service takes in its own security domain when it is complete."""
    if not description.dedicated_sd:
        return SpaceNeeds()
    elsewhere = {file.aid for file in description.load_files} if description.extradite else frozenset()
    parts = parts_of(description, sizing.profile)
    return sizing.needs(part for aid, part in parts.items() if aid not in elsewhere)


def learned(parts: Iterable[SizedPart], taken: int) -> dict[str, int]:
    """Return the sizes of parts when together they took so many bytes: each its share of them.

    Args:
        parts: as they were expected.
        taken: what the card's free memory fell by.
    """
    listed = tuple(parts)
    whole = sum(part.size for part in listed)
    if whole <= 0 or taken <= 0:
        return {}
    return {part.key: bounded(-(-part.size * taken // whole), part.nominal) for part in listed}
