"""Everything the hub knows about one operation at one moment, loaded in one transaction."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import msgspec

from opentsm.card.codec.aid import Aid
from opentsm.card.profiles import SeProfile
from opentsm.tsm.domain.arrangement import Arrangement, HandOverGrade
from opentsm.tsm.domain.card_content import (
    Claim,
    Credit,
    DesiredContent,
    Goal,
    ObservedContent,
    ServiceDescription,
    Stage,
    ValueTransaction,
)
from opentsm.tsm.domain.exchange import DeviceOrder
from opentsm.tsm.domain.operation import ENDED, Operation, OperationType
from opentsm.tsm.domain.release import Released
from opentsm.tsm.domain.secure_element import SecureElement
from opentsm.tsm.domain.service import InstanceState, Renewal, ServiceInstance
from opentsm.tsm.domain.space import SpaceLimits
from opentsm.tsm.domain.tenant import HUB
from opentsm.tsm.engine import steps as s
from opentsm.tsm.engine.sessions import PlannedSession, SessionKind, Topology
from opentsm.tsm.kernel.errors import InvariantError, NotFoundError
from opentsm.tsm.kernel.ids import DeviceId, OperationId, SeId, TenantId
from opentsm.tsm.ports.peer import ServiceMaterial
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.credits import find_credit, with_credit
from opentsm.tsm.roles.hub.remains import nothing_wanted
from opentsm.tsm.roles.hub.topology import limited, topology
from opentsm.tsm.roles.hub.wanted import goal_of, is_final, stages_of

replace = msgspec.structs.replace

_OF_THE_SERVICE = (s.Personalize, s.RunCommands, s.ReplaceKeys)

# what a secure element's issuer may want of a service whether or not its provider can be reached
_OVER_PROVIDERS = (OperationType.SUSPEND, OperationType.RESUME)


@dataclass(frozen=True, slots=True)
class Note:
    """An audit entry that is written with the case."""

    tenant_id: TenantId
    action: str
    subject: str
    details: dict[str, str | int]


@dataclass(frozen=True, slots=True)
class InVain:
    """A device of an unbound secure element answered, and did not prove the card."""

    device_id: DeviceId
    wrong_cryptogram: bool


@dataclass(slots=True)
class Case:
    """One operation with its secure element, instance, the card's content and the order in work.

    `limits` are the provider's limits of memory, known only where a domain may be made.
    The conductor replaces the values as it goes and stores them all at once; `also` are further writes of
    the same transaction, the last ones.
    """

    operation: Operation
    se: SecureElement
    instance: ServiceInstance | None
    content: ObservedContent
    claims: tuple[Claim, ...]
    order: DeviceOrder | None
    credit: Credit | None = None
    arrangement: Arrangement | None = None
    released: Released = field(default_factory=Released)
    in_vain: InVain | None = None
    overtaker: Operation | None = None
    limits: SpaceLimits | None = None
    notes: list[Note] = field(default_factory=list)
    also: list[Callable[[UnitOfWork], Awaitable[None]]] = field(default_factory=list)
    loaded: tuple[SecureElement, ServiceInstance | None] = field(init=False)

    def __post_init__(self) -> None:
        self.loaded = (self.se, self.instance)

    def did_not_prove(self, *, wrong_cryptogram: bool) -> None:
        """Note that the device that answered last did not prove the card; of no weight for a bound one."""
        device = self.operation.device_id
        if self.se.device_id is None and device is not None:
            self.in_vain = InVain(device, wrong_cryptogram)
            if wrong_cryptogram:
                self.note("secure-element.not-proved", {"device": str(device)})

    def note(self, action: str, details: dict[str, str | int]) -> None:
        """Note a fact about the operation for its requester's audit."""
        self.notes.append(Note(self.operation.tenant_id, action, str(self.operation.id), details))

    def changes(self) -> list[Note]:
        """Return all notes, with one for every change of state since the case was loaded."""
        se, instance = self.loaded
        notes = list(self.notes)
        if self.se.state is not se.state:
            action = f"secure-element.{self.se.state.value.lower()}"
            notes.append(Note(se.issuer_id, action, str(se.id), {"operation": str(self.operation.id)}))
        if self.se.device_id != se.device_id:
            details: dict[str, str | int] = {"device": str(self.se.device_id), "before": str(se.device_id)}
            notes.append(Note(se.issuer_id, "secure-element.bound-to-device", str(se.id), details))
        if instance is not None and self.instance is not None and instance.state is not self.instance.state:
            action = f"instance.{self.instance.state.name.lower()}"
            details = {"operation": str(self.operation.id)}
            notes.append(Note(instance.provider_id, action, str(instance.id), details))
        return notes

    @property
    def provider_id(self) -> TenantId:
        """Return the provider whose service this is; the issuer when it concerns no service."""
        return self.instance.provider_id if self.instance else self.se.issuer_id

    def topology(self, profile: SeProfile) -> Topology:
        """Return who manages this card."""
        found = topology(self.se, profile, self.provider_id, self.arrangement)
        return found if self.limits is None else limited(found, profile, self.limits)

    def giver(self, session: PlannedSession, profile: SeProfile) -> TenantId | None:
        """Return the party that hands over the key set of a session; None when its owner has it."""
        if session.keys_from is not None:
            return session.keys_from
        topology = self.topology(profile)
        temporary = session.owner_id != topology.manager_id and session.kvn == topology.temporary_kvn
        if topology.handover is HandOverGrade.CONFIDENTIAL:
            temporary = False  # it agreed on them with the card, and nobody else has them
        return topology.manager_id if temporary and session.kind is SessionKind.SECURE_CHANNEL else None

    def foreign_kvns(self, domain: Aid, profile: SeProfile) -> tuple[int, ...]:
        """Return the key versions of the domains above one, which it shows as if they were its own."""
        if domain == self.se.isd_aid:
            return ()
        arranged = {} if self.arrangement is None else {one.aid: one for one in self.arrangement.domains}
        managers = () if domain in arranged else (self.topology(profile).manager_kvn,)
        return (self.se.isd_kvn, *managers)

    @property
    def renewal(self) -> Renewal | None:
        """Return what this operation is to make of its instance, if it is to be made anything else."""
        renewal = None if self.instance is None else self.instance.renewal
        return renewal if renewal is not None and renewal.operation_id == self.operation.id else None

    def description(self) -> ServiceDescription:
        """Return what the card is to hold for the instance when this operation has succeeded."""
        instance, undoing = self._instance(), self.operation.undoing is not None
        return instance.description if undoing else instance.description_for(self.operation.id)

    def goal(self) -> Goal:
        """Return what the instance should be when this operation has succeeded."""
        if self.operation.undoing is not None:
            return self._instance().goal if self.undoes_part else Goal.ABSENT
        return goal_of(self.operation, self._instance())

    @property
    def undoes_part(self) -> bool:
        """Say whether the instance had something on the card before the operation that is undone."""
        before = self.operation.start_state
        return before not in (None, InstanceState.NOT_DEPLOYED, InstanceState.INITIALIZED)

    def stages(self) -> tuple[Stage, ...]:
        """Return the stages of the description that should be on the card then."""
        if self.operation.undoing is not None:
            return self._instance().stages
        return stages_of(self.operation, self._instance())

    def material(self, session: PlannedSession) -> ServiceMaterial | None:
        """Return what the owner of a session is told of the instance: its own, and only where it needs it."""
        instance = self.instance
        if instance is None or session.owner_id != instance.provider_id:
            return None
        if not any(isinstance(step, _OF_THE_SERVICE) for step in session.steps):
            return None
        return ServiceMaterial(
            description=self.description(), sealed_data=instance.data_for(self.operation.id)
        )

    def _final(self) -> bool:
        """Say whether the instance is complete when the operation has succeeded, or was undone."""
        if self.operation.undoing is not None:
            return self.operation.type is OperationType.UPDATE
        return is_final(self.operation)

    def _instance(self) -> ServiceInstance:
        if self.instance is None:
            raise InvariantError("This operation concerns no instance.")
        return self.instance

    def desired(self) -> DesiredContent | None:
        """Return what should be on the card; None when the operation only reads it."""
        if self.operation.type is OperationType.CLEAN_UP:
            return nothing_wanted(self.se)
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
            description=self.description(),
            goal=self.goal(),
            key_version=int(parameters.get("key_version", self.instance.key_version)),
            stages=frozenset(self.stages()),
            final=self._final(),
            keys_elsewhere=self.instance.keys_elsewhere,
            over_provider=self.operation.type in _OVER_PROVIDERS
            and self.operation.tenant_id != self.instance.provider_id,
            transaction=transaction,
        )


async def load_case(tx: UnitOfWork, operation_id: OperationId) -> Case:
    """Load a case.

    Raises:
        NotFoundError: there is no such operation, or it has ended and its secure element is gone.
    """
    operation = await tx.operations.get(operation_id)
    if operation is None:
        raise NotFoundError("There is no such operation.")
    se = await tx.secure_elements.get(operation.se_id)
    if se is None and operation.state in ENDED:
        raise NotFoundError("The operation's secure element was wiped with its issuer.")
    if se is None:
        raise InvariantError("An operation's secure element is missing.")
    instance = await tx.instances.get(operation.instance_id) if operation.instance_id else None
    credit = await find_credit(tx, operation)
    arrangement = await tx.arrangements.get(se.arrangement_id) if se.arrangement_id else None
    if se.arrangement_id and arrangement is None:
        raise InvariantError("A secure element's arrangement is missing.")
    return Case(
        operation=operation,
        se=se,
        instance=instance,
        content=with_credit(await tx.secure_elements.content(se.id), credit, operation),
        claims=await tx.secure_elements.claims(se.id),
        order=await _own_order(tx, se.id, operation_id),
        credit=credit,
        overtaker=await tx.operations.get(operation.gives_way) if operation.gives_way else None,
        arrangement=None if arrangement is None else arrangement.on(se.key_versions),
        released=await _released(tx, se, operation, instance),
    )


async def _released(
    tx: UnitOfWork, se: SecureElement, operation: Operation, instance: ServiceInstance | None
) -> Released:
    """Return what was released of an instance's load files, by its card's issuer or the central TSM."""
    if instance is None or operation.state in ENDED:
        return Released()
    digests = {file.sha256.lower() for file in instance.description_for(operation.id).load_files}
    policies = await tx.releases.policies((se.issuer_id, HUB))
    found = await tx.releases.released(digests, (se.issuer_id, HUB)) if digests else ()
    required = any(policy.requires_release for policy in policies)
    return Released(required=required, submissions=tuple(found))


async def _own_order(tx: UnitOfWork, se_id: SeId, operation_id: OperationId) -> DeviceOrder | None:
    order = await tx.orders.current(se_id)
    return order if order is not None and order.operation_id == operation_id else None
