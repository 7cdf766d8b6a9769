"""Cipher contexts that are set up once for many messages: setting one up costs more than ten blocks.

A CBC context carries the last ciphertext block into the next message, so the initial chaining value of each
message is folded into its first block: E(p ⊕ last ⊕ iv ⊕ last) is E(p ⊕ iv).
Source: SP 800-38A §6.2 (CBC); GPCS 2.3.1 B.1.2.2 (retail MAC).
"""

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.modes import CBC

from opentsm.card.crypto.cipher import AES_BLOCK, DES_BLOCK, aes_key, single_des, tdes_key
from opentsm.card.errors import KeyFormatError, PaddingError


class CbcKey:
    """A key set up once for many CBC encryptions; for one thread at a time."""

    __slots__ = ("_block", "_last", "_update")

    def __init__(self, cipher: Cipher[CBC], block: int) -> None:
        """Take a cipher whose initial chaining value is zero, and its block length in bytes."""
        self._update = cipher.encryptor().update
        self._block = block
        self._last = 0

    @classmethod
    def aes(cls, key: bytes) -> "CbcKey":
        """Set up an AES key of 16, 24 or 32 bytes.

        Raises:
            KeyFormatError: wrong key length.
        """
        return cls(Cipher(aes_key(key), CBC(bytes(AES_BLOCK))), AES_BLOCK)

    @classmethod
    def tdes(cls, key: bytes) -> "CbcKey":
        """Set up a triple DES key of 16 or 24 bytes.

        Raises:
            KeyFormatError: wrong key length.
        """
        return cls(Cipher(tdes_key(key), CBC(bytes(DES_BLOCK))), DES_BLOCK)

    def encrypt(self, data: bytes, iv: bytes = b"") -> bytes:
        """Encrypt one message.

        Args:
            data: whole blocks.
            iv: one block; empty for zeros.

        Raises:
            PaddingError: not whole blocks.
        """
        block = self._block
        if not data or len(data) % block or (iv and len(iv) != block):
            raise PaddingError(f"{len(data)} bytes, chaining value {len(iv)}: not whole blocks of {block}")
        first = self._last ^ int.from_bytes(data[:block], "big")
        if iv:
            first ^= int.from_bytes(iv, "big")
        encrypted = self._update(first.to_bytes(block, "big") + data[block:])
        self._last = int.from_bytes(encrypted[-block:], "big")
        return encrypted

    def encrypt_after(self, block: int, data: bytes) -> bytes:
        """Encrypt one message whose chaining value is the encryption of `block`.

        CBC makes that value itself when the block comes first; its ciphertext is left out.

        Args:
            block: one block, as a number.
            data: whole blocks.

        Raises:
            PaddingError: not whole blocks.
        """
        size = self._block
        if not data or len(data) % size:
            raise PaddingError(f"{len(data)} bytes are not whole blocks of {size}")
        encrypted = self._update((self._last ^ block).to_bytes(size, "big") + data)
        self._last = int.from_bytes(encrypted[-size:], "big")
        return encrypted[size:]


class RetailMacKey:
    """A double-length DES key set up once for many retail MACs; for one thread at a time."""

    __slots__ = ("_first", "_last")

    def __init__(self, key: bytes) -> None:
        """Set up the key.

        Args:
            key: 16 bytes.

        Raises:
            KeyFormatError: wrong key length.
        """
        if len(key) != 16:
            raise KeyFormatError(f"a retail MAC key has 16 bytes, not {len(key)}")
        self._first = CbcKey.tdes(single_des(key[:DES_BLOCK]))
        self._last = CbcKey.tdes(key)

    def mac(self, data: bytes, iv: bytes = b"") -> bytes:
        """Compute the MAC of padded data: single DES for all blocks but the last, triple DES for that.

        Args:
            data: whole blocks of 8 bytes, not empty.
            iv: 8 bytes; empty for zeros.

        Raises:
            PaddingError: not whole blocks.
        """
        head, last = data[:-DES_BLOCK], data[-DES_BLOCK:]
        if head:
            iv = self._first.encrypt(head, iv)[-DES_BLOCK:]
        return self._last.encrypt(last, iv)

    def encrypt_single(self, block: bytes) -> bytes:
        """Encrypt one block with the first half of the key (GPCS E.3.4: the next ICV)."""
        return self._first.encrypt(block)
