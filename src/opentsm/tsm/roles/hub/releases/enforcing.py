"""What was released decides what is loaded: a plan is refused that loads anything else, and signed. Pure."""

import msgspec

from opentsm.card.codec.aid import Aid
from opentsm.card.gp.lifecycle import SecurityDomainState
from opentsm.card.gp.privileges import Privilege
from opentsm.tsm.domain.card_content import LoadFileReference
from opentsm.tsm.engine import steps as s
from opentsm.tsm.engine.sessions import Plan, PlannedSession
from opentsm.tsm.engine.view import LOCKED
from opentsm.tsm.kernel.errors import PlanRefusedError
from opentsm.tsm.roles.hub.case import Case

replace = msgspec.structs.replace


class NotReleasedError(PlanRefusedError):
    """The load file was not released for this kind of card."""

    code = "not_released"


def released_only(case: Case, made: Plan) -> Plan:
    """Return a plan whose loads carry the signatures that the card demands.

    Raises:
        NotReleasedError: a load file was not released for the card's profile, as its issuer demands.
        PlanRefusedError: a domain on the card demands a signature, and nobody made one.
    """
    return replace(made, sessions=tuple(_session(case, session) for session in made.sessions))


def refused_load(case: Case, file: LoadFileReference) -> NotReleasedError | None:
    """Return why a load file may not be loaded, or None when it may."""
    if case.released.admits(file, case.se.profile):
        return None
    return NotReleasedError(
        f"The load file {file.aid} is not released for cards of profile {case.se.profile}.",
        advice="Hand it in at /v1/applet-submissions, and have it released for this profile.",
    )


def _session(case: Case, session: PlannedSession) -> PlannedSession:
    if not any(isinstance(step, s.Load) for step in session.steps):
        return session
    return replace(session, steps=tuple(_step(case, step) for step in session.steps))


def _step(case: Case, step: s.Step) -> s.Step:
    if not isinstance(step, s.Load):
        return step
    refused = refused_load(case, step.load_file)
    if refused is not None:
        raise refused
    made = {dap.domain: dap for dap in case.released.signatures(step.load_file)}
    demanded = demanding(case, step.security_domain)
    missing = [str(domain) for domain in demanded if domain not in made]
    if missing:
        raise PlanRefusedError(
            f"{', '.join(missing)} on the secure element demands a signature over the load file"
            f" {step.load_file.aid}, and there is none.",
            advice="Let the holder of the domain's DAP key sign its release.",
        )
    daps = tuple(s.Dap(domain=one, signature=made[one].signature) for one in demanded)
    return replace(step, daps=daps)


def demanding(case: Case, target: Aid) -> tuple[Aid, ...]:
    """Return the domains that verify a signature over what is loaded into a domain (GPCS §9.2.1).

    Mandated DAP Verification begins when its domain is PERSONALIZED. A domain that cannot be seen from where
    the card was read is known by the arrangement, and taken to be.
    """
    arranged = () if case.arrangement is None else case.arrangement.domains
    held = {one.aid: (one.privileges, True) for one in arranged}
    for one in case.content.objects:
        held[one.aid] = (one.privileges, one.state & ~LOCKED == SecurityDomainState.PERSONALIZED)
    demanded = [
        aid
        for aid, (privileges, personalized) in held.items()
        if (personalized and Privilege.MANDATED_DAP_VERIFICATION in Privilege(privileges))
        or (aid == target and Privilege.DAP_VERIFICATION in Privilege(privileges))
    ]
    return tuple(sorted(demanded))
