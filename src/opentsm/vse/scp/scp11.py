"""SCP11 as the card runs it: from the command's parameters to session keys and receipt.

Source: Amendment F §3.1.2, §7.6 as published clients and traces show it; GPCS 2.3.1 Table 11-17.
"""

from dataclasses import dataclass, field
from typing import Final

from opentsm.card.codec.tlv import encode_tlv, parse_tlvs
from opentsm.card.crypto.key_agreement import KeyAgreementKey, x963_sha256
from opentsm.card.crypto.mac import cmac
from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import CardError, TlvError
from opentsm.vse.scp import Level
from opentsm.vse.scp.scp03 import Scp03Session
from opentsm.vse.status import SW_WRONG_DATA, StatusError

PROTOCOL: Final = 0x11
KID_A: Final = 0x11
KID_B: Final = 0x13
KID_C: Final = 0x15
AGREEMENT_KIDS: Final = frozenset({KID_A, KID_B, KID_C})

# Second byte of tag 90 by key identifier.
_VARIANT_BITS: Final = {KID_A: 0x01, KID_B: 0x00, KID_C: 0x03}
_WITH_IDENTITIES: Final = 0x04
_AES: Final = b"\x88"
# Key usage qualifier -> level: MACs both ways, with or without encryption both ways.
_LEVELS: Final = {
    b"\x34": Level.C_MAC | Level.R_MAC,
    b"\x3c": Level.C_MAC | Level.C_DECRYPTION | Level.R_MAC | Level.R_ENCRYPTION,
}
_KNOWN: Final = frozenset({0x90, 0x95, 0x80, 0x81, 0x84})


@dataclass(frozen=True, slots=True)
class Request:
    """What the off-card entity asks for in MUTUAL or INTERNAL AUTHENTICATE."""

    kid: int
    usage: bytes
    key_length: int
    host_id: bytes | None
    point: bytes
    raw: bytes = field(repr=False)

    @property
    def level(self) -> Level:
        """Protection of the session, without a word on who the off-card entity is."""
        return _LEVELS[self.usage]


def read_request(data: bytes, kid: int, key_lengths: tuple[int, ...]) -> Request:
    """Read the command's data field.

    Args:
        data: A6 template and the ephemeral public key.
        kid: of the card's key: the variant.
        key_lengths: of AES session keys that this card makes, in bytes.

    Raises:
        StatusError: 6A80.
    """
    try:
        template, public = parse_tlvs(data)
        entries = parse_tlvs(template.value)
    except (TlvError, ValueError):
        raise StatusError(SW_WRONG_DATA) from None
    fields = {entry.tag: entry.value for entry in entries}
    host_id = fields.get(0x84)
    expected = bytes([PROTOCOL, _VARIANT_BITS[kid] | (_WITH_IDENTITIES if host_id is not None else 0)])
    length = fields.get(0x81, b"")
    if (
        (template.tag, public.tag) != (0xA6, 0x5F49)
        or len(fields) != len(entries)
        or not fields.keys() <= _KNOWN
        or fields.get(0x90) != expected
        or (kid == KID_C and host_id is not None)
        or fields.get(0x95) not in _LEVELS
        or fields.get(0x80) != _AES
        or len(length) != 1
        or length[0] not in key_lengths
    ):
        raise StatusError(SW_WRONG_DATA)
    return Request(kid, fields[0x95], length[0], host_id, public.value, data)


@dataclass(frozen=True, slots=True)
class CardSide:
    """What the card brings to the agreement.

    Args:
        static: SK.SD.ECKA.
        ephemeral: new for this session; None in c, where the static key takes its place.
        peer: the verified public key of the off-card entity; None in b.
        identities: LV of the security domain's IIN and CIN, for a request that names a host.
    """

    static: KeyAgreementKey
    ephemeral: KeyAgreementKey | None
    peer: bytes | None
    identities: bytes


def agree(request: Request, card: CardSide, level: Level, *, mac_length: int) -> tuple[Scp03Session, bytes]:
    """Agree on keys and open the session.

    Args:
        request: what the off-card entity asks for.
        card: the card's keys.
        level: of the session (GPCS Table 10-1).
        mac_length: 8, or 16.

    Returns:
        The session and the answer: the card's public key and the receipt.

    Raises:
        StatusError: 6A80 when the off-card entity's ephemeral key is no point of the curve.
    """
    fresh = card.ephemeral or card.static
    try:
        first = fresh.agree(request.point)
        second = card.static.agree(card.peer or request.point)
    except CardError:
        raise StatusError(SW_WRONG_DATA) from None
    length = request.key_length
    info = request.usage + _AES + bytes([length])
    if request.host_id is not None:
        info += bytes([len(request.host_id)]) + request.host_id + card.identities
    keys = x963_sha256(Secret(first.reveal() + second.reveal()), info, 5 * length)
    receipt_key, enc, mac, rmac, dek = (keys[at : at + length] for at in range(0, 5 * length, length))
    public = encode_tlv(0x5F49, fresh.point)
    receipt = cmac(receipt_key, request.raw + public)
    session = Scp03Session(level, mac_length, enc, mac, rmac, dek, receipt)
    return session, public + encode_tlv(0x86, receipt)


def identity(value: bytes | None) -> bytes:
    """Return an identity of the security domain as it enters the derivation."""
    return bytes([len(value or b"")]) + (value or b"")
