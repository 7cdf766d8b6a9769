"""Session keys, MACs and TACs of the purse, as its host computes them, for both forms.

Source: docs/reference/applets.md (AES form); PBOC 2.0 part 1 §7 (PBOC form).
"""

from hmac import compare_digest

from opentsm.card.crypto.cipher import tdes_ecb_encrypt
from opentsm.card.crypto.mac import cmac, tdes_mac
from opentsm.card.crypto.padding import pad80
from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import ResponseFormatError
from opentsm.card.purse.transactions import (
    LoadOffer,
    LoadRequest,
    LogRecord,
    PurchaseOffer,
    PurchaseRequest,
    PurseForm,
    PurseMacError,
    TransactionType,
    check_length,
)


def load_session_key(form: PurseForm, key: Secret, offer: LoadOffer) -> Secret:
    """Derive the session key of one load.

    Args:
        form: the purse's form.
        key: the purse's load key, 16 bytes.
        offer: its answer to INITIALIZE FOR LOAD.

    Returns:
        16 bytes (AES) or 8 bytes (PBOC).
    """
    if form is PurseForm.PBOC:
        return Secret(tdes_ecb_encrypt(key.reveal(), offer.random + _u16(offer.counter) + b"\x80\x00"))
    return _aes_session_key(key, TransactionType.LOAD, offer.random, offer.counter, bytes(4))


def load_mac1(form: PurseForm, session: Secret, request: LoadRequest, offer: LoadOffer) -> bytes:
    """Compute what the purse must have answered as MAC1."""
    return _mac(
        form, session, b"\x01", _u32(offer.balance) + _load_head(request), _transaction(form, request)
    )


def load_mac2(form: PurseForm, session: Secret, request: LoadRequest, moment: bytes) -> bytes:
    """Compute the order to credit; `moment` is date and time, 7 bytes BCD."""
    check_length("date and time", moment, 7)
    return _mac(form, session, b"\x02", _load_head(request) + moment, _transaction(form, request))


def authorize_load(
    form: PurseForm, key: Secret, request: LoadRequest, offer: LoadOffer, moment: bytes
) -> bytes:
    """Check the purse's MAC1, then return MAC2 for CREDIT FOR LOAD.

    Raises:
        PurseMacError: the purse does not hold the load key; nothing may be credited.
    """
    session = load_session_key(form, key, offer)
    if not compare_digest(offer.mac1, load_mac1(form, session, request, offer)):
        raise PurseMacError
    return load_mac2(form, session, request, moment)


def load_tac(form: PurseForm, key: Secret, request: LoadRequest, offer: LoadOffer, moment: bytes) -> bytes:
    """Compute the TAC that CREDIT FOR LOAD must have answered; `key` is the purse's TAC key, 16 bytes."""
    record = LogRecord(
        type=TransactionType.LOAD,
        counter=offer.counter,
        amount=request.amount,
        terminal=request.terminal,
        moment=moment,
        balance=offer.balance + request.amount,
        reference=request.transaction_id,
    )
    return record_tac(form, key, record)


def verify_load_tac(
    tac: bytes, *, form: PurseForm, key: Secret, request: LoadRequest, offer: LoadOffer, moment: bytes
) -> None:
    """Check the answer to CREDIT FOR LOAD, arguments as for `load_tac`.

    Raises:
        PurseMacError: the TAC is wrong.
    """
    if not compare_digest(tac, load_tac(form, key, request, offer, moment)):
        raise PurseMacError


def purchase_session_key(
    form: PurseForm, key: Secret, request: PurchaseRequest, offer: PurchaseOffer
) -> Secret:
    """Derive the session key of one purchase; `key` is the purse's purchase key, 16 bytes."""
    number = request.number_bytes
    if form is PurseForm.PBOC:
        return Secret(tdes_ecb_encrypt(key.reveal(), offer.random + _u16(offer.counter) + number[2:]))
    return _aes_session_key(key, TransactionType.PURCHASE, offer.random, offer.counter, number)


def purchase_mac1(form: PurseForm, session: Secret, request: PurchaseRequest, moment: bytes) -> bytes:
    """Compute the order to debit; `moment` is date and time, 7 bytes BCD."""
    check_length("date and time", moment, 7)
    return _mac(form, session, b"\x01", _purchase_head(request) + moment)


def purchase_mac2(form: PurseForm, session: Secret, request: PurchaseRequest, offer: PurchaseOffer) -> bytes:
    """Compute what the purse must answer as MAC2."""
    if form is PurseForm.PBOC:
        return _mac(form, session, b"", _u32(request.amount))
    return _mac(form, session, b"\x02", _u32(request.amount) + _u32(offer.balance - request.amount))


def purchase_tac(
    form: PurseForm, key: Secret, request: PurchaseRequest, offer: PurchaseOffer, moment: bytes
) -> bytes:
    """Compute the TAC that DEBIT FOR PURCHASE must answer; `key` is the purse's TAC key, 16 bytes."""
    record = LogRecord(
        type=TransactionType.PURCHASE,
        counter=offer.counter,
        amount=request.amount,
        terminal=request.terminal,
        moment=moment,
        balance=offer.balance - request.amount,
        reference=bytes(4) + request.number_bytes,
    )
    return record_tac(form, key, record)


def record_tac(form: PurseForm, key: Secret, record: LogRecord) -> bytes:
    """Compute the TAC of a finished transaction.

    Args:
        form: the purse's form.
        key: its TAC key, 16 bytes.
        record: with balance and reference, which the PBOC form does not log.

    Raises:
        ResponseFormatError: balance or reference are missing.
    """
    if record.balance is None or record.reference is None:
        raise ResponseFormatError("balance and reference of the transaction are needed for its TAC")
    head = _u32(record.amount) + bytes((record.type,)) + record.terminal
    if form is PurseForm.AES:
        data = _u32(record.balance) + _u32(record.counter) + head + record.reference + record.moment
        return cmac(key.reveal(), data)[: form.tag_length]
    if record.type is TransactionType.LOAD:
        return _des_mac(_folded(key), _u32(record.balance) + _u16(record.counter) + head + record.moment)
    return _des_mac(_folded(key), head + record.reference[4:] + record.moment)


def verify_record(key: Secret, record: LogRecord) -> None:
    """Check that a log record of the AES form is the purse's own; `key` is its TAC key.

    Raises:
        PurseMacError: the TAC is wrong or missing.
        ResponseFormatError: this is a record of the PBOC form.
    """
    if not compare_digest(record.tac or b"", record_tac(PurseForm.AES, key, record)):
        raise PurseMacError


def _aes_session_key(
    key: Secret, type_: TransactionType, random: bytes, counter: int, number: bytes
) -> Secret:
    return Secret(cmac(key.reveal(), bytes((type_,)) + random + _u32(counter) + number))


def _mac(form: PurseForm, session: Secret, step: bytes, data: bytes, end: bytes = b"") -> bytes:
    """MAC of one step; the AES form puts the step in front, which PBOC does not know."""
    if form is PurseForm.PBOC:
        return _des_mac(session, data + end)
    return cmac(session.reveal(), step + data + end)[: form.tag_length]


def _des_mac(key: Secret, data: bytes) -> bytes:
    single = key.reveal()
    return tdes_mac(single + single, pad80(data, 8))[:4]


def _folded(key: Secret) -> Secret:
    """Left half XOR right half of the TAC key (PBOC)."""
    halves = zip(key.reveal()[:8], key.reveal()[8:], strict=True)
    return Secret(bytes(left ^ right for left, right in halves))


def _load_head(request: LoadRequest) -> bytes:
    return _u32(request.amount) + bytes((TransactionType.LOAD,)) + request.terminal


def _purchase_head(request: PurchaseRequest) -> bytes:
    return _u32(request.amount) + bytes((TransactionType.PURCHASE,)) + request.terminal


def _transaction(form: PurseForm, request: LoadRequest) -> bytes:
    return request.transaction_id if form is PurseForm.AES else b""


def _u16(number: int) -> bytes:
    return number.to_bytes(2, "big")


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "big")
