"""The DAP block: a signature over the load-file data block hash that travels before the load file.

Specification: GlobalPlatform Card Specification 2.3.1, §9.2.1 and §11.6.2.3.
"""

from __future__ import annotations

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.tlv import encode_tlv


def dap_block(sd: Aid, signature: bytes) -> bytes:
    """Return the whole block (tag E2) for the security domain that is to verify the signature."""
    return encode_tlv(0xE2, encode_tlv(0x4F, bytes(sd)) + encode_tlv(0xC3, signature))
