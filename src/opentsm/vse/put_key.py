"""PUT KEY: key data fields in both AES layouts, check values, adding and replacing.

Source: GPCS 2.3.1 §11.8, Tables 11-16, 11-68, 11-69; Amendment D §7.2.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Final

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.tlv import decode_length
from opentsm.card.crypto.signature import Curve
from opentsm.card.errors import CardError
from opentsm.vse.environment import Environment, LogicalChannel
from opentsm.vse.fields import FieldReader
from opentsm.vse.keysets import add_keys, key_check_value, replace_keys
from opentsm.vse.scp import SecureSession
from opentsm.vse.signing_keys import (
    curve_of,
    is_global,
    is_local,
    named_curve,
    own_reference,
    signer,
    stored_curves,
    verifier,
)
from opentsm.vse.state import SYMMETRIC_AES, SYMMETRIC_DES, Instance, Key, KeyComponent
from opentsm.vse.status import SW_CONDITIONS, SW_SECURITY, SW_WRONG_DATA, SW_WRONG_P1P2, StatusError

_MORE: Final = 0x80
_SEVERAL: Final = 0x80
_EXTENDED_FORMAT: Final = 0xFF

_SYMMETRIC: Final = frozenset({SYMMETRIC_DES, SYMMETRIC_AES, 0x85, 0x90, 0x91})
_SECRET: Final = _SYMMETRIC | {0xA3, 0xA4, 0xA5, 0xA6, 0xA7, 0xA8, 0xB1}
_CLEAR: Final = frozenset({0xA0, 0xA1, 0xA2, 0xB0, 0xB2, 0xB3, 0xB4, 0xB5, 0xB6, 0xB7, 0xF0})
# Components that come behind another one of the same key.
FOLLOWING: Final[dict[int, frozenset[int]]] = {
    0xA1: frozenset({0xA0, 0xA3}),
    0xA2: frozenset({0xA0, 0xA3}),
    0xA4: frozenset({0xA5, 0xA6, 0xA7, 0xA8}),
    0xB0: frozenset({0xF0, 0xB2, 0xB3, 0xB4, 0xB5, 0xB6, 0xB7}),
    0xB1: frozenset({0xF0, 0xB2, 0xB3, 0xB4, 0xB5, 0xB6, 0xB7}),
    0xF0: frozenset({0xB2, 0xB3, 0xB4, 0xB5, 0xB6, 0xB7}),
}
_PRIVATE: Final = frozenset({0xA3, 0xA4, 0xA5, 0xA6, 0xA7, 0xA8, 0xB1})
# Shared secrets, and curve parameters that come without a key.
_UNCHECKED: Final = frozenset({0x85, 0x90, 0x91, 0xF0})
_SYMMETRIC_LENGTHS: Final = {SYMMETRIC_DES: (16, 24), SYMMETRIC_AES: (16, 24, 32)}


def put_key(
    environment: Environment, channel: LogicalChannel, domain: Instance, command: CommandApdu
) -> bytes:
    """Add or replace keys, all or none.

    Returns:
        The new version and the check values, without lengths.

    Raises:
        StatusError: 6982 wrong check value, 6A80 malformed or unsupported, 6A88 nothing to replace,
            6985 no session whose data encryption key could decipher the keys.
    """
    if command.p1 & _MORE:
        raise StatusError(SW_WRONG_P1P2)
    if channel.session is None:
        raise StatusError(SW_CONDITIONS)
    reader = FieldReader(command.data)
    kvn = reader.byte()
    kid = command.p2 & 0x7F
    if not 1 <= kvn <= 0x7F:
        raise StatusError(SW_WRONG_DATA)
    profile, issuer = environment.profile, domain is environment.image.isd
    curves = stored_curves(environment.image, domain)
    parser = KeyFieldParser(channel.session, profile.aes_layout, profile.kcv_required, curves, issuer)
    keys, check_values = parser.read_keys(reader, kid, kvn, several=bool(command.p2 & _SEVERAL))
    if command.p1:
        replace_keys(environment, domain, command.p1, keys)
    else:
        add_keys(environment, domain, keys)
    return bytes([kvn]) + check_values


@dataclass(frozen=True, slots=True)
class KeyFieldParser:
    """Reads the key data field of PUT KEY under one session's data encryption key.

    Args:
        session: deciphers secret components.
        layout: of key blocks under an AES key.
        check_required: whether symmetric keys need their check value.
        curves: what proprietary references mean here.
        issuer: whether the keys are for the issuer security domain.
    """

    session: SecureSession
    layout: str
    check_required: bool
    curves: Mapping[int, Curve] = field(default_factory=dict)
    issuer: bool = False

    def read_keys(self, reader: FieldReader, kid: int, kvn: int, *, several: bool) -> tuple[list[Key], bytes]:
        """Return the keys and their check values; several keys have consecutive identifiers."""
        keys: list[Key] = []
        check_values = b""
        while not reader.at_end:
            key, check_value = self._read_key(reader, kid + len(keys), kvn)
            keys.append(key)
            check_values += check_value
        if not keys or (len(keys) > 1 and not several) or kid + len(keys) > 0x80:
            raise StatusError(SW_WRONG_DATA)
        return keys, check_values

    def _read_key(self, reader: FieldReader, kid: int, kvn: int) -> tuple[Key, bytes]:
        kind = reader.byte()
        extended = kind == _EXTENDED_FORMAT
        components = [self._component(reader, reader.byte() if extended else kind)]
        # Components of one key follow each other; one check value is behind the last (§11.8.2.3).
        while reader.peek() in FOLLOWING.get(components[0].type, frozenset()) or (
            extended and reader.peek() == _EXTENDED_FORMAT
        ):
            kind = reader.byte()
            components.append(self._component(reader, reader.byte() if kind == _EXTENDED_FORMAT else kind))
        check_value = reader.lv()
        usage, access = (reader.lv(maximum=2), reader.lv(maximum=1)) if extended else (b"", b"")
        key = Key(kid, kvn, components, usage, access, named_curve(components, self.curves))
        self._check(key, check_value)
        return key, check_value

    def _component(self, reader: FieldReader, kind: int) -> KeyComponent:
        block = reader.ber_lv()
        if kind in _CLEAR:
            return KeyComponent(kind, block)
        if kind not in _SECRET:
            raise StatusError(SW_WRONG_DATA)
        return KeyComponent(kind, self._decrypted(block))

    def _decrypted(self, block: bytes) -> bytes:
        """§11.8.2.3.3: a block that is no multiple of the cipher block starts with the real length."""
        cipher_block = self.session.key_block_length
        bare = len(block) % cipher_block == 0
        if not block or (self.layout == "bare" and not bare) or (self.layout == "inner-length" and bare):
            raise StatusError(SW_WRONG_DATA)
        try:
            length, start = (len(block), 0) if bare else decode_length(block, eighty_is_128=True)
            cipher = block[start:]
            clear = self.session.decrypt_key(cipher)
        except CardError:
            raise StatusError(SW_WRONG_DATA) from None
        if not length <= len(clear) < length + cipher_block:
            raise StatusError(SW_WRONG_DATA)
        return clear[:length]

    def _check(self, key: Key, check_value: bytes) -> None:
        lengths = _SYMMETRIC_LENGTHS.get(key.type)
        if lengths is None:
            check_asymmetric(key)
            _check_stored_curve(key, issuer=self.issuer)
            return
        if len(key.components) != 1 or len(key.value) not in lengths:
            raise StatusError(SW_WRONG_DATA)
        if not check_value and not self.check_required:
            return
        if len(check_value) != 3:
            raise StatusError(SW_WRONG_DATA)
        if not compare_digest(key_check_value(key.type, key.value), check_value):
            raise StatusError(SW_SECURITY)


def check_asymmetric(key: Key) -> None:
    """Refuse an RSA or elliptic curve key of no use: unknown curve, no point of it, too short.

    Raises:
        StatusError: 6A80.
    """
    if key.type in _UNCHECKED:
        return
    private = {component.type for component in key.components} & _PRIVATE
    try:
        signer(key) if private else verifier(key)
    except CardError:
        raise StatusError(SW_WRONG_DATA) from None


def _check_stored_curve(key: Key, *, issuer: bool) -> None:
    """§B.4.2: the issuer stores global references, everybody local ones; the curve is a known one."""
    reference = own_reference(key)
    if reference is None:
        return
    if not (is_local(reference) or (issuer and is_global(reference))):
        raise StatusError(SW_WRONG_DATA)
    try:
        curve_of(key)
    except CardError:
        raise StatusError(SW_WRONG_DATA) from None
