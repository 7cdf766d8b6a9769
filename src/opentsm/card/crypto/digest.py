"""Message digests of the SHA family, told apart by the length of their value.

Source: GPCS 2.3.1 B.5 (FIPS 180-4).
"""

import hashlib
from enum import Enum


class Digest(Enum):
    """A hash algorithm; the value is the length of what it computes, in bytes."""

    SHA_1 = 20
    SHA_256 = 32
    SHA_384 = 48
    SHA_512 = 64

    def of(self, data: bytes) -> bytes:
        """Return the hash of `data`."""
        return hashlib.new(self.name.replace("_", "").lower(), data, usedforsecurity=True).digest()
