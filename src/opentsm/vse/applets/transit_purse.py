"""A stored-value purse: topped up by a host, debited by a gate, with a log that tells what happened.

Balance, counter and log of a transaction change in the same APDU, so they are saved together or not at all.
Source: PBOC 2.0 part 1 §7 (commands, order, status words); docs/reference/applets.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hmac import compare_digest
from typing import ClassVar, Final

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.codec.tlv import encode_tlv
from opentsm.vse.applets import purse_log
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
from opentsm.vse.applets.purse_forms import LOAD, PURCHASE, Offer, PurseForm, form_of
from opentsm.vse.applets.purse_log import LogEntry
from opentsm.vse.status import (
    SW_CONDITIONS,
    SW_FILE_NOT_FOUND,
    SW_WRONG_DATA,
    SW_WRONG_P1P2,
    StatusError,
)

DGI_PARAMETERS: Final = 0x5001
DGI_PURSE_ID: Final = 0x5002
DGI_LABEL: Final = 0x5003
DGI_LIMIT: Final = 0x5004
DGI_LOAD_KEY: Final = 0x8001
DGI_PURCHASE_KEY: Final = 0x8002
DGI_TAC_KEY: Final = 0x8003
_KEYS: Final = (DGI_LOAD_KEY, DGI_PURCHASE_KEY, DGI_TAC_KEY)

SW_RECORD_NOT_FOUND: Final = 0x6A83
SW_ALREADY_LOADED: Final = 0x6A89
SW_WRONG_MAC: Final = 0x9302
SW_INSUFFICIENT: Final = 0x9401
SW_COUNTER_END: Final = 0x9402
SW_UNKNOWN_KEY: Final = 0x9403
SW_NO_PROOF: Final = 0x9406

KEY_INDEX: Final = 0x01
ELECTRONIC_PURSE: Final = 0x02
LOGS: Final = {0x18: "purchases", 0x19: "loads"}  # by short file identifier
_LOG_OF: Final = {LOAD: "loads", PURCHASE: "purchases"}


@dataclass(frozen=True, slots=True)
class _Balance:
    """The purse proper: one stored value."""

    amount: int = 0
    loads: int = 0
    purchases: int = 0

    def to_bytes(self) -> bytes:
        return b"".join(number.to_bytes(4, "big") for number in (self.amount, self.loads, self.purchases))

    @classmethod
    def from_bytes(cls, data: bytes) -> "_Balance":
        numbers = [int.from_bytes(data[place : place + 4], "big") for place in (0, 4, 8)]
        return cls(*numbers)


class TransitPurse(PersonalizedApplet):
    """One purse: idle, or between INITIALIZE and its CREDIT or DEBIT; any other command goes back to idle."""

    MODULE_AID: ClassVar[Aid] = Aid.from_hex("F04F54534D0201")
    RULES: ClassVar[tuple[DgiRule, ...]] = (
        DgiRule(DGI_PARAMETERS, (4,)),
        DgiRule(DGI_PURSE_ID, (8,)),
        DgiRule(DGI_LABEL, range(1, 17), required=False, updatable=True),
        DgiRule(DGI_LIMIT, (4,), updatable=True),
        *(DgiRule(key, (16,), encrypted=True) for key in _KEYS),
        DgiRule(DGI_KCVS, (9,), required=False),
        VERSION_RULE,
    )

    _offer: Offer | None = None

    def select(self) -> bytes:
        """Return the FCI: label, purse id (DF11) and parameters (DF12)."""
        self._offer = None
        return super().select()

    def deselect(self) -> None:
        """Drop an unfinished transaction."""
        self._offer = None

    def fci_data(self) -> bytes:
        """Return nothing before personalisation."""
        if not self.personalized:
            return b""
        known = encode_tlv(0xDF11, self.require(DGI_PURSE_ID)) + encode_tlv(
            0xDF12, self.require(DGI_PARAMETERS)
        )
        return encode_tlv(0x50, self.value(DGI_LABEL) or b"PURSE") + encode_tlv(0xBF0C, known)

    def check(self, values: Mapping[int, bytes]) -> None:
        """Refuse an unknown form or wrong key check values."""
        form = form_of(values[DGI_PARAMETERS][0])
        if form is None:
            raise StatusError(SW_WRONG_DATA)
        check_kcvs(values, _KEYS, form.kcv)

    def completed(self, changed: Mapping[int, bytes], *, first: bool) -> None:
        """Start with an empty purse; an update changes neither balance nor counters."""
        if first:
            self.store["balance"] = _Balance().to_bytes()
            for log in LOGS.values():
                self.store[log] = purse_log.empty()

    def commands(self) -> Mapping[tuple[int, int], Handler]:
        """The commands of the purse."""
        return {
            (0x80, 0x50): self._initialize,
            (0x80, 0x52): self._credit,
            (0x80, 0x54): self._debit,
            (0x80, 0x5A): self._prove,
            (0x80, 0x5C): self._get_balance,
            (0x00, 0xB2): self._read_record,
        }

    def process(self, command: CommandApdu) -> ResponseApdu:
        """Answer one command; only CREDIT and DEBIT see the transaction that INITIALIZE opened."""
        if command.ins not in (0x52, 0x54):
            self._offer = None
        return super().process(command)

    @property
    def form(self) -> PurseForm:
        """The form given at personalisation; 6985 before."""
        form = form_of(self.require(DGI_PARAMETERS)[0])
        if form is None:
            raise StatusError(SW_CONDITIONS)
        return form

    @property
    def _balance(self) -> _Balance:
        if "balance" not in self.store:
            raise StatusError(SW_CONDITIONS)
        return _Balance.from_bytes(self.store["balance"])

    def _initialize(self, command: CommandApdu) -> bytes:
        if command.p1 not in (0, 1) or command.p2 != ELECTRONIC_PURSE:
            raise StatusError(SW_WRONG_P1P2)
        return self._initialize_for_purchase(command) if command.p1 else self._initialize_for_load(command)

    def _initialize_for_load(self, command: CommandApdu) -> bytes:
        form, balance = self.form, self._balance
        require_length(command, 11 + form.REFERENCE)
        offer = self._new_offer(command, LOAD, balance.loads)
        if not offer.amount or balance.amount + offer.amount > int.from_bytes(self.require(DGI_LIMIT), "big"):
            raise StatusError(SW_WRONG_DATA)
        if offer.reference and any(entry.reference == offer.reference for entry in self._log("loads")):
            raise StatusError(SW_ALREADY_LOADED)
        self._offer = offer
        mac1 = form.load_mac1(form.session_key(self.require(DGI_LOAD_KEY), offer, bytes(4)), offer)
        return self._opening(offer) + self._key_information() + offer.random + mac1

    def _initialize_for_purchase(self, command: CommandApdu) -> bytes:
        balance = self._balance
        require_length(command, 11)
        offer = self._new_offer(command, PURCHASE, balance.purchases)
        if not offer.amount:
            raise StatusError(SW_WRONG_DATA)
        if offer.amount > balance.amount:
            raise StatusError(SW_INSUFFICIENT)
        self._offer = offer
        no_overdraft = bytes(3)
        return self._opening(offer) + no_overdraft + self._key_information() + offer.random

    def _new_offer(self, command: CommandApdu, kind: int, counter: int) -> Offer:
        form, data = self.form, command.data
        if data[0] != KEY_INDEX:
            raise StatusError(SW_UNKNOWN_KEY)
        if counter == 256**form.COUNTER - 1:
            raise StatusError(SW_COUNTER_END)
        return Offer(
            kind=kind,
            balance=self._balance.amount,
            counter=counter,
            amount=int.from_bytes(data[1:5], "big"),
            terminal=data[5:11],
            random=self.services.random(form.RANDOM),
            reference=data[11:],
        )

    def _opening(self, offer: Offer) -> bytes:
        return offer.balance.to_bytes(4, "big") + offer.counter.to_bytes(self.form.COUNTER, "big")

    def _key_information(self) -> bytes:
        """Key version and algorithm; the algorithm is 00 for PBOC (triple DES), 01 for AES."""
        return bytes((self.require(DGI_PARAMETERS)[1], 0x01 if self.form.CODE == 0x01 else 0x00))

    def _credit(self, command: CommandApdu) -> bytes:
        offer = self._take_offer(LOAD)
        require_p1p2(command, 0, 0)
        form = self.form
        require_length(command, 7 + form.TAG)
        moment, mac2 = command.data[:7], command.data[7:]
        session = form.session_key(self.require(DGI_LOAD_KEY), offer, bytes(4))
        if not compare_digest(mac2, form.load_mac2(session, offer, moment)):
            raise StatusError(SW_WRONG_MAC)
        return self._finish(_entry(offer, moment, offer.reference, mac2)).tac

    def _debit(self, command: CommandApdu) -> bytes:
        offer = self._take_offer(PURCHASE)
        require_p1p2(command, 1, 0)
        form = self.form
        require_length(command, 11 + form.TAG)
        number, moment, mac1 = command.data[:4], command.data[4:11], command.data[11:]
        session = form.session_key(self.require(DGI_PURCHASE_KEY), offer, number)
        if not compare_digest(mac1, form.purchase_mac1(session, offer, moment)):
            raise StatusError(SW_WRONG_MAC)
        mac2 = form.purchase_mac2(session, offer)
        return self._finish(_entry(offer, moment, number, mac2)).tac + mac2

    def _take_offer(self, kind: int) -> Offer:
        """Return the open transaction and close it: whatever comes now, it is used up."""
        offer, self._offer = self._offer, None
        if offer is None or offer.kind != kind:
            raise StatusError(SW_CONDITIONS)
        return offer

    def _finish(self, entry: LogEntry) -> LogEntry:
        """Write balance, counter and log; the card saves them together at the end of this APDU."""
        proven = replace(entry, tac=self.form.tac(self.require(DGI_TAC_KEY), entry))
        before = self._balance
        if entry.kind == LOAD:
            after = replace(before, amount=entry.balance, loads=entry.counter + 1)
        else:
            after = replace(before, amount=entry.balance, purchases=entry.counter + 1)
        log = _LOG_OF[entry.kind]
        self.store["balance"] = after.to_bytes()
        self.store[log] = purse_log.add(self.store[log], proven)
        return proven

    def _get_balance(self, command: CommandApdu) -> bytes:
        require_p1p2(command, 0, ELECTRONIC_PURSE)
        require_length(command, 0)
        return self._balance.amount.to_bytes(4, "big")

    def _prove(self, command: CommandApdu) -> bytes:
        """Give MAC2 and TAC of the transaction with this counter, or the record of the load with this id."""
        form = self.form
        if command.p1 or command.p2 not in _LOG_OF:
            raise StatusError(SW_WRONG_P1P2)
        by_reference = bool(form.REFERENCE) and command.p2 == LOAD and len(command.data) == form.REFERENCE
        if not by_reference:
            require_length(command, form.COUNTER)
        wanted = command.data
        for entry in self._log(_LOG_OF[command.p2]):
            if by_reference and entry.reference == wanted:
                return form.record(entry)
            if not by_reference and entry.counter == int.from_bytes(wanted, "big"):
                return entry.mac[: form.TAG] + entry.tac[: form.TAG]
        raise StatusError(SW_NO_PROOF)

    def _read_record(self, command: CommandApdu) -> bytes:
        form = self.form
        if command.p2 & 7 != 4 or not command.p1:
            raise StatusError(SW_WRONG_P1P2)
        log = LOGS.get(command.p2 >> 3)
        if log is None:
            raise StatusError(SW_FILE_NOT_FOUND)
        entries = self._log(log)
        if command.p1 > len(entries):
            raise StatusError(SW_RECORD_NOT_FOUND)
        return form.record(entries[command.p1 - 1])

    def _log(self, name: str) -> tuple[LogEntry, ...]:
        return purse_log.entries(self.store.get(name, b""))


def _entry(offer: Offer, moment: bytes, reference: bytes, mac: bytes) -> LogEntry:
    change = offer.amount if offer.kind == LOAD else -offer.amount
    return LogEntry(
        counter=offer.counter,
        kind=offer.kind,
        amount=offer.amount,
        balance=offer.balance + change,
        terminal=offer.terminal,
        moment=moment,
        reference=reference.rjust(8, b"\x00"),
        mac=mac,
    )
