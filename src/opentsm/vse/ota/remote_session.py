"""A command packet as a session: the level that it proves, and the key that deciphers keys.

Source: GPCS 2.3.1 §10.4 (authentication of the off-card entity); ETSI TS 102 226 §8.2.1.5 (KIK in PUT KEY).
"""

from dataclasses import dataclass, field

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.crypto.cipher import aes_cbc_decrypt, tdes_ecb_decrypt
from opentsm.vse.ota.packet import Header
from opentsm.vse.scp import Chained, Level
from opentsm.vse.state import SYMMETRIC_AES, Instance, Key
from opentsm.vse.status import SW_CONDITIONS, StatusError

_CC = 2


@dataclass(slots=True)
class RemoteSession:
    """The session of one packet; its commands carry no protection of their own."""

    level: Level
    owner: Instance = field(repr=False)
    dek: Key | None = field(repr=False)

    def unwrap(self, command: CommandApdu, chained: Chained | None = None) -> CommandApdu:
        """Return the command as it is: the packet was protected as a whole."""
        return command

    def wrap(self, data: bytes, sw: int) -> bytes:
        """Return the data as it is: the response packet is protected as a whole."""
        return data

    def begin_r_mac(self, p1: int) -> None:
        """Refuse: the packet asked for the security of its response."""
        raise StatusError(SW_CONDITIONS)

    def end_r_mac(self, p2: int) -> bytes:
        """Refuse: nothing was begun."""
        raise StatusError(SW_CONDITIONS)

    def decrypt_key(self, data: bytes) -> bytes:
        """Decipher a key under the key of identifier 3 (KIK) of the packet's key set.

        Raises:
            StatusError: 6985 the set has no such key.
        """
        if self.dek is None:
            raise StatusError(SW_CONDITIONS)
        if self.dek.type == SYMMETRIC_AES:
            return aes_cbc_decrypt(self.dek.value, bytes(16), data)
        return tdes_ecb_decrypt(self.dek.value, data)

    @property
    def key_block_length(self) -> int:
        """Block length of the cipher of KIK."""
        return 16 if self.dek is not None and self.dek.type == SYMMETRIC_AES else 8


def remote_session(header: Header, owner: Instance, dek: Key | None) -> RemoteSession | None:
    """Return what a packet's protection is worth; without a cryptographic checksum it is None."""
    if header.integrity != _CC:
        return None
    level = Level.AUTHENTICATED | Level.C_MAC
    return RemoteSession(level | Level.C_DECRYPTION if header.ciphered else level, owner, dek)
