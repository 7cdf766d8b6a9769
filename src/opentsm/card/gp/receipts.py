"""Receipts: what the card signed after a delegated operation, and the check of it.

Specification: GlobalPlatform Card Specification 2.3.1, §11.1.6 and §C.5.
"""

from __future__ import annotations

from dataclasses import dataclass

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.lv import ber_lv, lv
from opentsm.card.crypto.signature import Verifier
from opentsm.card.errors import ReceiptError
from opentsm.card.gp.confirmations import Confirmation, parse_confirmation


def load_context(elf: Aid, sd: Aid) -> bytes:
    """Return what a load receipt signs behind the confirmation data: load file and its domain (§C.5.1)."""
    return lv(bytes(elf)) + lv(bytes(sd))


def install_context(elf: Aid, instance: Aid) -> bytes:
    """Return the same of an install or make selectable receipt (§C.5.2)."""
    return lv(bytes(elf)) + lv(bytes(instance))


def extradition_context(old_sd: Aid, entry: Aid, new_sd: Aid) -> bytes:
    """Return the same of an extradition receipt (§C.5.3)."""
    return lv(bytes(old_sd)) + lv(bytes(entry)) + lv(bytes(new_sd))


def registry_update_context(
    application: Aid | None,
    *,
    old_sd: Aid | None = None,
    new_sd: Aid | None = None,
    privileges: bytes = b"",
    parameters: bytes = b"",
) -> bytes:
    """Return the same of a registry update receipt (§C.5.4).

    Args:
        application: None when the card itself was restricted.
        old_sd: the domain before, only when the update extradites.
        new_sd: the domain after, only when the update extradites.
        privileges: 0, 1 or 3 bytes as they were sent.
        parameters: the registry update parameters as they were sent.
    """
    names = (lv(bytes(aid or b"")) for aid in (old_sd, application, new_sd))
    return b"".join(names) + lv(privileges) + ber_lv(parameters)


def delete_context(aid: Aid) -> bytes:
    """Return the same of a delete receipt; with related objects only the load file counts (§C.5.5)."""
    return lv(bytes(aid))


def combined_context(elf: Aid, instance: Aid, sd: Aid) -> bytes:
    """Return the same of the receipt of a combined load, install and make selectable (§C.5.6)."""
    return lv(bytes(elf)) + lv(bytes(instance)) + lv(bytes(sd))


@dataclass(frozen=True, slots=True)
class ExpectedReceipt:
    """What is known of a receipt before it comes.

    Args:
        context: what the operation did (the functions of this module).
        sd_unique_data: values of tags 42 and 45 of the security domain that makes receipts; None if unknown.
        token_number: the token identifier (93) that the command carried, if it carried one.
        counter_after: the highest confirmation counter already seen from this card, None for none.
    """

    context: bytes
    sd_unique_data: bytes | None = None
    token_number: bytes | None = None
    counter_after: int | None = None


def verify_receipt(data: bytes, expected: ExpectedReceipt, key: Verifier) -> Confirmation:
    """Check the answer of a delegated INSTALL, LOAD or DELETE.

    Args:
        data: the response data.
        expected: what it must confirm.
        key: the public or symmetric receipt key.

    Returns:
        The confirmation, which is authentic and about this operation.

    Raises:
        ReceiptError: there is none, or it is about something else, or not new.
        SignatureError: the card did not sign it.
        ResponseFormatError: it is malformed.
    """
    confirmation = require_confirmation(data)
    key.verify(receipt_message(confirmation, expected), confirmation.receipt)
    require_match(confirmation, expected)
    return confirmation


def require_confirmation(data: bytes) -> Confirmation:
    """Return the confirmation in an answer.

    Raises:
        ReceiptError: there is none.
        ResponseFormatError: it is malformed.
    """
    confirmation = parse_confirmation(data)
    if confirmation is None:
        raise ReceiptError("the card returned no receipt")
    return confirmation


def receipt_message(confirmation: Confirmation, expected: ExpectedReceipt) -> bytes:
    """Return what the receipt signs (§C.5), for a key that is somewhere else."""
    return confirmation.data + expected.context


def require_match(confirmation: Confirmation, expected: ExpectedReceipt) -> None:
    """Refuse an authentic confirmation of something else, or one that is not new.

    Raises:
        ReceiptError: that is so.
    """
    if expected.sd_unique_data not in (None, confirmation.sd_unique_data):
        raise ReceiptError("the receipt comes from another security domain or card")
    if (confirmation.token_id or b"") != (expected.token_number or b""):
        raise ReceiptError("the receipt names another token")
    if expected.counter_after is not None and confirmation.counter <= expected.counter_after:
        raise ReceiptError("the receipt is not newer than the last one")
