"""Certificates as the card reads them, with its own eyes: GlobalPlatform's format (7F21) and X.509.

The card has no clock: dates are not checked. What it cannot interpret restricts the certificate to nothing.
Source: GPCS 2.3.1 §F.1.3, Table B-2; Amendment F as published traces show it; X.690 (DER), RFC 5280 §4.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from opentsm.card.codec.tlv import Tlv, find, parse_tlv, parse_tlvs
from opentsm.card.crypto.key_agreement import require_point
from opentsm.card.crypto.signature import Curve
from opentsm.card.errors import CardError
from opentsm.vse.status import SW_SECURITY, SW_WRONG_DATA, StatusError

_CERTIFICATE: Final = 0x7F21
_SEQUENCE: Final = 0x30
_INTEGER: Final = 0x02
_BIT_STRING: Final = 0x03
_VERSION: Final = 0xA0
_EXTENSIONS: Final = 0xA3
_CURVE_BY_REFERENCE: Final = {
    b"\x00": Curve.P_256,
    b"\x01": Curve.P_384,
    b"\x03": Curve.BRAINPOOL_P256R1,
}
_CURVE_BY_OID: Final = {
    bytes.fromhex("2A8648CE3D030107"): Curve.P_256,
    bytes.fromhex("2B81040022"): Curve.P_384,
    bytes.fromhex("2B2403030208010107"): Curve.BRAINPOOL_P256R1,
}
_EC_PUBLIC_KEY: Final = bytes.fromhex("2A8648CE3D0201")
_HASHES: Final[dict[bytes, hashes.HashAlgorithm]] = {
    bytes.fromhex("2A8648CE3D040302"): hashes.SHA256(),
    bytes.fromhex("2A8648CE3D040303"): hashes.SHA384(),
    bytes.fromhex("2A8648CE3D040304"): hashes.SHA512(),
}
# RFC 5280 §4.2.1: 2.5.29.n.
_SUBJECT_KEY, _KEY_USAGE, _BASIC_CONSTRAINTS, _AUTHORITY_KEY = 0x0E, 0x0F, 0x13, 0x23
_POLICIES: Final = 0x20
_KNOWN_EXTENSIONS: Final = frozenset(
    bytes([n]) for n in (_SUBJECT_KEY, _KEY_USAGE, _BASIC_CONSTRAINTS, _AUTHORITY_KEY, _POLICIES)
)
_CRITICAL: Final = Tlv(0x01, b"\xff")
_KEY_AGREEMENT_BIT, _CERT_SIGN_BIT = 0x08, 0x04


@dataclass(frozen=True, slots=True)
class PublicPoint:
    """A public key on a curve."""

    curve: Curve
    point: bytes


@dataclass(frozen=True, slots=True)
class CardCertificate:
    """What the card takes from a certificate."""

    serial: bytes
    authority: bytes
    subject: bytes
    key: PublicPoint
    issues: bool
    agrees: bool
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    digest: hashes.HashAlgorithm | None = field(default=None, repr=False)
    is_x509: bool = False
    role: bytes = b""

    def verify(self, issuer: PublicPoint) -> None:
        """Check the signature.

        Raises:
            StatusError: 6982 when it is not the issuer's.
        """
        public = ec.EllipticCurvePublicKey.from_encoded_point(issuer.curve.parameters, issuer.point)
        digest = self.digest or _usual_hash(issuer.curve)
        try:
            public.verify(self._ecdsa_value(issuer.curve), self.signed, ec.ECDSA(digest))
        except InvalidSignature:
            raise StatusError(SW_SECURITY) from None

    def _ecdsa_value(self, curve: Curve) -> bytes:
        """Return the signature in ASN.1; GlobalPlatform's format has r and s in plain."""
        if self.is_x509 or len(self.signature) != 2 * curve.length:
            return self.signature
        half = curve.length
        r, s = int.from_bytes(self.signature[:half], "big"), int.from_bytes(self.signature[half:], "big")
        return utils.encode_dss_signature(r, s)


@dataclass(frozen=True, slots=True)
class VerifiedPeer:
    """The off-card entity whose certificate a security domain has verified, until a session uses it."""

    domain: bytes
    serial: bytes
    key: PublicPoint
    subject: bytes = b""


@dataclass(frozen=True, slots=True)
class ChainInProgress:
    """A chain of which the card has seen the beginning: the next certificate must be signed by `issuer`.

    Args:
        domain: the security domain that verifies.
        kid, kvn: the authority's key as the commands name it.
        name: the same as the image names it.
        issuer: the key that signed the next certificate.
        issuer_id: its identifier, empty when it is not known.
        is_x509: format of the chain, None before the first certificate.
    """

    domain: bytes
    kid: int
    kvn: int
    name: int
    issuer: PublicPoint
    issuer_id: bytes
    is_x509: bool | None

    def continued(self, certificate: CardCertificate) -> "ChainInProgress":
        """Return the chain after a certificate of an issuer."""
        return replace(
            self, issuer=certificate.key, issuer_id=certificate.subject, is_x509=certificate.is_x509
        )


@dataclass(frozen=True, slots=True)
class SetupInProgress:
    """The provider's certificate was verified; its signature over the challenge is awaited."""

    domain: bytes
    provider: PublicPoint
    challenge: bytes


def read_card_certificate(encoded: bytes) -> CardCertificate:
    """Read a certificate.

    Raises:
        StatusError: 6A80 when it is malformed or of a kind that the card does not know.
    """
    try:
        outer = parse_tlv(encoded)
        reader = {_CERTIFICATE: _globalplatform, _SEQUENCE: _x509}.get(outer.tag)
        if reader is None:
            raise StatusError(SW_WRONG_DATA)
        certificate = reader(outer.value)
        require_point(certificate.key.curve, certificate.key.point)
    except (CardError, IndexError, KeyError, ValueError):
        raise StatusError(SW_WRONG_DATA) from None
    return certificate


def _globalplatform(value: bytes) -> CardCertificate:
    objects = parse_tlvs(value)
    fields = {entry.tag: entry.value for entry in objects}
    if len(fields) != len(objects) or objects[-1].tag != 0x5F37 or 0xBF20 in fields:
        # An authorisation that the card cannot read must not be taken for none.
        raise StatusError(SW_WRONG_DATA)
    parts = parse_tlvs(fields[0x7F49])
    curve = _CURVE_BY_REFERENCE[find(parts, 0xF0) or b"\x00"]
    usage = fields[0x95]
    return CardCertificate(
        serial=fields[0x93],
        authority=fields.get(0x42, b""),
        subject=fields.get(0x5F20, b""),
        key=PublicPoint(curve, find(parts, 0xB0) or b""),
        issues=usage == b"\x82",
        agrees=usage == b"\x00\x80",
        signed=value[: len(value) - len(objects[-1].to_bytes())],
        signature=fields[0x5F37],
        role=usage,
    )


def _x509(value: bytes) -> CardCertificate:
    """RFC 5280 §4.1: to be signed, algorithm, signature."""
    signed, algorithm, signature = parse_tlvs(value)
    body = list(parse_tlvs(signed.value))
    if body[0].tag == _VERSION:
        body.pop(0)
    if body[1] != algorithm:
        # §4.1.1.2: the same algorithm inside and outside of what is signed.
        raise StatusError(SW_WRONG_DATA)
    serial, public = body[0], parse_tlvs(body[5].value)
    extensions = _extensions(body[6:])
    usage = _key_usage(extensions.get(_KEY_USAGE))
    return CardCertificate(
        serial=serial.value,
        authority=_key_identifier(extensions.get(_AUTHORITY_KEY)),
        subject=parse_tlv(extensions[_SUBJECT_KEY]).value if _SUBJECT_KEY in extensions else b"",
        key=_point(public),
        issues=_is_authority(extensions.get(_BASIC_CONSTRAINTS)) and bool(usage & _CERT_SIGN_BIT),
        agrees=bool(usage & _KEY_AGREEMENT_BIT),
        signed=signed.to_bytes(),
        signature=_bits(signature),
        digest=_HASHES[parse_tlvs(algorithm.value)[0].value],
        is_x509=True,
    )


def _point(public: Sequence[Tlv]) -> PublicPoint:
    algorithm, curve = parse_tlvs(public[0].value)[:2]
    if algorithm.value != _EC_PUBLIC_KEY:
        raise StatusError(SW_WRONG_DATA)
    return PublicPoint(_CURVE_BY_OID[curve.value], _bits(public[1]))


def _bits(entry: Tlv) -> bytes:
    """X.690 §8.6.2: the first byte counts unused bits, none here."""
    if entry.tag != _BIT_STRING or entry.value[:1] != b"\x00":
        raise StatusError(SW_WRONG_DATA)
    return entry.value[1:]


def _extensions(rest: Sequence[Tlv]) -> dict[int, bytes]:
    """Return the values of the extensions 2.5.29.n by n."""
    content = find(rest, _EXTENSIONS)
    if content is None:
        return {}
    found: dict[int, bytes] = {}
    for entry in parse_tlvs(parse_tlv(content).value):
        members = parse_tlvs(entry.value)
        identifier, critical = members[0].value, members[1] == _CRITICAL
        known = identifier[:2] == b"\x55\x1d" and identifier[2:] in _KNOWN_EXTENSIONS
        if critical and not known:
            raise StatusError(SW_WRONG_DATA)
        if known:
            found[identifier[2]] = members[-1].value
    return found


def _key_usage(value: bytes | None) -> int:
    """Return the first byte of the usage bits; without the extension the key is for everything."""
    return 0xFF if value is None else (parse_tlv(value).value + b"\x00\x00")[1]


def _is_authority(value: bytes | None) -> bool:
    return value is not None and find(parse_tlvs(parse_tlv(value).value), 0x01) == b"\xff"


def _key_identifier(value: bytes | None) -> bytes:
    return b"" if value is None else find(parse_tlvs(parse_tlv(value).value), 0x80) or b""


def _usual_hash(curve: Curve) -> hashes.HashAlgorithm:
    """GPCS Table B-3."""
    return hashes.SHA256() if curve.parameters.key_size < 384 else hashes.SHA384()
