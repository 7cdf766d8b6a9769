"""Attestation tokens, from the TSM's key over the card to a provider that verifies them with its own code."""

import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.machine.provider_bench import BADGE, SOURCE, Json, ProviderBench
from tests.machine.test_key_provisioning import MASTER, MASTER_INDEX, kdf3
from tests.unit.vse.card_host import CardHost

from opentsm.card.codec.tlv import encode_tlv
from opentsm.card.crypto.secret import Secret
from opentsm.card.gp import commands
from opentsm.card.gp.attestation import AttestationToken, read_attestation_token
from opentsm.tsm.config.attestation import TSM_IDENTIFIER
from opentsm.tsm.domain.operation import Operation, OperationState
from opentsm.tsm.domain.service import InstanceState
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.errors import ForbiddenError
from opentsm.tsm.kernel.ids import TenantId

RANDOM = {"keyProvisioningMode": 3, "keyIndex": "t-1"}
DIVERSIFIED = {"keyProvisioningMode": 1, "keyIndex": MASTER_INDEX}
TOKEN = {"provideAttestationToken": True}
FULL = {**TOKEN, "includeSecurityDomainDiversificationData": True}
RECIPE = SOURCE / "demo/recipes/badge.json"
GET_TOKEN = commands.get_data(0x7F41)


@pytest.fixture
async def bench(dsn: str, tmp_path: Path) -> AsyncIterator[ProviderBench]:
    made = ProviderBench(dsn, tmp_path)
    await made.open()
    await made.seed()
    await made.repository.domain_keys.import_transport_key(made.principal, "t-1", Secret(bytes(32)))
    await made.repository.domain_keys.import_master_key(made.principal, MASTER_INDEX, Secret(MASTER))
    yield made
    await made.close()


async def anchors(bench: ProviderBench) -> str:
    """Application parameters of the badge: all of the provider's attestation keys."""
    keys = await bench.repository.attestation.keys(bench.principal)
    return b"".join(encode_tlv(0xDF41, compressed(key.public_key)) for key in keys).hex()


def compressed(point: bytes) -> bytes:
    """SEC 1 §2.3.3: 02 or 03 by the parity of Y, then X."""
    return bytes((2 + point[-1] % 2,)) + point[1:33]


async def publish(
    bench: ProviderBench, features: Json, personalization: Json, *, install: str | None = None
) -> Json:
    parameters = await anchors(bench) if install is None else install
    return await bench.publish(features=features, personalization=dict(personalization), install=parameters)


def fetched(bench: ProviderBench) -> AttestationToken:
    host = CardHost(bench.card)
    assert host.select(BADGE).sw == 0x9000
    return read_attestation_token(host.ok(GET_TOKEN))


def check(token: AttestationToken, certificate: bytes, operation: Operation, flavor: object) -> None:
    """What a provider does: verify with the certificate's key, compare process and flavor."""
    leaf = x509.load_der_x509_certificate(certificate)
    key = leaf.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert (
        leaf.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest == token.body.signer
    )
    key.verify(token.signature, token.signed, ec.ECDSA(SHA256()))
    if token.body.process != UUID(operation.id) or token.body.flavor != UUID(str(flavor)):
        raise InvalidSignature


async def test_token_when_asked_for_then_the_badge_accepts_and_hands_it_out(bench: ProviderBench) -> None:
    published = await publish(bench, RANDOM, TOKEN)
    instance, operation = await bench.deploy_service(published)
    assert operation.state is OperationState.SUCCEEDED, operation.failure
    assert instance.state is InstanceState.OPERATIONAL
    token = fetched(bench)
    (key,) = await bench.repository.attestation.keys(bench.principal)
    check(token, key.certificate, operation, published["flavor"]["id"])
    token.verify(key.public_key)
    assert (token.body.master_key, token.body.diversification_data) == (None, b"")
    # X.690 §8.19: 2.25 is 69, the rest of the arc in groups of seven bits
    arc, tail = int(TSM_IDENTIFIER.removeprefix("2.25.")), token.body.tsm[1:]
    assert token.body.tsm[0] == 0x69
    assert sum((byte & 0x7F) << 7 * place for place, byte in enumerate(reversed(tail))) == arc
    assert [bool(byte & 0x80) for byte in tail] == [True] * (len(tail) - 1) + [False]


async def test_token_when_diversification_is_included_then_it_leads_to_the_domains_keys(
    bench: ProviderBench,
) -> None:
    instance, operation = await bench.deploy_service(await publish(bench, DIVERSIFIED, FULL))
    assert operation.state is OperationState.SUCCEEDED, operation.failure
    body = fetched(bench).body
    assert body.master_key == UUID(MASTER_INDEX)
    domain = instance.description.sd_aid
    bench.open_session(domain, kdf3(MASTER, body.diversification_data), instance.key_version)


async def test_token_when_the_process_or_the_flavor_is_another_then_the_provider_sees_it(
    bench: ProviderBench,
) -> None:
    published = await publish(bench, RANDOM, TOKEN)
    _, first = await bench.deploy_service(published)
    (key,) = await bench.repository.attestation.keys(bench.principal)
    token = fetched(bench)
    await bench.new_card()
    _, second = await bench.deploy_service(published)
    for operation, flavor in ((second, published["flavor"]["id"]), (first, published["service"]["id"])):
        with pytest.raises(InvalidSignature):
            check(token, key.certificate, operation, flavor)
    check(token, key.certificate, first, published["flavor"]["id"])


async def test_token_when_a_recipe_runs_too_then_both_are_on_the_card(bench: ProviderBench) -> None:
    published = await bench.publish(
        features=RANDOM,
        personalization=dict(TOKEN),
        install=await anchors(bench),
        recipe=json.loads(RECIPE.read_text()),
    )
    _, operation = await bench.deploy_service(published, {"rights": "FLOOR-3"})
    assert operation.state is OperationState.SUCCEEDED, operation.failure
    assert fetched(bench).body.process == UUID(operation.id)
    host = CardHost(bench.card)
    host.select(BADGE)
    assert host.ok(commands.get_data(0xDF01)).endswith(b"badge-1")


async def test_token_when_the_badge_trusts_other_keys_only_then_in_error(bench: ProviderBench) -> None:
    stranger = ec.generate_private_key(ec.SECP256R1()).public_key()
    point = stranger.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    published = await publish(bench, RANDOM, TOKEN, install=encode_tlv(0xDF41, point).hex())
    instance, operation = await bench.deploy_service(published)
    assert operation.failure is not None
    assert (operation.state, operation.failure.status_word) == (OperationState.FAILED, "6A88")
    assert instance.state is InstanceState.IN_ERROR


async def test_token_when_the_application_takes_no_such_data_then_in_error(bench: ProviderBench) -> None:
    published = await bench.publish(features=RANDOM, personalization=dict(TOKEN), cap="transit.ijc")
    instance, operation = await bench.deploy_service(published)
    assert operation.failure is not None
    assert (operation.state, operation.failure.status_word) == (OperationState.FAILED, "6A86")
    assert instance.state is InstanceState.IN_ERROR


async def test_key_when_rotated_then_new_tokens_have_it_and_the_old_one_stays_listed(
    bench: ProviderBench,
) -> None:
    desk = bench.repository.attestation
    (old,) = await desk.keys(bench.principal)
    new = await desk.rotate(bench.principal)
    assert [key.signer for key in await desk.keys(bench.principal)] == [new.signer, old.signer]
    assert (new.current, new.public_key != old.public_key) == (True, True)
    _, operation = await bench.deploy_service(await publish(bench, RANDOM, TOKEN))
    assert operation.state is OperationState.SUCCEEDED, operation.failure
    token = fetched(bench)
    assert token.body.signer == new.signer
    token.verify(new.public_key)


async def test_certificate_when_read_then_it_is_signed_by_its_own_key(bench: ProviderBench) -> None:
    (key,) = await bench.repository.attestation.keys(bench.principal)
    leaf = x509.load_der_x509_certificate(key.certificate)
    leaf.verify_directly_issued_by(leaf)
    public = leaf.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint) == key.public_key
    # RFC 5280 §4.2.1.2 (1): SHA-1 of the bit string's value
    assert hashlib.sha1(key.public_key, usedforsecurity=False).digest() == key.signer
    assert leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False


async def test_keys_when_asked_for_by_others_then_refused_or_their_own(bench: ProviderBench) -> None:
    desk = bench.repository.attestation
    for principal in (bench.issuer_principal, bench.device_principal):
        with pytest.raises(ForbiddenError):
            await desk.keys(principal)
        with pytest.raises(ForbiddenError):
            await desk.rotate(principal)
    other = Principal(tenant_id=TenantId(bench.world.new_id()), kind=TenantKind.SERVICE_PROVIDER)
    (own,) = await desk.keys(bench.principal)
    (theirs,) = await desk.keys(other)
    assert own.signer != theirs.signer
