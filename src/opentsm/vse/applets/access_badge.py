"""An access badge: the reader proves itself first, then the badge; a wrong reader has few tries.

Both proofs are AES-CMACs over the two challenges, under one key a direction.
Source: ISO/IEC 7816-4 §11.5 (the commands); docs/reference/applets.md (the data).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hmac import compare_digest
from typing import ClassVar, Final

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.lv import lv
from opentsm.card.codec.tlv import encode_tlv
from opentsm.card.crypto.kcv import kcv_aes
from opentsm.card.crypto.mac import cmac
from opentsm.vse.applets import attestation
from opentsm.vse.applets.base import CvmService
from opentsm.vse.applets.personalized import (
    DGI_KCVS,
    VERSION_RULE,
    DgiRule,
    Handler,
    PersonalizedApplet,
    check_kcvs,
    require_length,
    require_p1p2,
)
from opentsm.vse.applets.pin_holder import value_format, verify_with
from opentsm.vse.cvm import CvmState
from opentsm.vse.status import (
    SW_BLOCKED,
    SW_CONDITIONS,
    SW_SECURITY,
    SW_WRONG_DATA,
    SW_WRONG_P1P2,
    StatusError,
)

DGI_BADGE_ID: Final = 0x6001
DGI_TRIES: Final = 0x6002
DGI_RIGHTS: Final = 0x6003
DGI_CARDHOLDER: Final = 0x6004
DGI_READER_KEY: Final = 0x8001
DGI_BADGE_KEY: Final = 0x8002
_KEYS: Final = (DGI_READER_KEY, DGI_BADGE_KEY)

TAG_TRIES: Final = 0x9F17
CHALLENGE_LENGTH: Final = 16
SW_TRIES_LEFT: Final = 0x63C0
SW_COUNTER_END: Final = 0x9402
_FROM_READER: Final = b"\x01"
_FROM_BADGE: Final = b"\x02"
_STRUCTURE: Final = 0x18
_BER_TLV: Final = 0x10
_ENCRYPTION: Final = 0x60
_LAST_BLOCK: Final = 0x80
_COUNTER_END: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class _Exchange:
    """The two challenges of one authentication; the reader's is there once the reader is accepted."""

    badge_challenge: bytes
    reader_challenge: bytes | None = None


class AccessBadge(PersonalizedApplet):
    """One badge: GET CHALLENGE, EXTERNAL AUTHENTICATE, INTERNAL AUTHENTICATE, in this order."""

    MODULE_AID: ClassVar[Aid] = Aid.from_hex("F04F54534D0301")
    RULES: ClassVar[tuple[DgiRule, ...]] = (
        DgiRule(DGI_BADGE_ID, range(4, 17)),
        DgiRule(DGI_TRIES, (1,), updatable=True),
        DgiRule(DGI_RIGHTS, range(65), updatable=True),
        DgiRule(DGI_CARDHOLDER, (1,), required=False, updatable=True),
        *(DgiRule(key, (16,), encrypted=True) for key in _KEYS),
        DgiRule(DGI_KCVS, (6,), required=False),
        VERSION_RULE,
    )

    _exchange: _Exchange | None = None
    _token = b""

    def install(self, instance_aid: Aid, parameters: bytes) -> None:
        """Take the trust anchors for attestation tokens: up to four DF41, each a point of P-256.

        Raises:
            StatusError: 6A80 for anything else.
        """
        anchors = attestation.read_anchors(parameters)
        if anchors:
            self.store["anchors"] = b"".join(anchors)

    def personalize(self, command: CommandApdu, decrypt: Callable[[bytes], bytes]) -> bytes:
        """Take data groupings, or the blocks of an attestation token (P1 b5b4 = 10)."""
        if command.p1 & _STRUCTURE != _BER_TLV:
            return super().personalize(command, decrypt)
        if command.p1 & _ENCRYPTION:
            raise StatusError(SW_WRONG_P1P2)
        held, self._token = (self._token if command.p2 else b""), b""
        if len(held) + len(command.data) > attestation.MAX_TOKEN:
            raise StatusError(SW_WRONG_DATA)
        if not command.p1 & _LAST_BLOCK:
            self._token = held + command.data
            return b""
        anchors = attestation.split_anchors(self.store.get("anchors", b""))
        self.store["attestation"] = attestation.verified(held + command.data, anchors)
        return b""

    def select(self) -> bytes:
        """Return the FCI: the badge id (DF21), from which a reader derives the badge's keys."""
        self._exchange = None
        return super().select()

    def deselect(self) -> None:
        """Forget the challenges."""
        self._exchange = None

    def fci_data(self) -> bytes:
        """Return nothing before personalisation."""
        if not self.personalized:
            return b""
        return encode_tlv(0xBF0C, encode_tlv(0xDF21, self.require(DGI_BADGE_ID)))

    def check(self, values: Mapping[int, bytes]) -> None:
        """Refuse a limit that is not 1 to 15, or wrong key check values."""
        if not 1 <= values[DGI_TRIES][0] <= 15:
            raise StatusError(SW_WRONG_DATA)
        check_kcvs(values, _KEYS, kcv_aes)

    def completed(self, changed: Mapping[int, bytes], *, first: bool) -> None:
        """Start the counters; a new limit also unblocks the badge."""
        if DGI_TRIES in changed:
            self.store["tries"] = changed[DGI_TRIES]
        if first:
            self.store["uses"] = bytes(4)

    def commands(self) -> Mapping[tuple[int, int], Handler]:
        """The three steps of mutual authentication; the cardholder's verification and its care."""
        return {
            (0x00, 0x84): self._get_challenge,
            (0x00, 0x82): self._external_authenticate,
            (0x00, 0x88): self._internal_authenticate,
            (0x00, 0x20): self._verify,
            (0x00, 0x24): self._change_reference_data,
            (0x00, 0x2C): self._reset_retry_counter,
        }

    def data_object(self, tag: int) -> bytes | None:
        """Also give the tries that a reader has left (9F17), and the attestation token (7F41)."""
        if tag == attestation.TAG_TOKEN:
            return self.store.get("attestation")
        return self.store.get("tries") if tag == TAG_TRIES else super().data_object(tag)

    def _get_challenge(self, command: CommandApdu) -> bytes:
        require_p1p2(command, 0, 0)
        require_length(command, 0)
        self._tries()
        self._exchange = _Exchange(self.services.random(CHALLENGE_LENGTH))
        return self._exchange.badge_challenge

    def _tries(self) -> int:
        if not self.personalized:
            raise StatusError(SW_CONDITIONS)
        tries = self.store["tries"][0]
        if not tries:
            raise StatusError(SW_BLOCKED)
        return tries

    def _external_authenticate(self, command: CommandApdu) -> bytes:
        exchange, self._exchange = self._exchange, None
        require_p1p2(command, 0, 0)
        tries = self._tries()
        if exchange is None or exchange.reader_challenge is not None:
            raise StatusError(SW_CONDITIONS)
        require_length(command, 2 * CHALLENGE_LENGTH)
        reader_challenge, proof = command.data[:CHALLENGE_LENGTH], command.data[CHALLENGE_LENGTH:]
        self._spend_try(tries)
        key = self.require(DGI_READER_KEY)
        if not compare_digest(proof, cmac(key, _FROM_READER + exchange.badge_challenge + reader_challenge)):
            raise StatusError(SW_TRIES_LEFT | tries - 1)
        self.store["tries"] = self.require(DGI_TRIES)
        self._exchange = _Exchange(exchange.badge_challenge, reader_challenge)
        return b""

    def _spend_try(self, tries: int) -> None:
        """Count the try, durably, before the comparison: cutting the power must not give it back."""
        self.store["tries"] = bytes((tries - 1,))
        self.services.commit()

    def _internal_authenticate(self, command: CommandApdu) -> bytes:
        exchange, self._exchange = self._exchange, None
        require_p1p2(command, 0, 0)
        require_length(command, 0)
        if exchange is None or exchange.reader_challenge is None:
            raise StatusError(SW_CONDITIONS)
        if self._cardholder and self._cvm().state is not CvmState.VALIDATED:
            raise StatusError(SW_SECURITY)
        uses = self._next_use() + lv(self.require(DGI_RIGHTS))
        challenges = exchange.reader_challenge + exchange.badge_challenge
        proof = cmac(
            self.require(DGI_BADGE_KEY), _FROM_BADGE + challenges + self.require(DGI_BADGE_ID) + uses
        )
        return uses + proof

    def _next_use(self) -> bytes:
        uses = int.from_bytes(self.store["uses"], "big")
        if uses == _COUNTER_END:
            raise StatusError(SW_COUNTER_END)
        self.store["uses"] = (uses + 1).to_bytes(4, "big")
        return self.store["uses"]

    @property
    def _cardholder(self) -> int:
        """The CVM that the badge asks for; 00 when it asks for none."""
        return (self.value(DGI_CARDHOLDER) or b"\x00")[0]

    def _cvm(self) -> CvmService:
        """The card's CVM, which this badge does not keep itself; 6985 when the badge asks for none."""
        if not self._cardholder:
            raise StatusError(SW_CONDITIONS)
        return self.services.cvm(self._cardholder)

    def _verify(self, command: CommandApdu) -> bytes:
        return verify_with(self._cvm(), command)

    def _change_reference_data(self, command: CommandApdu) -> bytes:
        """Set a new value, for an authentic reader; the card asks for CVM Management."""
        kind = value_format(command, p1=1)
        self._require_reader()
        self._cvm().update(command.data, kind)
        return b""

    def _reset_retry_counter(self, command: CommandApdu) -> bytes:
        """Unblock the CVM, for an authentic reader; the card asks for CVM Management."""
        require_p1p2(command, 3, 0)
        require_length(command, 0)
        self._require_reader()
        self._cvm().unblock()
        return b""

    def _require_reader(self) -> None:
        """Only the reader that has proved itself, in the same authentication."""
        if self._exchange is None or self._exchange.reader_challenge is None:
            raise StatusError(SW_CONDITIONS)
