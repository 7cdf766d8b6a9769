"""The test authority of virtual cards, as one that sandbox parties trust."""

import hashlib

from opentsm.card.crypto.signature import Curve
from opentsm.card.gp.certificates import PublicKey
from opentsm.vse import virtual_authority

_SERIAL_BYTES = 8


class VirtualCardAuthority:
    """Implements `ports.card_authorities.VirtualAuthority`."""

    def public_key(self) -> PublicKey:
        """Return its public key."""
        return PublicKey(Curve.P_256, virtual_authority.point())

    def certify(self, point: bytes, subject: bytes) -> bytes:
        """Return a certificate (7F21) for a key of P-256 that verifies signatures; the same each time."""
        serial = b"\x01" + hashlib.sha256(point).digest()[: _SERIAL_BYTES - 1]
        return virtual_authority.certify(Curve.P_256, point, serial, subject, agreement=False)
