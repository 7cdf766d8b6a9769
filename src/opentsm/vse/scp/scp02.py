"""SCP02 as the card runs it: explicit initiation with three keys (i = 04 bit), C-MAC on the modified command.

Source: GPCS 2.3.1 Appendix E, §B.1.2 (MACs).
"""

from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Final

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.crypto.cipher import des_ecb_encrypt, tdes_cbc_decrypt, tdes_cbc_encrypt, tdes_ecb_decrypt
from opentsm.card.crypto.mac import retail_mac, tdes_mac
from opentsm.card.crypto.padding import pad80, unpad80
from opentsm.card.errors import PaddingError
from opentsm.vse.scp import ChannelKeys, Level, MessagingError, has_secure_messaging, mac_class, plain_class

_BLOCK: Final = 8
_MAC_LENGTH: Final = 8
_ZERO_IV: Final = bytes(_BLOCK)

# §E.4.1: session key constants.
_C_MAC_KEY: Final = 0x0101
_R_MAC_KEY: Final = 0x0102
_ENC_KEY: Final = 0x0182
_DEK_KEY: Final = 0x0181

# Table E-1: meaning of i.
_I_ICV_ENCRYPTION: Final = 0x10
_I_R_MAC: Final = 0x20
_I_PSEUDO_RANDOM: Final = 0x40

COUNTER_MAX: Final = 0x7FFF


def is_pseudo_random(option: int) -> bool:
    """Tell whether the card challenge can be predicted."""
    return bool(option & _I_PSEUDO_RANDOM)


def supported_levels(option: int) -> frozenset[int]:
    """Return the values of EXTERNAL AUTHENTICATE's P1 that this `i` allows (Table E-8)."""
    levels = {0x00, 0x01, 0x03}
    return frozenset(levels | {0x10, 0x11, 0x13} if option & _I_R_MAC else levels)


@dataclass(slots=True)
class Scp02Start:
    """After INITIALIZE UPDATE."""

    keys: ChannelKeys
    option: int
    counter: int
    aid: bytes
    host_challenge: bytes = field(repr=False)
    random_challenge: bytes = field(repr=False)
    card_challenge: bytes = field(init=False, repr=False)
    _c_mac: bytes = field(init=False, repr=False)
    _enc: bytes = field(init=False, repr=False)
    _chain: bytes = field(default=_ZERO_IV, repr=False)

    def __post_init__(self) -> None:
        self._c_mac = self._session_key(self.keys.mac, _C_MAC_KEY)
        self._enc = self._session_key(self.keys.enc, _ENC_KEY)
        # §E.4.2.3: pseudo-random = first 6 bytes of the MAC over the AID.
        known = retail_mac(self._c_mac, pad80(self.aid, _BLOCK), _ZERO_IV)[:6]
        self.card_challenge = known if is_pseudo_random(self.option) else self.random_challenge

    @property
    def cryptogram_length(self) -> int:
        """Always 8 bytes."""
        return _MAC_LENGTH

    @property
    def levels(self) -> frozenset[int]:
        """What this `i` allows."""
        return supported_levels(self.option)

    def _session_key(self, static: bytes, constant: int) -> bytes:
        source = constant.to_bytes(2, "big") + self.counter.to_bytes(2, "big") + bytes(12)
        return tdes_cbc_encrypt(static, _ZERO_IV, source)

    @property
    def _card_part(self) -> bytes:
        return self.counter.to_bytes(2, "big") + self.card_challenge

    def card_cryptogram(self) -> bytes:
        """Return what proves to the host that the card has the keys."""
        return tdes_mac(self._enc, pad80(self.host_challenge + self._card_part, _BLOCK), _ZERO_IV)

    def verify_mac(self, command: CommandApdu) -> bool:
        """Check the MAC of EXTERNAL AUTHENTICATE, with the zero chaining value."""
        mac = retail_mac(
            self._c_mac, pad80(_mac_input(command, command.data[:-_MAC_LENGTH]), _BLOCK), _ZERO_IV
        )
        if not compare_digest(mac, command.data[-_MAC_LENGTH:]):
            return False
        self._chain = mac
        return True

    def verify_cryptogram(self, cryptogram: bytes) -> bool:
        """Check the host cryptogram."""
        expected = tdes_mac(self._enc, pad80(self._card_part + self.host_challenge, _BLOCK), _ZERO_IV)
        return compare_digest(expected, cryptogram)

    def session(self, level: int) -> "Scp02Session":
        """Return the session at the level that EXTERNAL AUTHENTICATE asked for."""
        return Scp02Session(
            level=Level(level) | Level.AUTHENTICATED,
            icv_encryption=bool(self.option & _I_ICV_ENCRYPTION),
            enc=self._enc,
            c_mac=self._c_mac,
            r_mac=self._session_key(self.keys.mac, _R_MAC_KEY),
            dek=self._session_key(self.keys.dek, _DEK_KEY),
            chain=self._chain,
            r_chain=self._chain,
        )


@dataclass(slots=True)
class Scp02Session:
    """After EXTERNAL AUTHENTICATE."""

    level: Level
    icv_encryption: bool
    enc: bytes = field(repr=False)
    c_mac: bytes = field(repr=False)
    r_mac: bytes = field(repr=False)
    dek: bytes = field(repr=False)
    chain: bytes = field(repr=False)
    r_chain: bytes = field(repr=False)
    _command: bytes = field(default=b"", repr=False)

    @property
    def key_block_length(self) -> int:
        """DES blocks."""
        return _BLOCK

    def unwrap(self, command: CommandApdu) -> CommandApdu:
        """Decipher the data, then check the C-MAC over the plain text (§E.4.4, §E.4.6)."""
        data = self._verified(command) if self.level & Level.C_MAC else command.data
        plain = CommandApdu(
            plain_class(command.cla), command.ins, command.p1, command.p2, data, command.ne, command.extended
        )
        # §E.4.5: header without channel and secure messaging, Lc (00 without data), data.
        header = bytes([plain.cla & 0x80, plain.ins, plain.p1, plain.p2])
        self._command = header + _length(plain, len(data)) + data
        return plain

    def _verified(self, command: CommandApdu) -> bytes:
        if not has_secure_messaging(command.cla) or len(command.data) < _MAC_LENGTH:
            raise MessagingError
        data, mac = command.data[:-_MAC_LENGTH], command.data[-_MAC_LENGTH:]
        if self.level & Level.C_DECRYPTION and data:
            data = self._decrypted(data)
        message = pad80(_mac_input(command.with_data(data + mac), data), _BLOCK)
        expected = retail_mac(self.c_mac, message, self._icv())
        if not compare_digest(expected, mac):
            raise MessagingError
        self.chain = expected
        return data

    def _icv(self) -> bytes:
        # §E.3.4: single DES with the left half of the C-MAC session key.
        return des_ecb_encrypt(self.c_mac[:8], self.chain) if self.icv_encryption else self.chain

    def _decrypted(self, data: bytes) -> bytes:
        try:
            return unpad80(tdes_cbc_decrypt(self.enc, _ZERO_IV, data))
        except PaddingError:
            raise MessagingError from None

    def wrap(self, data: bytes, sw: int) -> bytes:
        """MAC the response; with an error status word the chain moves but nothing is sent (§E.4.5)."""
        if not self.level & Level.R_MAC:
            return data
        message = self._command + bytes([len(data) & 0xFF]) + data + sw.to_bytes(2, "big")
        self.r_chain = retail_mac(self.r_mac, pad80(message, _BLOCK), self.r_chain)
        return data + self.r_chain if sw == 0x9000 or sw >> 8 in {0x62, 0x63} else data

    def decrypt_key(self, data: bytes) -> bytes:
        """Decipher under the session DEK, 3DES-ECB (§E.4.7)."""
        return tdes_ecb_decrypt(self.dek, data)


def _mac_input(command: CommandApdu, data: bytes) -> bytes:
    """Return header and plain data as the C-MAC on the modified command sees them: Lc counts the MAC."""
    header = bytes([mac_class(command.cla), command.ins, command.p1, command.p2])
    return header + _length(command, len(data) + _MAC_LENGTH) + data


def _length(command: CommandApdu, length: int) -> bytes:
    return b"\x00" + length.to_bytes(2, "big") if command.extended else bytes([length])
