"""Keys of a security domain that prove something: where they are, what they may do, which scheme they make.

Source: GPCS 2.3.1 Appendix B.4.2 (Table B-2), C.1 (Table C-1), C.2 (Table C-3), §11.1.9 (Table 11-17).
"""

import hashlib
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final

from opentsm.card.crypto.secret import Secret
from opentsm.card.crypto.signature import (
    AesMacKey,
    Curve,
    DesMacKey,
    EcSigningKey,
    EcVerificationKey,
    RsaSigningKey,
    RsaVerificationKey,
    Signer,
    Verifier,
)
from opentsm.card.errors import KeyFormatError
from opentsm.vse.environment import Environment
from opentsm.vse.state import SYMMETRIC_AES, SYMMETRIC_DES, CardImage, Instance, Key, KeyComponent


class Role(Enum):
    """What a key is for; the value is its usage qualifier."""

    TOKEN = 0x81
    RECEIPT = 0x44
    DAP = 0x84
    LOAD_FILE = 0x48


_MODULUS: Final = (0xA1, 0xA2)
_PUBLIC_EXPONENT: Final = 0xA0
_PRIVATE_EXPONENT: Final = 0xA3
_P: Final = 0xA4
_Q: Final = 0xA5
_DP1: Final = 0xA7
_POINT: Final = 0xB0
_PRIVATE_NUMBER: Final = 0xB1
_CURVE_PARAMETERS: Final = (0xB2, 0xB3, 0xB4, 0xB5, 0xB6)
_COFACTOR: Final = 0xB7
_REFERENCE: Final = 0xF0
_COMMON_EXPONENTS: Final = (65537, 3, 17)
# §11.1.9 lists 43 for a key that both authenticates its security domain and makes receipts.
_AUTHENTICATION_AND_RECEIPT: Final = 0x43

# Table B-2. The twisted Brainpool curves (04, 06, 08) are not supported.
_REFERENCES: Final = {
    0x00: Curve.P_256,
    0x01: Curve.P_384,
    0x02: Curve.P_521,
    0x03: Curve.BRAINPOOL_P256R1,
    0x05: Curve.BRAINPOOL_P384R1,
    0x07: Curve.BRAINPOOL_P512R1,
}
_GLOBAL_SHORT: Final = range(0x40, 0x60)
_GLOBAL_LONG: Final = range(0xC000, 0xE000)
_LOCAL_SHORT: Final = range(0x60, 0x80)
_LOCAL_LONG: Final = range(0xE000, 0x10000)
# A curve whose parameters come with the key is recognised: SHA-256 over P, A, B, G and N, each as long as a
# coordinate (G: 04, X and Y), of the curves of FIPS 186-4 and RFC 5639.
_RECOGNISED: Final = {
    "0815056d43f2b0abec3447d8d9f6921397252567930d519d532b0998ddb1da88": Curve.P_256,
    "ed45a0a385dca472be657ef6d7dbf03e974d84adb525e3b51e21b93c3a6ea792": Curve.P_384,
    "549f3a34329642ebc6460a9c3a4f93225722a430e5f549ea493aeccc886bcb2a": Curve.P_521,
    "3aa3aff93f25115bd3c80ba6873072b2c256930b28fff9d2140edf5e6e044b82": Curve.BRAINPOOL_P256R1,
    "fae1c9cd3db663ade71de3fcebdcfa99bffeb3272fb9562c3de52fd9d03b3d18": Curve.BRAINPOOL_P384R1,
    "a7e0325612e9c1507e7f25ebe4ebabe2a3fb826f6c2fbbb7c3005186fa8aea22": Curve.BRAINPOOL_P512R1,
}


def role_key(environment: Environment, domain: Instance, role: Role) -> Key | None:
    """Return the key that a security domain uses in a role, or None when it has none that may do it.

    Numbers are the profile's: the text only wants the key to be unambiguous (§C.1).
    """
    profile = environment.profile
    slots = {
        Role.TOKEN: profile.token_key,
        Role.RECEIPT: profile.receipt_key,
        Role.DAP: profile.dap_key,
        Role.LOAD_FILE: profile.load_file_key,
    }
    kid, kvn = slots[role]
    key = domain.domain_data().find_key(kid, kvn)
    return key if key is not None and _may(key, role) and _can(key, role) else None


def _may(key: Key, role: Role) -> bool:
    """Tell whether the usage qualifier, where the key has one, allows the role."""
    if not key.usage:
        return True
    given = key.usage[0]
    both = role is Role.RECEIPT and given == _AUTHENTICATION_AND_RECEIPT
    return given & role.value == role.value or both


def _can(key: Key, role: Role) -> bool:
    """Tell whether the key is of a kind that does the role's work: any key may be put in its place."""
    if role is Role.LOAD_FILE:
        return key.type in {SYMMETRIC_AES, SYMMETRIC_DES}
    try:
        signer(key) if role is Role.RECEIPT else verifier(key)
    except KeyFormatError:
        return False
    return True


def verifier(key: Key) -> Verifier:
    """Return the key as one that verifies.

    Raises:
        KeyFormatError: it cannot verify.
    """
    parts = _parts(key)
    if key.type == SYMMETRIC_DES:
        return DesMacKey(Secret(key.value))
    if key.type == SYMMETRIC_AES:
        return AesMacKey(Secret(key.value))
    if _PUBLIC_EXPONENT in parts:
        return RsaVerificationKey(_first(parts, *_MODULUS), parts[_PUBLIC_EXPONENT])
    if _POINT in parts:
        return EcVerificationKey(curve_of(key), parts[_POINT])
    raise KeyFormatError(f"a key of type {key.type:02X} does not verify signatures")


def signer(key: Key) -> Signer:
    """Return the key as one that signs.

    Raises:
        KeyFormatError: it cannot sign.
    """
    parts = _parts(key)
    if key.type == SYMMETRIC_DES:
        return DesMacKey(Secret(key.value))
    if key.type == SYMMETRIC_AES:
        return AesMacKey(Secret(key.value))
    if _PRIVATE_NUMBER in parts:
        return EcSigningKey(curve_of(key), Secret(parts[_PRIVATE_NUMBER]))
    if {_P, _Q, _DP1} <= parts.keys():
        return RsaSigningKey.from_primes(parts[_P], parts[_Q], _exponent(parts[_P], parts[_DP1]))
    if _PRIVATE_EXPONENT in parts:
        return _rsa_signer(_first(parts, *_MODULUS), parts[_PRIVATE_EXPONENT])
    raise KeyFormatError(f"a key of type {key.type:02X} does not sign")


def _parts(key: Key) -> dict[int, bytes]:
    return {component.type: component.value for component in key.components}


def _first(parts: dict[int, bytes], *kinds: int) -> bytes:
    for kind in kinds:
        if kind in parts:
            return parts[kind]
    raise KeyFormatError("a component of the key is missing")


def _exponent(p: bytes, dp1: bytes) -> int:
    """Return the public exponent, of which d mod (p - 1) is the inverse."""
    try:
        return pow(int.from_bytes(dp1, "big"), -1, int.from_bytes(p, "big") - 1)
    except ValueError:
        raise KeyFormatError("no RSA private key") from None


def _rsa_signer(modulus: bytes, private: bytes) -> RsaSigningKey:
    """The two components do not tell the public exponent: one of the usual ones fits."""
    for exponent in _COMMON_EXPONENTS:
        try:
            return RsaSigningKey.from_exponents(modulus, private, exponent)
        except KeyFormatError:
            continue
    raise KeyFormatError("no RSA private key with a usual public exponent")


def curve_of(key: Key) -> Curve:
    """Return the curve of an elliptic curve key: by reference, or by the parameters that came with it.

    Raises:
        KeyFormatError: there is none, or the card does not know it.
    """
    parts = _parts(key)
    found: Curve | None
    if key.curve:
        found = Curve(key.curve)
    elif _REFERENCE in parts and _CURVE_PARAMETERS[0] not in parts:
        found = _REFERENCES.get(int.from_bytes(parts[_REFERENCE], "big"))
    else:
        found = _recognise([_first(parts, kind) for kind in _CURVE_PARAMETERS], parts.get(_COFACTOR))
    if found is None:
        raise KeyFormatError("the curve is not supported")
    return found


def stored_curves(image: CardImage, domain: Instance) -> dict[int, Curve]:
    """Return the curves that were stored under references of their own, as `domain` may name them (§B.4.2).

    Local references hold for a security domain and all below it, the nearest one counts; global ones are the
    issuer's and hold everywhere.
    """
    found: dict[int, Curve] = {}
    for owner in (domain, *image.ancestors(domain), image.isd):
        for key in owner.domain_data().keys:
            reference = own_reference(key)
            visible = reference is not None and (is_local(reference) or owner is image.isd)
            if reference is not None and visible and owner.domain is not None:
                found.setdefault(reference, curve_of(key))
    return found


def named_curve(components: Sequence[KeyComponent], curves: Mapping[int, Curve]) -> str:
    """Return the curve that the reference of a key names, when it was stored on this card, else nothing."""
    if components[0].type == _REFERENCE:
        return ""
    named = (entry.value for entry in components if entry.type == _REFERENCE)
    found = (curves.get(int.from_bytes(value, "big")) for value in named)
    return next((curve.value for curve in found if curve is not None), "")


def own_reference(key: Key) -> int | None:
    """Return the reference under which a key stores the parameters of a curve, or None for other keys."""
    parts = _parts(key)
    if key.type != _REFERENCE or _CURVE_PARAMETERS[0] not in parts:
        return None
    return int.from_bytes(key.value, "big")


def is_local(reference: int) -> bool:
    """Tell whether any security domain may store a curve under this reference (Table B-2)."""
    return reference in _LOCAL_SHORT or reference in _LOCAL_LONG


def is_global(reference: int) -> bool:
    """Tell whether the issuer security domain may store a curve under this reference (Table B-2)."""
    return reference in _GLOBAL_SHORT or reference in _GLOBAL_LONG


def _recognise(parameters: list[bytes], cofactor: bytes | None) -> Curve | None:
    if cofactor is not None and int.from_bytes(cofactor, "big") != 1:
        return None
    p, a, b, generator, order = parameters
    length = len(p.lstrip(b"\0"))
    fixed = (value.lstrip(b"\0").rjust(length, b"\0") for value in (p, a, b))
    content = b"".join(fixed) + generator + order.lstrip(b"\0").rjust(length, b"\0")
    return _RECOGNISED.get(hashlib.sha256(content).hexdigest())


def least_hash_length(key: Key) -> int:
    """Return the shortest load file data block hash in bytes that may go with this key (Table C-3)."""
    if key.type == SYMMETRIC_AES:
        return {16: 32, 24: 48}.get(len(key.value), 64)
    if key.type == SYMMETRIC_DES:
        return 20
    if key.type in {_POINT, _PRIVATE_NUMBER}:
        bits = curve_of(key).parameters.key_size
        return 32 if bits < 384 else 48 if bits < 512 else 64
    modulus = int.from_bytes(_first(_parts(key), *_MODULUS), "big")
    return 20 if modulus.bit_length() == 1024 else 32
