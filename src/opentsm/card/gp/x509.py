"""X.509 certificates as SCP11 uses them: keys on curves, identified by their key identifiers.

Source: RFC 5280; RFC 5480; Amendment F as published traces show it (key usage, certificate policies).
"""

from dataclasses import dataclass, field
from datetime import date

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from opentsm.card.crypto.signature import Curve
from opentsm.card.errors import CertificateError, SignatureError

_MALFORMED = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
_BY_NAME = {curve.value.lower(): curve for curve in Curve}


@dataclass(frozen=True, slots=True)
class X509Certificate:
    """What SCP11 needs to know of an X.509 certificate; `gp.certificates` explains the members."""

    encoded: bytes
    serial: bytes
    authority: bytes
    subject: bytes
    curve: Curve
    point: bytes
    verifies_certificates: bool
    agrees_on_keys: bool
    effective: date
    expires: date
    parsed: x509.Certificate = field(repr=False)

    def verify(self, curve: Curve, point: bytes) -> None:
        """Check the signature against an issuer's key.

        Raises:
            SignatureError: it is not the issuer's, or not an ECDSA signature.
        """
        issuer = ec.EllipticCurvePublicKey.from_encoded_point(curve.parameters, point)
        try:
            algorithm = self.parsed.signature_hash_algorithm
        except UnsupportedAlgorithm:
            algorithm = None
        if algorithm is None or algorithm.digest_size < 32:
            raise SignatureError("the certificate's signature uses a weak or unknown hash")
        try:
            signed = self.parsed.tbs_certificate_bytes
            issuer.verify(self.parsed.signature, signed, ec.ECDSA(algorithm))
        except InvalidSignature:
            raise SignatureError from None


def read_x509(encoded: bytes) -> X509Certificate:
    """Read a certificate in DER.

    Raises:
        CertificateError: malformed, or its key is on no curve that is known.
    """
    try:
        parsed = x509.load_der_x509_certificate(encoded)
        key, extensions = parsed.public_key(), parsed.extensions
    except _MALFORMED as problem:
        raise CertificateError(f"no X.509 certificate: {problem}") from problem
    curve = _BY_NAME.get(key.curve.name.lower()) if isinstance(key, ec.EllipticCurvePublicKey) else None
    if curve is None or not isinstance(key, ec.EllipticCurvePublicKey):
        raise CertificateError("the certificate's key is on no known curve")
    length = parsed.serial_number.bit_length() // 8 + 1
    return X509Certificate(
        encoded=encoded,
        serial=parsed.serial_number.to_bytes(length, "big", signed=True),
        authority=_authority(extensions),
        subject=_subject(extensions),
        curve=curve,
        point=key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
        verifies_certificates=_may_issue(extensions),
        agrees_on_keys=_may_agree(extensions),
        effective=parsed.not_valid_before_utc.date(),
        expires=parsed.not_valid_after_utc.date(),
        parsed=parsed,
    )


def decode_ecdsa_value(signature: bytes, curve: Curve) -> bytes:
    """Return r and s of an ECDSA signature in ASN.1, each as long as the order.

    Raises:
        SignatureError: it is none.
    """
    try:
        r, s = utils.decode_dss_signature(signature)
        return r.to_bytes(curve.length, "big") + s.to_bytes(curve.length, "big")
    except (ValueError, OverflowError):
        raise SignatureError from None


def _authority(extensions: x509.Extensions) -> bytes:
    try:
        found = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    except x509.ExtensionNotFound:
        return b""
    return found.value.key_identifier or b""


def _subject(extensions: x509.Extensions) -> bytes:
    try:
        return extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return b""


def _key_usage(extensions: x509.Extensions) -> x509.KeyUsage | None:
    try:
        return extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return None


def _may_issue(extensions: x509.Extensions) -> bool:
    usage = _key_usage(extensions)
    try:
        authority = extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
    return authority and (usage is None or usage.key_cert_sign)


def _may_agree(extensions: x509.Extensions) -> bool:
    """RFC 5280 §4.2.1.3: without the extension a key is for everything."""
    usage = _key_usage(extensions)
    return usage is None or usage.key_agreement
