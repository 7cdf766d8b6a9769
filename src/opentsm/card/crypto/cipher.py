"""AES and DES on whole blocks; a DES key may have 16 or 24 bytes.

Triple DES is deprecated but SCP02 cards know nothing else; this is the one module that touches it.
Source: FIPS 197; SP 800-38A; SP 800-67; GPCS 2.3.1 B.1.1, B.2.1.
"""

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB

from opentsm.card.errors import KeyFormatError, PaddingError

AES_BLOCK = 16
DES_BLOCK = 8


def aes_ecb_encrypt(key: bytes, block: bytes) -> bytes:
    """Encrypt whole AES blocks without chaining.

    Args:
        key: 16, 24 or 32 bytes.
        block: a multiple of 16 bytes.

    Raises:
        KeyFormatError: wrong key length.
        PaddingError: not whole blocks.
    """
    return _run(Cipher(aes_key(key), ECB()), block, AES_BLOCK)  # noqa: S305


def aes_cbc_encrypt(key: bytes, iv: bytes, data: bytes) -> bytes:
    """Encrypt whole AES blocks with CBC.

    Args:
        key: 16, 24 or 32 bytes.
        iv: 16 bytes.
        data: a multiple of 16 bytes.

    Raises:
        KeyFormatError: wrong key length.
        PaddingError: not whole blocks.
    """
    return _run(Cipher(aes_key(key), CBC(_iv(iv, AES_BLOCK))), data, AES_BLOCK)


def aes_cbc_decrypt(key: bytes, iv: bytes, data: bytes) -> bytes:
    """Decrypt whole AES blocks with CBC; arguments and errors as `aes_cbc_encrypt`."""
    return _run(Cipher(aes_key(key), CBC(_iv(iv, AES_BLOCK))), data, AES_BLOCK, decrypt=True)


def tdes_ecb_encrypt(key: bytes, data: bytes) -> bytes:
    """Encrypt whole blocks with triple DES without chaining.

    Args:
        key: 16 or 24 bytes.
        data: a multiple of 8 bytes.

    Raises:
        KeyFormatError: wrong key length.
        PaddingError: not whole blocks.
    """
    return _run(Cipher(tdes_key(key), ECB()), data, DES_BLOCK)  # noqa: S305


def tdes_ecb_decrypt(key: bytes, data: bytes) -> bytes:
    """Decrypt whole blocks with triple DES; arguments and errors as `tdes_ecb_encrypt`."""
    return _run(Cipher(tdes_key(key), ECB()), data, DES_BLOCK, decrypt=True)  # noqa: S305


def tdes_cbc_encrypt(key: bytes, iv: bytes, data: bytes) -> bytes:
    """Encrypt whole blocks with triple DES and CBC.

    Args:
        key: 16 or 24 bytes.
        iv: 8 bytes.
        data: a multiple of 8 bytes.

    Raises:
        KeyFormatError: wrong key length.
        PaddingError: not whole blocks.
    """
    return _run(Cipher(tdes_key(key), CBC(_iv(iv, DES_BLOCK))), data, DES_BLOCK)


def tdes_cbc_decrypt(key: bytes, iv: bytes, data: bytes) -> bytes:
    """Decrypt whole blocks with triple DES and CBC; arguments and errors as `tdes_cbc_encrypt`."""
    return _run(Cipher(tdes_key(key), CBC(_iv(iv, DES_BLOCK))), data, DES_BLOCK, decrypt=True)


def des_ecb_encrypt(key: bytes, block: bytes) -> bytes:
    """Encrypt whole blocks with single DES.

    Args:
        key: 8 bytes.
        block: a multiple of 8 bytes.

    Raises:
        KeyFormatError: wrong key length.
        PaddingError: not whole blocks.
    """
    return tdes_ecb_encrypt(single_des(key), block)


def single_des(key: bytes) -> bytes:
    """Return the triple DES key that behaves as single DES: the same 8 bytes three times.

    Raises:
        KeyFormatError: the key has not 8 bytes.
    """
    if len(key) != 8:
        raise KeyFormatError(f"a single DES key has 8 bytes, not {len(key)}")
    return key * 3


def aes_key(key: bytes) -> AES:
    """Return the algorithm with its key.

    Raises:
        KeyFormatError: the key has not 16, 24 or 32 bytes.
    """
    if len(key) not in (16, 24, 32):
        raise KeyFormatError(f"an AES key has 16, 24 or 32 bytes, not {len(key)}")
    return AES(key)


def tdes_key(key: bytes) -> TripleDES:
    """Return the algorithm with its key; 16 bytes are used as K1 K2 K1.

    Raises:
        KeyFormatError: the key has not 16 or 24 bytes.
    """
    if len(key) not in (16, 24):
        raise KeyFormatError(f"a triple DES key has 16 or 24 bytes, not {len(key)}")
    return TripleDES(key if len(key) == 24 else key + key[:8])


def _iv(iv: bytes, block: int) -> bytes:
    if len(iv) != block:
        raise PaddingError(f"the initial chaining value has {block} bytes, not {len(iv)}")
    return iv


def _run(cipher: Cipher[CBC] | Cipher[ECB], data: bytes, block: int, *, decrypt: bool = False) -> bytes:
    if len(data) % block:
        raise PaddingError(f"{len(data)} bytes are not whole blocks of {block}")
    context = cipher.decryptor() if decrypt else cipher.encryptor()
    return context.update(data) + context.finalize()
