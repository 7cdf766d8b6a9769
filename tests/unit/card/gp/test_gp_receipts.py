"""Receipts as the host checks them (GPCS 2.3.1 §11.1.6, §C.5)."""

import pytest

from opentsm.card.codec.aid import Aid
from opentsm.card.crypto.secret import Secret
from opentsm.card.crypto.signature import AesMacKey, Curve, EcSigningKey, Signer, Verifier
from opentsm.card.errors import ReceiptError, ResponseFormatError, SignatureError
from opentsm.card.gp import receipts
from opentsm.card.gp.receipts import ExpectedReceipt, verify_receipt

ELF = Aid.from_hex("F001020304")
APP = Aid.from_hex("F00102030401")
OLD, NEW = Aid.from_hex("A000000151000000"), Aid.from_hex("A0000001510000AA01")
UNIQUE = bytes.fromhex("F04F54530000000000000007")
KEY = AesMacKey(Secret(bytes(range(16))))
CONTEXT = bytes.fromhex("05F00102030406F00102030401")


def answer(signer: Signer = KEY, *, counter: str = "0005", tail: str = "", context: bytes = CONTEXT) -> bytes:
    """A confirmation, put together from Tables 11-13 and 11-14."""
    data = bytes.fromhex("02" + counter + "0C") + UNIQUE + bytes.fromhex(tail)
    receipt = signer.sign(data + context)
    length = bytes([len(receipt)]) if len(receipt) < 128 else b"\x81" + bytes([len(receipt)])
    inside = length + receipt + data
    return (bytes([len(inside)]) if len(inside) < 128 else b"\x81" + bytes([len(inside)])) + inside


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        (receipts.load_context(ELF, NEW), "05F00102030409A0000001510000AA01"),
        (receipts.install_context(ELF, APP), "05F00102030406F00102030401"),
        (
            receipts.extradition_context(OLD, APP, NEW),
            "08A00000015100000006F0010203040109A0000001510000AA01",
        ),
        (receipts.registry_update_context(APP, privileges=b"\x00\x01\x00"), "0006F00102030401000300010000"),
        (
            receipts.registry_update_context(APP, old_sd=OLD, new_sd=NEW, parameters=b"\xb6\x00"),
            "08A00000015100000006F0010203040109A0000001510000AA010002B600",
        ),
        (receipts.registry_update_context(None, parameters=b"\xef\x00"), "0000000002EF00"),
        (receipts.delete_context(APP), "06F00102030401"),
        (receipts.combined_context(ELF, APP, NEW), "05F00102030406F0010203040109A0000001510000AA01"),
    ],
)
def test_context_when_built_then_as_tables_c_11_to_c_16(built: bytes, expected: str) -> None:
    assert built.hex().upper() == expected


def test_verify_receipt_when_all_fits_then_its_confirmation() -> None:
    expected = ExpectedReceipt(CONTEXT, UNIQUE, b"\x07", counter_after=4)
    confirmation = verify_receipt(answer(tail="0107"), expected, KEY)
    assert (confirmation.counter, confirmation.token_id) == (5, b"\x07")
    assert confirmation.sd_unique_data == UNIQUE


@pytest.mark.parametrize("curve", [Curve.P_256, Curve.P_521])
def test_verify_receipt_when_signed_with_a_curve_then_its_confirmation(curve: Curve) -> None:
    key = EcSigningKey(curve, Secret(b"\x09" * 30))
    verifier: Verifier = key.verification_key
    assert verify_receipt(answer(key), ExpectedReceipt(CONTEXT), verifier).counter == 5


@pytest.mark.parametrize(
    "expected",
    [
        ExpectedReceipt(CONTEXT, UNIQUE[:-1] + b"\x08"),
        ExpectedReceipt(CONTEXT, token_number=b"\x07"),
        ExpectedReceipt(CONTEXT, counter_after=5),
        ExpectedReceipt(CONTEXT, counter_after=6),
    ],
)
def test_verify_receipt_when_about_something_else_then_refused(expected: ExpectedReceipt) -> None:
    with pytest.raises(ReceiptError):
        verify_receipt(answer(), expected, KEY)


def test_verify_receipt_when_it_names_a_token_that_was_not_sent_then_refused() -> None:
    with pytest.raises(ReceiptError):
        verify_receipt(answer(tail="0107"), ExpectedReceipt(CONTEXT), KEY)


def test_verify_receipt_when_of_another_operation_or_changed_then_no_signature() -> None:
    with pytest.raises(SignatureError):
        verify_receipt(answer(context=CONTEXT + b"\x00"), ExpectedReceipt(CONTEXT), KEY)
    whole = answer()
    for at in range(2, len(whole)):
        changed = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        with pytest.raises((SignatureError, ResponseFormatError)):
            verify_receipt(changed, ExpectedReceipt(CONTEXT), KEY)


@pytest.mark.parametrize("data", [b"", b"\x00"])
def test_verify_receipt_when_there_is_none_then_refused(data: bytes) -> None:
    with pytest.raises(ReceiptError, match="no receipt"):
        verify_receipt(data, ExpectedReceipt(CONTEXT), KEY)
