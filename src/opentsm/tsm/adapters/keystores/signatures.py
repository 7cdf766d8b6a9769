"""ES256 for a software keystore: the private key is derived from the secret under its handle.

Source: FIPS 186-5 A.2.1 (private key from extra random bits: 64 more than the order has, reduced);
RFC 5869; RFC 7518 §3.4.
"""

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from opentsm.card.crypto.secret import Secret

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_COORDINATE_BYTES = 32
_DERIVED_BYTES = _COORDINATE_BYTES + 8
# A secret that signs is used for nothing else, whatever other use a handle might be put to.
_PURPOSE = b"opentsm es256"


def sign(secret: Secret, message: bytes) -> bytes:
    """Return R ‖ S, 64 bytes."""
    r, s = decode_dss_signature(_private(secret).sign(message, ec.ECDSA(SHA256())))
    return r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")


def verification_key(secret: Secret) -> bytes:
    """Return the public key: an uncompressed point, 65 bytes."""
    return _private(secret).public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _private(secret: Secret) -> ec.EllipticCurvePrivateKey:
    expand = HKDFExpand(algorithm=SHA256(), length=_DERIVED_BYTES, info=_PURPOSE)
    number = int.from_bytes(expand.derive(secret.reveal()), "big")
    return ec.derive_private_key(number % (_ORDER - 1) + 1, ec.SECP256R1())
