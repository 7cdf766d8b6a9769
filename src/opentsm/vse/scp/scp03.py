"""SCP03 as the card runs it, in S8 and S16 mode.

Source: GPCS Amendment D 1.1.1 §4.1.5, §5, §6; S16 from Amendment D 1.2.
"""

from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Final

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.crypto.cipher import aes_cbc_decrypt, aes_cbc_encrypt, aes_ecb_encrypt
from opentsm.card.crypto.kdf import sp800_108_cmac
from opentsm.card.crypto.mac import cmac
from opentsm.card.crypto.padding import pad80, unpad80
from opentsm.card.errors import PaddingError
from opentsm.vse.scp import (
    Chained,
    ChannelKeys,
    Level,
    MessagingError,
    coded_length,
    has_secure_messaging,
    mac_class,
    plain_class,
)
from opentsm.vse.status import SW_CONDITIONS, SW_WRONG_P1P2, StatusError, carries_data

_BLOCK: Final = 16
_ZERO_IV: Final = bytes(_BLOCK)

# Amendment D Table 4-1: data derivation constants.
_CARD_CRYPTOGRAM: Final = 0x00
_HOST_CRYPTOGRAM: Final = 0x01
_CHALLENGE: Final = 0x02
_S_ENC: Final = 0x04
_S_MAC: Final = 0x06
_S_RMAC: Final = 0x07

# Table 5-1: meaning of i.
_I_S16: Final = 0x01
_I_PSEUDO_RANDOM: Final = 0x10
_I_R_MAC: Final = 0x20
_I_R_ENCRYPTION: Final = 0x40

# Table 7-5, Table 7-8: BEGIN and END R-MAC SESSION.
_RESPONSE_ENCRYPTION: Final = 0x30
_RESPONSE_LEVELS: Final = frozenset({0x10, _RESPONSE_ENCRYPTION})
_END_R_MAC: Final = 0x03

COUNTER_MAX: Final = 0xFFFFFF


def is_pseudo_random(option: int) -> bool:
    """Tell whether the card challenge can be predicted (and a sequence counter exists)."""
    return bool(option & _I_PSEUDO_RANDOM)


def challenge_length(option: int) -> int:
    """Return the bytes of challenges, cryptograms and MACs."""
    return 16 if option & _I_S16 else 8


def supported_levels(option: int) -> frozenset[int]:
    """Return the values of EXTERNAL AUTHENTICATE's P1 that this `i` allows (§7.1.2.1)."""
    levels = {0x00, 0x01, 0x03}
    if option & _I_R_MAC:
        levels |= {0x11, 0x13}
        if option & _I_R_ENCRYPTION:
            levels |= {0x33}
    return frozenset(levels)


def pseudo_random_challenge(keys: ChannelKeys, option: int, counter: int, aid: bytes) -> bytes:
    """Return the card challenge of a session.

    Args:
        keys: the static keys.
        option: i.
        counter: the sequence counter, already incremented (§6.2.2.1).
        aid: of the application that opens the channel.
    """
    context = counter.to_bytes(3, "big") + aid
    return _derive(keys.enc, _CHALLENGE, context, challenge_length(option) * 8)


@dataclass(slots=True)
class Scp03Start:
    """After INITIALIZE UPDATE."""

    keys: ChannelKeys
    option: int
    host_challenge: bytes = field(repr=False)
    card_challenge: bytes = field(repr=False)
    counter_moves_without_data: bool = True
    _chain: bytes = field(default=_ZERO_IV, repr=False)
    _s_mac: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._s_mac = self._session_key(self.keys.mac, _S_MAC)

    @property
    def _context(self) -> bytes:
        return self.host_challenge + self.card_challenge

    @property
    def cryptogram_length(self) -> int:
        """8 bytes, 16 in S16 mode."""
        return challenge_length(self.option)

    @property
    def levels(self) -> frozenset[int]:
        """What this `i` allows."""
        return supported_levels(self.option)

    def _session_key(self, static: bytes, constant: int) -> bytes:
        return _derive(static, constant, self._context, len(static) * 8)

    def card_cryptogram(self) -> bytes:
        """Return what proves to the host that the card has the keys."""
        return _derive(self._s_mac, _CARD_CRYPTOGRAM, self._context, self.cryptogram_length * 8)

    def verify_mac(self, command: CommandApdu) -> bool:
        """Check the MAC of EXTERNAL AUTHENTICATE; the chain starts from zeros (§6.2.4)."""
        chain = _command_mac(self._s_mac, _ZERO_IV, command, self.cryptogram_length)
        if not compare_digest(chain[: self.cryptogram_length], command.data[-self.cryptogram_length :]):
            return False
        self._chain = chain
        return True

    def verify_cryptogram(self, cryptogram: bytes) -> bool:
        """Check the host cryptogram."""
        expected = _derive(self._s_mac, _HOST_CRYPTOGRAM, self._context, self.cryptogram_length * 8)
        return compare_digest(expected, cryptogram)

    def session(self, level: int) -> "Scp03Session":
        """Return the session at the level that EXTERNAL AUTHENTICATE asked for."""
        return Scp03Session(
            level=Level(level) | Level.AUTHENTICATED,
            option=self.option,
            mac_length=self.cryptogram_length,
            s_enc=self._session_key(self.keys.enc, _S_ENC),
            s_mac=self._s_mac,
            s_rmac=self._session_key(self.keys.mac, _S_RMAC),
            dek=self.keys.dek,
            chain=self._chain,
            counter_moves_without_data=self.counter_moves_without_data,
        )


@dataclass(slots=True)
class Scp03Session:
    """After EXTERNAL AUTHENTICATE."""

    level: Level
    mac_length: int
    s_enc: bytes = field(repr=False)
    s_mac: bytes = field(repr=False)
    s_rmac: bytes = field(repr=False)
    dek: bytes = field(repr=False)
    chain: bytes = field(repr=False)
    counter_moves_without_data: bool = True
    counter: int = 0
    option: int = _I_R_MAC | _I_R_ENCRYPTION
    _begun_from: Level | None = None
    _next_level: Level | None = None

    @property
    def key_block_length(self) -> int:
        """AES blocks."""
        return _BLOCK

    def unwrap(self, command: CommandApdu, chained: Chained | None = None) -> CommandApdu:
        """Check the C-MAC, then decipher the data."""
        if not self.level & Level.C_MAC:
            return command
        data = self._verified(command, chained)
        if self.level & Level.C_DECRYPTION:
            data = self._decrypted(data, chained.parts if chained and chained.steps_each else 1)
        return CommandApdu(
            plain_class(command.cla), command.ins, command.p1, command.p2, data, command.ne, command.extended
        )

    def _verified(self, command: CommandApdu, chained: Chained | None) -> bytes:
        length = self.mac_length
        if not has_secure_messaging(command.cla) or len(command.data) < length:
            raise MessagingError
        chain = _command_mac(self.s_mac, self.chain, command, length, chained)
        if not compare_digest(chain[:length], command.data[-length:]):
            raise MessagingError
        self.chain = chain
        return command.data[:-length]

    def _decrypted(self, data: bytes, steps: int) -> bytes:
        # §6.2.6: the counter moves for every command, with or without data.
        if data or self.counter_moves_without_data:
            self.counter += steps
        if not data:
            return b""
        try:
            return unpad80(aes_cbc_decrypt(self.s_enc, self._icv(response=False), data))
        except PaddingError:
            raise MessagingError from None

    def wrap(self, data: bytes, sw: int) -> bytes:
        """Encipher and MAC the response; errors are never protected (§6.2.5)."""
        level = self.level
        if self._next_level is not None:
            # §7.1.3.3, §7.1.4.6: the new level begins behind this response.
            self.level, self._next_level = self._next_level, None
        if not level & Level.R_MAC or not carries_data(sw):
            return data
        if data and level & Level.R_ENCRYPTION:
            data = aes_cbc_encrypt(self.s_enc, self._icv(response=True), pad80(data, _BLOCK))
        mac = cmac(self.s_rmac, self.chain + data + sw.to_bytes(2, "big"))
        return data + mac[: self.mac_length]

    def begin_r_mac(self, p1: int) -> None:
        """Ask for R-MAC (10) or R-MAC and R-ENCRYPTION (30), never more than commands have (§7.1.3)."""
        able = _I_R_MAC | (_I_R_ENCRYPTION if p1 == _RESPONSE_ENCRYPTION else 0)
        if p1 not in _RESPONSE_LEVELS or self.option & able != able:
            raise StatusError(SW_WRONG_P1P2)
        level, needed = self.level, Level.C_MAC
        if p1 == _RESPONSE_ENCRYPTION:
            needed |= Level.C_DECRYPTION
        higher = not level & (Level.R_ENCRYPTION if p1 == _RESPONSE_ENCRYPTION else Level.R_MAC)
        if self._begun_from is not None or not higher or level & needed != needed:
            raise StatusError(SW_CONDITIONS)
        self._begun_from, self._next_level = level, level | Level(p1)

    def end_r_mac(self, p2: int) -> bytes:
        """Go back to the level of EXTERNAL AUTHENTICATE; this response still has the R-MAC (§7.1.4)."""
        if p2 != _END_R_MAC:
            raise StatusError(SW_WRONG_P1P2)
        if self._begun_from is None:
            raise StatusError(SW_CONDITIONS)
        self._next_level, self._begun_from = self._begun_from, None
        return b""

    def _icv(self, *, response: bool) -> bytes:
        block = self.counter.to_bytes(_BLOCK, "big")
        # §6.2.7: the response's counter block has 80 in its first byte.
        return aes_ecb_encrypt(self.s_enc, b"\x80" + block[1:] if response else block)

    def decrypt_key(self, data: bytes) -> bytes:
        """Decipher under the static DEK, AES-CBC with zero IV (§6.2.8)."""
        return aes_cbc_decrypt(self.dek, _ZERO_IV, data)


def _derive(key: bytes, constant: int, context: bytes, bits: int) -> bytes:
    return sp800_108_cmac(key, bytes(11) + bytes([constant]), context, bits)


def _command_mac(
    key: bytes, chain: bytes, command: CommandApdu, mac_length: int, chained: Chained | None = None
) -> bytes:
    header = bytes([mac_class(command.cla), command.ins, command.p1, command.p2])
    lc = coded_length(command, len(command.data), mac_length, chained)
    return cmac(key, chain + header + lc + command.data[:-mac_length])
