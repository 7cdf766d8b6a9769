"""A provider in another TSM: the same life of a service, with nothing but signed calls between the two."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import asyncpg
import httpx
import pytest
from msgspec.structs import replace
from tests.machine.peer_bench import URL, PeerBench, make_elsewhere, owners_of_keys
from tests.machine.provider_bench import BADGE

from opentsm.tsm.adapters.peers.remote import RemotePeers
from opentsm.tsm.domain import peer_assertion as p
from opentsm.tsm.domain.operation import Operation, OperationState, OperationType
from opentsm.tsm.domain.service import InstanceState
from opentsm.tsm.domain.tenant import TenantKind
from opentsm.tsm.kernel.errors import InvalidInputError, NotFoundError, PeerFaultError, UnauthenticatedError
from opentsm.tsm.kernel.ids import KeyHandle, TenantId
from opentsm.tsm.ports import peer_calls as calls
from opentsm.tsm.roles.hub.peers.identity import IDENTITY, PeerIdentity

RECIPES = Path(__file__).parents[2] / "src/opentsm/demo/recipes"
DATA = {"badge_id": "0102030405", "rights": "FLOOR-3"}


@pytest.fixture
async def bench(dsn: str, tmp_path: Path) -> AsyncIterator[PeerBench]:
    made = await opened(dsn, tmp_path)
    yield made
    await made.close()


@pytest.fixture(scope="session", autouse=True)
def elsewhere(dsn: str) -> None:
    make_elsewhere(dsn)


# where the losses begin, and whether answers are lost or calls: the suite has one of each
REST = ((0, False), (0, True), (1, True), (2, False))


async def opened(dsn: str, directory: Path) -> PeerBench:
    made = PeerBench(dsn, directory)
    await made.open()
    await made.seed()
    await made.meet()
    return made


async def deployed(bench: PeerBench) -> Operation:
    recipe = json.loads((RECIPES / "badge.json").read_text())
    published = await bench.publish(recipe=recipe)
    _, operation = await bench.deploy_service(published, DATA)
    return operation


async def change(bench: PeerBench, type_: OperationType) -> Operation:
    asked = await bench.requests.change(bench.principal, bench.instance_id, type_)
    return await bench.run(asked.id)


async def test_service_when_its_provider_lives_elsewhere_then_has_its_whole_life(
    bench: PeerBench, dsn: str
) -> None:
    operation = await deployed(bench)
    assert operation.state is OperationState.SUCCEEDED, operation.failure
    assert (await bench.instance()).state is InstanceState.OPERATIONAL
    for type_ in (OperationType.SUSPEND, OperationType.RESUME, OperationType.ROTATE_KEYS):
        ended = await change(bench, type_)
        assert ended.state is OperationState.SUCCEEDED, ended.failure
    assert bench.provider not in await owners_of_keys(dsn)
    assert bench.provider in await owners_of_keys(dsn.replace("/opentsm?", "/elsewhere?"))
    assert not bench.keystore_here.exists()  # the hub never opened a keystore of the provider
    ended = await change(bench, OperationType.TERMINATE)
    assert ended.state is OperationState.SUCCEEDED, ended.failure


async def test_data_when_sealed_elsewhere_then_the_hubs_database_and_the_answers_do_not_tell_them(
    bench: PeerBench,
) -> None:
    await deployed(bench)
    sealing = bench.line.calls.index("catalogue/seal_personalization_data")
    for number, request in enumerate(bench.line.seen):
        # the hub was given the data by its caller, and gives them on once
        assert (b"FLOOR-3" in request.content) == (number == sealing)
    assert not any(b"FLOOR-3" in answer for answer in bench.line.answers)


@pytest.mark.parametrize(
    ("third", "after"),
    [
        (1, False),
        (2, True),
        *(pytest.param(third, after, marks=pytest.mark.campaign) for third, after in REST),
    ],
    ids=lambda value: f"{value}",
)
async def test_deployment_when_calls_between_the_tsms_are_lost_then_ends_well(
    dsn: str, tmp_path: Path, third: int, after: bool
) -> None:
    """Each run loses every third of the calls that a worker makes, in turn."""
    bench = await opened(dsn, tmp_path)
    try:
        recipe = json.loads((RECIPES / "badge.json").read_text())
        published = await bench.publish(recipe=recipe)
        instance, operation = await bench.requests.deploy(
            bench.principal, se_id=bench.se_id, service_id=str(published["service"]["id"]), data=DATA
        )
        bench.instance_id = instance.id
        bench.line.lose_from, bench.line.after = len(bench.line.seen) + 1 + third, after
        bench.pause = timedelta(seconds=5)
        operation = await bench.run(operation.id, most_orders=200)
        assert operation.state is OperationState.SUCCEEDED, operation.failure
        assert bench.line.losses > 0
    finally:
        await bench.close()


# --- who may ask


NONE: dict[str, object] = {}


@dataclass
class Stranger:
    """Somebody who sends calls of his own to the provider's TSM."""

    bench: PeerBench
    identity: PeerIdentity

    async def ask(
        self,
        name: str,
        *arguments: object,
        party: str = "",
        claims: dict[str, object] = NONE,
        body: bytes = b"",
    ) -> httpx.Response:
        """Send one call; `claims` replace those of its assertion, `body` what is sent."""
        written = calls.call_named(name).write_arguments(arguments, {})
        to = party or self.bench.provider
        said = p.claims(to, name, written, "0123456789abcdef", self.bench.world.now())
        said = replace(said, **claims)
        signed = p.signing_input(said, p.thumbprint(await self.identity.point()))
        assertion = p.compact(signed, await self.identity._keystore.sign(IDENTITY, signed))
        headers = {"Peer-Assertion": assertion}
        url = f"{URL}/v1/peers/{to}/{name}"
        return await self.bench.client.post(url, content=body or written, headers=headers)


@pytest.fixture
async def hub(bench: PeerBench) -> Stranger:
    """Give the hub itself, as one that may ask."""
    return Stranger(bench, bench.identity)


HOLDS = "segment-owner/transport_point"


async def test_call_when_it_is_as_it_should_be_then_answered_once(hub: Stranger) -> None:
    assert (await hub.ask(HOLDS, "issuer")).status_code == 200
    again = await hub.ask(HOLDS, "issuer")
    assert again.status_code == 401
    assert "used before" in again.json()["detail"]


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "somebody"},
        {"call": "segment-owner/hand_over"},
        {"digest": "x"},
        {"iat": 1, "exp": 61},
        {"exp": 2_000_000_000},
        {"jti": "short"},
    ],
    ids=["party", "call", "digest", "expired", "too long", "jti"],
)
async def test_call_when_the_assertion_is_for_something_else_then_401(
    hub: Stranger, changes: dict[str, object]
) -> None:
    assert (await hub.ask(HOLDS, "issuer", claims=changes)).status_code == 401


async def test_call_when_the_body_was_changed_then_401(hub: Stranger) -> None:
    assert (await hub.ask(HOLDS, "issuer", body=b'{"issuer_id":"other"}')).status_code == 401


async def test_call_when_it_comes_from_an_unknown_tsm_then_401(bench: PeerBench) -> None:
    stranger = Stranger(bench, PeerIdentity(bench.ring.of(TenantId("stranger"))))
    answer = await stranger.ask(HOLDS, "issuer")
    assert answer.status_code == 401
    assert "no such peer" in answer.json()["detail"]


async def test_call_when_the_peering_has_ended_then_401(bench: PeerBench, hub: Stranger) -> None:
    operator = await bench._operator(bench.elsewhere)
    (peering,) = await bench.elsewhere.peerings.list(operator, bench.provider)
    await bench.elsewhere.peerings.remove(operator, bench.provider, p.thumbprint(peering.key))
    assert (await hub.ask(HOLDS, "issuer")).status_code == 401
    with pytest.raises(NotFoundError):
        await bench.elsewhere.peerings.remove(operator, bench.provider, p.thumbprint(peering.key))


async def test_call_when_it_is_for_another_party_of_that_tsm_then_refused(
    bench: PeerBench, hub: Stranger
) -> None:
    operator = await bench._operator(bench.elsewhere)
    other, _ = await bench.elsewhere.onboarding.register_party(
        operator, TenantKind.SERVICE_PROVIDER, f"other {bench.world.new_id()}"
    )
    assert (await hub.ask(HOLDS, "issuer", party=other.id)).status_code == 401
    # with the right to ask for one provider, nothing is told of the other
    answer = await hub.ask("catalogue/deployable_versions", other.id, "service", "scp03-i70")
    assert json.loads(answer.content)["error"]["code"] == "not_found"


@pytest.mark.parametrize("call", ["segment-owner/_keys", "segment-owner/none", "nothing/describe"])
async def test_call_when_there_is_none_of_that_name_then_not_found(hub: Stranger, call: str) -> None:
    said = p.claims(hub.bench.provider, call, b"{}", "0123456789abcdef", hub.bench.world.now())
    signed = p.signing_input(said, p.thumbprint(await hub.identity.point()))
    assertion = p.compact(signed, await hub.identity._keystore.sign(IDENTITY, signed))
    url = f"{URL}/v1/peers/{hub.bench.provider}/{call}"
    answer = await hub.bench.client.post(url, content=b"{}", headers={"Peer-Assertion": assertion})
    assert json.loads(answer.content)["error"]["code"] == "not_found"


async def test_keys_when_the_hub_asks_for_the_providers_own_then_not_handed_over(
    bench: PeerBench, hub: Stranger
) -> None:
    await deployed(bench)
    owner = bench.services.peers.segment_owner(bench.provider)
    aid = (await bench.instance()).description.sd_aid
    point = await bench.ring.of(bench.issuer).agreement_key(KeyHandle("mine"))
    for kvn in ((await bench.instance()).key_version, 0x38):
        with pytest.raises(NotFoundError):
            await owner.hand_over(bench.se_id, aid, kvn, bench.issuer, point)


@pytest.mark.parametrize("place", ["body", "assertion"])
async def test_answer_when_it_was_changed_then_a_peer_fault(bench: PeerBench, place: str) -> None:
    def changed(answer: httpx.Response) -> httpx.Response:
        headers, content = dict(answer.headers), answer.content
        if place == "body":
            content = content.replace(b"null", b"true")
        else:
            headers["peer-assertion"] = headers["peer-assertion"][:-4] + "AAAA"
        headers.pop("content-length")
        return httpx.Response(answer.status_code, headers=headers, content=content)

    bench.line.change = changed
    owner = bench.services.peers.segment_owner(bench.provider)
    with pytest.raises(PeerFaultError):
        await owner.forget_domain(bench.se_id, BADGE)


async def test_answer_when_an_old_one_is_played_again_then_a_peer_fault(bench: PeerBench) -> None:
    owner = bench.services.peers.segment_owner(bench.provider)
    kept: list[httpx.Response] = []

    def replayed(answer: httpx.Response) -> httpx.Response:
        kept.append(answer)
        return kept[0]

    bench.line.change = replayed
    await owner.forget_domain(bench.se_id, BADGE)
    with pytest.raises(PeerFaultError, match="not signed"):
        await owner.forget_domain(bench.se_id, BADGE)


async def test_load_file_when_the_other_tsm_gives_another_then_refused(bench: PeerBench) -> None:
    recipe = json.loads((RECIPES / "badge.json").read_text())
    published = await bench.publish(recipe=recipe)
    connection = await asyncpg.connect(bench.dsn)
    await connection.execute("DELETE FROM load_file_blocks")  # of other tests, with the same content
    await connection.close()

    async def other(provider_id: TenantId, sha256: str) -> bytes:
        return b"another"

    bench.elsewhere.catalogue.load_file = other  # type: ignore[method-assign]
    with pytest.raises(PeerFaultError, match="another load file"):
        await bench.deploy_service(published, DATA)


async def test_error_when_the_other_tsm_refuses_then_the_same_here(bench: PeerBench) -> None:
    with pytest.raises(NotFoundError, match="no such service"):
        await bench.services.peers.catalogue().describe(bench.provider, "none", None, "scp03-i70")


async def test_assertion_when_it_is_a_devices_then_not_taken(bench: PeerBench) -> None:
    with pytest.raises(UnauthenticatedError):
        p.key_id("eyJhbGciOiJFUzI1NiIsImtpZCI6IngifQ.e30.AAAA")


@pytest.mark.parametrize(
    "malformed",
    [
        b'{"result":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"result": 1}',
        b'{"result": null, "error": {"code": "not_found"}}',
        b"",
    ],
    ids=["deep", "another type", "half an error", "nothing"],
)
def test_answer_when_it_is_malformed_then_a_peer_fault(malformed: bytes) -> None:
    with pytest.raises(PeerFaultError):
        calls.read_answer(calls.call_named(HOLDS), malformed)


@pytest.mark.parametrize(
    "body",
    [b'{"issuer_id":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b'{"issuer_id": 1}', b"[]", b"{}"],
    ids=["deep", "another type", "no object", "nothing"],
)
def test_arguments_when_they_are_malformed_then_refused(body: bytes) -> None:
    with pytest.raises(InvalidInputError):
        calls.call_named(HOLDS).read_arguments(body)


def test_arguments_when_an_aid_is_none_then_refused() -> None:
    call = calls.call_named("segment-owner/forget_domain")
    for aid in ("A0", "none", "A0" * 17):
        with pytest.raises(InvalidInputError):
            call.read_arguments(json.dumps({"se_id": "se", "sd_aid": aid}).encode())


async def test_answer_when_a_proxy_compressed_it_then_read(bench: PeerBench) -> None:
    def compressed(answer: httpx.Response) -> httpx.Response:
        headers = {**answer.headers, "content-encoding": "gzip"}
        headers.pop("content-length")
        stream = httpx.ByteStream(gzip.compress(answer.content))
        return httpx.Response(answer.status_code, headers=headers, stream=stream)

    bench.line.change = compressed
    owner = bench.services.peers.segment_owner(bench.provider)
    assert len(await owner.transport_point(bench.issuer)) == 65


class Dripping(httpx.AsyncByteStream):
    """An answer of which a byte comes now and then, and never the last."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0)


async def test_answer_when_it_drips_without_end_then_a_peer_fault_in_time(bench: PeerBench) -> None:
    bench.line.change = lambda answer: httpx.Response(200, stream=Dripping())
    remote = RemotePeers(bench.client, bench.identity, bench.world, timeout_s=0.05)
    async with bench.storage.transaction() as tx:
        (peering,) = await tx.peerings.of_party(bench.provider)
    with pytest.raises(PeerFaultError, match="TimeoutError"):
        await remote.ask(peering, calls.call_named(HOLDS), b"{}")
