"""Key agreement and X9.63 derivation.

Source of values: NIST CAVS ANSI X9.63 (SHA-256, 192-bit secret, first count);
NIST CAVS ECC CDH P-256, count 0.
"""

import pytest

from opentsm.card.crypto.key_agreement import KeyAgreementKey, random_length, require_point, x963_sha256
from opentsm.card.crypto.secret import Secret
from opentsm.card.crypto.signature import Curve
from opentsm.card.errors import KeyFormatError

CURVES = (Curve.P_256, Curve.P_384, Curve.BRAINPOOL_P256R1)
EVERY = pytest.mark.parametrize("curve", CURVES)


def test_x963_published_vector_when_derived_matches() -> None:
    secret = Secret(bytes.fromhex("96c05619d56c328ab95fe84b18264b08725b85e33fd34f08"))
    assert x963_sha256(secret, b"", 16).hex() == "443024c3dae66b95e6f5670601558f71"


def test_ecdh_published_vector_when_agreed_matches() -> None:
    private = Secret(bytes.fromhex("7d7dc5f71eb29ddaf80d6214632eeae03d9058af1fb6d22ed80badb62bc1a534"))
    point = bytes.fromhex(
        "04700c48f77f56584c5cc632ca65640db91b6bacce3a4df6b42ce7cc838833d287"
        "db71e509e3fd9b060ddb20ba5c51dcc5948d46fbf640dfe0441782cab85fa4ac"
    )
    agreed = KeyAgreementKey(Curve.P_256, private).agree(point)
    assert agreed.reveal().hex() == "46fc62106420ff012e54a434fbdd2d25ccc5852060561e68040dd7778997bd7b"


@EVERY
def test_both_sides_when_they_agree_have_the_same_secret(curve: Curve) -> None:
    one = KeyAgreementKey.from_random(curve, b"\x01" * random_length(curve))
    other = KeyAgreementKey.from_random(curve, b"\x02" * random_length(curve))
    assert one.agree(other.point) == other.agree(one.point)
    assert len(one.agree(other.point)) == curve.length


@EVERY
def test_key_from_too_few_random_bytes_when_made_is_refused(curve: Curve) -> None:
    with pytest.raises(KeyFormatError):
        KeyAgreementKey.from_random(curve, b"\x01" * (random_length(curve) - 1))


@EVERY
def test_random_bytes_of_only_ones_when_used_give_a_valid_key(curve: Curve) -> None:
    key = KeyAgreementKey.from_random(curve, b"\xff" * random_length(curve))
    assert KeyAgreementKey(curve, key.private).point == key.point


@EVERY
def test_point_off_the_curve_when_agreed_with_is_refused(curve: Curve) -> None:
    key = KeyAgreementKey.from_random(curve, b"\x01" * random_length(curve))
    wrong = bytearray(key.point)
    wrong[-1] ^= 1
    with pytest.raises(KeyFormatError):
        key.agree(bytes(wrong))
    with pytest.raises(KeyFormatError):
        require_point(curve, key.point[:-1])


@pytest.mark.parametrize("private", [bytes(32), b"\xff" * 32])
def test_number_outside_the_order_when_taken_is_refused(private: bytes) -> None:
    with pytest.raises(KeyFormatError):
        KeyAgreementKey(Curve.P_256, Secret(private))


def test_key_when_printed_shows_only_its_curve() -> None:
    key = KeyAgreementKey.from_random(Curve.P_256, b"\x01" * 40)
    assert repr(key) == "<KeyAgreementKey P_256>"
