"""The load file data block hash, and the encryption of the data block.

Specification: GlobalPlatform Card Specification 2.3.1, §C.2 (Table C-3), §C.6, §11.6.2.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import Enum

from opentsm.card.codec.tlv import encode_tlv
from opentsm.card.crypto.cipher import AES_BLOCK, DES_BLOCK, aes_cbc_encrypt, tdes_cbc_encrypt
from opentsm.card.crypto.digest import Digest
from opentsm.card.crypto.padding import pad80
from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import CapError
from opentsm.card.gp.keys import KeyType


class Mechanism(Enum):
    """What relies on the load file data block hash: a token, a DAP block or the encryption, by its key."""

    TRIPLE_DES = "triple DES"
    AES_128 = "AES-128"
    AES_192 = "AES-192"
    AES_256 = "AES-256"
    RSA_SCHEME_1 = "RSA 1024"
    RSA_SCHEME_2 = "RSA above 1024"
    ECC_256 = "ECC 256 to 383"
    ECC_384 = "ECC 384 to 511"
    ECC_512 = "ECC 512 and above"


# Table C-3: the weakest hash that each mechanism may rely on.
_WEAKEST = {
    Mechanism.TRIPLE_DES: Digest.SHA_1,
    Mechanism.RSA_SCHEME_1: Digest.SHA_1,
    Mechanism.AES_128: Digest.SHA_256,
    Mechanism.RSA_SCHEME_2: Digest.SHA_256,
    Mechanism.ECC_256: Digest.SHA_256,
    Mechanism.AES_192: Digest.SHA_384,
    Mechanism.ECC_384: Digest.SHA_384,
    Mechanism.AES_256: Digest.SHA_512,
    Mechanism.ECC_512: Digest.SHA_512,
}


def acceptable_digests(mechanisms: Iterable[Mechanism]) -> tuple[Digest, ...]:
    """Return the hash algorithms that all of the mechanisms accept, the shortest first."""
    least = max((_WEAKEST[mechanism].value for mechanism in mechanisms), default=0)
    return tuple(digest for digest in Digest if digest.value >= least)


def choose_digest(mechanisms: Iterable[Mechanism], supported: Collection[Digest] = tuple(Digest)) -> Digest:
    """Return the shortest acceptable hash that the card knows; never SHA-1 where a longer one does.

    Args:
        mechanisms: what relies on the hash in this load.
        supported: what the card supports (card capability information, tag 83).
    Raises:
        CapError: the card supports no acceptable hash.
    """
    usable = [digest for digest in acceptable_digests(mechanisms) if digest in supported]
    if not usable:
        raise CapError("the card supports no load file data block hash that is strong enough (Table C-3)")
    return next((digest for digest in usable if digest is not Digest.SHA_1), usable[0])


def load_file_hash(block: bytes, digest: Digest) -> bytes:
    """Return the hash of a load file data block: the clear value of C4, without tag and length (§C.2)."""
    return digest.of(block)


def clear_load_file(block: bytes) -> bytes:
    """Return the data block as it is loaded in clear (tag C4)."""
    return encode_tlv(0xC4, block)


def ciphered_load_file(block: bytes, key: Secret, key_type: KeyType, *, icv: bytes = b"") -> bytes:
    """Return the data block as it is loaded encrypted (tag D4, with D3 before it for an ICV).

    Args:
        block: the load file data block in clear; its hash goes into INSTALL [for load].
        key: the security domain's key for load files.
        key_type: AES, or DES with 16 bytes.
        icv: random, one cipher block; empty for zeros.
    Raises:
        CapError: the ICV has another length, or the key another type.
    """
    if key_type not in (KeyType.AES, KeyType.DES):
        raise CapError("a load file is encrypted with AES or triple DES")
    size = AES_BLOCK if key_type is KeyType.AES else DES_BLOCK
    if icv and len(icv) != size:
        raise CapError(f"the ICV has {size} bytes, not {len(icv)}")
    encrypt = aes_cbc_encrypt if key_type is KeyType.AES else tdes_cbc_encrypt
    content = encrypt(key.reveal(), icv or bytes(size), pad80(block, size))
    return (encode_tlv(0xD3, icv) if icv else b"") + encode_tlv(0xD4, content)
