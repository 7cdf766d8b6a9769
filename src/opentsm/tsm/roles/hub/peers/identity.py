"""How this TSM signs what it says to another one."""

from datetime import datetime

from opentsm.tsm.domain import peer_assertion as p
from opentsm.tsm.kernel.ids import KeyHandle
from opentsm.tsm.ports.keystore import Keystore

IDENTITY = KeyHandle("sign/peer")


class PeerIdentity:
    """Implements `ports.peer_identity.PeerIdentity` with a key in this TSM's keystore."""

    def __init__(self, keystore: Keystore) -> None:
        self._keystore = keystore
        self._point = b""

    async def point(self) -> bytes:
        """Return the public key by which other TSMs know this one (point of P-256, 65 bytes)."""
        if not self._point:
            await self._keystore.generate(IDENTITY, length_bytes=32)
            self._point = await self._keystore.verification_key(IDENTITY)
        return self._point

    async def assertion(self, aud: str, call: str, body: bytes, jti: str, now: datetime) -> str:
        """Sign a message."""
        said = p.claims(aud, call, body, jti, now)
        signed = p.signing_input(said, p.thumbprint(await self.point()))
        return p.compact(signed, await self._keystore.sign(IDENTITY, signed))
