"""An applet's own reading of the attestation token: who may sign, what it must hold.

The card cannot know process and flavor: it proves that the TSM signed them, and hands the token out.
Source: BSI TR-03165 1.0.4, appendix A; X.690 (BER-TLV); RFC 5280 §4.2.1.2.
"""

import hashlib
from collections.abc import Iterable
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from opentsm.card.codec.tlv import Tlv, encode_tlv, parse_tlvs
from opentsm.card.errors import TlvError
from opentsm.vse.status import SW_CONDITIONS, SW_NOT_FOUND, SW_SECURITY, SW_WRONG_DATA, StatusError

TAG_TOKEN: Final = 0x7F41
TAG_ANCHOR: Final = 0xDF41
MAX_TOKEN: Final = 512
MAX_ANCHORS: Final = 4
_POINT: Final = 65
_COMPRESSED: Final = 33
# tag, lengths that are allowed, whether it must be there; the order is that of the tags
_BODY: Final = (
    (0x80, range(1, 129), True),
    (0x81, (16,), True),
    (0x82, (16,), True),
    (0x83, (16,), False),
    (0x84, range(1, 129), False),
    (0x85, (20,), True),
)


def read_anchors(parameters: bytes) -> list[bytes]:
    """Return the points of the application parameters of INSTALL, given whole or compressed (SEC 1 §2.3.3).

    Raises:
        StatusError: 6A80 for an object that is no anchor, a point that is none, or too many.
    """
    anchors: list[bytes] = []
    for one in _objects(parameters):
        if (
            one.tag != TAG_ANCHOR
            or len(one.value) not in (_POINT, _COMPRESSED)
            or len(anchors) == MAX_ANCHORS
        ):
            raise StatusError(SW_WRONG_DATA)
        anchors.append(_key(one.value).public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
    return anchors


def split_anchors(stored: bytes) -> list[bytes]:
    """Return the points that an applet stored one behind the other."""
    return [stored[at : at + _POINT] for at in range(0, len(stored), _POINT)]


def verified(token: bytes, anchors: Iterable[bytes]) -> bytes:
    """Return the value of 7F41 when one of the anchors signed it.

    Raises:
        StatusError: 6985 without any anchor, 6A80 for another form, 6A88 for a signer that is no anchor, 6982
            for a signature that is not the signer's.
    """
    known = {hashlib.sha1(point, usedforsecurity=False).digest(): point for point in anchors}
    if not known:
        raise StatusError(SW_CONDITIONS)
    outer = _objects(token)
    if [one.tag for one in outer] != [TAG_TOKEN]:
        raise StatusError(SW_WRONG_DATA)
    parts = _objects(outer[0].value)
    if [one.tag for one in parts] != [0xA0, 0x81]:
        raise StatusError(SW_WRONG_DATA)
    body, signature = parts
    signer = known.get(_signer(body.value))
    if signer is None:
        raise StatusError(SW_NOT_FOUND)
    try:
        _key(signer).verify(signature.value, encode_tlv(0xA0, body.value), ec.ECDSA(SHA256()))
    except InvalidSignature:
        raise StatusError(SW_SECURITY) from None
    return outer[0].value


def _signer(body: bytes) -> bytes:
    left = list(_objects(body))
    found: dict[int, bytes] = {}
    for tag, lengths, mandatory in _BODY:
        if left and left[0].tag == tag and len(left[0].value) in lengths:
            found[tag] = left.pop(0).value
        elif mandatory:
            raise StatusError(SW_WRONG_DATA)
    if left or (0x83 in found) != (0x84 in found):
        raise StatusError(SW_WRONG_DATA)
    return found[0x85]


def _objects(data: bytes) -> tuple[Tlv, ...]:
    try:
        return parse_tlvs(data)
    except TlvError:
        raise StatusError(SW_WRONG_DATA) from None


def _key(point: bytes) -> ec.EllipticCurvePublicKey:
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError:
        raise StatusError(SW_WRONG_DATA) from None
