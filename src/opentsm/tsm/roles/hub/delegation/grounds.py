"""What the hub has on record about an operation that asks for tokens."""

from collections.abc import Mapping, Sequence

import msgspec

from opentsm.card.codec.aid import Aid
from opentsm.card.profiles import SeProfile
from opentsm.tsm.domain.card_content import Goal
from opentsm.tsm.domain.operation import ENDED
from opentsm.tsm.domain.secure_element import SecureElement
from opentsm.tsm.domain.service import ServiceInstance
from opentsm.tsm.engine import steps as s
from opentsm.tsm.engine.sessions import Plan
from opentsm.tsm.kernel.documents import from_json
from opentsm.tsm.kernel.errors import NotFoundError, TokenRefusedError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.kernel.wording import quoted
from opentsm.tsm.ports.delegation import TokenRequest
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.case import Case, load_case
from opentsm.tsm.roles.hub.delegation.policy import Grounds
from opentsm.tsm.roles.hub.releases.enforcing import refused_load
from opentsm.tsm.roles.hub.space.ground import limits_of

replace = msgspec.structs.replace


async def recorded_grounds(
    tx: UnitOfWork, owner_id: TenantId, request: TokenRequest, profiles: Mapping[str, SeProfile]
) -> tuple[SecureElement, Grounds]:
    """Return the secure element and what is on record about the operation that a request names.

    Raises:
        TokenRefusedError: there is no such operation of this provider in work on this secure element.
    """
    try:
        case = await load_case(tx, request.operation_id)
    except NotFoundError:
        raise _nothing_on_record() from None
    instance = case.instance
    if case.operation.state in ENDED or case.se.id != request.se_id:
        raise _nothing_on_record()
    if instance is None or instance.provider_id != request.provider_id:
        raise _nothing_on_record()
    profile = profiles.get(case.se.profile)
    if profile is None:
        raise NotFoundError(f"The card profile {quoted(case.se.profile)} is not known.")
    topology = case.topology(profile)
    limits = await limits_of(tx, case.se, case.arrangement, topology)
    neighbours = await tx.instances.on_secure_element(case.se.id)
    grounds = Grounds(
        owner_id=owner_id,
        topology=replace(topology, quota_bytes=limits.nonvolatile),
        instance_id=instance.id,
        description=case.description(),
        content=case.content,
        claims=case.claims,
        profile=profile,
        used_bytes=used_bytes(case, instance, neighbours),
        doomed=_doomed(case),
        unreleased=frozenset(
            file.aid for file in case.description().load_files if refused_load(case, file) is not None
        ),
    )
    return case.se, grounds


def used_bytes(case: Case, instance: ServiceInstance, neighbours: Sequence[ServiceInstance]) -> int:
    """Return what the load files of the provider's other services take of a card, each counted once."""
    own = {file.aid for file in case.description().load_files}
    sizes = {
        file.aid: file.size
        for other in neighbours
        if other.provider_id == instance.provider_id and other.id != instance.id
        for file in other.description.load_files
        if file.aid not in own and case.content.find(file.aid) is not None
    }
    return sum(sizes.values())


def _doomed(case: Case) -> frozenset[Aid] | None:
    """Return what the plan in work deletes; None: everything is to go, or the script is the provider's."""
    if case.goal() is Goal.ABSENT or not case.operation.plan_document:
        return None
    steps = (
        step
        for session in from_json(Plan, case.operation.plan_document).sessions
        for step in session.steps
        if isinstance(step, s.Delete)
    )
    return frozenset(step.aid for step in steps)


def _nothing_on_record() -> TokenRefusedError:
    return TokenRefusedError(
        "There is no operation of this provider in work on this secure element that asks for these commands.",
        advice="Request the operation first; tokens are issued for its commands only.",
    )
