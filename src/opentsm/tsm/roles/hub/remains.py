"""What instances left on a card that are gone with their provider: whose it is, and how it is removed.

The claims of such instances go over to one nameless holder; an operation of the card's issuer then removes
what only that holder has, as a termination removes what an instance has. No key of the provider is needed:
its domains hang under the issuer's, which deletes them (Card Specification 2.3.1 §11.2).
"""

from collections.abc import Collection

import msgspec

from opentsm.tsm.domain.card_content import (
    Claim,
    DesiredContent,
    Goal,
    ObjectKind,
    ObservedContent,
    ServiceDescription,
)
from opentsm.tsm.domain.operation import Operation, OperationType
from opentsm.tsm.domain.secure_element import SecureElement, SeState
from opentsm.tsm.engine import content as c
from opentsm.tsm.kernel.ids import InstanceId, OperationId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.ports.world import World
from opentsm.tsm.roles.hub.services import ADVANCE

replace = msgspec.structs.replace

REMAINS = InstanceId("remains")


async def leave_behind(
    tx: UnitOfWork, world: World, se: SecureElement, gone: Collection[InstanceId], *, actor: str
) -> None:
    """Give what instances hold on a card to nobody, and ask for its removal.

    Args:
        tx: the transaction in which the instances go.
        world: clock and ids.
        se: their card.
        gone: the instances.
        actor: who made them go.
    """
    claims, content = await tx.secure_elements.claims(se.id), await tx.secure_elements.content(se.id)
    left, known = _given_up(claims, gone), _rules_given_up(content, gone)
    if left == claims and known == content:
        return
    # whoever works on this card meanwhile finds the version moved, and looks again
    await tx.secure_elements.save(se)
    await tx.secure_elements.save_claims(se.id, left)
    await tx.secure_elements.save_content(se.id, known)
    if se.state is SeState.RETIRED:
        return
    waiting = await tx.belongings.open_on(se.id)
    if not any(operation.type is OperationType.CLEAN_UP for operation in waiting):
        await request_clean_up(tx, world, se, actor=actor)


async def request_clean_up(tx: UnitOfWork, world: World, se: SecureElement, *, actor: str) -> Operation:
    """Ask, in the name of a card's issuer, for the removal of what nobody holds any more."""
    operation = Operation(
        id=OperationId(world.new_id()),
        tenant_id=se.issuer_id,
        se_id=se.id,
        type=OperationType.CLEAN_UP,
        created_at=world.now(),
    )
    await tx.operations.add(operation)
    await tx.audit.append(
        se.issuer_id,
        actor=actor,
        action="operation.requested",
        subject=operation.id,
        details={"type": operation.type.value, "secure_element": se.id},
    )
    await tx.outbox.publish(ADVANCE, operation.id, {"operation": operation.id})
    return operation


async def adopt_orphans(tx: UnitOfWork, se: SecureElement) -> None:
    """Give to nobody what instances hold of which there is no record any more."""
    claims, content = await tx.secure_elements.claims(se.id), await tx.secure_elements.content(se.id)
    holders = {holder for claim in claims for holder in claim.instance_ids} | {*content.own_access.values()}
    gone = [one for one in sorted(holders) if one != REMAINS and await tx.instances.get(one) is None]
    if gone:
        await tx.secure_elements.save_claims(se.id, _given_up(claims, gone))
        await tx.secure_elements.save_content(se.id, _rules_given_up(content, gone))


def nothing_wanted(se: SecureElement) -> DesiredContent:
    """Return that nothing should be on the card of what nobody holds."""
    description = ServiceDescription(
        service_id="",
        version_tag="",
        flavor_id="",
        provider_id=se.issuer_id,
        sd_aid=se.isd_aid,
        load_files=(),
        applications=(),
        dedicated_sd=False,
    )
    return DesiredContent(
        instance_id=REMAINS, description=description, goal=Goal.ABSENT, key_version=se.isd_kvn
    )


def domains(claims: tuple[Claim, ...]) -> list[Claim]:
    """Return the security domains that nobody holds."""
    return [
        claim
        for claim in claims
        if claim.kind is ObjectKind.SECURITY_DOMAIN and claim.instance_ids == (REMAINS,)
    ]


def removed(claims: tuple[Claim, ...]) -> tuple[Claim, ...]:
    """Return the claims when nothing is left on the card that nobody holds."""
    return c.release(claims, REMAINS)


def _given_up(claims: tuple[Claim, ...], gone: Collection[InstanceId]) -> tuple[Claim, ...]:
    return tuple(replace(claim, instance_ids=_holders(claim, gone)) for claim in claims)


def _holders(claim: Claim, gone: Collection[InstanceId]) -> tuple[InstanceId, ...]:
    living = tuple(one for one in claim.instance_ids if one not in gone)
    if living == claim.instance_ids or REMAINS in living:
        return living
    return (*living, REMAINS)


def _rules_given_up(content: ObservedContent, gone: Collection[InstanceId]) -> ObservedContent:
    if not any(holder in gone for holder in content.own_access.values()):
        return content
    rules = {rule: REMAINS if who in gone else who for rule, who in content.own_access.items()}
    return replace(content, own_access=rules)
