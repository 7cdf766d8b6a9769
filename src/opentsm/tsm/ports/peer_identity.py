"""How this TSM proves itself to another one."""

from datetime import datetime
from typing import Protocol


class PeerIdentity(Protocol):
    """Signs messages."""

    async def point(self) -> bytes:
        """Return the public key by which other TSMs know this one (point of P-256, 65 bytes)."""
        ...

    async def assertion(self, aud: str, call: str, body: bytes, jti: str, now: datetime) -> str:
        """Sign a message; see `domain.peer_assertion`."""
        ...
