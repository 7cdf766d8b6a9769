"""Certificates of SCP11 and of confidential set-up: GlobalPlatform's own format (7F21) and X.509.

Both are read into one value, `Certificate`, and a chain is verified from an authority down.
Source: GPCS 2.3.1 §F.1.3, Table B-2; Amendment F as published traces show it; RFC 5280 (X.509).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from opentsm.card.codec.tlv import Tlv, encode_tlv, find, parse_tlv, parse_tlvs, require
from opentsm.card.crypto.signature import Curve, EcVerificationKey, Signer
from opentsm.card.errors import CertificateError, KeyFormatError, SignatureError, TlvError
from opentsm.card.gp.x509 import X509Certificate, decode_ecdsa_value, read_x509

CERTIFICATE: Final = 0x7F21
_SEQUENCE: Final = 0x30
_SERIAL, _AUTHORITY, _SUBJECT, _USAGE = 0x93, 0x42, 0x5F20, 0x95
_EFFECTIVE, _EXPIRES, _PUBLIC_KEY, _SIGNATURE = 0x5F25, 0x5F24, 0x7F49, 0x5F37
_CARD_IMAGE, _DISCRETIONARY, _DISCRETIONARY_TLV, _AUTHORISATIONS = 0x45, 0x53, 0x73, 0xBF20
_POINT, _CURVE_REFERENCE = 0xB0, 0xF0

USAGE_VERIFY_CERTIFICATES: Final = b"\x82"
USAGE_KEY_AGREEMENT: Final = b"\x00\x80"
USAGE_VERIFY_SIGNATURES: Final = b"\x88"

# GPCS 2.3.1 Table B-2.
CURVE_REFERENCES: Final = {
    Curve.P_256: 0x00,
    Curve.P_384: 0x01,
    Curve.P_521: 0x02,
    Curve.BRAINPOOL_P256R1: 0x03,
    Curve.BRAINPOOL_P384R1: 0x05,
    Curve.BRAINPOOL_P512R1: 0x07,
}
_CURVES: Final = {reference: curve for curve, reference in CURVE_REFERENCES.items()}


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A point on a curve: 04, X, Y."""

    curve: Curve
    point: bytes

    def __post_init__(self) -> None:
        self.verifier()

    def verifier(self) -> EcVerificationKey:
        """Return the key for checking signatures.

        Raises:
            KeyFormatError: the point is not on the curve.
        """
        return EcVerificationKey(self.curve, self.point)


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says, whatever its format.

    Args:
        encoded: the whole certificate.
        serial: as it stands in tag 93 or in the ASN.1 integer.
        authority: identifier of the issuer's key (tag 42, authority key identifier).
        subject: identifier of the subject's key (tag 5F20, subject key identifier).
        public_key: of the subject.
        verifies_certificates, agrees_on_keys: what the key is for.
        effective, expires: days of validity, where they are readable.
        discretionary: tag 73, where there is one.
        authorisations: tag BF20, where there is one.
    """

    encoded: bytes
    serial: bytes
    authority: bytes
    subject: bytes
    public_key: PublicKey
    verifies_certificates: bool
    agrees_on_keys: bool
    effective: date | None
    expires: date | None
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    x509: X509Certificate | None = field(default=None, repr=False)
    discretionary: bytes | None = None
    authorisations: bytes | None = None

    @property
    def is_globalplatform(self) -> bool:
        """Tell whether it is in GlobalPlatform's format."""
        return self.x509 is None

    def verify(self, issuer: PublicKey) -> None:
        """Check the signature.

        Raises:
            CertificateError: it is not the issuer's.
        """
        try:
            if self.x509 is not None:
                self.x509.verify(issuer.curve, issuer.point)
                return
            plain = _plain_signature(self.signature, issuer.curve)
            issuer.verifier().verify(self.signed, plain)
        except SignatureError as problem:
            raise CertificateError("the certificate is not signed by its issuer") from problem


def read_certificate(encoded: bytes) -> Certificate:
    """Read one certificate in either format.

    Raises:
        CertificateError: it is neither, or malformed.
    """
    if encoded[:1] == bytes((_SEQUENCE,)):
        return _from_x509(read_x509(encoded))
    try:
        outer = parse_tlv(encoded)
        if outer.tag != CERTIFICATE:
            raise CertificateError(f"a certificate is tag 7F21 or a sequence, not {outer.tag:X}")
        return _from_globalplatform(encoded, outer.value)
    except (TlvError, KeyFormatError) as problem:
        raise CertificateError(f"the certificate is malformed: {problem}") from problem


def read_certificates(store: bytes) -> tuple[Certificate, ...]:
    """Read the value of a certificate store (tag BF21): certificates one after the other, the leaf last.

    Raises:
        CertificateError: one is malformed.
    """
    try:
        return tuple(read_certificate(entry.to_bytes()) for entry in parse_tlvs(store))
    except TlvError as problem:
        raise CertificateError(f"the certificate store is malformed: {problem}") from problem


def verify_chain(chain: Sequence[Certificate], authority: PublicKey, *, today: date) -> Certificate:
    """Check certificates from an authority that is known down to the last.

    Args:
        chain: issuer before subject.
        authority: whose signature the first one has.
        today: the day on which all must be valid.

    Returns:
        The last certificate, whose key agrees on keys.

    Raises:
        CertificateError: a signature, a date or a purpose is wrong, formats are mixed, or there is none.
    """
    if not chain:
        raise CertificateError("there is no certificate")
    if len({entry.is_globalplatform for entry in chain}) != 1:
        raise CertificateError("a chain is all in GlobalPlatform's format or all X.509")
    issuer, issuer_id = authority, b""
    for position, entry in enumerate(chain):
        entry.verify(issuer)
        _require_valid(entry, today)
        if issuer_id and entry.authority and entry.authority != issuer_id:
            raise CertificateError("the certificate names another issuer than the one before it")
        last = position == len(chain) - 1
        if not (entry.agrees_on_keys if last else entry.verifies_certificates):
            raise CertificateError("the certificate's key is for another purpose")
        issuer, issuer_id = entry.public_key, entry.subject
    return chain[-1]


def _require_valid(entry: Certificate, today: date) -> None:
    if entry.effective is not None and today < entry.effective:
        raise CertificateError(f"the certificate is valid from {entry.effective} on")
    if entry.expires is not None and today > entry.expires:
        raise CertificateError(f"the certificate expired on {entry.expires}")


@dataclass(frozen=True, slots=True)
class CertificateContent:
    """What a new certificate in GlobalPlatform's format is to say.

    Args:
        serial: 1 to 20 bytes.
        authority: identifier of the issuer, 1 to 20 bytes.
        subject: identifier of the subject, 1 to 20 bytes.
        usage: one of the USAGE constants.
        public_key: of the subject.
        expires: last day of validity.
        effective: first day of validity.
        discretionary: contents of tag 73.
    """

    serial: bytes
    authority: bytes
    subject: bytes
    usage: bytes
    public_key: PublicKey
    expires: date
    effective: date | None = None
    discretionary: bytes | None = None

    def to_be_signed(self) -> bytes:
        """Return the data objects that the signature covers."""
        head = (
            (_SERIAL, self.serial),
            (_AUTHORITY, self.authority),
            (_SUBJECT, self.subject),
            (_USAGE, self.usage),
            (_EFFECTIVE, _coded(self.effective) if self.effective else None),
            (_EXPIRES, _coded(self.expires)),
            (_DISCRETIONARY_TLV, self.discretionary),
            (_PUBLIC_KEY, public_key_template(self.public_key)),
        )
        return b"".join(encode_tlv(tag, value) for tag, value in head if value is not None)


def issue_certificate(content: CertificateContent, signer: Signer) -> bytes:
    """Sign a certificate in GlobalPlatform's format; the signature is r and s in plain format.

    Args:
        content: what it says.
        signer: the issuer's key, wherever it is.
    """
    signed = content.to_be_signed()
    return encode_tlv(CERTIFICATE, signed + encode_tlv(_SIGNATURE, signer.sign(signed)))


def public_key_template(key: PublicKey) -> bytes:
    """Return the value of tag 7F49: the point and the reference of its curve (Table B-2)."""
    reference = bytes((CURVE_REFERENCES[key.curve],))
    return encode_tlv(_POINT, key.point) + encode_tlv(_CURVE_REFERENCE, reference)


def _from_x509(certificate: X509Certificate) -> Certificate:
    key = PublicKey(certificate.curve, certificate.point)
    return Certificate(
        encoded=certificate.encoded,
        serial=certificate.serial,
        authority=certificate.authority,
        subject=certificate.subject,
        public_key=key,
        verifies_certificates=certificate.verifies_certificates,
        agrees_on_keys=certificate.agrees_on_keys,
        effective=certificate.effective,
        expires=certificate.expires,
        signed=b"",
        signature=b"",
        x509=certificate,
    )


def _from_globalplatform(encoded: bytes, value: bytes) -> Certificate:
    objects = parse_tlvs(value)
    if not objects or objects[-1].tag != _SIGNATURE:
        raise CertificateError("a certificate ends with its signature")
    signature = objects[-1]
    usage, expires = require(objects, _USAGE), find(objects, _EXPIRES)
    effective = find(objects, _EFFECTIVE)
    return Certificate(
        encoded=encoded,
        serial=require(objects, _SERIAL),
        authority=find(objects, _AUTHORITY) or b"",
        subject=find(objects, _SUBJECT) or b"",
        public_key=_public_key(objects),
        verifies_certificates=usage == USAGE_VERIFY_CERTIFICATES,
        agrees_on_keys=usage == USAGE_KEY_AGREEMENT,
        effective=_day(effective) if effective else None,
        expires=_day(expires) if expires else None,
        signed=value[: len(value) - len(signature.to_bytes())],
        signature=signature.value,
        discretionary=find(objects, _DISCRETIONARY_TLV),
        authorisations=find(objects, _AUTHORISATIONS),
    )


def _public_key(objects: Sequence[Tlv]) -> PublicKey:
    parts = parse_tlvs(require(objects, _PUBLIC_KEY))
    reference = int.from_bytes(require(parts, _CURVE_REFERENCE), "big")
    curve = _CURVES.get(reference)
    if curve is None:
        raise CertificateError(f"curve {reference:02X} is not supported")
    return PublicKey(curve, require(parts, _POINT))


def _coded(day: date) -> bytes:
    return bytes.fromhex(day.strftime("%Y%m%d"))


def _day(value: bytes) -> date | None:
    """Read YYYYMMDD in digits, or as century, year, month, day in binary as some makers write it."""
    if len(value) != 4:
        raise CertificateError(f"a date has 4 bytes, not {len(value)}")
    text = value.hex()
    try:
        if text.isdigit():
            return date(int(text[:4]), int(text[4:6]), int(text[6:]))
        return date(100 * value[0] + value[1], value[2], value[3])
    except ValueError as problem:
        raise CertificateError(f"{text} is no date") from problem


def _plain_signature(signature: bytes, curve: Curve) -> bytes:
    """Return r and s; some makers write the ASN.1 sequence of X.509 instead."""
    if len(signature) == 2 * curve.length:
        return signature
    return decode_ecdsa_value(signature, curve)
