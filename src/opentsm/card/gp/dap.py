"""The DAP block: a signature over the load-file data block hash that travels before the load file.

Specification: GlobalPlatform Card Specification 2.3.1, §9.2.1, §11.6.2.3 and §C.3.
"""

from __future__ import annotations

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.tlv import encode_tlv
from opentsm.card.crypto.signature import Signer


def dap_block(sd: Aid, signature: bytes) -> bytes:
    """Return the whole block (tag E2) for the security domain that is to verify the signature."""
    return encode_tlv(0xE2, encode_tlv(0x4F, bytes(sd)) + encode_tlv(0xC3, signature))


def signed_dap_block(sd: Aid, load_file_hash: bytes, signer: Signer) -> bytes:
    """Return the block with a signature made now.

    Args:
        sd: the security domain that is to verify.
        load_file_hash: the hash as INSTALL [for load] carries it; it is the message, and RSA and ECDSA hash
            it once more.
        signer: holds the key whose counterpart `sd` has.
    """
    return dap_block(sd, signer.sign(load_file_hash))
