"""Use cases about what happens outside any card: renewal, change of device or number, loss, recovery.

Each is one transaction: the new state, its history, its audit, what providers are told, and for a loss the
suspension of every service on the secure element, ahead of all that waits for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from opentsm.tsm.domain.operation import LOSS_PRIORITY, Operation, OperationType
from opentsm.tsm.domain.registry import RegistryEvent
from opentsm.tsm.domain.secure_element import LossReport, SecureElement
from opentsm.tsm.domain.service import InstanceState, ServiceInstance
from opentsm.tsm.domain.subscription import (
    SUBSCRIPTION_STATES,
    MsIdentifierType,
    Subscription,
    SubscriptionEvent,
    SubscriptionState,
    normalised,
)
from opentsm.tsm.domain.tenant import Principal
from opentsm.tsm.kernel.errors import ConflictError, InvalidInputError, NotFoundError
from opentsm.tsm.kernel.ids import DeviceId, NetworkOperatorId, SeId, SubscriptionId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.mandate import across_the_border, locked_by_issuer, require
from opentsm.tsm.roles.hub.registry.chronicle import note_element, note_subscription, tell_environment
from opentsm.tsm.roles.hub.registry.operators import known_operator
from opentsm.tsm.roles.hub.registry.subscriptions import (
    KEEPERS,
    own_subscription,
    sealed_identifier,
    usable_element,
)
from opentsm.tsm.roles.hub.requesting import Requesting

OF_ELEMENTS = frozenset(
    {RegistryEvent.LOST, RegistryEvent.STOLEN, RegistryEvent.RECOVERED, RegistryEvent.DEVICE_CHANGED}
)
_MOVES = {
    RegistryEvent.SUSPENDED: SubscriptionEvent.SUSPEND,
    RegistryEvent.RESTORED: SubscriptionEvent.RESTORE,
    RegistryEvent.ENDED: SubscriptionEvent.END,
}
_LOSSES = {RegistryEvent.LOST: LossReport.LOST, RegistryEvent.STOLEN: LossReport.STOLEN}
_LOCKABLE = (InstanceState.OPERATIONAL, InstanceState.SUSPENDED)


@dataclass(frozen=True, slots=True)
class Happening:
    """What happened, with what belongs to it: the new secure element, number, network operator or device."""

    event: RegistryEvent
    se_id: SeId | None = None
    type: MsIdentifierType | None = None
    value: str = ""
    network_operator_id: NetworkOperatorId | None = None
    device_id: DeviceId | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.event.value}>"


@dataclass(frozen=True, slots=True)
class Consequences:
    """What became of it: `services` are the instances that it concerns, on the old secure element where
    there is a new one; `operations` were asked for because of it."""

    subscription: Subscription | None
    se: SecureElement | None
    services: Sequence[ServiceInstance] = ()
    operations: Sequence[Operation] = ()


class Happenings(Requesting):
    """Events of subscriptions and secure elements."""

    async def happened_to_element(
        self, principal: Principal, se_id: SeId, happening: Happening
    ) -> Consequences:
        """Take note of a loss, a theft, a recovery or a change of device.

        Raises:
            ForbiddenError: the caller is neither an issuer nor the hub's operator.
            NotFoundError: there is no such secure element of the caller.
            InvalidInputError: this does not happen to a secure element.
            ConflictError: it was reported already, or an operation works on it.
        """
        require(principal, *KEEPERS)
        async with self._s.storage.transaction() as tx:
            se = await usable_element(tx, principal, se_id)
            result = await self._on_element(tx, principal, se, happening, None)
            await tx.commit()
        return result

    async def happened_to_subscription(
        self, principal: Principal, subscription_id: SubscriptionId, happening: Happening
    ) -> Consequences:
        """Take note of what happened to a subscription; what happens to its secure element is noted there.

        Raises:
            ForbiddenError: the caller is neither an issuer nor the hub's operator.
            NotFoundError: there is no such subscription, secure element or network operator.
            InvalidInputError: something is missing that belongs to it.
            ConflictError: its state does not allow it.
        """
        require(principal, *KEEPERS)
        renamed = await self._renamed(subscription_id, happening)
        async with self._s.storage.transaction() as tx:
            before = await own_subscription(tx, principal, subscription_id)
            if before.state is SubscriptionState.ENDED:
                raise ConflictError("The subscription has ended.")
            if happening.event in OF_ELEMENTS:
                result = await self._through(tx, principal, before, happening)
            else:
                after = renamed(before) if renamed else await self._changed(tx, principal, before, happening)
                result = await self._saved(tx, principal, before, after, happening)
            await tx.commit()
        return result

    # --- subscriptions ---------------------------------------------------------------------------------

    async def _renamed(self, subscription_id: SubscriptionId, happening: Happening) -> "_Renaming | None":
        """Prepare a change of number: the keystore is asked before the transaction."""
        if happening.event is not RegistryEvent.NUMBER_CHANGED:
            return None
        if happening.type is None:
            raise InvalidInputError("A change of number needs the new identifier.", field="/identifier")
        identifier = normalised(happening.type, happening.value)
        name, sealed = await sealed_identifier(self._s.keystore, subscription_id, identifier)
        return _Renaming(identifier.type, name, sealed)

    async def _changed(
        self, tx: UnitOfWork, principal: Principal, before: Subscription, happening: Happening
    ) -> Subscription:
        event = happening.event
        if event in _MOVES:
            state = SUBSCRIPTION_STATES.next(before.state, _MOVES[event])
            ended = state is SubscriptionState.ENDED
            return replace(before, state=state, name="" if ended else before.name)
        if event is RegistryEvent.OPERATOR_CHANGED:
            if happening.network_operator_id is None:
                raise _missing("network_operator_id")
            await known_operator(tx, happening.network_operator_id)
            return replace(before, network_operator_id=happening.network_operator_id)
        if event is RegistryEvent.SE_RENEWED:
            if happening.se_id is None:
                raise _missing("se_id")
            se = await usable_element(tx, principal, happening.se_id)
            if se.id == before.se_id:
                raise ConflictError("The subscription leads to this secure element already.", field="/se_id")
            if before.se_id is not None and se.sandbox is not before.sandbox:
                raise across_the_border()
            return replace(before, se_id=se.id, sandbox=se.sandbox)
        raise InvalidInputError(f"{event.value} does not happen to a subscription.", field="/event")

    async def _saved(
        self,
        tx: UnitOfWork,
        principal: Principal,
        before: Subscription,
        after: Subscription,
        happening: Happening,
    ) -> Consequences:
        world, event = self._s.world, happening.event
        se = None if before.se_id is None else await tx.secure_elements.get(before.se_id)
        if se is None and after.se_id == before.se_id:  # it was wiped with its issuer
            after = replace(after, se_id=None)
        saved = await tx.subscriptions.save(before, after)
        services = [] if se is None else list(await tx.instances.on_secure_element(se.id))
        moved = saved.se_id if saved.se_id != before.se_id else None  # None, too, when it was wiped
        if moved is not None:
            event = RegistryEvent.SE_ASSIGNED if se is None else event
            new = await usable_element(tx, principal, moved)
            await note_element(tx, world, principal, new, event, subscription=saved, previous=before.se_id)
        if se is not None:
            if moved is not None:
                await note_element(tx, world, principal, se, event, subscription=saved)
            await tell_environment(tx, world, se, services, event, subscription=saved, renewed_by=moved)
        await note_subscription(tx, world, principal, saved, event, previous=before.se_id if moved else None)
        return Consequences(saved, se, services)

    async def _through(
        self, tx: UnitOfWork, principal: Principal, subscription: Subscription, happening: Happening
    ) -> Consequences:
        """Take note of what happened to the secure element that a subscription leads to."""
        if subscription.se_id is None:
            raise ConflictError("The subscription leads to no secure element.")
        se = await usable_element(tx, principal, subscription.se_id)
        result = await self._on_element(tx, principal, se, happening, subscription)
        await note_subscription(tx, self._s.world, principal, subscription, happening.event)
        return result

    # --- secure elements -------------------------------------------------------------------------------

    async def _on_element(
        self,
        tx: UnitOfWork,
        principal: Principal,
        se: SecureElement,
        happening: Happening,
        subscription: Subscription | None,
    ) -> Consequences:
        event = happening.event
        services = list(await tx.instances.on_secure_element(se.id))
        operations: list[Operation] = []
        if event in _LOSSES:
            if se.loss is _LOSSES[event]:
                raise ConflictError(f"The secure element was reported {event.value.lower()} already.")
            saved = await tx.secure_elements.save(replace(se, loss=_LOSSES[event]))
            operations = await self._lock(tx, principal, services)
        elif event is RegistryEvent.RECOVERED:
            if se.loss is None:
                raise ConflictError("The secure element was not reported lost or stolen.")
            saved = await tx.secure_elements.save(replace(se, loss=None))
        elif event is RegistryEvent.DEVICE_CHANGED:
            saved = await self._released(tx, se, happening.device_id)
        else:
            raise InvalidInputError(f"{event.value} does not happen to a secure element.", field="/event")
        world = self._s.world
        await note_element(tx, world, principal, saved, event, subscription=subscription)
        await tell_environment(tx, world, saved, services, event, subscription=subscription)
        return Consequences(subscription, saved, services, operations)

    async def _lock(
        self, tx: UnitOfWork, principal: Principal, services: Sequence[ServiceInstance]
    ) -> list[Operation]:
        """Ask for the suspension of every service: only who asked for it, or the issuer, lifts it again."""
        operations = []
        for instance in services:
            if instance.state not in _LOCKABLE or locked_by_issuer(instance):
                continue
            operation = self._operation(
                principal, OperationType.SUSPEND, instance.se_id, instance.id, priority=LOSS_PRIORITY
            )
            await self._request(tx, operation)
            operations.append(operation)
        return operations

    async def _released(self, tx: UnitOfWork, se: SecureElement, device_id: DeviceId | None) -> SecureElement:
        """Unbind a secure element from its device: the next one that proves it, or the named one, has it."""
        if se.active_operation_id is not None:
            raise ConflictError(
                f"Operation {se.active_operation_id} works on this secure element.",
                advice="Wait for its end, or cancel it first.",
            )
        if device_id is not None:
            device = await tx.devices.get(device_id)
            if device is None or device.tenant_id != se.issuer_id or device.revoked_at is not None:
                raise NotFoundError("There is no such device.", field="/device_id")
        await tx.turns.clear(se.id)
        return await tx.secure_elements.save(replace(se, device_id=None, reserved_for=device_id))


@dataclass(frozen=True, slots=True)
class _Renaming:
    """A new identifier, digested and sealed before the transaction."""

    type: MsIdentifierType
    name: str
    sealed: bytes

    def __call__(self, before: Subscription) -> Subscription:
        if before.name == self.name:
            raise ConflictError("The subscription has this identifier already.", field="/identifier")
        return replace(before, type=self.type, name=self.name, sealed=self.sealed)


def _missing(name: str) -> InvalidInputError:
    return InvalidInputError(f"This event needs {name}.", field=f"/{name}")
