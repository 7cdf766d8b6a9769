"""Use cases about endpoints: a party says where it wants to hear of what happens, and sees what was sent.

Signing secrets are sealed by the hub's keystore and shown once. A rotation leaves the earlier secret in force
for a while: messages then carry two signatures.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import msgspec

from opentsm.card.crypto.secret import Secret
from opentsm.tsm.domain.delivery import (
    EVENT_GROUPS,
    EVENT_TYPES,
    PING,
    Delivery,
    DeliveryState,
    SealedSecret,
    TargetKind,
    Webhook,
    secret_context,
)
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.domain.webhook_signature import SECRET_BYTES, shown_secret
from opentsm.tsm.kernel.errors import ConflictError, InvalidInputError, NotFoundError
from opentsm.tsm.kernel.ids import DeliveryId, InstanceId, TenantId, WebhookId
from opentsm.tsm.ports.keystore import Keystore
from opentsm.tsm.ports.repositories import Page
from opentsm.tsm.ports.sender import Sender
from opentsm.tsm.ports.unit_of_work import Storage, UnitOfWork
from opentsm.tsm.ports.world import World
from opentsm.tsm.roles.hub.herald import Event, webhook_delivery
from opentsm.tsm.roles.hub.mandate import require
from opentsm.tsm.roles.hub.once import Claim, ClaimingStorage

replace = msgspec.structs.replace

MAX_WEBHOOKS = 10
MAX_DESCRIPTION = 200
MAX_OVERLAP_S = 7 * 24 * 3600
BY_OWNER = "by its owner"
_PARTIES = (TenantKind.SERVICE_PROVIDER, TenantKind.SE_ISSUER)


@dataclass(frozen=True, slots=True)
class DeliveryServices:
    """What these use cases work with."""

    storage: Storage
    keystore: Keystore
    world: World
    sender: Sender


@dataclass(frozen=True, slots=True)
class WebhookChange:
    """What of an endpoint is to change; None leaves it as it is."""

    url: str | None = None
    events: tuple[str, ...] | None = None
    description: str | None = None
    enabled: bool | None = None


class Webhooks:
    """The hub's door for parties that want to be called."""

    def __init__(self, services: DeliveryServices) -> None:
        self._s = services

    def once(self, claim: Claim) -> "Webhooks":
        """Return the same use cases for one request that has an idempotency key."""
        return Webhooks(dataclasses.replace(self._s, storage=ClaimingStorage(self._s.storage, claim)))

    async def register(
        self, principal: Principal, *, url: str, events: Sequence[str], description: str = ""
    ) -> tuple[Webhook, str]:
        """Register an endpoint.

        Args:
            principal: a service provider or an issuer.
            url: where to POST.
            events: names of event types, or groups (`operation.*`).
            description: words of the party's own.

        Returns:
            The endpoint and its signing secret, which is shown only here.

        Raises:
            InvalidInputError: a value is not possible, or the URL leads where the operator does not allow.
            ConflictError: the party has as many as it may have.
        """
        require(principal, *_PARTIES)
        wanted = _checked_events(events)
        await self._s.sender.check_url(url)
        id_ = WebhookId(self._s.world.new_id())
        secret, sealed = await self._new_secret(id_)
        webhook = Webhook(
            id=id_,
            tenant_id=principal.tenant_id,
            url=url,
            events=wanted,
            description=_checked_description(description),
            secrets=(sealed,),
            created_at=self._s.world.now(),
        )
        async with self._s.storage.transaction() as tx:
            if len(await tx.webhooks.of_tenants([principal.tenant_id])) >= MAX_WEBHOOKS:
                raise ConflictError(f"There are {MAX_WEBHOOKS} webhooks already.", advice="Delete one first.")
            await tx.webhooks.add(webhook)
            await _record(tx, webhook, "registered")
            await tx.commit()
        return webhook, secret

    async def webhook(self, principal: Principal, webhook_id: WebhookId) -> Webhook:
        """Return an endpoint of the caller."""
        async with self._s.storage.transaction() as tx:
            return await _own(tx, principal, webhook_id)

    async def webhooks(self, principal: Principal, page: Page) -> list[Webhook]:
        """Return the caller's endpoints."""
        require(principal, *_PARTIES)
        async with self._s.storage.transaction() as tx:
            return list(await tx.webhooks.list(principal.tenant_id, page))

    async def change(self, principal: Principal, webhook_id: WebhookId, wanted: WebhookChange) -> Webhook:
        """Change an endpoint; enabled again, it gets what happens from now on.

        Raises:
            NotFoundError: there is no such endpoint of the caller.
            InvalidInputError: as of `register`.
        """
        require(principal, *_PARTIES)
        changes: dict[str, object] = {}
        if wanted.url is not None:
            await self._s.sender.check_url(wanted.url)
            changes["url"] = wanted.url
        if wanted.events is not None:
            changes["events"] = _checked_events(wanted.events)
        if wanted.description is not None:
            changes["description"] = _checked_description(wanted.description)
        if wanted.enabled is not None:
            disabled = "" if wanted.enabled else BY_OWNER
            changes |= {"enabled": wanted.enabled, "disabled": disabled, "failing_since": None}
        async with self._s.storage.transaction() as tx:
            before = await _own(tx, principal, webhook_id)
            saved = await tx.webhooks.save(replace(before, **changes))
            await _record(tx, saved, "changed")
            await tx.commit()
        return saved

    async def delete(self, principal: Principal, webhook_id: WebhookId) -> None:
        """Remove an endpoint; what was not sent yet is not sent any more."""
        require(principal, *_PARTIES)
        async with self._s.storage.transaction() as tx:
            webhook = await _own(tx, principal, webhook_id)
            await tx.webhooks.remove(webhook_id)
            await _record(tx, webhook, "deleted")
            await tx.commit()

    async def rotate_secret(
        self, principal: Principal, webhook_id: WebhookId, *, overlap_s: int
    ) -> tuple[Webhook, str]:
        """Give an endpoint a new signing secret; the present one signs too until the overlap is over.

        Returns:
            The endpoint and its new secret, which is shown only here.
        """
        require(principal, *_PARTIES)
        if not 0 <= overlap_s <= MAX_OVERLAP_S:
            raise InvalidInputError(f"overlap_s must be 0 to {MAX_OVERLAP_S}.", field="/overlap_s")
        secret, sealed = await self._new_secret(webhook_id)
        until = self._s.world.now() + timedelta(seconds=overlap_s)
        async with self._s.storage.transaction() as tx:
            before = await _own(tx, principal, webhook_id)
            # never more than two: what an earlier rotation left ends with this one
            kept = (replace(before.secrets[0], until=until),) if overlap_s else ()
            saved = await tx.webhooks.save(replace(before, secrets=(sealed, *kept)))
            await _record(tx, saved, "secret-rotated", overlap_s=overlap_s)
            await tx.commit()
        return saved, secret

    async def ping(self, principal: Principal, webhook_id: WebhookId) -> Delivery:
        """Send a test event.

        Raises:
            ConflictError: the endpoint is disabled.
        """
        require(principal, *_PARTIES)
        async with self._s.storage.transaction() as tx:
            webhook = await _own(tx, principal, webhook_id)
            if not webhook.enabled:
                raise ConflictError("The webhook is disabled.", advice="Enable it first.")
            event = Event(PING, webhook.id, frozenset({webhook.tenant_id}), {"webhook_id": webhook.id})
            delivery = webhook_delivery(self._s.world, event, webhook.tenant_id, webhook.id)
            await tx.deliveries.add(delivery)
            await _record_delivery(tx, delivery, "pinged")
            await tx.commit()
        return delivery

    # --- deliveries ------------------------------------------------------------------------------------

    async def deliveries(
        self,
        principal: Principal,
        page: Page,
        *,
        webhook_id: WebhookId | None = None,
        service_id: str | None = None,
        instance_id: InstanceId | None = None,
    ) -> list[Delivery]:
        """Return a page of what is told to the caller, without bodies: of an endpoint, a service (its online
        system), an instance, or all."""
        require(principal, *_PARTIES)
        async with self._s.storage.transaction() as tx:
            if webhook_id is not None:
                await _own(tx, principal, webhook_id)
            return list(
                await tx.deliveries.list(
                    principal.tenant_id, page, target_id=webhook_id or service_id, instance_id=instance_id
                )
            )

    async def delivery(self, principal: Principal, delivery_id: DeliveryId) -> Delivery:
        """Return a delivery to the caller, with its body."""
        async with self._s.storage.transaction() as tx:
            return await _own_delivery(tx, principal, delivery_id)

    async def retry(self, principal: Principal, delivery_id: DeliveryId) -> Delivery:
        """Send a delivery again, or at once: its id stays, the time until the TSM gives up begins anew.

        Raises:
            ConflictError: its endpoint is disabled.
        """
        require(principal, *_PARTIES)
        now = self._s.world.now()
        async with self._s.storage.transaction() as tx:
            before = await _own_delivery(tx, principal, delivery_id)
            if before.kind is TargetKind.WEBHOOK:
                webhook = await tx.webhooks.get(WebhookId(before.target_id))
                if webhook is None or not webhook.enabled:
                    raise ConflictError("The webhook is disabled or deleted.", advice="Enable it first.")
            again = replace(
                before, state=DeliveryState.PENDING, tries=0, since=now, next_at=now, ended_at=None
            )
            saved = await tx.deliveries.save(again)
            await _record_delivery(tx, saved, "retried")
            await tx.commit()
        return saved

    async def _new_secret(self, webhook_id: WebhookId) -> tuple[str, SealedSecret]:
        secret = Secret(self._s.world.random(SECRET_BYTES))
        sealed = await self._s.keystore.seal(secret.reveal(), context=secret_context(webhook_id))
        return shown_secret(secret), SealedSecret(sealed=sealed)


def _checked_events(events: Sequence[str]) -> tuple[str, ...]:
    for number, event in enumerate(events):
        if event not in EVENT_TYPES and event not in EVENT_GROUPS:
            raise InvalidInputError(
                "There is no such event type.",
                advice=f"Known are {', '.join((*EVENT_GROUPS, *EVENT_TYPES))}.",
                field=f"/events/{number}",
            )
    if not events:
        raise InvalidInputError("At least one event type is needed.", field="/events")
    return tuple(sorted(set(events)))


def _checked_description(text: str) -> str:
    if len(text) > MAX_DESCRIPTION or not (text.isprintable() or not text):
        raise InvalidInputError(
            f"description must have at most {MAX_DESCRIPTION} printable characters.", field="/description"
        )
    return text


async def _own(tx: UnitOfWork, principal: Principal, webhook_id: WebhookId) -> Webhook:
    webhook = await tx.webhooks.get(webhook_id)
    if webhook is None or not _owns(principal, webhook.tenant_id):
        raise NotFoundError("There is no such webhook.")
    return webhook


async def _own_delivery(tx: UnitOfWork, principal: Principal, delivery_id: DeliveryId) -> Delivery:
    delivery = await tx.deliveries.get(delivery_id)
    if delivery is None or not _owns(principal, delivery.tenant_id):
        raise NotFoundError("There is no such delivery.")
    return delivery


def _owns(principal: Principal, tenant_id: TenantId) -> bool:
    return principal.device_id is None and principal.kind in _PARTIES and principal.tenant_id == tenant_id


async def _record(tx: UnitOfWork, webhook: Webhook, happened: str, **details: str | int) -> None:
    await tx.audit.append(
        webhook.tenant_id,
        actor=webhook.tenant_id,
        action=f"webhook.{happened}",
        subject=webhook.id,
        details=details,
    )


async def _record_delivery(tx: UnitOfWork, delivery: Delivery, happened: str) -> None:
    await tx.audit.append(
        delivery.tenant_id,
        actor=delivery.tenant_id,
        action=f"delivery.{happened}",
        subject=delivery.id,
        details={"event": delivery.event, "target": delivery.target_id},
    )
