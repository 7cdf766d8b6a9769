"""How observed content changes: by what the card confirmed, by what became doubtful, by what was read."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.arrangement import HandOverGrade
from opentsm.tsm.domain.card_content import (
    CARD_STATE_IN_DOUBT,
    STALE,
    UNKNOWN,
    CardObject,
    Claim,
    ObjectKind,
    ObservedContent,
    ServiceDescription,
)
from opentsm.tsm.engine import activation
from opentsm.tsm.engine import activation_steps as a
from opentsm.tsm.engine import card_steps as k
from opentsm.tsm.engine import steps as s
from opentsm.tsm.engine.identity import build_of
from opentsm.tsm.engine.view import LOCKED
from opentsm.tsm.kernel.ids import InstanceId

replace = msgspec.structs.replace
V = TypeVar("V")


def _with(mapping: dict[str, V], aid: Aid, value: V) -> dict[str, V]:
    return {**mapping, aid.hex().upper(): value}


def _without(mapping: dict[str, V], aid: Aid) -> dict[str, V]:
    return {key: value for key, value in mapping.items() if key != aid.hex().upper()}


def _put(observed: ObservedContent, entry: CardObject) -> ObservedContent:
    others = tuple(o for o in observed.objects if o.aid != entry.aid)
    return replace(observed, objects=(*others, entry))


def _change_state(
    observed: ObservedContent, aid: Aid, *, set_bits: int = 0, clear_bits: int = 0
) -> ObservedContent:
    entry = observed.find(aid)
    if entry is None:
        return observed
    return _put(observed, replace(entry, state=(entry.state | set_bits) & ~clear_bits & 0xFF))


def confirm(observed: ObservedContent, step: s.Step, *, through: Aid) -> ObservedContent:
    """Return the content after the card confirmed a step.

    Args:
        observed: what was known before.
        step: what the card did.
        through: the security domain in whose session it was done; it has proved its keys by that.
    """
    proven = tuple(domain for domain in observed.unproven if domain != through.hex().upper())
    return activation.confirmed(_confirmed(replace(observed, unproven=proven), step, through), step)


def _confirmed(  # noqa: PLR0912 - one case a step
    observed: ObservedContent, step: s.Step, through: Aid
) -> ObservedContent:
    match step:
        case s.CreateSecurityDomain():
            return _domain_created(observed, step, through)
        case s.PutFirstKeys() | s.AgreeKeys():
            changed = _change_state(observed, step.domain, set_bits=0x0F)
            return replace(
                changed,
                keys=_with(observed.keys, step.domain, (step.kvn,)),
                grades=_graded(observed, step, through),
            )
        case s.ReplaceKeys():
            return replace(observed, keys=_with(observed.keys, step.domain, (step.new_kvn,)))
        case s.PutProofKey():
            return _proof_key_put(observed, step)
        case s.Load():
            return _loaded(observed, step, through)
        case s.Install():
            return _installed(observed, step, through)
        case s.Extradite():
            moved = observed.find(step.application)
            return (
                observed
                if moved is None
                else _put(observed, replace(moved, security_domain=step.security_domain))
            )
        case s.Personalize():
            versions = _with(observed.personalization, step.application, step.personalization)
            commands = _without(observed.commands, step.application)
            return replace(observed, personalization=versions, commands=commands)
        case s.RunCommands():
            return replace(
                observed, commands=_with(observed.commands, step.application, step.personalization)
            )
        case s.MakeSelectable():
            return _change_state(observed, step.application, set_bits=0x07)
        case s.Lock():
            return _change_state(observed, step.application, set_bits=LOCKED)
        case s.Unlock():
            return _change_state(observed, step.application, clear_bits=LOCKED)
        case s.Delete():
            return gone(observed, (step.aid,))
        case s.RestrictDomain():
            return replace(observed, restricted=_with(observed.restricted, step.domain, step.functions))
        case s.TopUp():
            return _transaction(observed, step, "applied")
        case k.SetCardState():
            return replace(observed, card_state=step.state)
        case _:
            return observed


def _proof_key_put(observed: ObservedContent, step: s.PutProofKey) -> ObservedContent:
    version = step.use.value
    known = observed.keys.get(step.domain.hex().upper())
    # without the others the list would say that there are no others
    keys = observed.keys if known is None else _with(observed.keys, step.domain, _joined(known, version))
    return replace(observed, keys=keys, proof_keys=_joined(observed.proof_keys, version))


def _joined(versions: tuple[int, ...], version: int) -> tuple[int, ...]:
    return tuple(sorted({*versions, version}))


def _graded(
    observed: ObservedContent, step: s.PutFirstKeys | s.AgreeKeys, through: Aid | None
) -> dict[str, HandOverGrade]:
    """Return the grades with that of a domain's first keys.

    Keys that the owner puts itself are as safe as those of its own domain above, with which it does so.
    """
    if isinstance(step, s.AgreeKeys):
        return _with(observed.grades, step.domain, HandOverGrade.CONFIDENTIAL)
    if step.handed_over:
        return _with(observed.grades, step.domain, HandOverGrade.RELAY_TRUSTED)
    above = None if through is None else observed.grades.get(through.hex().upper())
    without = _without(observed.grades, step.domain)
    return without if above is None else _with(without, step.domain, above)


def _domain_created(observed: ObservedContent, step: s.CreateSecurityDomain, through: Aid) -> ObservedContent:
    entry = CardObject(
        aid=step.aid,
        kind=ObjectKind.SECURITY_DOMAIN,
        state=0x07,
        privileges=step.privileges,
        load_file=step.load_file,
        security_domain=through,
        seen_through=through,
    )
    return replace(_put(observed, entry), keys=_with(observed.keys, step.aid, ()))


def _loaded(observed: ObservedContent, step: s.Load, through: Aid) -> ObservedContent:
    entry = CardObject(
        aid=step.load_file.aid,
        kind=ObjectKind.LOAD_FILE,
        state=0x01,
        security_domain=step.security_domain,
        seen_through=through,
    )
    return replace(_put(observed, entry), built=_with(observed.built, entry.aid, step.load_file.sha256))


def _installed(observed: ObservedContent, step: s.Install, through: Aid) -> ObservedContent:
    app = step.application
    load_file = observed.find(app.load_file)
    entry = CardObject(
        aid=app.instance_aid,
        kind=ObjectKind.APPLICATION,
        state=0x07 if step.make_selectable else 0x03,
        privileges=app.privileges,
        load_file=app.load_file,
        security_domain=load_file.security_domain if load_file else through,
        seen_through=through,
    )
    versions = _without(observed.personalization, app.instance_aid)
    built = _note(observed.built, app.instance_aid, step.build)
    commands = _without(observed.commands, app.instance_aid)
    return replace(_put(observed, entry), personalization=versions, built=built, commands=commands)


def _transaction(observed: ObservedContent, step: s.TopUp, outcome: str) -> ObservedContent:
    return replace(
        observed,
        transactions={**observed.transactions, step.transaction: outcome},
        credits={**observed.credits, step.transaction: f"{step.application}/{step.amount}"},
    )


def gone(observed: ObservedContent, aids: Iterable[Aid]) -> ObservedContent:
    """Return the content without objects that are not on the card any more, and what was known of them."""
    for aid in aids:
        observed = replace(
            observed,
            objects=tuple(o for o in observed.objects if o.aid != aid),
            keys=_without(observed.keys, aid),
            personalization=_without(observed.personalization, aid),
            contactless=_without(observed.contactless, aid),
            built=_without(observed.built, aid),
            restricted=_without(observed.restricted, aid),
            grades=_without(observed.grades, aid),
        )
    return observed


def doubt(observed: ObservedContent, step: s.Step) -> ObservedContent:
    """Return the content after a step whose outcome is not known: the card must be read again."""
    match step:
        case s.PutFirstKeys() | s.AgreeKeys():
            # should the domain turn out to have keys, they got there in this way
            keys = _without(observed.keys, step.domain)
            return replace(observed, fresh=False, keys=keys, grades=_graded(observed, step, None))
        case s.ReplaceKeys() | s.PutProofKey():
            return replace(observed, fresh=False, keys=_without(observed.keys, step.domain))
        case s.Personalize():
            versions = _with(observed.personalization, step.application, UNKNOWN)
            return replace(observed, fresh=False, personalization=versions)
        case s.RunCommands():
            return replace(observed, fresh=False, commands=_without(observed.commands, step.application))
        case s.TopUp():
            return _transaction(observed, step, UNKNOWN)
        case a.GrantAccess() | a.RevokeAccess() | a.SetContactless():
            return activation.doubted(observed, step)
        case s.Load():
            return _built_in_doubt(observed, step.load_file.aid, step.load_file.sha256)
        case s.Install():
            return _built_in_doubt(observed, step.application.instance_aid, step.build)
        case k.SetCardState():
            return replace(observed, fresh=False, card_state=CARD_STATE_IN_DOUBT)
        case _:
            return replace(observed, fresh=False) if step.changes else observed


def _built_in_doubt(observed: ObservedContent, aid: Aid, digest: str) -> ObservedContent:
    """What is on the card next time is what was sent, unless something was there before and may still be."""
    found = UNKNOWN if observed.find(aid) is not None else digest
    return replace(observed, fresh=False, built=_note(observed.built, aid, found))


def _note(built: dict[str, str], aid: Aid, digest: str) -> dict[str, str]:
    return _with(built, aid, digest) if digest else _without(built, aid)


def adopt(
    observed: ObservedContent, description: ServiceDescription, claims: tuple[Claim, ...]
) -> ObservedContent:
    """Return the content with what present objects were built from, where it was not noted.

    Args:
        observed: what is on the card; the objects of the instance are those of its description.
        description: what the instance is made of at present.
        claims: which content the load files have.
    """
    known = {c.aid.hex().upper(): c.sha256 for c in claims if c.kind is ObjectKind.LOAD_FILE}
    known |= {app.instance_aid.hex().upper(): build_of(description, app) for app in description.applications}
    present = {entry.aid.hex().upper() for entry in observed.objects}
    noted = {aid: digest for aid, digest in known.items() if aid in present} | observed.built
    return replace(observed, built=noted)


def personalized(description: ServiceDescription, content: ObservedContent) -> bool:
    """Say whether every application holds the personalisation that its description names."""
    return all(
        content.personalization.get(app.instance_aid.hex().upper()) == app.personalization
        for app in description.applications
        if app.personalization is not None
    )


def stale(observed: ObservedContent, description: ServiceDescription) -> ObservedContent:
    """Return the content when other personalisation data are wanted than those on the card."""
    return _personalization_is(observed, description, lambda _: STALE)


def not_stale(observed: ObservedContent, description: ServiceDescription) -> ObservedContent:
    """Return the content when the data on the card are to stay after all."""
    return _personalization_is(observed, description, lambda version: version)


def _personalization_is(
    observed: ObservedContent, description: ServiceDescription, of: Callable[[str], str]
) -> ObservedContent:
    known = {
        app.instance_aid.hex().upper(): of(app.personalization)
        for app in description.applications
        if app.personalization is not None
    }
    return replace(observed, personalization={**observed.personalization, **known})


def used_by(steps: Iterable[s.Step], description: ServiceDescription) -> list[tuple[Aid, ObjectKind, str]]:
    """Return the objects that steps bring into being, and the load files that they need on the card.

    A load file that is there already is held as well: whoever loaded it may not delete it under the others.
    """
    digests = {load_file.aid: load_file.sha256 for load_file in description.load_files}
    found: dict[Aid, tuple[Aid, ObjectKind, str]] = {}
    for step in steps:
        match step:
            case s.CreateSecurityDomain():
                found[step.aid] = (step.aid, ObjectKind.SECURITY_DOMAIN, "")
            case s.Load() | s.Install():
                if isinstance(step, s.Install):
                    instance = step.application.instance_aid
                    found[instance] = (instance, ObjectKind.APPLICATION, "")
                for aid, digest in digests.items():
                    found[aid] = (aid, ObjectKind.LOAD_FILE, digest)
            case _:
                pass
    return list(found.values())


def claim(
    claims: tuple[Claim, ...], instance_id: InstanceId, objects: Iterable[tuple[Aid, ObjectKind, str]]
) -> tuple[Claim, ...]:
    """Return the claims after an instance announced the objects that it is about to create or use.

    Its only holder may claim a load file with other content: what is on the card is removed first.
    """
    by_aid = {c.aid: c for c in claims}
    for aid, kind, sha256 in objects:
        known = by_aid.get(aid)
        holders = known.instance_ids if known else ()
        if instance_id not in holders:
            by_aid[aid] = Claim(aid=aid, kind=kind, instance_ids=(*holders, instance_id), sha256=sha256)
        elif known is not None and holders == (instance_id,) and known.sha256 != sha256:
            by_aid[aid] = replace(known, sha256=sha256)
    return tuple(by_aid.values())


def keep(
    claims: tuple[Claim, ...],
    instance_id: InstanceId,
    description: ServiceDescription,
    observed: ObservedContent,
) -> tuple[Claim, ...]:
    """Return the claims without those of an instance to what its description does not name.

    What only this instance claims and the card still shows is kept: it is still to be removed.
    """
    wanted = named(description)
    given_up = tuple(
        c
        for c in claims
        if c.aid not in wanted and (c.instance_ids != (instance_id,) or observed.find(c.aid) is None)
    )
    kept = tuple(c for c in claims if c not in given_up)
    return (*kept, *release(given_up, instance_id))


def named(description: ServiceDescription) -> frozenset[Aid]:
    """Return the AIDs of all objects that a description puts on a card."""
    own = {app.instance_aid for app in description.applications}
    own |= {file.aid for file in description.load_files}
    return frozenset(own | {description.sd_aid} if description.dedicated_sd else own)


def release(claims: tuple[Claim, ...], instance_id: InstanceId) -> tuple[Claim, ...]:
    """Return the claims after an instance gave up all it held."""
    kept = []
    for c in claims:
        holders = tuple(i for i in c.instance_ids if i != instance_id)
        if holders:
            kept.append(replace(c, instance_ids=holders))
    return tuple(kept)
