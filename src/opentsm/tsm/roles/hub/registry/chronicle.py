"""What the registry writes down and tells when something happens: history, audit, parties concerned."""

from collections.abc import Sequence

from opentsm.tsm.domain.registry import HistoryEntry, RegistryEvent
from opentsm.tsm.domain.secure_element import SecureElement
from opentsm.tsm.domain.service import ServiceInstance
from opentsm.tsm.domain.subscription import Subscription
from opentsm.tsm.domain.tenant import HUB, Principal
from opentsm.tsm.kernel.ids import NetworkOperatorId, SeId, TenantId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.ports.world import World
from opentsm.tsm.roles.hub.herald import Event, tell


async def note_subscription(
    tx: UnitOfWork,
    world: World,
    principal: Principal,
    subscription: Subscription,
    event: RegistryEvent,
    *,
    previous: SeId | None = None,
) -> None:
    """Write down what happened to a subscription: its history, and the audit of who registered it."""
    await tx.se_registry.add_history(
        [
            HistoryEntry(
                id=world.new_id(),
                subject=subscription.id,
                at=world.now(),
                event=event,
                actor=principal.tenant_id,
                se_id=subscription.se_id,
                previous_se_id=previous,
                network_operator_id=subscription.network_operator_id,
                state=subscription.state.value,
            )
        ]
    )
    await tx.audit.append(
        chain_of(principal, subscription.owner_id),
        actor=principal.tenant_id,
        action=f"subscription.{_word(event)}",
        subject=subscription.id,
        details={"state": subscription.state.value, "secure_element": subscription.se_id or ""},
    )


async def note_element(
    tx: UnitOfWork,
    world: World,
    principal: Principal,
    se: SecureElement,
    event: RegistryEvent,
    *,
    subscription: Subscription | None = None,
    previous: SeId | None = None,
    network_operator_id: NetworkOperatorId | None = None,
) -> None:
    """Write down what happened to a secure element: its history, and its issuer's audit."""
    await tx.se_registry.add_history(
        [
            HistoryEntry(
                id=world.new_id(),
                subject=se.id,
                at=world.now(),
                event=event,
                actor=principal.tenant_id,
                subscription_id=None if subscription is None else subscription.id,
                previous_se_id=previous,
                network_operator_id=network_operator_id,
                state=se.state.value,
            )
        ]
    )
    await tx.audit.append(
        se.issuer_id,
        actor=principal.tenant_id,
        action=f"secure-element.{_word(event)}",
        subject=se.id,
        details={} if subscription is None else {"subscription": subscription.id},
    )


async def tell_environment(
    tx: UnitOfWork,
    world: World,
    se: SecureElement,
    instances: Sequence[ServiceInstance],
    event: RegistryEvent,
    *,
    subscription: Subscription | None = None,
    renewed_by: SeId | None = None,
) -> None:
    """Tell each provider what happened around its instance, and the issuer what happened around its card.

    Source: GlobalPlatform Messaging, HandleServiceEnvironmentChangeNotification.
    """
    about: dict[str, str | dict[str, str | None] | None] = {
        "event": event.value,
        "secure_element_id": se.id,
        "renewed_by": renewed_by,
        "subscription_id": None if subscription is None else subscription.id,
    }
    type_ = f"environment.{_word(event)}"
    events = [
        Event(
            type=type_,
            subject=instance.id,
            concerns=frozenset({instance.provider_id}),
            data={
                **about,
                "instance_id": instance.id,
                "service_id": instance.description.service_id,
                "state": instance.state.name,
            },
            instance_id=instance.id,
        )
        for instance in instances
    ]
    told = {**about, "instance_id": None, "service_id": None, "state": se.state.value}
    events.append(Event(type=type_, subject=se.id, concerns=frozenset({se.issuer_id}), data=told))
    await tell(tx, world, events)


def chain_of(principal: Principal, owner_id: TenantId) -> TenantId:
    """Return whose audit tells of something: its owner's; what is the hub's, whoever acts for it."""
    return principal.tenant_id if owner_id == HUB else owner_id


def _word(event: RegistryEvent) -> str:
    return event.value.lower().replace("_", "-")
