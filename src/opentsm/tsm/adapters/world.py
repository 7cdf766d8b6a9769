"""The real clock and the operating system's random numbers."""

import os
import uuid
from datetime import UTC, datetime

_MILLISECONDS_BITS = 48
_FRACTION_BITS = 12
_RANDOM_BITS = 62


class SystemWorld:
    """Time, randomness and ids of the machine."""

    def now(self) -> datetime:
        """Return the present time, aware, in UTC."""
        return datetime.now(UTC)

    def random(self, length_bytes: int) -> bytes:
        """Return cryptographically strong random bytes."""
        return os.urandom(length_bytes)

    def new_id(self) -> str:
        """Return a new UUID version 7 in text form (RFC 9562 §5.7, with the fraction of §6.2 method 3)."""
        return str(uuid7(self.now(), self.random(8)))


def uuid7(at: datetime, entropy: bytes) -> uuid.UUID:
    """Make a UUID version 7: 48 bits of milliseconds, 12 bits of their fraction, 62 bits of entropy.

    Args:
        at: the time, aware.
        entropy: 8 random bytes; the first two bits are not used.

    Source: RFC 9562 §5.7.
    """
    microseconds = round(at.timestamp() * 1_000_000)
    milliseconds, rest = divmod(microseconds, 1000)
    fraction = rest * (1 << _FRACTION_BITS) // 1000
    random = int.from_bytes(entropy, "big") & ((1 << _RANDOM_BITS) - 1)
    value = milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | random
    return uuid.UUID(int=value)
