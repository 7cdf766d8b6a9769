"""Webhooks through the HTTP API, sent to real servers on this machine."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from tests.scenario.api_bench import ApiBench, Json
from tests.scenario.receivers import Received, Receiver, receiving

from opentsm.api.metrics import Metrics
from opentsm.tsm.domain.delivery import LANES
from opentsm.workers.deliveries import LEASE_S, DeliveryWorker

EVENTS = ["operation.*"]


@pytest.fixture
async def api(scenario_dsn: str, tmp_path: Path) -> AsyncIterator[ApiBench]:
    """Give a TSM that may call this machine."""
    allowed = {"deliveries__allowed_networks": "127.0.0.0/8", "deliveries__allow_http": "true"}
    async with ApiBench.open(scenario_dsn, tmp_path, **allowed) as bench:
        yield bench


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Give a receiver."""
    async with receiving() as found:
        yield found


async def register(api: ApiBench, url: str, *events: str, who: str = "provider") -> Json:
    made = await api.post(who, "/v1/webhooks", {"url": url, "events": list(events) or EVENTS})
    assert made.status_code == 201, made.text
    return dict(made.json())


async def ping(api: ApiBench, hook: Json) -> Json:
    made = await api.post("provider", f"/v1/webhooks/{hook['id']}/pings")
    assert made.status_code == 201, made.text
    return dict(made.json())


async def send(api: ApiBench) -> None:
    """Send everything that is due."""
    await DeliveryWorker(api.container.dispatch, api.notifier).drain()


async def delivery(api: ApiBench, id_: str, who: str = "provider") -> Json:
    found = await api.get(who, f"/v1/deliveries/{id_}")
    assert found.status_code == 200, found.text
    return dict(found.json())


def verified(hook: Json, received: Received) -> Any:
    """Return the body after the public library has checked the signature."""
    return Webhook(hook["secret"]).verify(received.body, received.headers)


async def change(api: ApiBench, hook: Json, **wanted: object) -> Any:
    headers = {"Authorization": f"Bearer {await api.party('provider')}"}
    return await api.client.patch(f"/v1/webhooks/{hook['id']}", json=wanted, headers=headers)


# --- endpoints -------------------------------------------------------------------------------------------


async def test_webhook_when_registered_then_its_secret_is_shown_once(
    api: ApiBench, receiver: Receiver
) -> None:
    hook = await register(api, receiver.url, "instance.suspended", "operation.*", "instance.suspended")
    assert hook["secret"].startswith("whsec_")
    assert hook["events"] == ["instance.suspended", "operation.*"]
    shown = await api.get("provider", f"/v1/webhooks/{hook['id']}")
    assert shown.json() == {name: value for name, value in hook.items() if name != "secret"}
    listed = await api.get("provider", "/v1/webhooks")
    assert listed.json()["items"] == [shown.json()]
    async with api.storage.transaction() as tx:
        stored = await tx.webhooks.get(hook["id"])
    assert stored is not None
    assert hook["secret"].removeprefix("whsec_") not in repr(stored)


@pytest.mark.parametrize(
    ("url", "events"),
    [
        ("https://10.0.0.1/", EVENTS),
        ("https://169.254.169.254/latest/meta-data", EVENTS),
        ("https://[::1]/", EVENTS),
        ("https://[::ffff:10.0.0.1]/", EVENTS),
        ("https://2130706434.example@10.0.0.1/", EVENTS),
        ("https://user:secret@sp.example/", EVENTS),
        ("https://sp.example/#fragment", EVENTS),
        ("https://sp.example:0/", EVENTS),
        ("https://sp.example:99999/", EVENTS),
        ("https://", EVENTS),
        ("ftp://sp.example/", EVENTS),
        ("file:///etc/passwd", EVENTS),
        ("https://sp.example/a b", EVENTS),
        ("https://sp.example\\@10.0.0.1/", EVENTS),
        ("https://sp.example/", ["operation.unheard-of"]),
        ("https://sp.example/", ["*"]),
        ("https://sp.example/", []),
    ],
)
async def test_webhook_when_url_or_events_are_no_good_then_refused(
    api: ApiBench, url: str, events: list[str]
) -> None:
    made = await api.post("provider", "/v1/webhooks", {"url": url, "events": events})
    assert made.status_code == 400, made.text
    assert made.json()["code"] == "invalid_input"
    assert (await api.get("provider", "/v1/webhooks")).json()["items"] == []


async def test_webhook_when_the_operator_allows_nothing_then_only_https_to_public_addresses(
    scenario_dsn: str, tmp_path: Path
) -> None:
    async with ApiBench.open(scenario_dsn, tmp_path) as api:
        for url in ("https://127.0.0.1/", "https://localhost/", "http://8.8.8.8/"):
            made = await api.post("provider", "/v1/webhooks", {"url": url, "events": EVENTS})
            assert made.status_code == 400, url
            assert made.json()["field"] == "/url"


async def test_webhook_when_there_are_ten_then_no_further_one(api: ApiBench, receiver: Receiver) -> None:
    for _ in range(10):
        await register(api, receiver.url)
    made = await api.post("provider", "/v1/webhooks", {"url": receiver.url, "events": EVENTS})
    assert made.status_code == 409


async def test_webhook_when_of_somebody_else_then_as_if_it_did_not_exist(
    api: ApiBench, receiver: Receiver
) -> None:
    hook = await register(api, receiver.url)
    sent = await ping(api, hook)
    path = f"/v1/webhooks/{hook['id']}"
    for who in ("rival provider", "issuer"):
        refused = [
            await api.get(who, path),
            await api.get(who, f"{path}/deliveries"),
            await api.get(who, f"/v1/deliveries/{sent['id']}"),
            await api.post(who, f"{path}/pings"),
            await api.post(who, f"{path}/secrets", {}),
            await api.post(who, f"{path}/deliveries/{sent['id']}/retries"),
            await api.post(who, f"/v1/deliveries/{sent['id']}/retries"),
        ]
        assert [answer.status_code for answer in refused] == [404] * len(refused)
        assert (await api.get(who, "/v1/deliveries")).json()["items"] == []
    operators = await api.post("operator", "/v1/webhooks", {"url": receiver.url, "events": EVENTS})
    assert operators.status_code == 403
    await send(api)


# --- sending ---------------------------------------------------------------------------------------------


async def test_ping_when_sent_then_signed_counted_and_visible(api: ApiBench, receiver: Receiver) -> None:
    hook = await register(api, receiver.url)
    written = await ping(api, hook)
    assert (written["state"], written["tries"]) == ("PENDING", 0)
    metrics = Metrics()
    await DeliveryWorker(api.container.dispatch, api.notifier, metrics.delivery).drain()
    (received,) = receiver.received
    body = verified(hook, received)
    assert received.headers["webhook-id"] == written["id"]
    assert (body["type"], body["data"]) == ("ping", {"webhook_id": hook["id"]})
    assert body["timestamp"].endswith("Z")
    found = await delivery(api, written["id"])
    assert (found["state"], found["tries"], found["next_at"]) == ("SENT", 1, None)
    assert (found["attempts"][0]["status"], found["attempts"][0]["error"]) == (200, "")
    assert found["body"] == body
    (listed,) = (await api.get("provider", f"/v1/webhooks/{hook['id']}/deliveries")).json()["items"]
    assert listed == {name: value for name, value in found.items() if name != "body"}
    text = metrics.text().decode()
    assert 'opentsm_delivery_attempts_total{kind="WEBHOOK",outcome="sent"}' in text


async def test_operation_when_cancelled_then_provider_and_issuer_hear_of_it(
    api: ApiBench, receiver: Receiver
) -> None:
    se_id = (await api.element())["id"]
    instance = await api.instance(se_id)
    mine = await register(api, receiver.url, "operation.*")
    issuers = await register(api, receiver.url, "operation.cancelled", who="issuer")
    await register(api, receiver.url, "operation.succeeded", "instance.*")
    await register(api, receiver.url, "operation.*", who="rival provider")
    asked = (await api.post("provider", f"/v1/instances/{instance.id}/suspensions")).json()
    cancelled = await api.post("provider", f"/v1/operations/{asked['id']}/cancellations")
    assert cancelled.status_code in (200, 202), cancelled.text
    await send(api)
    heard = {one.headers["webhook-id"]: one for one in receiver.received}
    assert len(heard) == 2
    for who, hook in (("provider", mine), ("issuer", issuers)):
        (one,) = (await api.get(who, f"/v1/webhooks/{hook['id']}/deliveries")).json()["items"]
        body = verified(hook, heard[one["id"]])
        assert body["type"] == "operation.cancelled"
        assert body["data"]["operation_id"] == asked["id"]
        assert body["data"]["instance_id"] == instance.id
        assert body["data"]["type"] == "SUSPEND"
    listed = (await api.get("provider", f"/v1/deliveries?instance_id={instance.id}")).json()["items"]
    assert [one["target_id"] for one in listed] == [mine["id"]]


async def test_delivery_when_refused_then_tried_again_later_with_the_same_id(
    api: ApiBench, receiver: Receiver
) -> None:
    hook = await register(api, receiver.url)
    receiver.answers[:] = [500, 302]
    written = await ping(api, hook)
    await send(api)
    found = await delivery(api, written["id"])
    assert (found["state"], found["attempts"][0]["status"]) == ("PENDING", 500)
    assert found["next_at"] > found["attempts"][0]["at"]
    await send(api)  # not due yet
    assert len(receiver.received) == 1
    failing = (await api.get("provider", f"/v1/webhooks/{hook['id']}")).json()
    assert failing["failing_since"] is not None
    for _ in range(2):
        api.world.shift += timedelta(minutes=1)
        await send(api)
    found = await delivery(api, written["id"])
    assert [one["status"] for one in found["attempts"]] == [500, 302, 200]
    assert found["state"] == "SENT"
    assert {one.headers["webhook-id"] for one in receiver.received} == {written["id"]}
    assert {one.path for one in receiver.received} == {"/hooks"}  # the redirect was not followed
    assert (await api.get("provider", f"/v1/webhooks/{hook['id']}")).json()["failing_since"] is None


async def test_delivery_when_nobody_takes_it_then_given_up_and_sent_again_on_request(
    api: ApiBench, receiver: Receiver
) -> None:
    hook = await register(api, receiver.url)
    receiver.answers[:] = [503, 503]
    written = await ping(api, hook)
    await send(api)
    api.world.shift += timedelta(hours=72)
    await send(api)
    found = await delivery(api, written["id"])
    assert (found["state"], found["tries"], found["next_at"]) == ("FAILED", 2, None)
    path = f"/v1/webhooks/{hook['id']}/deliveries/{written['id']}/retries"
    again = await api.post("provider", path)
    assert (again.status_code, again.json()["state"]) == (200, "PENDING")
    await send(api)
    found = await delivery(api, written["id"])
    assert (found["state"], len(found["attempts"])) == ("SENT", 3)
    other = await register(api, receiver.url)
    foreign = f"/v1/webhooks/{other['id']}/deliveries/{written['id']}/retries"
    assert (await api.post("provider", foreign)).status_code == 404


async def test_endpoint_when_it_took_nothing_for_long_then_disabled_with_an_audit_entry(
    api: ApiBench, receiver: Receiver
) -> None:
    hook = await register(api, receiver.url)
    receiver.answers[:] = [500] * 2
    await ping(api, hook)
    await send(api)
    api.world.shift += timedelta(hours=120)
    last = await ping(api, hook)
    await send(api)
    shown = (await api.get("provider", f"/v1/webhooks/{hook['id']}")).json()
    assert (shown["enabled"], shown["disabled"]) == (False, "it took no message for 120 hours")
    audit = (await api.get("provider", f"/v1/audit?subject={hook['id']}")).json()["items"]
    assert "webhook.disabled" in [entry["action"] for entry in audit]
    assert (await api.post("provider", f"/v1/webhooks/{hook['id']}/pings")).status_code == 409
    assert (await api.post("provider", f"/v1/deliveries/{last['id']}/retries")).status_code == 409
    before = len(receiver.received)
    api.world.shift += timedelta(minutes=5)
    await send(api)
    found = await delivery(api, last["id"])
    assert (found["state"], found["attempts"][-1]["error"]) == ("FAILED", "the webhook was disabled")
    assert len(receiver.received) == before
    assert (await change(api, hook, enabled=True)).json()["disabled"] == ""
    await ping(api, hook)
    await send(api)
    assert len(receiver.received) == before + 1


async def test_endpoint_when_it_answers_gone_then_disabled_at_once(api: ApiBench, receiver: Receiver) -> None:
    hook = await register(api, receiver.url)
    receiver.answers[:] = [410]
    await ping(api, hook)
    await send(api)
    shown = (await api.get("provider", f"/v1/webhooks/{hook['id']}")).json()
    assert (shown["enabled"], shown["disabled"]) == (False, "it answered 410 (gone)")


async def test_endpoint_when_deleted_then_what_waits_is_not_sent(api: ApiBench, receiver: Receiver) -> None:
    hook = await register(api, receiver.url)
    written = await ping(api, hook)
    headers = {"Authorization": f"Bearer {await api.party('provider')}"}
    assert (await api.client.delete(f"/v1/webhooks/{hook['id']}", headers=headers)).status_code == 204
    await send(api)
    found = await delivery(api, written["id"])
    assert (found["state"], found["attempts"][0]["error"]) == ("FAILED", "the webhook was deleted")
    assert receiver.received == []


async def test_secret_when_rotated_then_both_sign_until_the_overlap_is_over(
    api: ApiBench, receiver: Receiver
) -> None:
    hook = await register(api, receiver.url)
    turned = await api.post("provider", f"/v1/webhooks/{hook['id']}/secrets", {"overlap_s": 3600})
    fresh = turned.json()
    assert fresh["secret"] != hook["secret"]
    await ping(api, hook)
    await send(api)
    for one in (hook, fresh):
        assert verified(one, receiver.received[0])["type"] == "ping"
    await api.post("provider", f"/v1/webhooks/{hook['id']}/secrets", {"overlap_s": 0})
    await ping(api, hook)
    await send(api)
    for one in (hook, fresh):
        with pytest.raises(WebhookVerificationError):
            verified(one, receiver.received[1])


async def test_delivery_when_its_sender_dies_then_another_sends_it_after_the_lease(
    api: ApiBench, receiver: Receiver
) -> None:
    hook = await register(api, receiver.url)
    written = await ping(api, hook)
    leased = await api.container.dispatch.claim(lease_s=LEASE_S, limit=1000)
    assert hook["id"] in [lane.target_id for lane in leased]  # and nothing more comes of it
    await send(api)
    assert receiver.received == []
    api.world.shift += timedelta(seconds=LEASE_S + 1)
    await send(api)
    assert [one.headers["webhook-id"] for one in receiver.received] == [written["id"]]


async def test_delivery_when_many_workers_race_then_sent_once(api: ApiBench, receiver: Receiver) -> None:
    hook = await register(api, receiver.url)
    written = {(await ping(api, hook))["id"] for _ in range(5)}
    await asyncio.gather(*(send(api) for _ in range(4)))
    assert sorted(one.headers["webhook-id"] for one in receiver.received) == sorted(written)


async def test_ping_when_repeated_with_its_key_then_written_once(api: ApiBench, receiver: Receiver) -> None:
    hook = await register(api, receiver.url)
    key = {"Idempotency-Key": api.world.new_id()}
    path = f"/v1/webhooks/{hook['id']}/pings"
    first, second = [await api.post("provider", path, headers=dict(key)) for _ in range(2)]
    assert first.json() == second.json()
    await send(api)
    assert len(receiver.received) == 1


async def test_endpoint_when_it_hangs_then_it_holds_up_nobody_else_and_gets_few_calls_at_once(
    api: ApiBench, receiver: Receiver
) -> None:
    stop = asyncio.Event()
    worker = DeliveryWorker(api.container.dispatch, api.notifier)
    async with receiving() as slow, asyncio.TaskGroup() as tasks:
        slow.open.clear()
        hanging = await register(api, slow.url)
        se_id = (await api.element())["id"]
        for _ in range(4 * LANES):  # operations of many subjects: all lanes have something to send
            asked = (await api.post("issuer", f"/v1/secure-elements/{se_id}/audits")).json()
            async with api.storage.transaction() as tx:
                one = await tx.deliveries.get((await ping(api, hanging))["id"])
                assert one is not None
                await tx.deliveries.save(_about(one, asked["id"]))
                await tx.commit()
        quick = await register(api, receiver.url)
        tasks.create_task(worker.run(stop))
        for _ in range(LANES):
            await slow.arrived.acquire()
        await ping(api, quick)
        await receiver.arrived.acquire()
        assert slow.most_busy == LANES
        assert len(slow.received) == LANES
        slow.open.set()
        for _ in range(3 * LANES):
            await slow.arrived.acquire()
        stop.set()
    assert slow.most_busy <= LANES


def _about(delivery: Any, subject: str) -> Any:
    return replace(delivery, subject=subject)


async def test_answer_when_endless_then_its_beginning_is_read_and_nothing_of_it_kept(
    api: ApiBench, receiver: Receiver
) -> None:
    receiver.more = b"secret of the receiver " * 100_000
    hook = await register(api, receiver.url)
    written = await ping(api, hook)
    await send(api)
    found = await delivery(api, written["id"])
    assert found["state"] == "SENT"
    assert "secret of the receiver" not in json.dumps(found)
