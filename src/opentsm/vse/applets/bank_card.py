"""A contactless bank card: one dynamic cryptogram a tap, over amount, terminal data and transaction counter.

Cryptogram version 18: EMV common session key derivation, retail MAC over the terminal's values, AIP, ATC and
issuer application data. Source: EMV Book 2 §8.1, A1.2.1, A1.3.1; EMV Book 3 §6.5.
"""

from collections.abc import Mapping
from typing import ClassVar, Final

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.tlv import Tlv, encode_tlv, find, parse_tlv, parse_tlvs, require
from opentsm.card.crypto.cipher import tdes_ecb_encrypt
from opentsm.card.crypto.kcv import kcv_des
from opentsm.card.crypto.mac import retail_mac
from opentsm.card.crypto.padding import pad80
from opentsm.card.errors import CardError
from opentsm.vse.applets.dol import parse_dol, split_values
from opentsm.vse.applets.personalized import (
    DGI_KCVS,
    VERSION_RULE,
    DgiRule,
    Handler,
    PersonalizedApplet,
    check_kcvs,
    require_p1p2,
)
from opentsm.vse.status import (
    SW_CONDITIONS,
    SW_FILE_NOT_FOUND,
    SW_WRONG_DATA,
    SW_WRONG_P1P2,
    StatusError,
)

DGI_FCI: Final = 0x9103
DGI_GPO: Final = 0xB104
DGI_IAD: Final = 0x9200
DGI_DIRECTORY: Final = 0x0061
DGI_AC_KEY: Final = 0x8000

SW_RECORD_NOT_FOUND: Final = 0x6A83

# The terminal's part of the cryptogram input, in order, with lengths in bytes (EMV Book 2 Table 26).
CRYPTOGRAM_INPUT: Final = {
    0x9F02: 6,
    0x9F03: 6,
    0x9F1A: 2,
    0x95: 5,
    0x5F2A: 2,
    0x9A: 3,
    0x9C: 1,
    0x9F37: 4,
}
_DYNAMIC_TAGS: Final = frozenset({0x9F36, 0x9F10, 0x9F26, 0x9F27})
_ARQC: Final = b"\x80"
_ATC_END: Final = 0xFFFF


class BankCard(PersonalizedApplet):
    """One payment application."""

    MODULE_AID: ClassVar[Aid] = Aid.from_hex("F04F54534D0101")
    RULES: ClassVar[tuple[DgiRule, ...]] = (
        DgiRule(DGI_FCI, range(4, 240), updatable=True),
        DgiRule(DGI_GPO, range(10, 200), updatable=True),
        DgiRule(DGI_IAD, range(7, 33), updatable=True),
        DgiRule(DGI_AC_KEY, (16,), encrypted=True),
        DgiRule(DGI_KCVS, (3,), required=False),
        DgiRule(DGI_DIRECTORY, range(33), required=False, updatable=True),
        VERSION_RULE,
    )

    _in_transaction = False

    def select(self) -> bytes:
        """Return the FCI; the next transaction may begin."""
        self._in_transaction = False
        return super().select()

    def fci_data(self) -> bytes:
        """Return the personalised label, priority and PDOL; nothing before."""
        fci = self.value(DGI_FCI)
        return b"" if fci is None else parse_tlv(fci).value

    def deselect(self) -> None:
        """End the transaction."""
        self._in_transaction = False

    def commands(self) -> Mapping[tuple[int, int], Handler]:
        """GET PROCESSING OPTIONS and READ RECORD."""
        return {(0x80, 0xA8): self._get_processing_options, (0x00, 0xB2): self._read_record}

    def data_object(self, tag: int) -> bytes | None:
        """Also give the transaction counter (9F36) once the card is personalised."""
        return self.store.get("atc") if tag == 0x9F36 else super().data_object(tag)

    def ppse_entry(self) -> bytes | None:
        """Return AID, label, priority and what DGI 0061 adds; None before personalisation."""
        if not self.personalized:
            return None
        aid = Tlv(0x4F, bytes(self.services.instance_aid))
        shown = [tlv for tlv in parse_tlvs(self.fci_data()) if tlv.tag in (0x50, 0x87)]
        added = parse_tlvs(self.value(DGI_DIRECTORY) or b"")
        return b"".join(tlv.to_bytes() for tlv in (aid, *shown, *added))

    def rule_for(self, dgi: int) -> DgiRule | None:
        """Take a record (SFI 01-1E, number 01-FF) as well."""
        sfi, record = dgi >> 8, dgi & 0xFF
        if 1 <= sfi <= 30 and record:
            return DgiRule(dgi, range(1, 255), required=False, updatable=True)
        return super().rule_for(dgi)

    def check(self, values: Mapping[int, bytes]) -> None:
        """Check that FCI, options and records fit together, and the key check value."""
        try:
            _check_pdol(values[DGI_FCI])
            _check_options(values)
            _check_records(values)
            parse_tlvs(values.get(DGI_DIRECTORY, b""))
        except CardError as error:
            raise StatusError(SW_WRONG_DATA) from error
        check_kcvs(values, (DGI_AC_KEY,), kcv_des)

    def completed(self, changed: Mapping[int, bytes], *, first: bool) -> None:
        """Start the transaction counter once; an update never sets it back."""
        if first:
            self.store["atc"] = bytes(2)

    def _get_processing_options(self, command: CommandApdu) -> bytes:
        if not self.personalized or self._in_transaction:
            raise StatusError(SW_CONDITIONS)
        require_p1p2(command, 0, 0)
        terminal = self._terminal_values(command.data)
        self._in_transaction = True
        return self._options(terminal, self._next_atc())

    def _terminal_values(self, data: bytes) -> dict[int, bytes]:
        try:
            command_template = parse_tlv(data)
            if command_template.tag != 0x83:
                raise StatusError(SW_WRONG_DATA)
            return split_values(require(parse_tlvs(self.fci_data()), 0x9F38), command_template.value)
        except CardError as error:
            raise StatusError(SW_WRONG_DATA) from error

    def _next_atc(self) -> bytes:
        """Count the transaction, durably, before anything is computed with the counter."""
        used = int.from_bytes(self.store["atc"], "big")
        if used == _ATC_END:
            raise StatusError(SW_CONDITIONS)
        atc = (used + 1).to_bytes(2, "big")
        self.store["atc"] = atc
        self.services.commit()
        return atc

    def _options(self, terminal: Mapping[int, bytes], atc: bytes) -> bytes:
        static = parse_tlvs(self.require(DGI_GPO))
        iad = self.require(DGI_IAD)
        values = b"".join(terminal[tag] for tag in CRYPTOGRAM_INPUT)
        session_key = _session_key(self.require(DGI_AC_KEY), atc)
        cryptogram = retail_mac(session_key, pad80(values + require(static, 0x82) + atc + iad, 8))
        dynamic = (Tlv(0x9F36, atc), Tlv(0x9F10, iad), Tlv(0x9F26, cryptogram), Tlv(0x9F27, _ARQC))
        return encode_tlv(0x77, b"".join(tlv.to_bytes() for tlv in (*static, *dynamic)))

    def _read_record(self, command: CommandApdu) -> bytes:
        if not self.personalized:
            raise StatusError(SW_CONDITIONS)
        sfi, mode = command.p2 >> 3, command.p2 & 7
        if mode != 4 or not command.p1 or not 1 <= sfi <= 30:
            raise StatusError(SW_WRONG_P1P2)
        record = self.value(sfi << 8 | command.p1)
        if record is not None:
            return record
        known = any(name.startswith(f"dgi/{sfi:02X}") for name in self.store)
        raise StatusError(SW_RECORD_NOT_FOUND if known else SW_FILE_NOT_FOUND)


def _check_pdol(fci: bytes) -> None:
    """Refuse an FCI without label or whose PDOL does not ask for all that the cryptogram covers."""
    template = parse_tlv(fci)
    if template.tag != 0xA5:
        raise StatusError(SW_WRONG_DATA)
    tlvs = parse_tlvs(template.value)
    require(tlvs, 0x50)
    if len(find(tlvs, 0x87) or b"\x01") != 1:
        raise StatusError(SW_WRONG_DATA)
    asked = dict(parse_dol(require(tlvs, 0x9F38)))
    if any(asked.get(tag) != length for tag, length in CRYPTOGRAM_INPUT.items()):
        raise StatusError(SW_WRONG_DATA)


def _check_options(values: Mapping[int, bytes]) -> None:
    options = parse_tlvs(values[DGI_GPO])
    afl = require(options, 0x94)
    if len(require(options, 0x82)) != 2 or not afl or len(afl) % 4:
        raise StatusError(SW_WRONG_DATA)
    if any(tlv.tag in _DYNAMIC_TAGS for tlv in options):
        raise StatusError(SW_WRONG_DATA)
    entries = [afl[place : place + 4] for place in range(0, len(afl), 4)]
    needed = [entry[0] >> 3 << 8 | record for entry in entries for record in range(entry[1], entry[2] + 1)]
    if not needed or any(dgi not in values for dgi in needed):
        raise StatusError(SW_WRONG_DATA)


def _check_records(values: Mapping[int, bytes]) -> None:
    """Refuse a record of an EMV file (SFI 1 to 10) that is not one template 70. Source: EMV Book 3 §7.1."""
    for dgi, value in values.items():
        if 1 <= dgi >> 8 <= 10 and parse_tlv(value).tag != 0x70:
            raise StatusError(SW_WRONG_DATA)


def _session_key(icc_key: bytes, atc: bytes) -> bytes:
    """Derive the common session key: the counter, then F0 or 0F, encrypted. Source: EMV Book 2 A1.3.1."""
    left, right = atc + b"\xf0" + bytes(5), atc + b"\x0f" + bytes(5)
    return tdes_ecb_encrypt(icc_key, left + right)
