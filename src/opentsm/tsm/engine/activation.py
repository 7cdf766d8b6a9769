"""Activation as content: contactless state and access rules, compared and written like everything else.

Pure. Only rules that this TSM stored for the instance are ever deleted; all others stay as they are.
Amendment C sections 3.6 to 3.11; Secure Element Access Control 1.1 sections 4 to 6.
"""

from collections.abc import Iterable, Iterator

import msgspec

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.tlv import encode_tlv
from opentsm.card.gp.access_rules import ARA_M_AID, AccessRule, RuleTarget, parse_rule
from opentsm.card.gp.contactless import CRS_AID
from opentsm.card.gp.install_params import SystemParameters
from opentsm.card.profiles import Contactless, SeProfile
from opentsm.tsm.domain.card_content import (
    ACTIVATED,
    DEACTIVATED,
    Access,
    ApplicationSpecification,
    DesiredContent,
    Goal,
    ObservedContent,
    Stage,
)
from opentsm.tsm.engine import activation_steps as a
from opentsm.tsm.engine import steps as s
from opentsm.tsm.engine.sessions import PlannedSession, SessionKind, Topology
from opentsm.tsm.kernel.errors import PlanRefusedError
from opentsm.tsm.kernel.ids import InstanceId

replace = msgspec.structs.replace


class Activation:
    """The activation of one instance's applications; every method reads, none changes what was given."""

    def __init__(self, desired: DesiredContent, observed: ObservedContent, topology: Topology) -> None:
        self._desired = desired
        self._applications = desired.description.applications
        self._observed = observed
        self._topology = topology
        self._active = desired.goal is Goal.ACTIVE and Stage.ACTIVATE in desired.stages

    def refuse_impossible(self) -> None:
        """Refuse what this kind of card cannot do.

        Raises:
            PlanRefusedError: it has no contactless registry, or keeps no access rules.
        """
        wanted = any(self._wants_contactless(app) for app in self._applications)
        if wanted and self._topology.contactless is Contactless.NONE:
            raise PlanRefusedError(
                "The service is accessible via NFC, and this secure element has no contactless registry.",
                advice="Allow the service for card profiles with contactless services only.",
            )
        if self._wanted_access() and not self._topology.access_rules:
            raise PlanRefusedError(
                "The service has authorized device apps, and this secure element keeps no access rules.",
                advice="Allow the service for card profiles with an ARA-M only.",
            )

    # --- what must be known first ------------------------------------------------------------------------

    def probes(self) -> list[PlannedSession]:
        """Return the readings without which nothing can be compared.

        To take something back nothing is read: what should be gone is deleted, or deactivated, either way.
        """
        if not self._active:
            return []
        probes: list[PlannedSession] = []
        if self._wanted_access() and self._observed.access is None:
            probes.append(reading(self._topology, ARA_M_AID, a.ReadAccess()))
        asked = not any(self._not_asked(app) for app in self._applications)
        if self._topology.contactless is Contactless.CRS and not asked:
            probes.append(reading(self._topology, CRS_AID, a.ReadContactless()))
        return probes

    def _not_asked(self, app: ApplicationSpecification) -> bool:
        there = self._observed.find(app.instance_aid) is not None
        return there and self._state(app.instance_aid) is None

    def _state(self, aid: Aid) -> str | None:
        return self._observed.contactless.get(_hex(aid))

    # --- access rules ------------------------------------------------------------------------------------

    def access_steps(self) -> Iterator[s.Step]:
        """Return the access rules that are to be deleted and stored; the card's manager does it."""
        wanted = self._wanted_access()
        for rule, instance_id in self._observed.own_access.items():
            if instance_id == self._desired.instance_id and rule not in wanted:
                yield revocation(rule)
        present = {_meaning(access) for access in self._observed.access or ()}
        for grant in wanted.values():
            if _meaning(access_of(grant.rule)) not in present:
                yield grant

    def _wanted_access(self) -> dict[str, a.GrantAccess]:
        """Return the rules that should be there, by their bytes."""
        if not self._active:
            return {}
        grants = [
            a.GrantAccess(application=app.instance_aid, device=device, rule=_rule(app, device))
            for app in self._applications
            if app.accessible and app.make_selectable
            for device in self._desired.description.device_apps
        ]
        return {_hex(grant.rule): grant for grant in grants}

    # --- contactless registry ----------------------------------------------------------------------------

    def steps(self, rebuilt: set[Aid]) -> Iterator[s.Step]:
        """Return what the card's manager changes: access rules, and the registry where there is no CRS."""
        yield from self.updates(rebuilt)
        yield from self.access_steps()

    def updates(self, rebuilt: set[Aid]) -> Iterator[s.Step]:
        """Return the changes of the contactless registry where there is no CRS."""
        if self._topology.contactless is Contactless.REGISTRY_UPDATE:
            yield from self._switches(rebuilt)

    def crs_sessions(self, rebuilt: set[Aid]) -> list[PlannedSession]:
        """Return the sessions with the CRS application; they come when the applications can be selected."""
        if self._topology.contactless is not Contactless.CRS:
            return []
        return [reading(self._topology, CRS_AID, step) for step in self._switches(rebuilt)]

    def _switches(self, rebuilt: set[Aid]) -> Iterator[s.Step]:
        for app in self._applications:
            aid = app.instance_aid
            state = DEACTIVATED if aid in rebuilt else self._state(aid)
            wanted = self._wants_contactless(app)
            # a state that is not known is deactivated once more: that does no harm
            on = state == ACTIVATED or (state is None and app.contactless)
            if wanted and state != ACTIVATED:
                yield a.SetContactless(application=aid, activate=True)
            if not wanted and on:
                yield a.SetContactless(application=aid, activate=False)

    def _wants_contactless(self, app: ApplicationSpecification) -> bool:
        return self._active and app.contactless and app.make_selectable


def revocations(desired: DesiredContent, observed: ObservedContent) -> list[s.Step]:
    """Return the deletion of every rule that was stored for an instance."""
    own = observed.own_access.items()
    return [revocation(rule) for rule, instance_id in own if instance_id == desired.instance_id]


def revocation(rule: str) -> a.RevokeAccess:
    """Return the deletion of a rule (REF-AR-DO in hex)."""
    raw = bytes.fromhex(rule)
    target = parse_rule(raw).target
    return a.RevokeAccess(application=Aid(target.aid), device=target.device, rule=raw)


def readings(topology: Topology) -> list[PlannedSession]:
    """Return the readings beside the registry that an audit of the card makes."""
    found = [reading(topology, ARA_M_AID, a.ReadAccess())] if topology.access_rules else []
    if topology.contactless is Contactless.CRS:
        found.append(reading(topology, CRS_AID, a.ReadContactless()))
    return found


def reading(topology: Topology, selected: Aid, step: s.Step) -> PlannedSession:
    """Return the manager's session, without secure channel, with an application that it asks or switches."""
    return PlannedSession(
        kind=SessionKind.PLAIN,
        owner_id=topology.manager_id,
        selected=selected,
        key_sd=selected,
        kvn=0,
        steps=(step,),
    )


def _rule(app: ApplicationSpecification, device: bytes) -> bytes:
    target = RuleTarget(aid=bytes(app.instance_aid), device=device)
    return AccessRule(target, apdu=True, nfc=app.contactless).to_bytes()


def access_of(rule: bytes) -> Access:
    """Return what a REF-AR-DO says.

    Raises:
        CardError: it is malformed.
    """
    return access(parse_rule(rule))


def access(rule: AccessRule) -> Access:
    """Return a rule as an observation."""
    return Access(
        aid=rule.target.aid,
        device=rule.target.device,
        apdu=rule.apdu,
        nfc=rule.nfc,
        limited=bool(rule.filters or rule.permissions or rule.target.package or rule.target.implicit),
        rule=rule.to_bytes(),
    )


def _meaning(found: Access) -> tuple[bytes, bytes, bool | None, bool | None, bool]:
    """Return what two rules have in common that say the same, however their objects are ordered."""
    return found.aid, found.device, found.apdu, found.nfc, found.limited


# --- what becomes of it ----------------------------------------------------------------------------------


def claim(observed: ObservedContent, instance_id: InstanceId, steps: Iterable[s.Step]) -> ObservedContent:
    """Return the content after an instance announced the rules that it is about to store."""
    announced = {_hex(step.rule): instance_id for step in steps if isinstance(step, a.GrantAccess)}
    return replace(observed, own_access={**observed.own_access, **announced}) if announced else observed


def confirmed(observed: ObservedContent, step: s.Step) -> ObservedContent:
    """Return the content after the card confirmed a step of activation."""
    match step:
        case a.GrantAccess():
            known = None if observed.access is None else (*observed.access, access_of(step.rule))
            return replace(observed, access=known)
        case a.RevokeAccess():
            gone = _meaning(access_of(step.rule))
            known = observed.access
            left = None if known is None else tuple(one for one in known if _meaning(one) != gone)
            own = {rule: who for rule, who in observed.own_access.items() if rule != _hex(step.rule)}
            return replace(observed, access=left, own_access=own)
        case a.SetContactless():
            state = ACTIVATED if step.activate else DEACTIVATED
            return replace(observed, contactless={**observed.contactless, _hex(step.application): state})
        case s.Install():
            fresh = {**observed.contactless, _hex(step.application.instance_aid): DEACTIVATED}
            return replace(observed, contactless=fresh)
        case _:
            return observed


def doubted(observed: ObservedContent, step: s.Step) -> ObservedContent:
    """Return the content after a step of activation whose outcome is not known."""
    match step:
        case a.GrantAccess() | a.RevokeAccess():
            return replace(observed, fresh=False, access=None)
        case a.SetContactless():
            return replace(_without_state(observed, step.application), fresh=False)
        case _:
            return observed


def _without_state(observed: ObservedContent, aid: Aid) -> ObservedContent:
    """Return the content without what is known about an application's contactless state."""
    left = {key: state for key, state in observed.contactless.items() if key != _hex(aid)}
    return replace(observed, contactless=left)


def read(
    observed: ObservedContent, access: tuple[Access, ...] | None, contactless: dict[str, str] | None
) -> ObservedContent:
    """Return the content after access rules or contactless registry were read; None: they were not.

    An application that the contactless registry does not show cannot be found by a terminal.
    """
    if access is not None:
        observed = replace(observed, access=access)
    if contactless is not None:
        hidden = {_hex(entry.aid): DEACTIVATED for entry in observed.objects}
        observed = replace(observed, contactless={**hidden, **contactless})
    return observed


def activated(app: ApplicationSpecification, observed: ObservedContent, device_apps: Iterable[bytes]) -> bool:
    """Say whether contactless state and access rules of an application are there."""
    if app.contactless and observed.contactless.get(_hex(app.instance_aid)) != ACTIVATED:
        return False
    present = {_meaning(found) for found in observed.access or ()}
    wanted = [_rule(app, device) for device in device_apps] if app.accessible else []
    return all(_meaning(access_of(rule)) in present for rule in wanted)


def system_parameters(app: ApplicationSpecification, profile: SeProfile) -> SystemParameters:
    """Return what INSTALL tells the card about an application beside its own parameters.

    On a card with contactless services every application begins deactivated: only activation lets a terminal
    find it.
    """
    contactless = b""
    if profile.contactless is not Contactless.NONE:
        contactless = encode_tlv(0xA0, encode_tlv(0x81, b"\x00") + app.protocols)
    needs = app.memory
    return SystemParameters(
        nonvolatile_quota=needs.nonvolatile_quota,
        volatile_quota=needs.volatile_quota,
        nonvolatile_reserved=needs.nonvolatile_reserved,
        volatile_reserved=needs.volatile_reserved,
        contactless=contactless,
    )


def _hex(value: bytes) -> str:
    return value.hex().upper()
