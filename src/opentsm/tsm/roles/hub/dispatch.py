"""Sending: takes a lane's next delivery, calls its target, and writes down what came of it.

Between the two transactions lies the call. Whoever dies there leaves the delivery pending and the lane
leased; when the lease is over the delivery is sent again, with the same id.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from opentsm.card.crypto.secret import Secret
from opentsm.tsm.domain.delivery import (
    MAX_ATTEMPTS_SHOWN,
    Attempt,
    Delivery,
    DeliveryState,
    Lane,
    TargetKind,
    Webhook,
    lane_pause,
    pause_after,
    secret_context,
)
from opentsm.tsm.domain.webhook_signature import signature_headers
from opentsm.tsm.kernel.errors import KeystoreError
from opentsm.tsm.kernel.ids import WebhookId
from opentsm.tsm.ports.peer import ServiceCatalogue
from opentsm.tsm.ports.sender import Call, CallResult
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.webhooks import DeliveryServices

replace = msgspec.structs.replace

_GONE = 410  # Standard Webhooks: the receiver wants no more
_DICE_BYTES = 2
_HEADERS = {"Content-Type": "application/json", "User-Agent": "OpenTSM"}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a delivery is tried, and an endpoint borne that takes nothing."""

    give_up: timedelta = timedelta(hours=72)
    disable: timedelta = timedelta(hours=120)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a delivery in one turn of its lane; None: there was nothing to send."""

    delivery: Delivery | None = None


class Dispatch:
    """Sends what is due."""

    def __init__(
        self, services: DeliveryServices, catalogue: Callable[[], ServiceCatalogue], patience: Patience
    ) -> None:
        self._s = services
        self._catalogue = catalogue
        self._patience = patience

    async def claim(self, *, lease_s: float, limit: int) -> list[Lane]:
        """Lease lanes that have something to send, each for one delivery."""
        async with self._s.storage.transaction() as tx:
            lanes = list(await tx.deliveries.claim(self._s.world.now(), lease_s=lease_s, limit=limit))
            if lanes:
                await tx.commit()
        return lanes

    async def release_leases(self) -> None:
        """Take over what a dead worker had leased; only for one who knows that no other worker lives."""
        async with self._s.storage.transaction() as tx:
            if await tx.deliveries.release(self._s.world.now()):
                await tx.commit()

    async def turn(self, lane: Lane) -> Outcome:
        """Send the delivery of a lane that is due longest.

        Raises:
            StaleVersionError: the database was away, or somebody changed the delivery: it is sent again.
        """
        async with self._s.storage.transaction() as tx:
            delivery = await tx.deliveries.first_due(lane, self._s.world.now())
            webhook = None if delivery is None else await _webhook_of(tx, delivery)
            if delivery is None:
                await self._let_go(tx, lane, failed=False)
                await tx.commit()
                return Outcome()
        result, useless = await self._send(delivery, webhook)
        return Outcome(await self._settle(lane, delivery, webhook, result, useless=useless))

    async def _send(self, delivery: Delivery, webhook: Webhook | None) -> tuple[CallResult, bool]:
        """Return what came of a call, and whether no further one makes sense."""
        if delivery.kind is TargetKind.SPOS:
            return await self._send_to_online_system(delivery)
        if webhook is None or not webhook.enabled:
            reason = "deleted" if webhook is None else "disabled"
            return CallResult(error=f"the webhook was {reason}"), True
        now = self._s.world.now()
        try:
            secrets = [
                Secret(await self._s.keystore.open(one.sealed, context=secret_context(webhook.id)))
                for one in webhook.secrets
                if one.until is None or now < one.until
            ]
        except KeystoreError:
            return CallResult(error="the signing secret does not open; rotate it"), False
        headers = _HEADERS | signature_headers(delivery.id, now, delivery.body, secrets)
        call = Call(url=webhook.url, headers=headers, body=delivery.body)
        return await self._s.sender.send(call), False

    async def _send_to_online_system(self, delivery: Delivery) -> tuple[CallResult, bool]:
        """Send a process's result (TR-03165 §4.3.4.1), over mutual TLS (§2.2.8)."""
        system = await self._catalogue().online_system(delivery.tenant_id, delivery.target_id)
        if system is None:
            return CallResult(error="the service has no SPOS configuration any more"), True
        call = Call(
            url=system.url.rstrip("/") + "/process-results",
            headers={**_HEADERS, "Idempotency-Key": delivery.id},
            body=delivery.body,
            trust=system.certificate,
            mutual=True,
        )
        return await self._s.sender.send(call), False

    async def _settle(
        self, lane: Lane, delivery: Delivery, webhook: Webhook | None, result: CallResult, *, useless: bool
    ) -> Delivery:
        now = self._s.world.now()
        settled = self._settled(delivery, result, now, useless=useless)
        async with self._s.storage.transaction() as tx:
            settled = await tx.deliveries.save(settled)
            if webhook is not None and not useless:
                await self._judge(tx, webhook, result, now)
            await self._let_go(tx, lane, failed=not result.taken and not useless)
            await tx.commit()
        return settled

    def _settled(self, delivery: Delivery, result: CallResult, now: datetime, *, useless: bool) -> Delivery:
        attempt = Attempt(at=now, status=result.status, error=result.error, took_ms=result.took_ms)
        tries = delivery.tries + 1
        told = replace(delivery, tries=tries, attempts=(*delivery.attempts, attempt)[-MAX_ATTEMPTS_SHOWN:])
        if result.taken:
            return replace(told, state=DeliveryState.SENT, next_at=None, ended_at=now)
        next_at = now + pause_after(tries, self._s.world.random(_DICE_BYTES))
        if useless or next_at > delivery.since + self._patience.give_up:
            return replace(told, state=DeliveryState.FAILED, next_at=None, ended_at=now)
        return replace(told, next_at=next_at)

    async def _judge(self, tx: UnitOfWork, webhook: Webhook, result: CallResult, now: datetime) -> None:
        """Note whether an endpoint works; disable one that is gone, or has taken nothing for long."""
        if result.taken:
            if webhook.failing_since is not None:
                await tx.webhooks.mark_working(webhook.id)
            return
        since = webhook.failing_since
        if result.status == _GONE:
            await self._disable(tx, webhook, "it answered 410 (gone)")
        elif since is None:
            await tx.webhooks.mark_failing(webhook.id, now)
        elif now - since >= self._patience.disable:
            hours = int(self._patience.disable.total_seconds() // 3600)
            await self._disable(tx, webhook, f"it took no message for {hours} hours")

    async def _disable(self, tx: UnitOfWork, webhook: Webhook, reason: str) -> None:
        present = await tx.webhooks.get(webhook.id)
        if present is None or not present.enabled:
            return  # another lane was faster
        await tx.webhooks.save(replace(present, enabled=False, disabled=reason))
        await tx.audit.append(
            webhook.tenant_id,
            actor="tsm",
            action="webhook.disabled",
            subject=webhook.id,
            details={"reason": reason},
        )

    async def _let_go(self, tx: UnitOfWork, lane: Lane, *, failed: bool) -> None:
        failures = lane.failures + 1 if failed else 0
        rest_until = self._s.world.now() + lane_pause(failures)
        await tx.deliveries.let_go(lane, failures=failures, rest_until=rest_until)


async def _webhook_of(tx: UnitOfWork, delivery: Delivery) -> Webhook | None:
    if delivery.kind is not TargetKind.WEBHOOK:
        return None
    return await tx.webhooks.get(WebhookId(delivery.target_id))
