"""Keys that STORE DATA brings in data groups: 00B9 describes components, the groups behind it carry them.

Source: GPCS 2.3.1 §11.11.4 (Tables 11-91 to 11-105).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hmac import compare_digest
from typing import Final

from opentsm.card.codec.tlv import Tlv, find
from opentsm.card.crypto.signature import Curve
from opentsm.vse.fields import data_objects
from opentsm.vse.keysets import key_check_value
from opentsm.vse.put_key import FOLLOWING, check_asymmetric
from opentsm.vse.signing_keys import named_curve
from opentsm.vse.state import SYMMETRIC_AES, SYMMETRIC_DES, Key, KeyComponent
from opentsm.vse.status import SW_SECURITY, SW_WRONG_DATA, StatusError

Decrypt = Callable[[bytes], bytes]
Groups = Iterator[tuple[int, bytes]]

KEY_ATTRIBUTES: Final = 0x00B9
_TEMPLATE: Final = 0xB9
_CURVE_REFERENCE: Final = 0xF0
_PUBLIC_POINT: Final = 0xB0
_ENCRYPTED: Final = 0x8000
_LENGTHS: Final = {SYMMETRIC_DES: (16, 24), SYMMETRIC_AES: (16, 24, 32)}
# Component type: the group that carries it; those from 8000 on are encrypted.
_GROUPS: Final = {
    SYMMETRIC_DES: 0x8113,
    SYMMETRIC_AES: 0x8113,
    0xA1: 0x0010,
    0xA0: 0x0011,
    0xA3: 0x8112,
    0xA6: 0x8121,
    0xA8: 0x8122,
    0xA7: 0x8123,
    0xA5: 0x8124,
    0xA4: 0x8125,
    _PUBLIC_POINT: 0x0036,
    0xB1: 0x8137,
    0xB2: 0x0030,
    0xB3: 0x0031,
    0xB4: 0x0032,
    0xB5: 0x0033,
    0xB6: 0x0034,
    0xB7: 0x0035,
}
# Table 11-98 begins with the coefficient, PUT KEY with a prime factor.
_BEHIND: Final = {**FOLLOWING, 0xA6: frozenset({0xA8, 0xA7, 0xA5, 0xA4})}
_CURVE: Final = frozenset({_CURVE_REFERENCE, *range(0xB2, 0xB8)})


@dataclass(frozen=True, slots=True)
class _Attributes:
    """One control reference template; what a curve's has not is 0 or empty."""

    kind: int
    length: int
    kid: int
    kvn: int
    usage: bytes
    access: bytes
    check_value: bytes
    reference: bytes


class KeyGroups:
    """Collects keys from data groups.

    Args:
        decrypt: deciphers under the session's data encryption key.
        curves: what proprietary references mean for the keys' owner.
    """

    def __init__(self, decrypt: Decrypt, curves: Mapping[int, Curve]) -> None:
        self._decrypt = decrypt
        self._curves = curves
        self._keys: list[Key] = []

    def add(self, control: bytes, groups: Groups) -> None:
        """Read one group 00B9 and the groups that follow it directly.

        Raises:
            StatusError: 6A80 malformed, inconsistent or incomplete; 6982 wrong check value.
        """
        for entry in data_objects(control):
            attributes = _attributes(entry)
            component = KeyComponent(attributes.kind, self._value(attributes, groups))
            if not self._belongs_to_last(attributes):
                self._begin(attributes, component)
            else:
                self._keys[-1].components.append(component)

    def finish(self) -> list[Key]:
        """Return the keys, each of them whole.

        Raises:
            StatusError: 6A80.
        """
        for key in self._keys:
            key.curve = named_curve(key.components, self._curves)
            if key.type not in _LENGTHS:
                check_asymmetric(key)
        return self._keys

    def _belongs_to_last(self, attributes: _Attributes) -> bool:
        """A curve has no names of its own; other components repeat those of their key (§11.11.4)."""
        last = self._keys[-1] if self._keys else None
        if last is None or attributes.kind not in _BEHIND.get(last.type, frozenset()):
            return False
        if attributes.kind in {component.type for component in last.components}:
            return False
        names = (last.kid, last.kvn, last.usage)
        if attributes.kind not in _CURVE and (attributes.kid, attributes.kvn, attributes.usage) != names:
            raise StatusError(SW_WRONG_DATA)
        return True

    def _begin(self, attributes: _Attributes, component: KeyComponent) -> None:
        # Curve parameters alone have neither identifier nor version: PUT KEY stores them.
        if not (1 <= attributes.kid <= 0x7F and 1 <= attributes.kvn <= 0x7F):
            raise StatusError(SW_WRONG_DATA)
        if attributes.kind in _LENGTHS:
            _check_symmetric(attributes, component.value)
        elif attributes.kind not in _BEHIND:
            raise StatusError(SW_WRONG_DATA)
        key = Key(attributes.kid, attributes.kvn, [component], attributes.usage, attributes.access)
        self._keys.append(key)

    def _value(self, attributes: _Attributes, groups: Groups) -> bytes:
        if attributes.kind == _CURVE_REFERENCE:
            return attributes.reference
        identifier, value = next(groups, (0, b""))
        if identifier != _GROUPS.get(attributes.kind):
            raise StatusError(SW_WRONG_DATA)
        if identifier & _ENCRYPTED:
            value = self._decrypt(value)[: attributes.length]
        # §11.3.3.1.1 counts a point without its 04, Table 11-102 does not say.
        lengths = {len(value), len(value) - 1 if attributes.kind == _PUBLIC_POINT else len(value)}
        if not value or attributes.length not in lengths:
            raise StatusError(SW_WRONG_DATA)
        return value


def _check_symmetric(attributes: _Attributes, value: bytes) -> None:
    """Table 11-92: the check value is mandatory."""
    if len(value) not in _LENGTHS[attributes.kind] or len(attributes.check_value) != 3:
        raise StatusError(SW_WRONG_DATA)
    if not compare_digest(key_check_value(attributes.kind, value), attributes.check_value):
        raise StatusError(SW_SECURITY)


def _attributes(entry: Tlv) -> _Attributes:
    if entry.tag != _TEMPLATE:
        raise StatusError(SW_WRONG_DATA)
    objects = data_objects(entry.value)

    def number(tag: int, *, most: int = 1) -> int:
        value = find(objects, tag) or b""
        if len(value) > most:
            raise StatusError(SW_WRONG_DATA)
        return int.from_bytes(value, "big")

    reference = find(objects, 0x85) or b""
    kind = number(0x80)
    if (kind == _CURVE_REFERENCE) != (len(reference) in {1, 2}):
        raise StatusError(SW_WRONG_DATA)
    usage, access = find(objects, 0x95) or b"", find(objects, 0x96) or b""
    check_value = find(objects, 0x84) or b""
    length, kid, kvn = number(0x81, most=2), number(0x82), number(0x83)
    return _Attributes(kind, length, kid, kvn, usage, access, check_value, reference)
