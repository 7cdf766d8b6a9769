"""The bank behind the point of sale: checks the card's cryptogram and counter.

Cryptogram version 18. Source: EMV Book 2 §8.1, A1.3.1 (session key), A1.4.1 (Option A).
"""

from dataclasses import dataclass, field
from hmac import compare_digest

from opentsm.card.crypto.cipher import tdes_ecb_encrypt
from opentsm.card.crypto.mac import retail_mac
from opentsm.card.crypto.padding import pad80
from opentsm.card.crypto.secret import Secret


@dataclass(frozen=True, slots=True, repr=False)
class Authorization:
    """What a terminal sends to the bank for one transaction.

    `pan` and `psn` are digits; `terminal_data` is amount, other amount, country, TVR, currency, date, type
    and unpredictable number, 29 bytes; `aip` and `atc` have 2 bytes, `cryptogram` 8.
    """

    pan: str
    psn: str
    terminal_data: bytes
    aip: bytes
    atc: bytes
    issuer_data: bytes
    cryptogram: bytes


@dataclass(slots=True)
class Issuer:
    """Holds an issuer master key (16 bytes) and the highest counter seen of each card."""

    master_key: Secret
    _counters: dict[tuple[str, str], int] = field(default_factory=dict, repr=False)

    def authorize(self, request: Authorization) -> bool:
        """Approve a right cryptogram whose counter is higher than all before."""
        right = cryptogram(icc_master_key(self.master_key, request.pan, request.psn), request)
        if not compare_digest(right, request.cryptogram):
            return False
        card, counter = (request.pan, request.psn), int.from_bytes(request.atc, "big")
        if counter <= self._counters.get(card, -1):
            return False
        self._counters[card] = counter
        return True


def icc_master_key(master_key: Secret, pan: str, psn: str) -> Secret:
    """Derive a card's key from the issuer's by Option A, with odd parity.

    Args:
        master_key: 16 bytes.
        pan: the card number, digits.
        psn: its sequence number, two digits.

    Returns:
        16 bytes, for DGI 8000.
    """
    digits = bytes.fromhex((pan + psn)[-16:].rjust(16, "0"))
    inverse = bytes(byte ^ 0xFF for byte in digits)
    return Secret(_odd_parity(tdes_ecb_encrypt(master_key.reveal(), digits + inverse)))


def cryptogram(icc_key: Secret, request: Authorization) -> bytes:
    """Compute the cryptogram that the card must have answered, 8 bytes."""
    diversifier = b"".join(request.atc + half + bytes(5) for half in (b"\xf0", b"\x0f"))
    session_key = tdes_ecb_encrypt(icc_key.reveal(), diversifier)
    data = request.terminal_data + request.aip + request.atc + request.issuer_data
    return retail_mac(session_key, pad80(data, 8))


def _odd_parity(key: bytes) -> bytes:
    return bytes(byte if byte.bit_count() % 2 else byte ^ 1 for byte in key)
