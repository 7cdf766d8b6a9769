"""Webhooks: where a party wants to hear of what happens; and deliveries, what was sent to whom."""

import json
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import delete, get, patch, post
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import Meta

from opentsm.api.authentication import Caller
from opentsm.api.container import Services
from opentsm.api.idempotency import SECRET_ANSWER
from opentsm.api.v1 import messages as m
from opentsm.api.v1.delivery_views import DeliveryAnswer, DeliveryWithBody, delivery_view
from opentsm.api.v1.paging import After, Limit, read_page
from opentsm.tsm.domain.delivery import Webhook
from opentsm.tsm.kernel.errors import InvalidInputError, NotFoundError
from opentsm.tsm.kernel.ids import DeliveryId, InstanceId, WebhookId
from opentsm.tsm.roles.hub.webhooks import MAX_OVERLAP_S, WebhookChange

_TAG = ["webhooks"]
_DAY_S = 24 * 3600


_Url = Annotated[str, Meta(min_length=1, max_length=2048, description="https address to POST to")]
_Events = Annotated[
    list[str], Meta(min_length=1, max_length=40, description="event types, or groups such as operation.*")
]
_Description = Annotated[str, Meta(max_length=200)]
_Service = Annotated[
    str | None, QueryParameter(description="only process results of this service, for its online system")
]
_Instance = Annotated[str | None, QueryParameter(description="only what concerns this instance")]


class NewWebhook(m.Body, frozen=True, kw_only=True):
    """An endpoint to register."""

    url: _Url
    events: _Events
    description: _Description = ""


class WebhookPatch(m.Body, frozen=True, kw_only=True):
    """What of an endpoint is to change; what is left out stays."""

    url: _Url | None = None
    events: _Events | None = None
    description: _Description | None = None
    enabled: bool | None = None


class SecretRotation(m.Body, frozen=True, kw_only=True):
    """A new signing secret; the present one signs too for `overlap_s` seconds."""

    overlap_s: Annotated[int, Meta(ge=0, le=MAX_OVERLAP_S)] = _DAY_S


class WebhookAnswer(m.Answer, frozen=True, kw_only=True):
    """An endpoint; `disabled` says why nothing is sent, `failing_since` since when it takes nothing."""

    id: str
    url: str
    events: list[str]
    description: str
    enabled: bool
    disabled: str
    failing_since: datetime | None
    created_at: datetime


class WebhookWithSecret(WebhookAnswer, frozen=True, kw_only=True):
    """An endpoint with its signing secret (`whsec_…`), which is shown only once."""

    secret: str

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class WebhookPage(m.Answer, frozen=True, kw_only=True):
    """A page; `next` is the cursor for `after`, null on the last page."""

    items: list[WebhookAnswer]
    next: str | None


class DeliveryPage(m.Answer, frozen=True, kw_only=True):
    """A page; `next` is the cursor for `after`, null on the last page."""

    items: list[DeliveryAnswer]
    next: str | None


# --- endpoints -------------------------------------------------------------------------------------------


@post(
    "/webhooks",
    opt=SECRET_ANSWER,
    tags=_TAG,
    summary="Register a webhook (provider, issuer)",
)
async def register_webhook(
    principal: Caller, container: Services, data: JSONBody[NewWebhook]
) -> WebhookWithSecret:
    """Register an endpoint; its signing secret is shown only here."""
    webhook, secret = await container.webhooks.register(
        principal, url=data.url, events=data.events, description=data.description
    )
    return WebhookWithSecret(secret=secret, **_webhook(webhook))


@get("/webhooks", tags=_TAG, summary="List webhooks")
async def list_webhooks(
    principal: Caller, container: Services, limit: Limit = 50, after: After = None
) -> WebhookPage:
    """Return the caller's endpoints by id."""
    items, following = await read_page(
        lambda page: container.webhooks.webhooks(principal, page), lambda one: one.id, limit, after
    )
    return WebhookPage(items=[WebhookAnswer(**_webhook(one)) for one in items], next=following)


@get("/webhooks/{webhook_id:str}", tags=_TAG, summary="Show a webhook")
async def show_webhook(principal: Caller, container: Services, webhook_id: FromPath[str]) -> WebhookAnswer:
    """Return an endpoint; its secrets are not shown again."""
    return WebhookAnswer(**_webhook(await container.webhooks.webhook(principal, WebhookId(webhook_id))))


@patch("/webhooks/{webhook_id:str}", tags=_TAG, summary="Change, disable or enable a webhook")
async def change_webhook(
    principal: Caller, container: Services, webhook_id: FromPath[str], data: JSONBody[WebhookPatch]
) -> WebhookAnswer:
    """Change an endpoint; one that is disabled gets nothing, nor afterwards what happened meanwhile."""
    wanted = WebhookChange(
        url=data.url,
        events=None if data.events is None else tuple(data.events),
        description=data.description,
        enabled=data.enabled,
    )
    return WebhookAnswer(
        **_webhook(await container.webhooks.change(principal, WebhookId(webhook_id), wanted))
    )


@delete("/webhooks/{webhook_id:str}", tags=_TAG, summary="Delete a webhook")
async def delete_webhook(principal: Caller, container: Services, webhook_id: FromPath[str]) -> None:
    """Remove an endpoint; what was not sent yet is not sent any more."""
    await container.webhooks.delete(principal, WebhookId(webhook_id))


@post(
    "/webhooks/{webhook_id:str}/secrets",
    opt=SECRET_ANSWER,
    tags=_TAG,
    summary="Rotate the signing secret of a webhook",
)
async def rotate_webhook_secret(
    principal: Caller, container: Services, webhook_id: FromPath[str], data: JSONBody[SecretRotation]
) -> WebhookWithSecret:
    """Make a new secret, shown only here; messages carry two signatures until the overlap is over."""
    webhook, secret = await container.webhooks.rotate_secret(
        principal, WebhookId(webhook_id), overlap_s=data.overlap_s
    )
    return WebhookWithSecret(secret=secret, **_webhook(webhook))


@post("/webhooks/{webhook_id:str}/pings", tags=_TAG, summary="Send a test event to a webhook")
async def ping_webhook(principal: Caller, container: Services, webhook_id: FromPath[str]) -> DeliveryAnswer:
    """Write a delivery of the event `ping`, sent like every other."""
    return delivery_view(await container.webhooks.ping(principal, WebhookId(webhook_id)))


# --- deliveries ------------------------------------------------------------------------------------------


@get("/webhooks/{webhook_id:str}/deliveries", tags=_TAG, summary="List deliveries of a webhook")
async def list_webhook_deliveries(
    principal: Caller,
    container: Services,
    webhook_id: FromPath[str],
    limit: Limit = 50,
    after: After = None,
) -> DeliveryPage:
    """Return what was or will be sent to an endpoint, by id, which is the order of events."""
    items, following = await read_page(
        lambda page: container.webhooks.deliveries(principal, page, webhook_id=WebhookId(webhook_id)),
        lambda one: one.id,
        limit,
        after,
    )
    return DeliveryPage(items=[delivery_view(one) for one in items], next=following)


@post(
    "/webhooks/{webhook_id:str}/deliveries/{delivery_id:str}/retries",
    status_code=200,
    tags=_TAG,
    summary="Send a delivery of a webhook again",
)
async def retry_webhook_delivery(
    principal: Caller, container: Services, webhook_id: FromPath[str], delivery_id: FromPath[str]
) -> DeliveryAnswer:
    """Send it once more, at once, with the same id."""
    delivery = await container.webhooks.delivery(principal, DeliveryId(delivery_id))
    if delivery.target_id != webhook_id:
        raise NotFoundError("There is no such delivery.")
    return delivery_view(await container.webhooks.retry(principal, delivery.id))


@get("/deliveries", tags=_TAG, summary="List deliveries, process results too")
async def list_deliveries(
    principal: Caller,
    container: Services,
    service_id: _Service = None,
    instance_id: _Instance = None,
    *,
    limit: Limit = 50,
    after: After = None,
) -> DeliveryPage:
    """Return what is told to the caller: all of it, of a service's online system, or about an instance."""
    if service_id is not None and instance_id is not None:
        raise InvalidInputError("Name a service or an instance.", field="instance_id")
    instance = None if instance_id is None else InstanceId(instance_id)
    items, following = await read_page(
        lambda page: container.webhooks.deliveries(
            principal, page, service_id=service_id, instance_id=instance
        ),
        lambda one: one.id,
        limit,
        after,
    )
    return DeliveryPage(items=[delivery_view(one) for one in items], next=following)


@get("/deliveries/{delivery_id:str}", tags=_TAG, summary="Show a delivery with its body")
async def show_delivery(
    principal: Caller, container: Services, delivery_id: FromPath[str]
) -> DeliveryWithBody:
    """Return a delivery, its attempts and what is sent; signatures are made for each attempt."""
    delivery = await container.webhooks.delivery(principal, DeliveryId(delivery_id))
    shown = msgspec.structs.asdict(delivery_view(delivery))
    return DeliveryWithBody(body=json.loads(delivery.body), **shown)


@post("/deliveries/{delivery_id:str}/retries", status_code=200, tags=_TAG, summary="Send a delivery again")
async def retry_delivery(
    principal: Caller, container: Services, delivery_id: FromPath[str]
) -> DeliveryAnswer:
    """Send it once more, at once, with the same id."""
    return delivery_view(await container.webhooks.retry(principal, DeliveryId(delivery_id)))


HANDLERS = (
    register_webhook,
    list_webhooks,
    show_webhook,
    change_webhook,
    delete_webhook,
    rotate_webhook_secret,
    ping_webhook,
    list_webhook_deliveries,
    retry_webhook_delivery,
    list_deliveries,
    show_delivery,
    retry_delivery,
)


def _webhook(webhook: Webhook) -> dict[str, Any]:
    return {
        "id": webhook.id,
        "url": webhook.url,
        "events": list(webhook.events),
        "description": webhook.description,
        "enabled": webhook.enabled,
        "disabled": webhook.disabled,
        "failing_since": webhook.failing_since,
        "created_at": webhook.created_at,
    }
