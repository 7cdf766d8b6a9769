"""Asymmetric keys as data groups of STORE DATA: 00B9 describes components, those behind it carry them.

Symmetric keys: `opentsm.card.gp.keys.store_data_keys`.
Source: GPCS 2.3.1 §11.11.4.2.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from opentsm.card.codec.dgi import encode_dgi
from opentsm.card.codec.tlv import encode_tlv
from opentsm.card.crypto.secret import Secret
from opentsm.card.gp.keys import (
    DGI_KEY_CONTROL,
    Dek,
    EccParameters,
    KeyAccess,
    KeyType,
    KeyUsage,
    RsaPrivateCrt,
    encrypt_key,
)


@dataclass(frozen=True, slots=True)
class KeyName:
    """What STORE DATA says of every component of an asymmetric key."""

    kid: int
    kvn: int
    usage: KeyUsage
    access: KeyAccess = KeyAccess.SD_ONLY


@dataclass(frozen=True, slots=True)
class _Component:
    kind: KeyType
    group: int
    length: int
    value: bytes


def store_data_rsa_public(name: KeyName, modulus: bytes, exponent: bytes) -> bytes:
    """Make the groups of an RSA public key (Tables 11-94, 11-95).

    Args:
        name: identifier, version and use.
        modulus: most significant byte first.
        exponent: the public exponent, as short as it can be.
    """
    return _groups(
        name,
        (
            _clear(KeyType.RSA_MODULUS, 0x0010, modulus),
            _clear(KeyType.RSA_PUBLIC_EXPONENT, 0x0011, exponent),
        ),
    )


def store_data_rsa_private(name: KeyName, key: RsaPrivateCrt, dek: Dek) -> bytes:
    """Make the groups of an RSA private key in its form with five numbers (Tables 11-98, 11-99)."""
    return _groups(
        name,
        (
            _secret(KeyType.RSA_CRT_PQ, 0x8121, key.q_inverse, dek),
            _secret(KeyType.RSA_CRT_DQ1, 0x8122, key.dq1, dek),
            _secret(KeyType.RSA_CRT_DP1, 0x8123, key.dp1, dek),
            _secret(KeyType.RSA_CRT_Q, 0x8124, key.q, dek),
            _secret(KeyType.RSA_CRT_P, 0x8125, key.p, dek),
        ),
    )


def store_data_ecc_public(name: KeyName, point: bytes, curve: int | EccParameters) -> bytes:
    """Make the groups of an elliptic curve public key (Tables 11-102, 11-103).

    Args:
        name: identifier, version and use.
        point: 04, X and Y.
        curve: a reference as in Table B-2, or the parameters themselves.
    """
    return _on_curve(name, _clear(KeyType.ECC_PUBLIC, 0x0036, point), curve)


def store_data_ecc_private(name: KeyName, private: Secret, curve: int | EccParameters, dek: Dek) -> bytes:
    """Make the groups of an elliptic curve private key (Tables 11-104, 11-105), as for a public one."""
    return _on_curve(name, _secret(KeyType.ECC_PRIVATE, 0x8137, private, dek), curve)


def _on_curve(name: KeyName, key: _Component, curve: int | EccParameters) -> bytes:
    if isinstance(curve, EccParameters):
        return _groups(name, (key,)) + _curve_groups(curve)
    value = curve.to_bytes(1 if curve <= 0xFF else 2, "big")
    content = encode_tlv(0x80, bytes((KeyType.ECC_PARAMETERS_REFERENCE,))) + encode_tlv(0x85, value)
    return _groups(name, (key,), more=encode_tlv(0xB9, content))


def _curve_groups(curve: EccParameters) -> bytes:
    """Tables 11-100 and 11-101: parameters of one key only have no names of their own."""
    parameters = (
        _clear(KeyType.ECC_FIELD_P, 0x0030, curve.p),
        _clear(KeyType.ECC_FIELD_A, 0x0031, curve.a),
        _clear(KeyType.ECC_FIELD_B, 0x0032, curve.b),
        _clear(KeyType.ECC_FIELD_G, 0x0033, curve.g),
        _clear(KeyType.ECC_FIELD_N, 0x0034, curve.n),
        _clear(KeyType.ECC_FIELD_K, 0x0035, bytes((curve.cofactor,))),
    )
    control = b"".join(
        encode_tlv(0xB9, encode_tlv(0x80, bytes((one.kind,))) + encode_tlv(0x81, bytes((one.length,))))
        for one in parameters
    )
    return encode_dgi(DGI_KEY_CONTROL, control) + _values(parameters)


def _groups(name: KeyName, components: Iterable[_Component], *, more: bytes = b"") -> bytes:
    listed = tuple(components)
    control = b"".join(_template(name, one) for one in listed)
    return encode_dgi(DGI_KEY_CONTROL, control + more) + _values(listed)


def _values(components: Iterable[_Component]) -> bytes:
    return b"".join(encode_dgi(one.group, one.value) for one in components)


def _template(name: KeyName, component: _Component) -> bytes:
    fields = (
        (0x95, bytes((name.usage,))),
        (0x96, bytes((name.access,))),
        (0x80, bytes((component.kind,))),
        (0x81, component.length.to_bytes(1 if component.length <= 0xFF else 2, "big")),
        (0x82, bytes((name.kid,))),
        (0x83, bytes((name.kvn,))),
    )
    return encode_tlv(0xB9, b"".join(encode_tlv(tag, value) for tag, value in fields))


def _clear(kind: KeyType, group: int, value: bytes) -> _Component:
    return _Component(kind, group, len(value), value)


def _secret(kind: KeyType, group: int, value: Secret, dek: Dek) -> _Component:
    """Padded to the cipher block and encrypted; the length is that of the value."""
    return _Component(kind, group, len(value), encrypt_key(dek, value))
