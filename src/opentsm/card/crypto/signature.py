"""Signatures over bytes: the key's type and length decide the scheme, nothing else does.

| key | scheme | signature |
|---|---|---|
| DES, 16 bytes | retail MAC over the padded message | 8 bytes |
| AES | CMAC | 16 bytes |
| RSA, 1024 bits | RSASSA-PKCS1-v1_5, SHA-1 | 128 bytes |
| RSA, longer | RSASSA-PSS, SHA-256, salt of 32 bytes | as the modulus |
| elliptic curve | ECDSA, r and s in plain format | twice the order |

Source: GPCS 2.3.1 B.1.2.2, B.2.2, B.3, B.4.3 (Table B-3), Table C-1.
"""

from dataclasses import dataclass
from enum import Enum
from hmac import compare_digest
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from opentsm.card.crypto.cipher import DES_BLOCK
from opentsm.card.crypto.mac import cmac, retail_mac
from opentsm.card.crypto.padding import pad80
from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import KeyFormatError, SignatureError

_RSA_SCHEME_1_BITS: Final = 1024
_SALT_BYTES: Final = 32


class Signer(Protocol):
    """Whatever can sign: a key in memory, a keystore, an HSM, an offline key."""

    def sign(self, message: bytes) -> bytes:
        """Return the signature of `message`."""


class Verifier(Protocol):
    """Whatever can check a signature."""

    def verify(self, message: bytes, signature: bytes) -> None:
        """Check a signature.

        Raises:
            SignatureError: it is not the signature of `message`.
        """


class Curve(Enum):
    """An elliptic curve by name."""

    P_256 = "secp256r1"
    P_384 = "secp384r1"
    P_521 = "secp521r1"
    BRAINPOOL_P256R1 = "brainpoolP256r1"
    BRAINPOOL_P384R1 = "brainpoolP384r1"
    BRAINPOOL_P512R1 = "brainpoolP512r1"

    @property
    def length(self) -> int:
        """Bytes of one coordinate, and of the order."""
        return (_CURVES[self].key_size + 7) // 8

    @property
    def parameters(self) -> ec.EllipticCurve:
        """The curve as the `cryptography` library knows it."""
        return _CURVES[self]


_CURVES: Final[dict[Curve, ec.EllipticCurve]] = {
    Curve.P_256: ec.SECP256R1(),
    Curve.P_384: ec.SECP384R1(),
    Curve.P_521: ec.SECP521R1(),
    Curve.BRAINPOOL_P256R1: ec.BrainpoolP256R1(),
    Curve.BRAINPOOL_P384R1: ec.BrainpoolP384R1(),
    Curve.BRAINPOOL_P512R1: ec.BrainpoolP512R1(),
}


@dataclass(frozen=True, slots=True)
class DesMacKey:
    """A triple DES key of 16 bytes; it signs with the retail MAC (B.1.2.2)."""

    key: Secret

    def __post_init__(self) -> None:
        if len(self.key) != 16:
            raise KeyFormatError(f"a DES signature key has 16 bytes, not {len(self.key)}")

    def sign(self, message: bytes) -> bytes:
        """Return 8 bytes."""
        return retail_mac(self.key.reveal(), pad80(message, DES_BLOCK))

    def verify(self, message: bytes, signature: bytes) -> None:
        """Check in constant time; see `Verifier`."""
        _require_equal(self.sign(message), signature)


@dataclass(frozen=True, slots=True)
class AesMacKey:
    """An AES key of 16, 24 or 32 bytes; it signs with CMAC (B.2.2)."""

    key: Secret

    def __post_init__(self) -> None:
        if len(self.key) not in (16, 24, 32):
            raise KeyFormatError(f"an AES key has 16, 24 or 32 bytes, not {len(self.key)}")

    def sign(self, message: bytes) -> bytes:
        """Return 16 bytes."""
        return cmac(self.key.reveal(), message)

    def verify(self, message: bytes, signature: bytes) -> None:
        """Check in constant time; see `Verifier`."""
        _require_equal(self.sign(message), signature)


def _require_equal(expected: bytes, signature: bytes) -> None:
    if not compare_digest(expected, signature):
        raise SignatureError


class RsaVerificationKey:
    """An RSA public key of 1024 bits or more (B.3.1.1, B.3.2.1)."""

    __slots__ = ("_key",)

    def __init__(self, modulus: bytes, exponent: bytes) -> None:
        """Take the numbers, most significant byte first.

        Raises:
            KeyFormatError: they are no RSA public key that the schemes allow.
        """
        n, e = int.from_bytes(modulus, "big"), int.from_bytes(exponent, "big")
        _require_rsa_length(n)
        try:
            self._key = rsa.RSAPublicNumbers(e, n).public_key()
        except ValueError as problem:
            raise KeyFormatError(f"no RSA public key: {problem}") from problem

    @property
    def bits(self) -> int:
        """Length of the modulus in bits."""
        return self._key.key_size

    def verify(self, message: bytes, signature: bytes) -> None:
        """See `Verifier`."""
        try:
            if self.bits == _RSA_SCHEME_1_BITS:
                self._key.verify(signature, message, padding.PKCS1v15(), hashes.SHA1())  # noqa: S303
            else:
                self._key.verify(signature, message, _pss(), hashes.SHA256())
        except InvalidSignature:
            raise SignatureError from None


class RsaSigningKey:
    """An RSA private key of 1024 bits or more."""

    __slots__ = ("_key",)

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        _require_rsa_length(key.public_key().public_numbers().n)
        self._key = key

    @classmethod
    def from_primes(cls, p: bytes, q: bytes, exponent: int = 65537) -> "RsaSigningKey":
        """Make the key from its prime factors.

        Raises:
            KeyFormatError: they are no factors of an RSA key that the schemes allow.
        """
        first, second = int.from_bytes(p, "big"), int.from_bytes(q, "big")
        try:
            d = pow(exponent, -1, (first - 1) * (second - 1))
            return cls(_rsa_private(first, second, exponent, d))
        except ValueError as problem:
            raise KeyFormatError("no RSA private key") from problem

    @classmethod
    def from_exponents(cls, modulus: bytes, private: bytes, public: int = 65537) -> "RsaSigningKey":
        """Make the key from modulus and private exponent.

        Raises:
            KeyFormatError: they do not belong together, or the schemes do not allow the length.
        """
        n, d = int.from_bytes(modulus, "big"), int.from_bytes(private, "big")
        _require_rsa_length(n)
        try:
            p, q = rsa.rsa_recover_prime_factors(n, public, d)
            return cls(_rsa_private(p, q, public, d))
        except ValueError as problem:
            raise KeyFormatError("no RSA private key") from problem

    @property
    def verification_key(self) -> RsaVerificationKey:
        """The public key."""
        numbers = self._key.public_key().public_numbers()
        length = (self._key.key_size + 7) // 8
        return RsaVerificationKey(numbers.n.to_bytes(length, "big"), numbers.e.to_bytes(4, "big"))

    def sign(self, message: bytes) -> bytes:
        """Return a signature as long as the modulus."""
        if self._key.key_size == _RSA_SCHEME_1_BITS:
            return self._key.sign(message, padding.PKCS1v15(), hashes.SHA1())  # noqa: S303
        return self._key.sign(message, _pss(), hashes.SHA256())


def _rsa_private(p: int, q: int, e: int, d: int) -> rsa.RSAPrivateKey:
    public = rsa.RSAPublicNumbers(e, p * q)
    crt = rsa.rsa_crt_iqmp(p, q)
    numbers = rsa.RSAPrivateNumbers(p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), crt, public)
    return numbers.private_key()


def _require_rsa_length(modulus: int) -> None:
    if modulus.bit_length() < _RSA_SCHEME_1_BITS:
        raise KeyFormatError(f"an RSA key has 1024 bits or more, not {modulus.bit_length()}")


def _pss() -> padding.PSS:
    return padding.PSS(padding.MGF1(hashes.SHA256()), _SALT_BYTES)


class EcVerificationKey:
    """A public point on a curve."""

    __slots__ = ("_key", "curve")

    def __init__(self, curve: Curve, point: bytes) -> None:
        """Take the point: 04, X, Y.

        Raises:
            KeyFormatError: it is no uncompressed point of this curve.
        """
        if point[:1] != b"\x04" or len(point) != 1 + 2 * curve.length:
            raise KeyFormatError(f"a point of {curve.name} is 04 and {2 * curve.length} bytes")
        self.curve = curve
        try:
            self._key = ec.EllipticCurvePublicKey.from_encoded_point(curve.parameters, point)
        except (ValueError, UnsupportedAlgorithm) as problem:
            raise KeyFormatError(f"no point of {curve.name}") from problem

    def verify(self, message: bytes, signature: bytes) -> None:
        """Check r and s in plain format; see `Verifier`."""
        half = self.curve.length
        if len(signature) != 2 * half:
            raise SignatureError
        r, s = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
        try:
            self._key.verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(_ecdsa_hash(self.curve)))
        except InvalidSignature:
            raise SignatureError from None


class EcSigningKey:
    """A private number on a curve.

    Signatures are deterministic (RFC 6979): they verify like all others and need no random numbers.
    """

    __slots__ = ("_key", "curve")

    def __init__(self, curve: Curve, private: Secret) -> None:
        """Take the private number, most significant byte first.

        Raises:
            KeyFormatError: it is no private key of this curve.
        """
        self.curve = curve
        try:
            self._key = ec.derive_private_key(int.from_bytes(private.reveal(), "big"), curve.parameters)
        except (ValueError, UnsupportedAlgorithm) as problem:
            raise KeyFormatError(f"no private key of {curve.name}") from problem

    @property
    def point(self) -> bytes:
        """The public point: 04, X, Y."""
        numbers, length = self._key.public_key().public_numbers(), self.curve.length
        return b"\x04" + numbers.x.to_bytes(length, "big") + numbers.y.to_bytes(length, "big")

    @property
    def verification_key(self) -> EcVerificationKey:
        """The public key."""
        return EcVerificationKey(self.curve, self.point)

    def sign(self, message: bytes) -> bytes:
        """Return r and s, each as long as the order of the curve."""
        algorithm = ec.ECDSA(_ecdsa_hash(self.curve), deterministic_signing=True)
        r, s = utils.decode_dss_signature(self._key.sign(message, algorithm))
        return r.to_bytes(self.curve.length, "big") + s.to_bytes(self.curve.length, "big")


def _ecdsa_hash(curve: Curve) -> hashes.HashAlgorithm:
    """Table B-3: by the key's length in bits."""
    bits = curve.parameters.key_size
    if bits < 384:
        return hashes.SHA256()
    return hashes.SHA384() if bits < 512 else hashes.SHA512()
