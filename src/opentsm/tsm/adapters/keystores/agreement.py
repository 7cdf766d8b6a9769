"""Key agreement for a software keystore: the private key is derived from the secret under its handle.

Source: SP 800-56A r3 §6.2.2.2 (static keys of both sides); ANSI X9.63 §5.6.3; RFC 5869.
"""

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from opentsm.card.crypto.key_agreement import KeyAgreementKey, random_length, x963_sha256
from opentsm.card.crypto.secret import Secret
from opentsm.card.crypto.signature import Curve
from opentsm.card.errors import KeyFormatError
from opentsm.tsm.kernel.errors import PeerFaultError

TRANSPORT_BYTES = 32
_CURVE = Curve.P_256
# A secret that agrees on keys is used for nothing else, whatever other use a handle might be put to.
_PURPOSE = b"opentsm transport agreement"


def public_point(secret: Secret) -> bytes:
    """Return the public key: an uncompressed point of P-256, 65 bytes."""
    return _private(secret).point


def transport_key(secret: Secret, point: bytes, name: str) -> bytes:
    """Return the 32 bytes that both sides of an agreement derive for a name.

    Raises:
        PeerFaultError: what the other side sent is no point of the curve.
    """
    try:
        agreed = _private(secret).agree(point)
    except KeyFormatError as error:
        raise PeerFaultError("The other party's key for transport keys is no point of P-256.") from error
    return x963_sha256(agreed, name.encode(), TRANSPORT_BYTES)


def _private(secret: Secret) -> KeyAgreementKey:
    expand = HKDFExpand(algorithm=SHA256(), length=random_length(_CURVE), info=_PURPOSE)
    return KeyAgreementKey.from_random(_CURVE, expand.derive(secret.reveal()))
