"""A new security domain changes hands without anybody on the way learning its keys: host and card together.

The eavesdropper has the issuer's static keys and every byte that went over the reader. It first proves itself
on the usual way (first keys forwarded under the issuer's data encryption key), where it does find new keys;
then it finds nothing in two confidential ways: SCP11 with the new domain, and Amendment A's scenario 3.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date

import pytest
from tests.unit.vse.card_host import FACTORY_KEYS, ISD, SSD, CardHost, make_card, make_keys
from tests.unit.vse.scp11_host import Authority, CountedRandom, agree, seeded_key, send_certificates, trust

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.codec.tlv import encode_tlv
from opentsm.card.crypto.cipher import aes_cbc_decrypt, aes_ecb_encrypt
from opentsm.card.crypto.key_agreement import x963_sha256
from opentsm.card.crypto.mac import cmac
from opentsm.card.crypto.padding import unpad80
from opentsm.card.crypto.secret import Secret
from opentsm.card.crypto.signature import Curve, EcSigningKey
from opentsm.card.errors import CardCryptogramError, CardError, CertificateError
from opentsm.card.gp import commands
from opentsm.card.gp.certificates import (
    USAGE_VERIFY_SIGNATURES,
    PublicKey,
    read_certificate,
    verify_chain,
)
from opentsm.card.gp.confidential_setup import (
    KeySetPlan,
    parse_challenge,
    send_certificate,
    send_key_agreement,
    take_keys,
)
from opentsm.card.gp.key_references import KeyReference, get_certificates, parse_certificates
from opentsm.card.gp.keys import StaticKeys
from opentsm.card.scp import scp11
from opentsm.card.scp.channel import SessionKeys, parse_initialize_update
from opentsm.card.scp.scp03 import derive_session_keys
from opentsm.card.scp.scp11 import HostKeys, SessionParameters, Variant
from opentsm.vse import virtual_authority

TODAY = date(2026, 6, 1)
ROOT = PublicKey(Curve.P_256, virtual_authority.point())
FACTORY_KVN = 0x18
CASD = Aid.from_hex("A00000015153504341534400")
PROVIDER_CA = Authority(0x71)
PROVIDER = HostKeys(seeded_key(0x72), seeded_key(0x73))
NEW_KEYS = make_keys(0x91)


@dataclass
class Relay(CardHost):
    """A host whose every byte goes through somebody who writes it down."""

    traffic: list[tuple[CommandApdu, ResponseApdu]] = field(default_factory=list)

    def raw(self, apdu: CommandApdu | bytes | str) -> ResponseApdu:
        answer = super().raw(apdu)
        data = bytes.fromhex(apdu) if isinstance(apdu, str) else apdu
        command = data if isinstance(data, CommandApdu) else CommandApdu.parse(data)
        self.traffic.append((command, answer))
        return answer


def opened_commands(traffic: list[tuple[CommandApdu, ResponseApdu]], isd: StaticKeys) -> Iterator[bytes]:
    """Decipher every SCP03 session of the issuer, as whoever has its static keys can."""
    session: SessionKeys | None = None
    challenge, counter = b"", 0
    for command, answer in traffic:
        if command.ins == 0x50 and answer.sw == 0x9000:
            challenge = command.data
            init = parse_initialize_update(answer.data)
            session, counter = derive_session_keys(isd, challenge, init.card_challenge), -1
        elif command.cla & 0x04 and session is not None:
            counter += 1
            data = command.data[:-8]
            if counter and data:
                icv = aes_ecb_encrypt(session.enc.reveal(), counter.to_bytes(16, "big"))
                try:
                    yield unpad80(aes_cbc_decrypt(session.enc.reveal(), icv, data))
                except CardError:
                    continue


def everything_learnt(traffic: list[tuple[CommandApdu, ResponseApdu]], isd: StaticKeys) -> set[bytes]:
    """Return every 16 bytes that appear in clear, deciphered, or deciphered again under the issuer's DEK."""
    texts = [command.data for command, _ in traffic] + [answer.data for _, answer in traffic]
    texts += list(opened_commands(traffic, isd))
    learnt: set[bytes] = set()
    for text in texts:
        for at in range(len(text) - 15):
            block = text[at : at + 16]
            learnt.add(block)
            learnt.add(aes_cbc_decrypt(isd.dek.reveal(), bytes(16), block))
    return learnt


def values(keys: StaticKeys) -> set[bytes]:
    return {keys.enc.reveal(), keys.mac.reveal(), keys.dek.reveal()}


def relay_to(profile: str = "scp11-p256", **changes: object) -> Relay:
    source: dict[str, object] = {"base": profile, "name": "test", **changes}
    return Relay(make_card(source, random=CountedRandom()))


def new_domain(host: CardHost) -> None:
    """What the issuer does: an empty security domain."""
    host.select(ISD)
    host.authenticate()
    assert host.create_domain(SSD) == 0x9000


def verified_card_key(host: CardHost, variant: Variant) -> bytes:
    """What the provider does first: read the card's certificate and trust its authority only."""
    answer = host.raw(get_certificates(KeyReference(variant.kid, FACTORY_KVN)))
    data = answer.data
    while answer.sw >> 8 == 0x61:
        answer = host.raw("00C0000000")
        data += answer.data
    assert answer.sw == 0x9000
    return verify_chain(parse_certificates(data), ROOT, today=TODAY).public_key.point


def opens(host: CardHost, keys: StaticKeys, kvn: int) -> bool:
    host.select(SSD)
    try:
        host.authenticate(keys, kvn=kvn)
    except (CardCryptogramError, AssertionError):
        return False
    return True


def test_forwarded_keys_when_the_issuers_keys_are_known_are_read_by_the_relay() -> None:
    """The eavesdropper is a good one: on the usual way it finds the keys."""
    host = relay_to()
    new_domain(host)
    host.forward_keys(SSD, NEW_KEYS)
    assert values(NEW_KEYS) <= everything_learnt(host.traffic, FACTORY_KEYS)


def hand_over_by_scp11a(host: Relay) -> None:
    new_domain(host)
    host.select(SSD)
    host.authenticate()
    trust(host, PROVIDER_CA)

    host.select(SSD)
    point = verified_card_key(host, Variant.A)
    static = PROVIDER.static
    assert static is not None
    assert send_certificates(host, PROVIDER_CA.certify(static)) == 0x9000
    assert agree(host, SessionParameters(Variant.A, FACTORY_KVN), PROVIDER, point) == 0x9000
    assert host.put_keys(NEW_KEYS).sw == 0x9000


def test_keys_put_under_scp11a_when_everything_is_overheard_stay_unknown() -> None:
    host = relay_to()
    hand_over_by_scp11a(host)
    assert not values(NEW_KEYS) & everything_learnt(host.traffic, FACTORY_KEYS)
    assert opens(host, NEW_KEYS, 0x31)
    assert not opens(host, FACTORY_KEYS, 0)


def test_domain_after_scp11a_when_asked_by_others_has_no_key_of_an_ancestor_left() -> None:
    host = relay_to()
    hand_over_by_scp11a(host)
    host.select(SSD)
    static = PROVIDER.static
    assert static is not None
    assert send_certificates(host, PROVIDER_CA.certify(static)) == 0x9000
    command = scp11.authenticate(SessionParameters(Variant.A, FACTORY_KVN), PROVIDER.ephemeral.point)
    assert host.raw(command).sw == 0x6A88


def test_domain_when_it_trusts_its_provider_refuses_the_certificates_of_the_issuer() -> None:
    host = relay_to()
    issuer_ca = Authority(0x7A)
    host.authenticate()
    trust(host, issuer_ca)
    new_domain(host)
    host.select(SSD)
    host.authenticate()
    trust(host, PROVIDER_CA)
    host.select(SSD)
    assert send_certificates(host, issuer_ca.certify(seeded_key(0x7B))) == 0x6982


def test_keys_put_under_scp11b_when_everything_is_overheard_stay_unknown() -> None:
    """Only on cards whose profile lets a stranger put the first keys."""
    host = relay_to(scp11b_commands=["D8"])
    new_domain(host)
    host.select(SSD)
    point = verified_card_key(host, Variant.B)
    keys = HostKeys(PROVIDER.ephemeral)
    assert agree(host, SessionParameters(Variant.B, FACTORY_KVN), keys, point) == 0x9000
    assert host.put_keys(NEW_KEYS).sw == 0x9000
    assert not values(NEW_KEYS) & everything_learnt(host.traffic, FACTORY_KEYS)
    host.select(SSD)
    command = scp11.authenticate(SessionParameters(Variant.B, FACTORY_KVN), PROVIDER.ephemeral.point)
    assert host.raw(command).sw == 0x6A88


def test_relay_that_plays_the_card_when_it_has_no_certified_key_is_found_out() -> None:
    host = relay_to()
    point = verified_card_key(host, Variant.B)
    parameters = SessionParameters(Variant.B, FACTORY_KVN)
    command = scp11.authenticate(parameters, PROVIDER.ephemeral.point)
    liar = seeded_key(0x66)
    mine = scp11.derive_keys(parameters, HostKeys(liar), PROVIDER.ephemeral.point, PROVIDER.ephemeral.point)
    public = encode_tlv(0x5F49, liar.point)
    answer = public + encode_tlv(0x86, cmac(mine.receipt.reveal(), command.data + public))
    with pytest.raises(CardCryptogramError):
        scp11.open_session(parameters, command, answer, HostKeys(PROVIDER.ephemeral), point)


def test_certificate_of_a_relay_when_its_authority_is_another_is_refused() -> None:
    forged = read_certificate(Authority(0x66).certify(seeded_key(0x67)))
    with pytest.raises(CertificateError):
        verify_chain([forged], ROOT, today=TODAY)


# The future owner in scenario 3: a certified signature key.
SIGNER = EcSigningKey(Curve.P_256, Secret(b"\x21" * 32))
SIGNER_CERTIFICATE = virtual_authority.certify(
    Curve.P_256, SIGNER.point, b"\x05", b"provider", agreement=False
)


def casd_key(host: CardHost) -> PublicKey:
    """GET DATA 7F21 of the CASD, verified."""
    host.select(CASD)
    certificate = read_certificate(host.raw("80CA7F2100").data)
    return verify_chain([certificate], ROOT, today=TODAY).public_key


def set_up(host: Relay, plan: KeySetPlan, *, certificate: bytes | None = None) -> StaticKeys:
    ephemeral = seeded_key(0x74)
    casd = casd_key(host)
    new_domain(host)
    host.ok(commands.install_for_personalization(SSD))
    challenge = parse_challenge(host.ok(send_certificate(certificate or SIGNER_CERTIFICATE)))
    command = send_key_agreement(plan, ephemeral.point, challenge, SIGNER, signature_length=64)
    return take_keys(plan, ephemeral, casd, host.ok(command))


@pytest.mark.parametrize("with_random", [True, False])
@pytest.mark.parametrize("length", [16, 24, 32])
def test_keys_agreed_in_scenario_3_when_everything_is_overheard_stay_unknown(
    length: int, with_random: bool
) -> None:
    host = relay_to()
    keys = set_up(host, KeySetPlan(0x30, length, with_random=with_random))
    learnt = everything_learnt(host.traffic, FACTORY_KEYS)
    assert not {value[:16] for value in values(keys)} & learnt
    assert opens(host, keys, 0x30)
    assert not opens(host, FACTORY_KEYS, 0)


def first_step(host: Relay, certificate: bytes) -> int:
    new_domain(host)
    host.ok(commands.install_for_personalization(SSD))
    return host.sw(send_certificate(certificate))


def test_provider_when_another_authority_certified_it_is_refused() -> None:
    stranger = Authority(0x75).certify(seeded_key(0x76), usage=USAGE_VERIFY_SIGNATURES)
    assert first_step(relay_to(), stranger) == 0x6982


def test_provider_when_its_key_does_not_sign_is_refused() -> None:
    agreeing = virtual_authority.certify(
        Curve.P_256, seeded_key(0x76).point, b"\x05", b"provider", agreement=True
    )
    assert first_step(relay_to(), agreeing) == 0x6982


def test_scenario_3_when_the_card_has_no_casd_is_refused() -> None:
    assert first_step(relay_to(casd=False), SIGNER_CERTIFICATE) == 0x6A88


def test_second_step_without_the_first_when_sent_is_refused() -> None:
    host = relay_to()
    new_domain(host)
    host.ok(commands.install_for_personalization(SSD))
    command = send_key_agreement(
        KeySetPlan(0x30), seeded_key(1).point, bytes(16), SIGNER, signature_length=64
    )
    first = CommandApdu(command.cla, command.ins, command.p1, 0, command.data, command.ne)
    assert host.sw(first) == 0x6985


def test_signature_over_another_challenge_when_sent_is_refused() -> None:
    host = relay_to()
    assert first_step(host, SIGNER_CERTIFICATE) == 0x9000
    command = send_key_agreement(
        KeySetPlan(0x30), seeded_key(1).point, bytes(16), SIGNER, signature_length=64
    )
    assert host.sw(command) == 0x6982


def test_issuer_domain_when_set_up_confidentially_is_refused() -> None:
    host = relay_to()
    host.authenticate()
    assert host.sw(send_certificate(SIGNER_CERTIFICATE)) == 0x6985


def test_relay_that_plays_the_casd_when_it_has_no_certified_key_is_found_out() -> None:
    """It can agree on keys of its own, but not make the receipt."""
    host = relay_to()
    casd = casd_key(host)
    liar, ephemeral, plan = seeded_key(0x66), seeded_key(0x74), KeySetPlan(0x30, with_random=False)
    derived = x963_sha256(liar.agree(ephemeral.point), bytes.fromhex("108810"), 64)
    answer = encode_tlv(0x86, cmac(derived[:16], plan.control_template))
    with pytest.raises(CardCryptogramError):
        take_keys(plan, ephemeral, casd, answer)
    # had it the CASD's certified key, the provider would take its answer
    assert take_keys(plan, ephemeral, PublicKey(Curve.P_256, liar.point), answer)
