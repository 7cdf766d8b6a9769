"""Keys on their way to a card: types, check values, encryption under the DEK, PUT KEY and STORE DATA fields.

Source: GPCS 2.3.1 §11.1.8-9, §11.8.2.3, §11.11.4; Amendment D 1.1.1 §6.2.8, §7.2, §7.3.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, IntEnum

from opentsm.card.codec.dgi import encode_dgi
from opentsm.card.codec.lv import ber_lv, lv
from opentsm.card.codec.tlv import encode_length, encode_tlv
from opentsm.card.crypto.cipher import AES_BLOCK, DES_BLOCK, aes_cbc_encrypt, tdes_ecb_encrypt
from opentsm.card.crypto.kcv import kcv_aes, kcv_des
from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import KeyFormatError

DGI_KEY_CONTROL = 0x00B9
DGI_SYMMETRIC_KEY = 0x8113


class KeyType(IntEnum):
    """Key component types (GPCS 2.3.1 Table 11-16)."""

    DES = 0x80
    PSK_TLS = 0x85
    AES = 0x88
    HMAC_SHA1 = 0x90
    HMAC_SHA1_160 = 0x91
    RSA_PUBLIC_EXPONENT = 0xA0
    RSA_MODULUS = 0xA1
    RSA_PRIVATE_MODULUS = 0xA2
    RSA_PRIVATE_EXPONENT = 0xA3
    RSA_CRT_P = 0xA4
    RSA_CRT_Q = 0xA5
    RSA_CRT_PQ = 0xA6
    RSA_CRT_DP1 = 0xA7
    RSA_CRT_DQ1 = 0xA8
    ECC_PUBLIC = 0xB0
    ECC_PRIVATE = 0xB1
    ECC_FIELD_P = 0xB2
    ECC_FIELD_A = 0xB3
    ECC_FIELD_B = 0xB4
    ECC_FIELD_G = 0xB5
    ECC_FIELD_N = 0xB6
    ECC_FIELD_K = 0xB7
    ECC_PARAMETERS_REFERENCE = 0xF0
    EXTENDED = 0xFF


class KeyUsage(IntEnum):
    """Key usage qualifier, first byte (GPCS 2.3.1 Table 11-17)."""

    C_MAC = 0x14
    R_MAC = 0x24
    C_AND_R_MAC = 0x34
    C_ENC = 0x18
    R_ENC = 0x28
    C_AND_R_ENC = 0x38
    C_DEK = 0x48
    R_DEK = 0x88
    C_AND_R_DEK = 0xC8
    TOKEN = 0x81
    RECEIPT = 0x44
    DAP = 0x84


class KeyAccess(IntEnum):
    """Who may use a key (GPCS 2.3.1 Table 11-18)."""

    SD_AND_APPLICATIONS = 0x00
    SD_ONLY = 0x01
    APPLICATIONS_ONLY = 0x02


class AesLayout(Enum):
    """How a key block under an AES DEK is written; cards of either habit exist (GPCS 2.3.1 §11.8.2.3.3)."""

    INNER_LENGTH = "inner-length"
    BARE = "bare"


@dataclass(frozen=True, slots=True)
class StaticKeys:
    """The three keys of a secure channel key set."""

    enc: Secret
    mac: Secret
    dek: Secret


@dataclass(frozen=True, slots=True)
class Dek:
    """The key under which other keys travel: SCP03 the static DEK, SCP02 the session DEK."""

    key: Secret
    type: KeyType

    def __post_init__(self) -> None:
        if self.type not in (KeyType.AES, KeyType.DES):
            raise KeyFormatError(f"a DEK is an AES or DES key, not {self.type!r}")

    @property
    def block(self) -> int:
        """Block size of its cipher, in bytes."""
        return AES_BLOCK if self.type is KeyType.AES else DES_BLOCK

    def encrypt(self, padded: bytes) -> bytes:
        """Encrypt whole blocks: AES-CBC with IV 0, or triple DES ECB.

        Source: Amendment D 1.1.1 §6.2.8; GPCS 2.3.1 E.4.7 (explicit initiation).
        """
        if self.type is KeyType.AES:
            return aes_cbc_encrypt(self.key.reveal(), bytes(AES_BLOCK), padded)
        return tdes_ecb_encrypt(self.key.reveal(), padded)


def key_check_value(key: Secret, key_type: KeyType) -> bytes:
    """Return the 3-byte check value of a symmetric key.

    Raises:
        KeyFormatError: the type has no check value, or the key the wrong length.
    """
    if key_type is KeyType.AES:
        return kcv_aes(key.reveal())
    if key_type is KeyType.DES:
        return kcv_des(key.reveal())
    raise KeyFormatError(f"keys of type {key_type.name} have no check value")


def encrypt_key(dek: Dek, key: Secret) -> bytes:
    """Encrypt a key under the DEK, filled with zeros to whole blocks.

    Returns:
        The cipher text, without any length.
    """
    # Amendment D §6.2.8: a 24-byte key is padded with arbitrary bytes.
    return dek.encrypt(key.reveal() + bytes(-len(key) % dek.block))


def encrypt_key_block(dek: Dek, key: Secret, layout: AesLayout = AesLayout.INNER_LENGTH) -> bytes:
    """Make the key component block of PUT KEY.

    Args:
        dek: the key that encrypts.
        key: the symmetric key to send.
        layout: with or without the inner length under an AES DEK; a key that had to be padded always has it.

    Returns:
        [inner length] and cipher text.

    Source: GPCS 2.3.1 §11.8.2.3.3; Amendment D 1.1.1 Table 7-10.
    """
    encrypted = encrypt_key(dek, key)
    padded = len(encrypted) != len(key)
    if padded or (dek.type is KeyType.AES and layout is AesLayout.INNER_LENGTH):
        return encode_length(len(key)) + encrypted
    return encrypted


def put_key_field(
    key: Secret, key_type: KeyType, dek: Dek, layout: AesLayout = AesLayout.INNER_LENGTH
) -> bytes:
    """Make the key data field of one symmetric key in the basic format of PUT KEY.

    Returns:
        Type, key block with its length, check value with its length.

    Source: GPCS 2.3.1 Table 11-68.
    """
    block = encrypt_key_block(dek, key, layout)
    return bytes((key_type,)) + ber_lv(block) + lv(key_check_value(key, key_type))


def put_key_fields(
    keys: StaticKeys, key_type: KeyType, dek: Dek, layout: AesLayout = AesLayout.INNER_LENGTH
) -> tuple[bytes, ...]:
    """Make the key data fields of a whole set, in the order ENC, MAC, DEK of key identifiers 1, 2, 3."""
    return tuple(put_key_field(key, key_type, dek, layout) for key in (keys.enc, keys.mac, keys.dek))


def extended_put_key_field(
    key: Secret,
    key_type: KeyType,
    dek: Dek,
    *,
    usage: KeyUsage,
    access: KeyAccess,
    layout: AesLayout = AesLayout.INNER_LENGTH,
) -> bytes:
    """Make the key data field of one symmetric key in the extended format, with usage and access.

    Source: GPCS 2.3.1 Table 11-69.
    """
    basic = put_key_field(key, key_type, dek, layout)
    return bytes((KeyType.EXTENDED,)) + basic + lv(bytes((usage,))) + lv(bytes((access,)))


def rsa_public_put_key_field(
    modulus: bytes, exponent: bytes, *, usage: KeyUsage | None = None, access: KeyAccess | None = None
) -> bytes:
    """Make the key data field of an RSA public key; it is clear and has no check value.

    Args:
        modulus: as it is, most significant byte first.
        exponent: the public exponent, likewise.
        usage: selects the extended format, together with `access`.
        access: who may use the key; the security domain alone if not given.
    """
    components = ((KeyType.RSA_MODULUS, modulus), (KeyType.RSA_PUBLIC_EXPONENT, exponent))
    return _components_field(components, usage, access)


def ecc_public_put_key_field(
    point: bytes,
    curve: int | EccParameters,
    *,
    usage: KeyUsage | None = None,
    access: KeyAccess | None = None,
) -> bytes:
    """Make the key data field of an elliptic curve public key; it is clear and has no check value.

    Args:
        point: 04, X and Y.
        curve: a reference as in GPCS 2.3.1 Table B-2 (00 P-256, 01 P-384, 02 P-521, 03 brainpoolP256r1 …),
            or the parameters themselves.
        usage: selects the extended format, together with `access`.
        access: who may use the key; the security domain alone if not given.
    """
    return _components_field(((KeyType.ECC_PUBLIC, point), *_curve_components(curve)), usage, access)


def ecc_private_put_key_field(
    private: Secret,
    curve: int | EccParameters,
    dek: Dek,
    *,
    usage: KeyUsage | None = None,
    access: KeyAccess | None = None,
    layout: AesLayout = AesLayout.INNER_LENGTH,
) -> bytes:
    """Make the key data field of an elliptic curve private key; see `ecc_public_put_key_field`."""
    secret = (KeyType.ECC_PRIVATE, encrypt_key_block(dek, private, layout))
    return _components_field((secret, *_curve_components(curve)), usage, access)


@dataclass(frozen=True, slots=True)
class RsaPrivateCrt:
    """An RSA private key in the form of the Chinese remainder theorem."""

    p: Secret
    q: Secret
    q_inverse: Secret
    dp1: Secret
    dq1: Secret


def rsa_private_put_key_field(
    key: RsaPrivateCrt,
    dek: Dek,
    *,
    usage: KeyUsage | None = None,
    access: KeyAccess | None = None,
    layout: AesLayout = AesLayout.INNER_LENGTH,
) -> bytes:
    """Make the key data field of an RSA private key: five encrypted components, no check value."""
    values = (
        (KeyType.RSA_CRT_P, key.p),
        (KeyType.RSA_CRT_Q, key.q),
        (KeyType.RSA_CRT_PQ, key.q_inverse),
        (KeyType.RSA_CRT_DP1, key.dp1),
        (KeyType.RSA_CRT_DQ1, key.dq1),
    )
    components = [(kind, encrypt_key_block(dek, value, layout)) for kind, value in values]
    return _components_field(components, usage, access)


@dataclass(frozen=True, slots=True)
class EccParameters:
    """A curve that travels with its key: field, coefficients, base point (04, X, Y), order, cofactor."""

    p: bytes
    a: bytes
    b: bytes
    g: bytes
    n: bytes
    cofactor: int = 1


def _curve_components(curve: int | EccParameters) -> tuple[tuple[KeyType, bytes], ...]:
    if isinstance(curve, EccParameters):
        return (
            (KeyType.ECC_FIELD_P, curve.p),
            (KeyType.ECC_FIELD_A, curve.a),
            (KeyType.ECC_FIELD_B, curve.b),
            (KeyType.ECC_FIELD_G, curve.g),
            (KeyType.ECC_FIELD_N, curve.n),
            (KeyType.ECC_FIELD_K, bytes((curve.cofactor,))),
        )
    return ((KeyType.ECC_PARAMETERS_REFERENCE, curve.to_bytes(1 if curve <= 0xFF else 2, "big")),)


def _components_field(
    components: Iterable[tuple[KeyType, bytes]], usage: KeyUsage | None, access: KeyAccess | None
) -> bytes:
    """Tables 11-68 and 11-69: every component with its type and length, then an empty check value."""
    if usage is None:
        return b"".join(bytes((kind,)) + ber_lv(block) for kind, block in components) + lv(b"")
    marked = b"".join(bytes((KeyType.EXTENDED, kind)) + ber_lv(block) for kind, block in components)
    allowed = KeyAccess.SD_ONLY if access is None else access
    return marked + lv(b"") + lv(bytes((usage,))) + lv(bytes((allowed,)))


@dataclass(frozen=True, slots=True)
class KeyControl:
    """What STORE DATA says about one symmetric key before its value."""

    kid: int
    kvn: int
    key_type: KeyType
    usage: KeyUsage
    access: KeyAccess = KeyAccess.SD_AND_APPLICATIONS


def key_set_control(kvn: int, key_type: KeyType) -> tuple[KeyControl, KeyControl, KeyControl]:
    """Describe a secure channel key set: identifiers 1, 2, 3 for ENC, MAC, DEK."""
    usages = (KeyUsage.C_AND_R_ENC, KeyUsage.C_AND_R_MAC, KeyUsage.C_AND_R_DEK)
    first, second, third = (KeyControl(kid, kvn, key_type, usage) for kid, usage in enumerate(usages, 1))
    return first, second, third


def store_data_keys(keys: Iterable[tuple[KeyControl, Secret]], dek: Dek) -> bytes:
    """Make the DGIs that carry symmetric keys: 00B9, then 8113 once per key.

    Args:
        keys: description and value of each key, in order.
        dek: the key that encrypts the values.

    Returns:
        The DGIs, to be cut into STORE DATA commands.

    Source: GPCS 2.3.1 §11.11.4; Amendment D 1.1.1 §7.3.
    """
    pairs = tuple(keys)
    control = b"".join(_control_template(control, key) for control, key in pairs)
    values = (encode_dgi(DGI_SYMMETRIC_KEY, encrypt_key(dek, key)) for _, key in pairs)
    return encode_dgi(DGI_KEY_CONTROL, control) + b"".join(values)


def store_data_key_set(keys: StaticKeys, kvn: int, key_type: KeyType, dek: Dek) -> bytes:
    """Make the DGIs that carry a whole secure channel key set."""
    controls = key_set_control(kvn, key_type)
    return store_data_keys(zip(controls, (keys.enc, keys.mac, keys.dek), strict=True), dek)


def _control_template(control: KeyControl, key: Secret) -> bytes:
    fields = (
        (0x95, bytes((control.usage,))),
        (0x96, bytes((control.access,))),
        (0x80, bytes((control.key_type,))),
        (0x81, bytes((len(key),))),
        (0x82, bytes((control.kid,))),
        (0x83, bytes((control.kvn,))),
        (0x84, key_check_value(key, control.key_type)),
    )
    return encode_tlv(0xB9, b"".join(encode_tlv(tag, value) for tag, value in fields))
