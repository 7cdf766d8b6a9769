"""The purse's commands as pure builders, and its answers as pure parsers.

Source: PBOC 2.0 part 1 §7; docs/reference/applets.md (transit purse).
"""

from typing import Final

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.tlv import parse_tlv, parse_tlvs, require
from opentsm.card.errors import ResponseFormatError, TlvError
from opentsm.card.purse.transactions import (
    LoadOffer,
    LoadRequest,
    LogRecord,
    PurchaseOffer,
    PurchaseRequest,
    PurseForm,
    PurseIdentity,
    TransactionType,
    check_length,
)

LOADS_FILE: Final = 0x19
PURCHASES_FILE: Final = 0x18
SW_RECORD_NOT_FOUND: Final = 0x6A83
SW_ALREADY_LOADED: Final = 0x6A89
SW_NO_PROOF: Final = 0x9406
SW_WRONG_MAC: Final = 0x9302

_KEY_INDEX: Final = b"\x01"


def parse_fci(data: bytes) -> PurseIdentity:
    """Read the answer to SELECT of a personalised purse.

    Raises:
        ResponseFormatError: this is not a purse, or not a personalised one.
    """
    try:
        template = parse_tlvs(require(parse_tlvs(parse_tlv(data).value), 0xA5))
        known = parse_tlvs(require(template, 0xBF0C))
        purse_id, parameters = require(known, 0xDF11), require(known, 0xDF12)
        label = require(template, 0x50).decode("ascii", "replace")
    except TlvError as error:
        raise ResponseFormatError(f"this is no personalised purse: {error}") from error
    if len(purse_id) != 8 or len(parameters) != 4:
        raise ResponseFormatError("purse id or parameters have a wrong length")
    return PurseIdentity(label, purse_id, PurseForm.of(parameters[0]), parameters[1], parameters[2:])


def get_balance() -> CommandApdu:
    """Build GET BALANCE; the answer is 4 bytes."""
    return CommandApdu(0x80, 0x5C, 0x00, 0x02, ne=4)


def initialize_for_load(form: PurseForm, request: LoadRequest) -> CommandApdu:
    """Build INITIALIZE FOR LOAD."""
    data = _KEY_INDEX + _u32(request.amount) + request.terminal
    if form is PurseForm.AES:
        data += request.transaction_id
    return CommandApdu(0x80, 0x50, 0x00, 0x02, data, ne=256)


def parse_load_offer(form: PurseForm, data: bytes) -> LoadOffer:
    """Read the answer to INITIALIZE FOR LOAD.

    Raises:
        ResponseFormatError: it has not 26 (AES) or 16 (PBOC) bytes.
    """
    fields = _split(data, 4, form.counter_length, 1, 1, form.random_length, form.tag_length)
    balance, counter, version, algorithm = (int.from_bytes(field, "big") for field in fields[:4])
    return LoadOffer(balance, counter, version, algorithm, fields[4], fields[5])


def credit_for_load(moment: bytes, mac2: bytes) -> CommandApdu:
    """Build CREDIT FOR LOAD; `moment` is date and time, 7 bytes BCD. The answer is the TAC."""
    check_length("date and time", moment, 7)
    return CommandApdu(0x80, 0x52, 0x00, 0x00, moment + mac2, ne=256)


def initialize_for_purchase(request: PurchaseRequest) -> CommandApdu:
    """Build INITIALIZE FOR PURCHASE."""
    data = _KEY_INDEX + _u32(request.amount) + request.terminal
    return CommandApdu(0x80, 0x50, 0x01, 0x02, data, ne=256)


def parse_purchase_offer(form: PurseForm, data: bytes) -> PurchaseOffer:
    """Read the answer to INITIALIZE FOR PURCHASE.

    Raises:
        ResponseFormatError: it has not 21 (AES) or 15 (PBOC) bytes.
    """
    fields = _split(data, 4, form.counter_length, 3, 1, 1, form.random_length)
    balance, counter, overdraft, version, algorithm = (int.from_bytes(field, "big") for field in fields[:5])
    return PurchaseOffer(balance, counter, overdraft, version, algorithm, fields[5])


def debit_for_purchase(request: PurchaseRequest, moment: bytes, mac1: bytes) -> CommandApdu:
    """Build DEBIT FOR PURCHASE; the answer is TAC and MAC2."""
    check_length("date and time", moment, 7)
    return CommandApdu(0x80, 0x54, 0x01, 0x00, request.number_bytes + moment + mac1, ne=256)


def read_log(type_: TransactionType, number: int) -> CommandApdu:
    """Build READ RECORD for the log of loads or purchases.

    Args:
        type_: which log.
        number: 1 is the newest record, up to 10; the purse answers 6A83 behind the last.
    """
    file = LOADS_FILE if type_ is TransactionType.LOAD else PURCHASES_FILE
    return CommandApdu(0x00, 0xB2, number, file << 3 | 4, ne=256)


def prove_load(transaction_id: bytes) -> CommandApdu:
    """Build GET TRANSACTION PROVE for a load by its id (AES form).

    The purse answers the log record, or 9406 when this load did not happen (or ten loads happened since).
    """
    check_length("transaction id", transaction_id, 8)
    return CommandApdu(0x80, 0x5A, 0x00, TransactionType.LOAD, transaction_id, ne=256)


def prove_transaction(form: PurseForm, type_: TransactionType, counter: int) -> CommandApdu:
    """Build GET TRANSACTION PROVE by counter; the answer is MAC2 and TAC, or 9406."""
    return CommandApdu(0x80, 0x5A, 0x00, type_, counter.to_bytes(form.counter_length, "big"), ne=256)


def parse_log_record(form: PurseForm, data: bytes) -> LogRecord:
    """Read one log record.

    Raises:
        ResponseFormatError: it has not 50 (AES) or 23 (PBOC) bytes, or an unknown type.
    """
    if form is PurseForm.PBOC:
        counter, _, amount, kind, terminal, moment = _split(data, 2, 3, 4, 1, 6, 7)
        return LogRecord(_type(kind), _int(counter), _int(amount), terminal, moment)
    counter, kind, amount, balance, terminal, moment, *tags = _split(data, 4, 1, 4, 4, 6, 7, 8, 8, 8)
    return LogRecord(_type(kind), _int(counter), _int(amount), terminal, moment, _int(balance), *tags)


def _split(data: bytes, *lengths: int) -> list[bytes]:
    if len(data) != sum(lengths):
        raise ResponseFormatError(f"the purse answered {len(data)} bytes, not {sum(lengths)}")
    fields, offset = [], 0
    for length in lengths:
        fields.append(data[offset : offset + length])
        offset += length
    return fields


def _type(kind: bytes) -> TransactionType:
    try:
        return TransactionType(kind[0])
    except ValueError as error:
        raise ResponseFormatError(f"transaction type {kind.hex()} is not known") from error


def _int(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "big")
