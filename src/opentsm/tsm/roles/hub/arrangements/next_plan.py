"""The next plan of an operation: for a service, a reading, or the building of an arrangement; permitted."""

from collections.abc import Mapping

from opentsm.card.gp.se_rights import Rights
from opentsm.card.profiles import SeProfile
from opentsm.tsm.domain.arrangement import Arrangement
from opentsm.tsm.domain.operation import OperationType
from opentsm.tsm.engine.configure import configure
from opentsm.tsm.engine.plan import plan
from opentsm.tsm.engine.sessions import Plan
from opentsm.tsm.kernel.errors import PlanRefusedError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.roles.hub.approvals.card_plans import card_plan, on_open_card
from opentsm.tsm.roles.hub.arrangements.permission import Permission
from opentsm.tsm.roles.hub.case import Case
from opentsm.tsm.roles.hub.delegation.proof_keys import proofs_of
from opentsm.tsm.roles.hub.releases.enforcing import released_only


def next_plan(case: Case, profile: SeProfile, rights: Mapping[int, Rights]) -> Plan:
    """Return what is to be done next, after every session of it was found to be allowed.

    Raises:
        PlanRefusedError: the card's content, or the arrangement, does not allow what is wanted.
    """
    topology = case.topology(profile)
    arrangement = case.arrangement
    made = card_plan(case)
    if made is not None:
        _check(case, made, rights)
        return made
    if arrangement is None:
        if case.operation.type is OperationType.CONFIGURE:
            raise PlanRefusedError("The secure element has no arrangement that could be built.")
        made = plan(case.desired(), case.content, topology, case.claims)
        return on_open_card(case, released_only(case, made))
    allowed = _rights(arrangement, rights)
    if case.operation.type is OperationType.CONFIGURE:
        restrictions = {one.name: allowed.restriction(one.role) for one in arrangement.domains}
        proofs = proofs_of(arrangement, case.se, profile)
        made = configure(arrangement, case.content, topology, case.se.issuer_id, restrictions, proofs=proofs)
    else:
        made = plan(case.desired(), case.content, topology, case.claims)
    _check(case, made, rights)
    return on_open_card(case, released_only(case, made))


def _check(case: Case, made: Plan, rights: Mapping[int, Rights]) -> None:
    permission = permission_of(case, rights, case.provider_id)
    if permission is not None:
        permission.check(made)


def permission_of(case: Case, rights: Mapping[int, Rights], provider_id: TenantId) -> Permission | None:
    """Return the rights of the parties of a case's arrangement; None where there is none."""
    if case.arrangement is None:
        return None
    return Permission(
        case.arrangement,
        _rights(case.arrangement, rights),
        issuer_id=case.se.issuer_id,
        provider_id=provider_id,
        observed=case.content,
    )


def _rights(arrangement: Arrangement, rights: Mapping[int, Rights]) -> Rights:
    """Return the rights of an arrangement's configuration; without them nothing is allowed."""
    found = rights.get(arrangement.configuration)
    if found is None:
        raise PlanRefusedError(f"The rights of configuration {arrangement.configuration} are not known.")
    return found
