"""A domain changes hands confidentially: what its owner notices, what it refuses, and what is on record."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from tests.machine.bench import DOMAIN, PURSE, Device
from tests.machine.delegated_bench import CENTRAL, DelegatedBench

from opentsm.card.codec.tlv import encode_tlv
from opentsm.card.crypto.secret import Secret
from opentsm.card.crypto.signature import Curve, EcSigningKey
from opentsm.card.gp.certificates import (
    USAGE_KEY_AGREEMENT,
    CertificateContent,
    PublicKey,
    issue_certificate,
    read_certificate,
)
from opentsm.card.profiles import HandOver
from opentsm.tsm.custody.custodian import Custodian
from opentsm.tsm.domain.arrangement import HandOverGrade
from opentsm.tsm.domain.audit import AuditEntry
from opentsm.tsm.domain.card_trust import SIGNING_KEY, CardAuthority
from opentsm.tsm.domain.exchange import Command
from opentsm.tsm.domain.operation import Operation, OperationState
from opentsm.tsm.domain.secure_element import KeySetState, SeState
from opentsm.tsm.engine import steps as s
from opentsm.tsm.engine.sessions import PlannedSession, SessionKind
from opentsm.tsm.kernel.errors import PeerFaultError
from opentsm.tsm.kernel.ids import OperationId, SegmentId, TenantId
from opentsm.tsm.ports.peer import SegmentOwner, SegmentReport, SegmentRequest
from opentsm.tsm.ports.repositories import Page
from opentsm.vse import virtual_authority
from opentsm.vse.card import CardIdentity, VirtualCard

replace = msgspec.structs.replace
GET_CERTIFICATE = bytes.fromhex("80CA7F21")
OWN_KVN = 0x34


@pytest.fixture
async def bench(dsn: str, tmp_path: Path) -> AsyncIterator[DelegatedBench]:
    made = DelegatedBench(dsn, tmp_path)
    made.handover = HandOverGrade.CONFIDENTIAL
    yield made
    await made.close()


async def opened(bench: DelegatedBench) -> DelegatedBench:
    await bench.open()
    await bench.seed()
    return bench


async def deployed(bench: DelegatedBench) -> Operation:
    return await bench.run((await bench.deploy()).id)


async def audited(bench: DelegatedBench, party: TenantId, action: str) -> list[AuditEntry]:
    async with bench.storage.transaction() as tx:
        entries = await tx.audit.list(party, Page(limit=200), subject=str(bench.se_id))
    return [entry for entry in entries if entry.action == action]


async def state(bench: DelegatedBench) -> SeState:
    async with bench.storage.transaction() as tx:
        se = await tx.secure_elements.get(bench.se_id)
    assert se is not None
    return se.state


def keys_of_domain(bench: DelegatedBench) -> set[int]:
    domain = bench.card.image().instance(bytes(DOMAIN))
    return set() if domain is None else {key.kvn for key in domain.domain_data().keys}


async def nothing_of_the_provider(bench: DelegatedBench) -> bool:
    """Say whether the card got no data and the provider trusts no keys."""
    purse = bench.card.image().instance(bytes(PURSE))
    async with bench.storage.transaction() as tx:
        known = await tx.key_sets.list(bench.provider, bench.se_id)
    return purse is None and not any(keys.state is KeySetState.CURRENT for keys in known)


# --- what is on record ----------------------------------------------------------------------------------


async def test_deployment_when_confidential_leaves_the_grade_on_record(bench: DelegatedBench) -> None:
    operation = await deployed(await opened(bench))
    assert operation.state is OperationState.SUCCEEDED
    assert keys_of_domain(bench) == {OWN_KVN}
    assert (await bench.instance()).handover is HandOverGrade.CONFIDENTIAL
    (agreed,) = await audited(bench, bench.provider, "key-set.agreed")
    assert agreed.details["grade"] == "confidential"
    assert not await audited(bench, bench.hub, "key-set.handed-over")


async def test_deployment_when_relay_trusted_leaves_the_grade_on_record(bench: DelegatedBench) -> None:
    bench.handover = HandOverGrade.RELAY_TRUSTED
    await deployed(await opened(bench))
    assert (await bench.instance()).handover is HandOverGrade.RELAY_TRUSTED
    for party, action in ((bench.hub, "key-set.handed-over"), (bench.provider, "key-set.taken-over")):
        (entry,) = await audited(bench, party, action)
        assert entry.details["grade"] == "relay-trusted"


# --- what is refused ------------------------------------------------------------------------------------


async def test_deployment_when_cards_have_no_way_is_refused_and_nothing_is_changed(
    bench: DelegatedBench,
) -> None:
    profile = bench.profiles[bench.profile_name]
    await opened(bench)
    object.__setattr__(profile, "handover", HandOver.NONE)
    operation = await deployed(bench)
    assert operation.failure is not None and operation.failure.code == "plan_refused"
    assert "no way" in operation.failure.detail
    assert not keys_of_domain(bench)


async def test_deployment_when_the_provider_trusts_nobody_for_cards_is_refused(bench: DelegatedBench) -> None:
    bench.sandbox = False
    operation = await deployed(await opened(bench))
    assert operation.failure is not None and "trusts no authority" in operation.failure.detail
    assert await nothing_of_the_provider(bench)


async def test_deployment_when_the_provider_takes_nothing_weaker_is_refused(bench: DelegatedBench) -> None:
    bench.handover = HandOverGrade.RELAY_TRUSTED
    await opened(bench)
    await trusting(bench, virtual_authority.point(), required=True)
    operation = await deployed(bench)
    assert operation.failure is not None and "confidentially only" in operation.failure.detail
    assert await nothing_of_the_provider(bench)


async def trusting(bench: DelegatedBench, point: bytes, *, required: bool = False) -> None:
    """Put an authority on record for the provider."""
    keystore = bench.ring.of(bench.provider)
    await keystore.generate(SIGNING_KEY, length_bytes=32)
    key = await keystore.verification_key(SIGNING_KEY)
    own = virtual_authority.certify(Curve.P_256, key, b"\x05", b"provider", agreement=False)
    async with bench.storage.transaction() as tx:
        await tx.card_authorities.put(
            CardAuthority(
                party_id=bench.provider,
                profile=bench.profile_name,
                curve="P_256",
                point=point,
                certificate=own,
                required=required,
            )
        )
        await tx.commit()


async def test_deployment_when_the_provider_trusts_another_authority_is_stopped(
    bench: DelegatedBench,
) -> None:
    await opened(bench)
    await trusting(bench, EcSigningKey(Curve.P_256, Secret(b"\x77" * 32)).point)
    await stopped_at_the_certificate(bench, await deployed(bench))


async def test_deployment_when_the_provider_put_the_authority_on_record_itself_succeeds(
    bench: DelegatedBench,
) -> None:
    bench.sandbox = False
    await opened(bench)
    await trusting(bench, virtual_authority.point(), required=True)
    assert (await deployed(bench)).state is OperationState.SUCCEEDED


async def test_custodian_when_asked_to_personalise_under_temporary_keys_refuses(
    bench: DelegatedBench,
) -> None:
    """The hub skips the change of keys, which would leave the data under keys that it knows."""
    bench.handover = HandOverGrade.RELAY_TRUSTED
    await opened(bench)
    skipped: list[SegmentRequest] = []

    class Skipping(Custodian):
        async def prepare_segment(self, request: SegmentRequest) -> tuple[Command, ...]:
            steps = request.session.steps
            if any(isinstance(step, s.ReplaceKeys) for step in steps) and not skipped:
                lie = s.Personalize(application=PURSE, recipe_id="purse", personalization="v1")
                request = replace(request, session=replace(request.session, steps=(lie,)))
                skipped.append(request)
            return await super().prepare_segment(request)

    owner = bench._owner(bench.provider)
    assert isinstance(owner, Custodian)
    bench.conductor._s.peers._owners[bench.provider] = Skipping(owner._c)  # type: ignore[attr-defined]
    operation = await bench.deploy()
    with pytest.raises(PeerFaultError, match="under keys that somebody else knows"):
        await bench.run(operation.id)
    assert skipped


# --- who stands between ---------------------------------------------------------------------------------


@dataclass
class Meddled:
    """A card whose answers somebody changes on the way."""

    card: VirtualCard
    meddle: Callable[[bytes, bytes], bytes]

    def transmit(self, raw: bytes) -> bytes:
        return self.meddle(raw, self.card.transmit(raw))

    def power_on(self) -> bytes:
        return self.card.power_on()

    def power_off(self) -> None:
        self.card.power_off()


async def between(bench: DelegatedBench, certificate: bytes) -> Operation:
    """Deploy with somebody between who shows another certificate."""
    await opened(bench)

    def meddle(raw: bytes, answer: bytes) -> bytes:
        return certificate + b"\x90\x00" if raw[:4] == GET_CERTIFICATE else answer

    bench.device = Device(Meddled(bench.card, meddle))  # type: ignore[arg-type]
    return await deployed(bench)


async def stopped_at_the_certificate(bench: DelegatedBench, operation: Operation) -> None:
    assert operation.failure is not None and "proves nothing" in operation.failure.detail
    assert await state(bench) is SeState.QUARANTINED
    assert await audited(bench, bench.provider, "card-certificate.refused")
    assert not keys_of_domain(bench)
    assert await nothing_of_the_provider(bench)


def forged(subject: bytes) -> bytes:
    """A certificate for a key of the man in the middle, by an authority of his own with the right name."""
    liar, own = (EcSigningKey(Curve.P_256, Secret(bytes((number,)) * 32)) for number in (0x66, 0x67))
    real = read_certificate(
        virtual_authority.certify(Curve.P_256, own.point, b"\x07", subject, agreement=True)
    )
    assert real.expires is not None
    content = CertificateContent(
        serial=b"\x07",
        authority=real.authority,
        subject=subject,
        usage=USAGE_KEY_AGREEMENT,
        public_key=PublicKey(Curve.P_256, own.point),
        expires=real.expires,
    )
    return issue_certificate(content, liar)


async def test_certificate_when_somebody_puts_in_his_own_is_noticed(bench: DelegatedBench) -> None:
    subject = CardIdentity.from_serial(bench.serial).cin
    await stopped_at_the_certificate(bench, await between(bench, forged(subject)))


async def test_certificate_when_it_is_for_another_purpose_is_noticed(bench: DelegatedBench) -> None:
    """A provider's own certificate is of the same authority, and its private key not the card's."""
    subject = CardIdentity.from_serial(bench.serial).cin
    key = EcSigningKey(Curve.P_256, Secret(b"\x68" * 32)).point
    signing = virtual_authority.certify(Curve.P_256, key, b"\x08", subject, agreement=False)
    await stopped_at_the_certificate(bench, await between(bench, signing))


async def test_certificate_when_it_is_of_another_genuine_card_is_noticed(bench: DelegatedBench) -> None:
    other = bench.made_card(CardIdentity.from_serial(bench.serial + 1 & 0xFFFFFFFF))
    casd = other.image().instance(bytes.fromhex("A00000015153504341534400"))
    assert casd is not None
    certificate = encode_tlv(0x7F21, casd.domain_data().objects[0x7F21])
    await stopped_at_the_certificate(bench, await between(bench, certificate))


async def test_certificate_when_it_is_no_certificate_is_noticed(bench: DelegatedBench) -> None:
    await stopped_at_the_certificate(bench, await between(bench, b"\x7f\x21\x00"))


class Lying:
    """A manager that answers for the card: what the card says of the agreement, the provider never sees."""

    def __init__(self, owner: SegmentOwner, lie: Callable[[tuple[str, ...]], tuple[str, ...]]) -> None:
        self._owner = owner
        self._lie = lie

    def __getattr__(self, name: str) -> object:
        return getattr(self._owner, name)

    async def check_segment(self, segment_id: SegmentId, answers: tuple[str, ...]) -> SegmentReport:
        report = await self._owner.check_segment(segment_id, answers)
        return replace(report, carried=self._lie(report.carried))


def as_forged_receipt(carried: tuple[str, ...]) -> tuple[str, ...]:
    return tuple("8610" + "00" * 16 + "9000" if one.startswith("8610") else one for one in carried)


async def test_receipt_when_somebody_answers_for_the_card_is_noticed(bench: DelegatedBench) -> None:
    await opened(bench)
    peers = bench.conductor._s.peers
    lying = Lying(peers.segment_owner(bench.hub), as_forged_receipt)
    peers._owners[bench.hub] = lying  # type: ignore[attr-defined]
    operation = await deployed(bench)
    assert operation.failure is not None and "not that of the card" in operation.failure.detail
    assert await state(bench) is SeState.QUARANTINED
    assert await audited(bench, bench.provider, "card-certificate.refused")
    assert await nothing_of_the_provider(bench)


async def test_challenge_when_somebody_answers_for_the_card_gets_no_keys_onto_it(
    bench: DelegatedBench,
) -> None:
    """The signature is over the challenge: for another one the card refuses it, and holds no keys."""

    def other_challenge(carried: tuple[str, ...]) -> tuple[str, ...]:
        return tuple("008510" + "AB" * 16 + "9000" if one.startswith("0085") else one for one in carried)

    await opened(bench)
    peers = bench.conductor._s.peers
    peers._owners[bench.hub] = Lying(peers.segment_owner(bench.hub), other_challenge)  # type: ignore[attr-defined]
    operation = await deployed(bench)
    assert operation.failure is not None and operation.failure.status_word == "6982"
    assert not keys_of_domain(bench)
    assert await nothing_of_the_provider(bench)


@pytest.mark.parametrize(
    "command",
    ["80E40000024F00", "80D80081021234", "00", "80E288000300B900"],
    ids=["DELETE", "PUT KEY", "short", "keys"],
)
async def test_manager_when_asked_to_carry_anything_else_refuses(bench: DelegatedBench, command: str) -> None:
    """A provider speaks in the manager's session: to agree on keys, and for nothing else."""
    await opened(bench)
    manager = bench._owner(bench.hub)
    session = PlannedSession(
        kind=SessionKind.SECURE_CHANNEL,
        owner_id=bench.hub,
        selected=CENTRAL,
        key_sd=CENTRAL,
        kvn=0x30,
        steps=(s.OfferKeys(domain=DOMAIN, owner_id=bench.provider),),
    )
    request = SegmentRequest(
        segment_id=SegmentId(bench.world.new_id()),
        operation_id=OperationId(bench.world.new_id()),
        se_id=bench.se_id,
        issuer_id=bench.issuer,
        profile=bench.profile_name,
        session=session,
        carried=(command,),
    )
    opening = await manager.prepare_segment(request)
    answers = tuple(bench.card.transmit(bytes.fromhex(one.apdu)).hex().upper() for one in opening)
    with pytest.raises(PeerFaultError, match="carried"):
        await manager.wrap_segment(request.segment_id, answers)
