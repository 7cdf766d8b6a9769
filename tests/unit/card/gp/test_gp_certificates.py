"""Certificates: chains that are trusted, and every reason why one is not."""

from dataclasses import replace
from datetime import date

import pytest
from tests.vectors.test_vectors_openscp_scp11 import TRACES

from opentsm.card.codec.tlv import encode_tlv, parse_tlv
from opentsm.card.crypto.secret import Secret
from opentsm.card.crypto.signature import Curve, EcSigningKey
from opentsm.card.errors import CertificateError, ResponseFormatError
from opentsm.card.gp.certificates import (
    USAGE_KEY_AGREEMENT,
    USAGE_VERIFY_CERTIFICATES,
    USAGE_VERIFY_SIGNATURES,
    CertificateContent,
    PublicKey,
    issue_certificate,
    read_certificate,
    read_certificates,
    verify_chain,
)
from opentsm.card.gp.key_references import KeyReference, parse_authorities, parse_certificates
from opentsm.vse import virtual_authority
from opentsm.vse.certificates import PublicPoint, read_card_certificate
from opentsm.vse.status import StatusError

ROOT = EcSigningKey(Curve.P_384, Secret(b"\x01" * 48))
MIDDLE = EcSigningKey(Curve.BRAINPOOL_P256R1, Secret(b"\x02" * 32))
LEAF = EcSigningKey(Curve.P_256, Secret(b"\x03" * 32))
ANCHOR = PublicKey(ROOT.curve, ROOT.point)
TODAY = date(2026, 6, 1)

MIDDLE_CONTENT = CertificateContent(
    serial=b"\x01",
    authority=b"root",
    subject=b"middle",
    usage=USAGE_VERIFY_CERTIFICATES,
    public_key=PublicKey(MIDDLE.curve, MIDDLE.point),
    expires=date(2030, 1, 31),
    effective=date(2026, 1, 1),
)
LEAF_CONTENT = CertificateContent(
    serial=b"\x02",
    authority=b"middle",
    subject=b"leaf",
    usage=USAGE_KEY_AGREEMENT,
    public_key=PublicKey(LEAF.curve, LEAF.point),
    expires=date(2030, 1, 31),
    discretionary=bytes.fromhex("C80102"),
)


def chain(
    middle: CertificateContent = MIDDLE_CONTENT, leaf: CertificateContent = LEAF_CONTENT
) -> tuple[bytes, bytes]:
    return issue_certificate(middle, ROOT), issue_certificate(leaf, MIDDLE)


def verified(*encoded: bytes, today: date = TODAY) -> PublicKey:
    return verify_chain([read_certificate(one) for one in encoded], ANCHOR, today=today).public_key


def test_chain_over_three_curves_when_verified_gives_the_leafs_key() -> None:
    assert verified(*chain()) == LEAF_CONTENT.public_key


def test_certificate_when_read_says_what_was_issued() -> None:
    certificate = read_certificate(chain()[1])
    assert (certificate.serial, certificate.authority, certificate.subject) == (b"\x02", b"middle", b"leaf")
    assert certificate.expires == date(2030, 1, 31)
    assert certificate.discretionary == bytes.fromhex("C80102")
    assert certificate.is_globalplatform


def test_card_when_it_reads_the_same_certificate_sees_the_same() -> None:
    for encoded in (*chain(), virtual_authority.root_certificate()):
        host, card = read_certificate(encoded), read_card_certificate(encoded)
        assert (host.serial, host.authority, host.subject) == (card.serial, card.authority, card.subject)
        assert (host.public_key.curve, host.public_key.point) == (card.key.curve, card.key.point)
        assert (host.verifies_certificates, host.agrees_on_keys) == (card.issues, card.agrees)


@pytest.mark.parametrize("name", list(TRACES))
def test_card_when_it_reads_a_published_certificate_sees_what_the_host_sees(name: str) -> None:
    trace = TRACES[name]
    store = parse_tlv(bytes.fromhex(trace.card_certificates)).value
    for host in (read_certificate(bytes.fromhex(trace.certificate)), *read_certificates(store)):
        card = read_card_certificate(host.encoded)
        assert (host.serial, host.authority, host.subject) == (card.serial, card.authority, card.subject)
        assert (host.public_key.curve, host.public_key.point) == (card.key.curve, card.key.point)
        assert card.agrees
        assert not card.issues


@pytest.mark.parametrize(
    "wrong",
    [
        chain(middle=replace(MIDDLE_CONTENT, usage=USAGE_KEY_AGREEMENT)),
        chain(middle=replace(MIDDLE_CONTENT, usage=USAGE_VERIFY_SIGNATURES)),
        chain(leaf=replace(LEAF_CONTENT, usage=USAGE_VERIFY_CERTIFICATES)),
        chain(leaf=replace(LEAF_CONTENT, authority=b"other")),
        chain()[::-1],
        chain()[1:],
        (),
    ],
    ids=[
        "middle agrees",
        "middle verifies signatures",
        "leaf issues",
        "other issuer",
        "order",
        "cut",
        "none",
    ],
)
def test_chain_when_something_is_wrong_is_refused(wrong: tuple[bytes, ...]) -> None:
    with pytest.raises(CertificateError):
        verified(*wrong)


@pytest.mark.parametrize("today", [date(2025, 12, 31), date(2030, 2, 1)])
def test_chain_when_not_valid_that_day_is_refused(today: date) -> None:
    with pytest.raises(CertificateError):
        verified(*chain(), today=today)


@pytest.mark.parametrize("today", [date(2026, 1, 1), date(2030, 1, 31)])
def test_chain_on_its_first_and_last_day_is_good(today: date) -> None:
    assert verified(*chain(), today=today) == LEAF_CONTENT.public_key


def test_chain_of_mixed_formats_when_verified_is_refused() -> None:
    with pytest.raises(CertificateError):
        verified(chain()[0], virtual_authority.root_certificate())


def test_every_byte_of_a_certificate_when_changed_makes_it_untrusted() -> None:
    encoded = chain()[1]
    issuer = PublicKey(MIDDLE.curve, MIDDLE.point)
    for at in range(len(encoded)):
        changed = encoded[:at] + bytes([encoded[at] ^ 0x01]) + encoded[at + 1 :]
        with pytest.raises(CertificateError):
            read_certificate(changed).verify(issuer)


def test_x509_chain_of_the_test_authority_when_verified_is_good_for_its_own_root_only() -> None:
    encoded = virtual_authority.certify_x509(Curve.P_384, ROOT.point, b"\x01", "card")
    certificate = read_certificate(encoded)
    anchor = read_certificate(virtual_authority.root_certificate())
    assert verify_chain([certificate], anchor.public_key, today=TODAY).public_key == ANCHOR
    with pytest.raises(CertificateError):
        verify_chain([certificate], ANCHOR, today=TODAY)
    with pytest.raises(CertificateError):
        verify_chain([anchor], anchor.public_key, today=TODAY)


@pytest.mark.parametrize(
    "encoded", [b"", b"\x00", b"\x30\x00", bytes.fromhex("7F2100"), bytes.fromhex("4F00")]
)
def test_bytes_when_they_are_no_certificate_are_refused_by_both(encoded: bytes) -> None:
    with pytest.raises(CertificateError):
        read_certificate(encoded)
    with pytest.raises(StatusError):
        read_card_certificate(encoded)


def test_certificate_store_when_empty_is_refused() -> None:
    with pytest.raises(ResponseFormatError):
        parse_certificates(b"")


def test_list_of_authorities_when_malformed_is_refused() -> None:
    good = encode_tlv(0x42, b"id") + encode_tlv(0x83, b"\x10\x03")
    assert parse_authorities(encode_tlv(0xFF33, good)) == {KeyReference(0x10, 3): b"id"}
    for bad in (good[:-1], encode_tlv(0x42, b"id"), encode_tlv(0x83, b"\x10\x03") + encode_tlv(0x42, b"id")):
        with pytest.raises(ResponseFormatError):
            parse_authorities(bad)


def test_x509_when_any_byte_is_changed_is_untrusted_by_both() -> None:
    encoded = virtual_authority.root_certificate()
    anchor = read_certificate(encoded).public_key
    point = PublicPoint(anchor.curve, anchor.point)
    # The host's library reads over the count of unused bits in front of the signature, which says nothing.
    unused_bits = encoded.rindex(b"\x00\x30")
    for at in range(len(encoded)):
        for flip in (0x01, 0x80):
            changed = encoded[:at] + bytes([encoded[at] ^ flip]) + encoded[at + 1 :]
            if at != unused_bits:
                with pytest.raises(CertificateError):
                    read_certificate(changed).verify(anchor)
            with pytest.raises(StatusError):
                read_card_certificate(changed).verify(point)


def test_x509_when_something_follows_the_signature_is_refused_by_the_card() -> None:
    encoded = virtual_authority.root_certificate()
    longer = encode_tlv(0x30, parse_tlv(encoded).value + b"\x05\x00")
    with pytest.raises(StatusError):
        read_card_certificate(longer)
