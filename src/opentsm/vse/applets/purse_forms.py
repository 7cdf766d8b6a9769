"""The two forms of the purse: AES-CMAC with 8-byte tags (the normal one), and PBOC with triple DES.

A form fixes lengths and arithmetic; the state machine is the same.
Source: PBOC 2.0 part 1 §7; docs/reference/applets.md for the AES form.
"""

from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

from opentsm.card.crypto.cipher import single_des, tdes_ecb_encrypt
from opentsm.card.crypto.kcv import kcv_aes, kcv_des
from opentsm.card.crypto.mac import cmac, tdes_mac
from opentsm.card.crypto.padding import pad80
from opentsm.vse.applets.purse_log import LogEntry

LOAD: Final = 0x02
PURCHASE: Final = 0x06

_FROM_OPENER: Final = b"\x01"  # the first MAC of a transaction
_FROM_CLOSER: Final = b"\x02"  # the second


@dataclass(frozen=True, slots=True)
class Offer:
    """What INITIALIZE fixed for one transaction; balances and amounts in the smallest unit."""

    kind: int
    balance: int
    counter: int
    amount: int
    terminal: bytes
    random: bytes
    reference: bytes = b""


class PurseForm(Protocol):
    """Lengths in bytes, and the arithmetic of one form."""

    CODE: ClassVar[int]
    COUNTER: ClassVar[int]
    RANDOM: ClassVar[int]
    TAG: ClassVar[int]
    REFERENCE: ClassVar[int]

    def kcv(self, key: bytes) -> bytes:
        """Return a key's check value."""

    def session_key(self, key: bytes, offer: Offer, terminal_number: bytes) -> bytes:
        """Derive the key of one transaction; `terminal_number` (4 bytes) counts in a purchase only."""

    def load_mac1(self, session: bytes, offer: Offer) -> bytes:
        """Compute the card's proof at INITIALIZE FOR LOAD."""

    def load_mac2(self, session: bytes, offer: Offer, moment: bytes) -> bytes:
        """Compute the host's order to credit; `moment` is date and time, 7 bytes BCD."""

    def purchase_mac1(self, session: bytes, offer: Offer, moment: bytes) -> bytes:
        """Compute the terminal's order to debit."""

    def purchase_mac2(self, session: bytes, offer: Offer) -> bytes:
        """Compute the card's proof that it was debited."""

    def tac(self, key: bytes, entry: LogEntry) -> bytes:
        """Compute the transaction authentication code over a log entry."""

    def record(self, entry: LogEntry) -> bytes:
        """Return the entry as READ RECORD gives it."""


class AesForm:
    """AES-128-CMAC, 4-byte counters, 8-byte tags, the host's transaction id in every load."""

    CODE: ClassVar[int] = 0x01
    COUNTER: ClassVar[int] = 4
    RANDOM: ClassVar[int] = 8
    TAG: ClassVar[int] = 8
    REFERENCE: ClassVar[int] = 8

    def kcv(self, key: bytes) -> bytes:
        """Return the AES key check value."""
        return kcv_aes(key)

    def session_key(self, key: bytes, offer: Offer, terminal_number: bytes) -> bytes:
        """CMAC over type, random, counter and the terminal's transaction number (zeros in a load)."""
        number = terminal_number if offer.kind == PURCHASE else bytes(4)
        return cmac(key, bytes((offer.kind,)) + offer.random + offer.counter.to_bytes(4, "big") + number)

    def load_mac1(self, session: bytes, offer: Offer) -> bytes:
        """Cover balance, amount, type, terminal and transaction id."""
        return self._tag(session, _FROM_OPENER + _u32(offer.balance) + _head(offer) + offer.reference)

    def load_mac2(self, session: bytes, offer: Offer, moment: bytes) -> bytes:
        """Cover amount, type, terminal, date, time and transaction id."""
        return self._tag(session, _FROM_CLOSER + _head(offer) + moment + offer.reference)

    def purchase_mac1(self, session: bytes, offer: Offer, moment: bytes) -> bytes:
        """Cover amount, type, terminal, date and time."""
        return self._tag(session, _FROM_OPENER + _head(offer) + moment)

    def purchase_mac2(self, session: bytes, offer: Offer) -> bytes:
        """Cover amount and the balance that is left."""
        return self._tag(session, _FROM_CLOSER + _u32(offer.amount) + _u32(offer.balance - offer.amount))

    def tac(self, key: bytes, entry: LogEntry) -> bytes:
        """Cover balance after, counter, amount, type, terminal, reference, date and time."""
        front = _u32(entry.balance) + _u32(entry.counter) + _u32(entry.amount) + bytes((entry.kind,))
        return self._tag(key, front + entry.terminal + entry.reference + entry.moment)

    def record(self, entry: LogEntry) -> bytes:
        """Return the whole entry, 50 bytes."""
        return entry.to_bytes()

    def _tag(self, key: bytes, data: bytes) -> bytes:
        return cmac(key, data)[: self.TAG]


class PbocForm:
    """PBOC: session keys by triple DES, single DES MACs of 4 bytes, 2-byte counters."""

    CODE: ClassVar[int] = 0x02
    COUNTER: ClassVar[int] = 2
    RANDOM: ClassVar[int] = 4
    TAG: ClassVar[int] = 4
    REFERENCE: ClassVar[int] = 0

    def kcv(self, key: bytes) -> bytes:
        """Return the triple DES key check value."""
        return kcv_des(key)

    def session_key(self, key: bytes, offer: Offer, terminal_number: bytes) -> bytes:
        """Encrypt random, counter and 8000 (load) or the end of the terminal's transaction number."""
        last = terminal_number[-2:] if offer.kind == PURCHASE else b"\x80\x00"
        return tdes_ecb_encrypt(key, offer.random + offer.counter.to_bytes(2, "big") + last)

    def load_mac1(self, session: bytes, offer: Offer) -> bytes:
        """Cover balance, amount, type and terminal."""
        return _des_mac(session, _u32(offer.balance) + _head(offer))

    def load_mac2(self, session: bytes, offer: Offer, moment: bytes) -> bytes:
        """Cover amount, type, terminal, date and time."""
        return _des_mac(session, _head(offer) + moment)

    def purchase_mac1(self, session: bytes, offer: Offer, moment: bytes) -> bytes:
        """Cover amount, type, terminal, date and time."""
        return _des_mac(session, _head(offer) + moment)

    def purchase_mac2(self, session: bytes, offer: Offer) -> bytes:
        """Cover the amount."""
        return _des_mac(session, _u32(offer.amount))

    def tac(self, key: bytes, entry: LogEntry) -> bytes:
        """MAC under the folded key, over 24 bytes (load) or 22 bytes (purchase)."""
        folded = bytes(left ^ right for left, right in zip(key[:8], key[8:], strict=True))
        head = _u32(entry.amount) + bytes((entry.kind,)) + entry.terminal
        if entry.kind == LOAD:
            return _des_mac(
                folded, _u32(entry.balance) + entry.counter.to_bytes(2, "big") + head + entry.moment
            )
        return _des_mac(folded, head + entry.reference[-4:] + entry.moment)

    def record(self, entry: LogEntry) -> bytes:
        """Return the 23 bytes of the transaction file 0018."""
        front = entry.counter.to_bytes(2, "big") + bytes(3) + _u32(entry.amount)
        return front + bytes((entry.kind,)) + entry.terminal + entry.moment


def form_of(code: int) -> PurseForm | None:
    """Return the form with this code (DGI 5001), or None."""
    forms: tuple[PurseForm, ...] = (AesForm(), PbocForm())
    return next((form for form in forms if code == form.CODE), None)


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "big")


def _head(offer: Offer) -> bytes:
    return _u32(offer.amount) + bytes((offer.kind,)) + offer.terminal


def _des_mac(key: bytes, data: bytes) -> bytes:
    return tdes_mac(single_des(key), pad80(data, 8))[:4]
