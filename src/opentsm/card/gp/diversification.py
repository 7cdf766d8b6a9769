"""Card keys from a master key and the card's key diversification data (KDD).

The methods are industry practice, not part of GlobalPlatform: EMV CPS 1.1 §5, the older VISA2, and KDF3,
which is SP 800-108 in counter mode with AES-CMAC.
Source: the templates that GlobalPlatformPro prints, confirmed by its published vectors.
"""

from enum import Enum

from opentsm.card.crypto.cipher import tdes_ecb_encrypt
from opentsm.card.crypto.mac import cmac
from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import DiversificationError
from opentsm.card.gp.keys import StaticKeys

KDD_LENGTH = 10
ACCOUNT_LENGTH = 8
_MASTER_LENGTHS = {"emv": (16, 24), "visa2": (16, 24), "kdf3": (16, 24, 32)}


class DiversificationMethod(Enum):
    """How a card's keys follow from the master key."""

    EMV = "emv"
    VISA2 = "visa2"
    KDF3 = "kdf3"


def diversify(master: Secret, kdd: bytes, method: DiversificationMethod) -> StaticKeys:
    """Derive the keys of one card.

    Args:
        master: 16 or 24 bytes (triple DES) for EMV and VISA2; 16, 24 or 32 bytes (AES) for KDF3.
        kdd: the 10 bytes in front of the answer to INITIALIZE UPDATE.
        method: how.

    Returns:
        Keys of 16 bytes for EMV and VISA2, of the length of the master key for KDF3.

    Raises:
        DiversificationError: wrong length of KDD or master key.
    """
    if len(kdd) != KDD_LENGTH:
        raise DiversificationError(f"key diversification data has {KDD_LENGTH} bytes, not {len(kdd)}")
    if len(master) not in _MASTER_LENGTHS[method.value]:
        raise DiversificationError(f"a master key of {len(master)} bytes does not fit method {method.value}")
    enc, mac, dek = (Secret(_derive(master.reveal(), kdd, number, method)) for number in (1, 2, 3))
    return StaticKeys(enc, mac, dek)


def option_a(master: Secret, account: bytes) -> Secret:
    """Derive an EMV card's master key from the issuer's, by Option A, with odd parity.

    Args:
        master: 16 bytes (triple DES).
        account: the last 16 digits of card number and sequence number together, 8 bytes BCD.

    Returns:
        16 bytes.

    Raises:
        DiversificationError: wrong length.
    Source: EMV 4.3 Book 2 A1.4.1.
    """
    if len(master) != 16 or len(account) != ACCOUNT_LENGTH:
        raise DiversificationError(f"Option A takes a key of 16 bytes and {ACCOUNT_LENGTH} bytes of digits")
    derived = tdes_ecb_encrypt(master.reveal(), account + bytes(byte ^ 0xFF for byte in account))
    return Secret(bytes(byte if byte.bit_count() % 2 else byte ^ 1 for byte in derived))


def _derive(master: bytes, kdd: bytes, number: int, method: DiversificationMethod) -> bytes:
    if method is DiversificationMethod.KDF3:
        return _kdf3(master, kdd, number)
    part = kdd[4:10] if method is DiversificationMethod.EMV else kdd[0:2] + kdd[4:8]
    return tdes_ecb_encrypt(master, part + bytes((0xF0, number)) + part + bytes((0x0F, number)))


def _kdf3(master: bytes, kdd: bytes, number: int) -> bytes:
    # Counter first, label 000000 and number, separator 00, context KDD; no length field.
    fixed = bytes((0, 0, 0, number, 0)) + kdd
    blocks = -(-len(master) // 16)
    return b"".join(cmac(master, bytes((i,)) + fixed) for i in range(1, blocks + 1))[: len(master)]
