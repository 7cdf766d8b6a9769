"""Attestation tokens as their readers see them (BSI TR-03165 1.0.4, appendix A)."""

from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from opentsm.card.errors import ResponseFormatError, SignatureError
from opentsm.card.gp.attestation import (
    AttestationBody,
    attestation_token,
    encode_object_identifier,
    key_identifier,
    read_attestation_token,
)

KEY = ec.generate_private_key(ec.SECP256R1())
POINT = KEY.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
# the example of A.3
PROCESS = UUID("7390f811-f27f-412c-a4ff-e792d073f41f")


def test_object_identifier_when_encoded_then_as_the_standards_example() -> None:
    # X.690 §8.19.5: {joint-iso-itu-t 100 3} is 06 03 81 34 03
    assert encode_object_identifier("2.100.3") == bytes.fromhex("813403")
    # RFC 5480: id-ecPublicKey
    assert encode_object_identifier("1.2.840.10045.2.1") == bytes.fromhex("2A8648CE3D0201")


@pytest.mark.parametrize("dotted", ["3.1", "1.40", "1", "1.2.-3", "a.b", ""])
def test_object_identifier_when_it_is_none_is_refused(dotted: str) -> None:
    with pytest.raises(ValueError):
        encode_object_identifier(dotted)


def made(**changes: object) -> AttestationBody:
    values = {"tsm": b"\x2a", "process": PROCESS, "flavor": PROCESS, "signer": key_identifier(POINT)}
    return AttestationBody(**{**values, **changes})  # type: ignore[arg-type]


def test_body_when_written_has_the_objects_of_the_guideline_in_order() -> None:
    signer = key_identifier(POINT).hex()
    uuid = "7390f811f27f412ca4ffe792d073f41f"
    short = made().to_bytes().hex()
    assert short == f"a03d80012a8110{uuid}8210{uuid}8514{signer}"
    whole = made(master_key=PROCESS, diversification_data=b"\x01\x02").to_bytes().hex()
    assert whole == f"a05380012a8110{uuid}8210{uuid}8310{uuid}840201028514{signer}"


def test_token_when_read_then_what_was_written_and_its_signature_verifies() -> None:
    body = made(master_key=PROCESS, diversification_data=bytes(10))
    data = attestation_token(body, KEY.sign(body.to_bytes(), ec.ECDSA(SHA256())))
    token = read_attestation_token(data)
    assert token.body == body
    token.verify(POINT)
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    with pytest.raises(SignatureError):
        token.verify(other.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
    with pytest.raises(SignatureError):
        read_attestation_token(attestation_token(made(), token.signature)).verify(POINT)


@pytest.mark.parametrize(
    "data",
    [
        "",
        "7f40028100",
        "7f410481008100",
        "7f4102a000",
        "7f4104a0008100",
        "7f41" + "07a00380012a8100",
        "7f41ff",
    ],
)
def test_token_when_it_is_none_is_refused(data: str) -> None:
    with pytest.raises(ResponseFormatError):
        read_attestation_token(bytes.fromhex(data))
