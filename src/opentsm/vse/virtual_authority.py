"""The authority that certifies virtual cards: a **test** authority, whose private key everybody can compute.

A certificate of it says only that a card came out of this program. Nothing of value may depend on it.
Source: RFC 5280; Amendment F and GPCS 2.3.1 §F.1.3 as published traces show them.
"""

import hashlib
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from opentsm.card.codec.tlv import encode_tlv
from opentsm.card.crypto.secret import Secret
from opentsm.card.crypto.signature import Curve, EcSigningKey

_PHRASE: Final = b"OpenTSM test authority: its private key is public"
_CURVE: Final = Curve.P_256
_NAME: Final = "OpenTSM test authority (protects nothing)"
_VALID_FROM: Final = datetime(2025, 1, 1, tzinfo=UTC)
_VALID_TO: Final = datetime(2054, 12, 31, tzinfo=UTC)
_KEY_AGREEMENT, _SIGNATURE_VERIFICATION = b"\x00\x80", b"\x88"
# Amendment F: certificate policy of a security domain's certificate, as in published traces.
_SD_POLICY: Final = x509.ObjectIdentifier("1.2.840.114283.100.0.10.2.1.10")
_REFERENCES: Final = {Curve.P_256: b"\x00", Curve.P_384: b"\x01", Curve.BRAINPOOL_P256R1: b"\x03"}


def _number() -> int:
    return int.from_bytes(hashlib.sha256(_PHRASE).digest(), "big")


def _private() -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(_number(), _CURVE.parameters)


def signing_key() -> EcSigningKey:
    """Return the authority's private key (P-256)."""
    return EcSigningKey(_CURVE, Secret(_number().to_bytes(32, "big")))


def point() -> bytes:
    """Return the authority's public key: 04, X, Y."""
    return signing_key().point


def identifier() -> bytes:
    """Return its subject key identifier, 20 bytes: tag 42 of the certificates that it issues."""
    return x509.SubjectKeyIdentifier.from_public_key(_private().public_key()).digest


def root_certificate() -> bytes:
    """Return its own certificate, X.509 in DER, with which a host can verify cards."""
    usage = _usage(agreement=False)
    builder = _builder(_NAME, _private().public_key(), 1).add_extension(usage, critical=True)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return _signed(builder)


def certify_x509(curve: Curve, public: bytes, serial: bytes, subject: str) -> bytes:
    """Certify a key agreement key in X.509.

    Args:
        curve: of the key.
        public: 04, X, Y.
        serial: 1 to 19 bytes, not all zero.
        subject: common name.

    Returns:
        The certificate in DER.
    """
    key = ec.EllipticCurvePublicKey.from_encoded_point(curve.parameters, public)
    builder = _builder(subject, key, int.from_bytes(serial, "big"))
    builder = builder.add_extension(_usage(agreement=True), critical=True)
    policy = x509.CertificatePolicies([x509.PolicyInformation(_SD_POLICY, None)])
    return _signed(builder.add_extension(policy, critical=True))


def _builder(subject: str, key: ec.EllipticCurvePublicKey, serial: int) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(_NAME))
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(_VALID_FROM)
        .not_valid_after(_VALID_TO)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(_private().public_key()), critical=False
        )
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, agreement: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=agreement,
        key_cert_sign=not agreement,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _signed(builder: x509.CertificateBuilder) -> bytes:
    # Deterministic (RFC 6979): the same card gets the same certificate.
    certificate = builder.sign(_private(), hashes.SHA256(), ecdsa_deterministic=True)
    return certificate.public_bytes(Encoding.DER)


def certify(curve: Curve, public: bytes, serial: bytes, subject: bytes, *, agreement: bool) -> bytes:
    """Certify a key in GlobalPlatform's format.

    Args:
        curve: of the key.
        public: 04, X, Y.
        serial: 1 to 20 bytes.
        subject: identifier, 1 to 20 bytes.
        agreement: a key agreement key, else one that verifies signatures.

    Returns:
        The certificate, tag 7F21.
    """
    usage = _KEY_AGREEMENT if agreement else _SIGNATURE_VERIFICATION
    signed = b"".join(
        encode_tlv(tag, value)
        for tag, value in (
            (0x93, serial),
            (0x42, identifier()),
            (0x5F20, subject),
            (0x95, usage),
            (0x5F25, _day(_VALID_FROM)),
            (0x5F24, _day(_VALID_TO)),
            (0x7F49, encode_tlv(0xB0, public) + encode_tlv(0xF0, _REFERENCES[curve])),
        )
    )
    return encode_tlv(0x7F21, signed + encode_tlv(0x5F37, signing_key().sign(signed)))


def _day(day: datetime) -> bytes:
    return bytes.fromhex(day.strftime("%Y%m%d"))
