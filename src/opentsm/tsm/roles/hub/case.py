"""Everything the hub knows about one operation at one moment, loaded in one transaction."""

from dataclasses import dataclass

import msgspec

from opentsm.card.codec.aid import Aid
from opentsm.card.profiles import SeProfile
from opentsm.tsm.domain.card_content import Claim, DesiredContent, Goal, ObservedContent, ValueTransaction
from opentsm.tsm.domain.exchange import DeviceOrder
from opentsm.tsm.domain.operation import Operation, OperationType
from opentsm.tsm.domain.secure_element import SecureElement
from opentsm.tsm.domain.service import ServiceInstance
from opentsm.tsm.engine.plan import Topology
from opentsm.tsm.kernel.errors import InvariantError, NotFoundError
from opentsm.tsm.kernel.ids import OperationId, SeId, TenantId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.topology import topology

replace = msgspec.structs.replace

_GOALS = {
    OperationType.DEPLOY: Goal.ACTIVE,
    OperationType.SUSPEND: Goal.SUSPENDED,
    OperationType.RESUME: Goal.ACTIVE,
    OperationType.TERMINATE: Goal.ABSENT,
}


@dataclass(slots=True)
class Case:
    """One operation with its secure element, instance, the card's content and the order in work.

    The conductor replaces the values as it goes and stores them all at once.
    """

    operation: Operation
    se: SecureElement
    instance: ServiceInstance | None
    content: ObservedContent
    claims: tuple[Claim, ...]
    order: DeviceOrder | None

    @property
    def provider_id(self) -> TenantId:
        """Return the provider whose service this is; the issuer when it concerns no service."""
        return self.instance.provider_id if self.instance else self.se.issuer_id

    def topology(self, profile: SeProfile) -> Topology:
        """Return who manages this card."""
        return topology(self.se, profile, self.provider_id)

    def goal(self) -> Goal:
        """Return what the instance should be when this operation has succeeded."""
        if self.instance is None:
            raise InvariantError("This operation concerns no instance.")
        return _GOALS.get(self.operation.type, self.instance.goal)

    def desired(self) -> DesiredContent | None:
        """Return what should be on the card; None when the operation only reads it."""
        if self.instance is None:
            return None
        parameters = self.operation.parameters
        transaction = None
        if self.operation.type is OperationType.TOP_UP:
            transaction = ValueTransaction(
                id=str(parameters["transaction"]),
                application=Aid.from_hex(str(parameters["application"])),
                amount=int(parameters["amount"]),
            )
        return DesiredContent(
            instance_id=self.instance.id,
            description=self.instance.description,
            goal=self.goal(),
            key_version=int(parameters.get("key_version", self.instance.key_version)),
            transaction=transaction,
        )


async def load_case(tx: UnitOfWork, operation_id: OperationId) -> Case:
    """Load a case.

    Raises:
        NotFoundError: there is no such operation.
    """
    operation = await tx.operations.get(operation_id)
    if operation is None:
        raise NotFoundError("There is no such operation.")
    se = await tx.secure_elements.get(operation.se_id)
    if se is None:
        raise InvariantError("An operation's secure element is missing.")
    instance = await tx.instances.get(operation.instance_id) if operation.instance_id else None
    return Case(
        operation=operation,
        se=se,
        instance=instance,
        content=await tx.secure_elements.content(se.id),
        claims=await tx.secure_elements.claims(se.id),
        order=await _own_order(tx, se.id, operation_id),
    )


async def _own_order(tx: UnitOfWork, se_id: SeId, operation_id: OperationId) -> DeviceOrder | None:
    order = await tx.orders.current(se_id)
    return order if order is not None and order.operation_id == operation_id else None
