"""The badge takes an attestation token that one of its anchors signed, and no other (TR-03165 appendix A)."""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.unit.vse.applets.applet_card import AppletCard

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.tlv import encode_tlv
from opentsm.vse.applets.access_badge import AccessBadge
from opentsm.vse.status import StatusError

BADGE = Aid.from_hex("F04F54534D030001")
KEY, OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
# the example of A.3
PROCESS = bytes.fromhex("7390F811F27F412CA4FFE792D073F41F")
FLAVOR = bytes(range(16))
WHOLE, FIRST, LAST = 0x90, 0x10, 0x90


def point(key: ec.EllipticCurvePrivateKey, form: PublicFormat = PublicFormat.UncompressedPoint) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, form)


def identifier(key: ec.EllipticCurvePrivateKey) -> bytes:
    return hashlib.sha1(point(key), usedforsecurity=False).digest()


def body(**changes: bytes) -> list[tuple[int, bytes]]:
    values = {"80": b"\x69\x01", "81": PROCESS, "82": FLAVOR, "85": identifier(KEY)}
    values |= {name.removeprefix("tag"): value for name, value in changes.items()}
    return [(int(tag, 16), value) for tag, value in sorted(values.items()) if value]


def token(objects: list[tuple[int, bytes]], key: ec.EllipticCurvePrivateKey = KEY) -> bytes:
    signed = encode_tlv(0xA0, b"".join(encode_tlv(*one) for one in objects))
    signature = key.sign(signed, ec.ECDSA(SHA256()))
    return encode_tlv(0x7F41, signed + encode_tlv(0x81, signature))


def badge(anchors: bytes | None = None) -> AppletCard:
    card = AppletCard()
    card.install(AccessBadge, BADGE, encode_tlv(0xDF41, point(KEY)) if anchors is None else anchors)
    card.select(BADGE)
    return card


@pytest.mark.parametrize("form", [PublicFormat.UncompressedPoint, PublicFormat.CompressedPoint])
def test_token_when_an_anchor_signed_it_is_stored_and_read(form: PublicFormat) -> None:
    card = badge(encode_tlv(0xDF41, point(OTHER, form)) + encode_tlv(0xDF41, point(KEY, form)))
    made = token(body(tag83=PROCESS, tag84=bytes(10)))
    assert card.apdu("80CA7F4100").sw == 0x6A88
    assert card.store_data(BADGE, made, p1=WHOLE) == 0x9000
    card.restart()
    card.select(BADGE)
    assert card.apdu("80CA7F4100").data == made


def test_token_when_it_comes_in_blocks_is_taken_with_the_last() -> None:
    card, made = badge(), token(body())
    assert card.store_data(BADGE, made[:50], 0, p1=FIRST) == 0x9000
    assert card.apdu("80CA7F4100").sw == 0x6A88
    assert card.store_data(BADGE, made[50:], 1, p1=LAST) == 0x9000
    assert card.apdu("80CA7F4100").data == made


def test_token_when_a_newer_one_comes_replaces_the_one_before() -> None:
    card, newer = badge(), token(body(tag81=FLAVOR))
    assert card.store_data(BADGE, token(body()), p1=WHOLE) == 0x9000
    assert card.store_data(BADGE, newer, p1=WHOLE) == 0x9000
    assert card.apdu("80CA7F4100").data == newer


WRONG_SIGNATURE = token(body(), OTHER)
CHANGED = token(body()).replace(PROCESS, bytes(16))


@pytest.mark.parametrize(
    ("data", "sw"),
    [
        (WRONG_SIGNATURE, 0x6982),
        (CHANGED, 0x6982),
        (token(body(tag85=identifier(OTHER)), OTHER), 0x6A88),
        (token(body(tag81=PROCESS[:15])), 0x6A80),
        (token(body(tag82=b"")), 0x6A80),
        (token(body(tag83=PROCESS)), 0x6A80),
        (token(body(tag86=b"\x01")), 0x6A80),
        (token(list(reversed(body()))), 0x6A80),
        (token(body())[:-1], 0x6A80),
        (token(body()) + b"\x81\x00", 0x6A80),
        (encode_tlv(0x7F40, token(body())[4:]), 0x6A80),
        (b"", 0x6A80),
    ],
    ids=range(12),
)
def test_token_when_anything_is_wrong_is_refused_and_the_one_before_stays(data: bytes, sw: int) -> None:
    card, before = badge(), token(body(tag80=b"\x2a"))
    assert card.store_data(BADGE, before, p1=WHOLE) == 0x9000
    assert card.store_data(BADGE, data, p1=WHOLE) == sw
    assert card.apdu("80CA7F4100").data == before


def test_token_when_its_blocks_have_no_end_is_refused() -> None:
    card = badge()
    answers = [card.store_data(BADGE, bytes(255), number, p1=FIRST) for number in range(3)]
    assert answers == [0x9000, 0x9000, 0x6A80]


def test_token_when_the_badge_has_no_anchor_or_is_said_to_be_encrypted_is_refused() -> None:
    assert badge(b"").store_data(BADGE, token(body()), p1=WHOLE) == 0x6985
    assert badge().store_data(BADGE, token(body()), p1=WHOLE | 0x60) == 0x6A86


@pytest.mark.parametrize(
    "parameters",
    [
        encode_tlv(0xDF42, point(KEY)),
        encode_tlv(0xDF41, point(KEY)[:64]),
        encode_tlv(0xDF41, b"\x04" + bytes(64)),
        encode_tlv(0xDF41, point(KEY)) * 5,
        b"\xdf",
    ],
    ids=range(5),
)
def test_anchors_when_they_are_none_are_refused_at_installation(parameters: bytes) -> None:
    with pytest.raises(StatusError) as refused:
        badge(parameters)
    assert refused.value.sw == 0x6A80
