"""Elliptic curve key agreement and the derivation of keys from what was agreed.

Only primitives: which keys meet, what goes into the derivation and in which order the derived keys are taken
belongs to the protocols.
Source: GPCS 2.3.1 §B.4; BSI TR-03111 §4.3.1 (ECKA), §4.3.3 (X9.63 key derivation); ANSI X9.63 §5.6.3.
"""

from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF

from opentsm.card.crypto.secret import Secret
from opentsm.card.crypto.signature import Curve, EcVerificationKey
from opentsm.card.errors import KeyFormatError

_ORDERS: Final = {
    Curve.P_256: 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    Curve.P_384: int(
        "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973", 16
    ),
    Curve.BRAINPOOL_P256R1: 0xA9FB57DBA1EEA9BC3E660A909D838D718C397AA3B561A6F7901E0E82974856A7,
}
# FIPS 186-4 B.4.1: 64 bits more than the order has make the remainder uniform.
_EXTRA_RANDOM_BYTES: Final = 8


class KeyAgreementKey:
    """A private key that agrees on secrets with public keys of the same curve."""

    __slots__ = ("_key", "_private", "curve")

    def __init__(self, curve: Curve, private: Secret) -> None:
        """Take the private number, most significant byte first.

        Raises:
            KeyFormatError: it is no private key of this curve.
        """
        self.curve = curve
        self._private = Secret(private.reveal().rjust(curve.length, b"\x00"))
        try:
            number = int.from_bytes(private.reveal(), "big")
            self._key = ec.derive_private_key(number, curve.parameters)
        except ValueError as problem:
            raise KeyFormatError(f"no private key of {curve.name}") from problem

    @classmethod
    def from_random(cls, curve: Curve, random: bytes) -> "KeyAgreementKey":
        """Make a key from random bytes.

        Args:
            curve: P-256, P-384 or brainpoolP256r1.
            random: `random_length(curve)` bytes that nobody knows.

        Raises:
            KeyFormatError: too few bytes.

        Source: FIPS 186-4 B.4.1.
        """
        if len(random) < random_length(curve):
            raise KeyFormatError(f"a key of {curve.name} is made from {random_length(curve)} random bytes")
        number = int.from_bytes(random, "big") % (_ORDERS[curve] - 1) + 1
        return cls(curve, Secret(number.to_bytes(curve.length, "big")))

    @property
    def point(self) -> bytes:
        """The public point: 04, X, Y."""
        numbers, length = self._key.public_key().public_numbers(), self.curve.length
        return b"\x04" + numbers.x.to_bytes(length, "big") + numbers.y.to_bytes(length, "big")

    @property
    def private(self) -> Secret:
        """The private number, as long as a coordinate."""
        return self._private

    def agree(self, point: bytes) -> Secret:
        """Agree with the owner of a public key.

        Args:
            point: 04, X, Y.

        Returns:
            The x coordinate of the common point, as long as the field.

        Raises:
            KeyFormatError: it is no point of this curve.
        """
        require_point(self.curve, point)
        public = ec.EllipticCurvePublicKey.from_encoded_point(self.curve.parameters, point)
        return Secret(self._key.exchange(ec.ECDH(), public))

    def __repr__(self) -> str:
        return f"<KeyAgreementKey {self.curve.name}>"


def random_length(curve: Curve) -> int:
    """Return how many random bytes a new key takes."""
    return curve.length + _EXTRA_RANDOM_BYTES


def require_point(curve: Curve, point: bytes) -> None:
    """Refuse what is no uncompressed point of the curve.

    Raises:
        KeyFormatError: wrong form, wrong length, or not on the curve.
    """
    EcVerificationKey(curve, point)


def x963_sha256(secret: Secret, shared_info: bytes, length: int) -> bytes:
    """Derive key bytes with the X9.63 function over SHA-256.

    Args:
        secret: what was agreed.
        shared_info: what both sides know.
        length: bytes wanted.
    """
    return X963KDF(hashes.SHA256(), length, shared_info).derive(secret.reveal())
