"""The attestation token of BSI TR-03165 1.0.4: a TSM's signed word on how an application came to its card.

`7F41{A0{80 TSM, 81 process, 82 flavor, [83 master key index, 84 diversification data], 85 signer}, 81
signature}`.
The signature, an ECDSA-Sig-Value, covers the whole data object A0: tag, length and value.
Source: BSI TR-03165 1.0.4, appendix A; SEC 2 §2.4.2 (secp256r1); RFC 5280 §4.2.1.2 (subject key identifier).
"""

import hashlib
from dataclasses import dataclass
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from opentsm.card.codec.tlv import Tlv, encode_tlv, parse_tlv, parse_tlvs
from opentsm.card.errors import CardError, ResponseFormatError, SignatureError

TOKEN, BODY, SIGNATURE = 0x7F41, 0xA0, 0x81
_TSM, _PROCESS, _FLAVOR, _MASTER_KEY, _KDD, _SIGNER = 0x80, 0x81, 0x82, 0x83, 0x84, 0x85
_UUID_BYTES, _SIGNER_BYTES = 16, 20
_MANDATORY = (_TSM, _PROCESS, _FLAVOR, _SIGNER)


@dataclass(frozen=True, slots=True)
class AttestationBody:
    """What a token says.

    Args:
        tsm: the TSM's object identifier, encoded (X.690 §8.19, value only).
        process: the process in which the application was personalised.
        flavor: what was deployed.
        signer: subject key identifier of the signing key, 20 bytes.
        master_key: index of the master key of the security domain's keys, or None.
        diversification_data: from which, with the master key, the domain's keys are derived; b"" for none.
    """

    tsm: bytes
    process: UUID
    flavor: UUID
    signer: bytes
    master_key: UUID | None = None
    diversification_data: bytes = b""

    def to_bytes(self) -> bytes:
        """Return the data object A0: what is signed."""
        objects = [(_TSM, self.tsm), (_PROCESS, self.process.bytes), (_FLAVOR, self.flavor.bytes)]
        if self.master_key is not None:
            objects += [(_MASTER_KEY, self.master_key.bytes), (_KDD, self.diversification_data)]
        objects.append((_SIGNER, self.signer))
        return encode_tlv(BODY, b"".join(encode_tlv(tag, value) for tag, value in objects))


@dataclass(frozen=True, slots=True)
class AttestationToken:
    """A token: what it says, the bytes that were signed, and the signature (DER)."""

    body: AttestationBody
    signed: bytes
    signature: bytes

    def verify(self, public_key: bytes) -> None:
        """Check the signature and that the key is the one that the token names.

        Args:
            public_key: uncompressed point of P-256, 65 bytes.

        Raises:
            SignatureError: the key is another one, or the signature is not that of the body.
        """
        if self.body.signer != key_identifier(public_key):
            raise SignatureError
        try:
            key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public_key)
            key.verify(self.signature, self.signed, ec.ECDSA(SHA256()))
        except (InvalidSignature, ValueError):
            raise SignatureError from None


def attestation_token(body: AttestationBody, signature: bytes) -> bytes:
    """Return the token of a body and its signature (DER), as STORE DATA carries it."""
    return encode_tlv(TOKEN, body.to_bytes() + encode_tlv(SIGNATURE, signature))


def read_attestation_token(data: bytes) -> AttestationToken:
    """Read a token, as GET DATA 7F41 answers it; nothing is verified.

    Raises:
        ResponseFormatError: it is not one.
    """
    try:
        body, signature = _children(parse_tlv(data), TOKEN)
        if (body.tag, signature.tag) != (BODY, SIGNATURE):
            raise ResponseFormatError("an attestation token holds A0 and 81")
        return AttestationToken(_body(parse_tlvs(body.value)), encode_tlv(BODY, body.value), signature.value)
    except ResponseFormatError:
        raise
    except (CardError, ValueError):
        raise ResponseFormatError("this is no attestation token") from None


def _children(outer: Tlv, tag: int) -> tuple[Tlv, ...]:
    if outer.tag != tag:
        raise ResponseFormatError("an attestation token begins with 7F41")
    return parse_tlvs(outer.value)


def _body(objects: tuple[Tlv, ...]) -> AttestationBody:
    tags = [one.tag for one in objects]
    values = {one.tag: one.value for one in objects}
    if tags != sorted(set(tags)) or not set(_MANDATORY) <= set(tags) <= {*range(_TSM, _SIGNER + 1)}:
        raise ResponseFormatError("an attestation token's objects are 80 to 85, each once, in order")
    if (_MASTER_KEY in values) != (_KDD in values) or len(values[_SIGNER]) != _SIGNER_BYTES:
        raise ResponseFormatError("an attestation token's objects do not fit together")
    index = values.get(_MASTER_KEY)
    return AttestationBody(
        tsm=values[_TSM],
        process=UUID(bytes=values[_PROCESS]),
        flavor=UUID(bytes=values[_FLAVOR]),
        signer=values[_SIGNER],
        master_key=None if index is None else UUID(bytes=index),
        diversification_data=values.get(_KDD, b""),
    )


def key_identifier(public_key: bytes) -> bytes:
    """Return a key's subject key identifier: SHA-1 of the point (RFC 5280 §4.2.1.2, method 1)."""
    return hashlib.sha1(public_key, usedforsecurity=False).digest()


def encode_object_identifier(dotted: str) -> bytes:
    """Return an object identifier's contents (X.690 §8.19).

    Raises:
        ValueError: it is not one.
    """
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    if not 0 <= first <= 2 or second < 0 or (first < 2 and second > 39):
        raise ValueError("not an object identifier")
    return b"".join(_base128(arc) for arc in (40 * first + second, *rest))


def _base128(arc: int) -> bytes:
    if arc < 0:
        raise ValueError("not an object identifier")
    digits = [arc & 0x7F]
    while arc := arc >> 7:
        digits.append(arc & 0x7F | 0x80)
    return bytes(reversed(digits))
