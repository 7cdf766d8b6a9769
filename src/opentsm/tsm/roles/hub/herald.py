"""The hub's herald: turns what happened into deliveries, in the transaction in which it happens."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from opentsm.tsm.domain.delivery import PROCESS_RESULT, Delivery, TargetKind
from opentsm.tsm.domain.operation import ENDED, Operation
from opentsm.tsm.domain.process_result import REPORTED, process_result
from opentsm.tsm.domain.secure_element import SecureElement
from opentsm.tsm.domain.service import ServiceInstance
from opentsm.tsm.kernel.ids import DeliveryId, InstanceId, OperationId, TenantId
from opentsm.tsm.ports.peer import ServiceCatalogue
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.ports.world import World
from opentsm.tsm.roles.hub.case import Case

Data = dict[str, str | dict[str, str | None] | None]


@dataclass(frozen=True, slots=True)
class Event:
    """A fact, and whom it concerns. `data` holds ids, states and reasons: no key, no personalisation data."""

    type: str
    subject: str
    concerns: frozenset[TenantId]
    data: Data
    instance_id: InstanceId | None = None


class EventBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a webhook, in the form that Standard Webhooks recommends."""

    type: str
    timestamp: datetime
    data: Data


async def tell(tx: UnitOfWork, world: World, events: Sequence[Event]) -> None:
    """Write a delivery for every endpoint that wants one of these events."""
    if not events:
        return
    concerned = frozenset[TenantId]().union(*(event.concerns for event in events))
    for webhook in await tx.webhooks.of_tenants(sorted(concerned)):
        for event in events:
            if webhook.tenant_id in event.concerns and webhook.wants(event.type):
                await tx.deliveries.add(webhook_delivery(world, event, webhook.tenant_id, webhook.id))


def webhook_delivery(world: World, event: Event, tenant_id: TenantId, webhook_id: str) -> Delivery:
    """Word the delivery of an event to an endpoint."""
    now = world.now()
    body = EventBody(type=event.type, timestamp=now, data=event.data)
    return Delivery(
        id=DeliveryId(world.new_id()),
        tenant_id=tenant_id,
        kind=TargetKind.WEBHOOK,
        target_id=webhook_id,
        event=event.type,
        subject=event.subject,
        instance_id=event.instance_id,
        body=msgspec.json.encode(body),
        created_at=now,
        since=now,
        next_at=now,
    )


async def has_online_system(
    catalogue: ServiceCatalogue, operation: Operation, instance: ServiceInstance | None
) -> bool:
    """Say whether the end of an operation is told to its provider's online system; asked before the end."""
    if instance is None or operation.type not in REPORTED:
        return False
    service_id = instance.description.service_id
    return await catalogue.online_system(instance.provider_id, service_id) is not None


async def report(
    tx: UnitOfWork, world: World, operation: Operation, instance: ServiceInstance | None
) -> None:
    """Write the delivery of a process's result.

    Source: BSI TR-03165 §4.3.4.1.
    """
    result = None if instance is None else process_result(operation, instance)
    if instance is None or result is None:
        return
    now = world.now()
    await tx.deliveries.add(
        Delivery(
            id=DeliveryId(world.new_id()),
            tenant_id=instance.provider_id,
            kind=TargetKind.SPOS,
            target_id=instance.description.service_id,
            event=PROCESS_RESULT,
            subject=instance.id,
            instance_id=instance.id,
            body=msgspec.json.encode(result),
            created_at=now,
            since=now,
            next_at=now,
        )
    )


async def tell_cancelled(tx: UnitOfWork, world: World, operation: Operation, *, reported: bool) -> None:
    """Tell that an operation was cancelled before it began."""
    instance = await tx.instances.get(operation.instance_id) if operation.instance_id else None
    se = await tx.secure_elements.get(operation.se_id)
    await tell(tx, world, [operation_event(operation, instance, se)])
    if reported:
        await report(tx, world, operation, instance)


# --- what is an event ------------------------------------------------------------------------------------


def case_events(case: Case) -> list[Event]:
    """Return what happened to an operation, its instance and its secure element since they were loaded."""
    se, instance = case.loaded
    events = []
    if case.se.state is not se.state:
        events.append(se_event(case.se, case.operation.id))
    if instance is not None and case.instance is not None and instance.state is not case.instance.state:
        events.append(instance_event(case.instance, case.se, case.operation.id))
    if case.operation.state in ENDED:
        events.append(operation_event(case.operation, case.instance, case.se))
    return events


def se_event(se: SecureElement, operation_id: OperationId | None = None) -> Event:
    """Return that a secure element came into a state; its issuer is told."""
    return Event(
        type=f"secure-element.{se.state.value.lower()}",
        subject=se.id,
        concerns=frozenset({se.issuer_id}),
        data={"secure_element_id": se.id, "state": se.state.value, "operation_id": operation_id},
    )


def instance_event(instance: ServiceInstance, se: SecureElement, operation_id: OperationId | None) -> Event:
    """Return that an instance came into a state; its provider and the card's issuer are told."""
    return Event(
        type=f"instance.{instance.state.name.lower()}",
        subject=instance.id,
        concerns=frozenset({instance.provider_id, se.issuer_id}),
        data={
            "instance_id": instance.id,
            "state": instance.state.name,
            "service_id": instance.description.service_id,
            "version": instance.description.version_tag,
            "secure_element_id": instance.se_id,
            "operation_id": operation_id,
            "reason": None if instance.end_reason is None else instance.end_reason.value,
        },
        instance_id=instance.id,
    )


def operation_event(
    operation: Operation, instance: ServiceInstance | None, se: SecureElement | None
) -> Event:
    """Return how an operation ended; who asked for it, the provider and the issuer are told."""
    concerned = {operation.tenant_id}
    if instance is not None:
        concerned.add(instance.provider_id)
    if se is not None:
        concerned.add(se.issuer_id)
    failure = operation.failure
    return Event(
        type=f"operation.{operation.state.value.lower()}",
        subject=operation.instance_id or operation.id,
        concerns=frozenset(concerned),
        data={
            "operation_id": operation.id,
            "type": operation.type.value,
            "state": operation.state.value,
            "secure_element_id": operation.se_id,
            "instance_id": operation.instance_id,
            "failure": None
            if failure is None
            else {
                "code": failure.code,
                "detail": failure.detail,
                "status_word": failure.status_word,
            },
        },
        instance_id=operation.instance_id,
    )
