"""A badge reader at a door: proves itself to the badge, then has the badge prove itself.

Source: docs/reference/applets.md (access badge).
"""

from collections.abc import Callable
from dataclasses import dataclass
from hmac import compare_digest

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.lv import read_lv
from opentsm.card.codec.tlv import parse_tlv, parse_tlvs, require
from opentsm.card.crypto.mac import cmac
from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import CardError
from opentsm.demo.terminals.link import CardLink, NotAuthenticError, TerminalError, Transmit

CHALLENGE_LENGTH = 16
_MAC_LENGTH = 16


@dataclass(frozen=True, slots=True)
class BadgeKeys:
    """The keys of one badge, 16 bytes each: the reader's proof and the badge's."""

    reader: Secret
    badge: Secret


KeysOf = Callable[[bytes], BadgeKeys]


@dataclass(frozen=True, slots=True)
class AccessResult:
    """An authentic badge and the rights that it carries."""

    badge_id: bytes
    rights: bytes
    uses: int
    apdus: int


async def open_door(transmit: Transmit, aid: Aid, challenge: bytes, keys_of: KeysOf) -> AccessResult:
    """Authenticate reader and badge to each other.

    Args:
        transmit: the badge in the field.
        aid: the badge's instance.
        challenge: 16 random bytes of the reader.
        keys_of: gives the keys of a badge id.

    Raises:
        CardRefusedError: the badge refuses (63Cx: wrong reader, x tries left; 6983: blocked).
        NotAuthenticError: the badge's proof is wrong: the door stays shut.
        TerminalError: the card's data are not those of a badge.
    """
    link = CardLink(transmit)
    try:
        badge_id = _badge_id(await link.select(aid))
        return await _authenticate(link, badge_id, challenge, keys_of(badge_id))
    except CardError as error:
        raise TerminalError(f"this is no badge: {error}") from error


def _badge_id(fci: bytes) -> bytes:
    proprietary = parse_tlvs(require(parse_tlvs(parse_tlv(fci).value), 0xA5))
    return require(parse_tlvs(require(proprietary, 0xBF0C)), 0xDF21)


async def _authenticate(link: CardLink, badge_id: bytes, challenge: bytes, keys: BadgeKeys) -> AccessResult:
    theirs = await link.require("GET CHALLENGE", CommandApdu(0x00, 0x84, 0, 0, ne=CHALLENGE_LENGTH))
    proof = challenge + cmac(keys.reader.reveal(), b"\x01" + theirs + challenge)
    await link.require("EXTERNAL AUTHENTICATE", CommandApdu(0x00, 0x82, 0, 0, proof))
    answer = await link.require("INTERNAL AUTHENTICATE", CommandApdu(0x00, 0x88, 0, 0, ne=256))
    shown, mac = answer[:-_MAC_LENGTH], answer[-_MAC_LENGTH:]
    right = cmac(keys.badge.reveal(), b"\x02" + challenge + theirs + badge_id + shown)
    if not compare_digest(mac, right):
        raise NotAuthenticError("the badge is not genuine")
    rights, _ = read_lv(shown, 4)
    return AccessResult(badge_id, rights, int.from_bytes(shown[:4], "big"), link.apdus)
