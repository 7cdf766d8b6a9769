"""SCP02 as the card runs it, opened by commands or, in implicit mode, by the first C-MAC.

Source: GPCS 2.3.1 Appendix E, §B.1.2 (MACs).
"""

from dataclasses import dataclass, field, replace
from hmac import compare_digest
from typing import Final

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.crypto.cipher import des_ecb_encrypt, tdes_cbc_decrypt, tdes_cbc_encrypt, tdes_ecb_decrypt
from opentsm.card.crypto.mac import retail_mac, tdes_mac
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

_BLOCK: Final = 8
_MAC_LENGTH: Final = 8
_ZERO_IV: Final = bytes(_BLOCK)

# §E.4.1: session key constants.
_C_MAC_KEY: Final = 0x0101
_R_MAC_KEY: Final = 0x0102
_ENC_KEY: Final = 0x0182
_DEK_KEY: Final = 0x0181

# Table E-1: meaning of i.
_I_THREE_KEYS: Final = 0x01
_I_UNMODIFIED: Final = 0x02
_I_EXPLICIT: Final = 0x04
_I_ICV_ENCRYPTION: Final = 0x10
_I_R_MAC: Final = 0x20
_I_PSEUDO_RANDOM: Final = 0x40

# Tables E-14, E-19: BEGIN and END R-MAC SESSION.
_EVERY_RESPONSE: Final = 0x10
_ONLY_AT_THE_END: Final = 0x00
_TELL_R_MAC: Final = 0x01
_END_R_MAC: Final = 0x03
_BEGIN_R_MAC_SESSION: Final = 0x7A
_END_R_MAC_SESSION: Final = 0x78

COUNTER_MAX: Final = 0x7FFF


@dataclass(frozen=True, slots=True)
class Scp02Options:
    """What the card's SCP02 is like.

    Args:
        option: i.
        encrypts_empty: whether C-DECRYPTION applies to commands without data too (§E.4.6 is silent).
        mac_on_errors: whether the R-MAC of an error is sent (§E.4.5 computes it and is silent on sending).
    """

    option: int
    encrypts_empty: bool = False
    mac_on_errors: bool = False


def is_pseudo_random(option: int) -> bool:
    """Tell whether the card challenge can be predicted."""
    return bool(option & _I_PSEUDO_RANDOM)


def is_explicit(option: int) -> bool:
    """Tell whether sessions are opened by INITIALIZE UPDATE and EXTERNAL AUTHENTICATE."""
    return bool(option & _I_EXPLICIT)


def has_base_key_only(option: int) -> bool:
    """Tell whether one base key stands in for all three (Table E-2)."""
    return not option & _I_THREE_KEYS


def supported_levels(option: int) -> frozenset[int]:
    """Return the values of EXTERNAL AUTHENTICATE's P1 that this `i` allows (Table E-8)."""
    levels = {0x00, 0x01, 0x03}
    return frozenset(levels | {0x10, 0x11, 0x13} if option & _I_R_MAC else levels)


@dataclass(slots=True)
class Scp02Start:
    """After INITIALIZE UPDATE."""

    keys: ChannelKeys
    options: Scp02Options
    counter: int
    aid: bytes
    host_challenge: bytes = field(repr=False)
    random_challenge: bytes = field(repr=False)
    card_challenge: bytes = field(init=False, repr=False)
    _c_mac: bytes = field(init=False, repr=False)
    _enc: bytes = field(init=False, repr=False)
    _chain: bytes = field(default=_ZERO_IV, repr=False)

    def __post_init__(self) -> None:
        self._c_mac = _session_key(self.keys.mac, _C_MAC_KEY, self.counter)
        self._enc = _session_key(self.keys.enc, _ENC_KEY, self.counter)
        # §E.4.2.3: pseudo-random = first 6 bytes of the MAC over the AID.
        known = retail_mac(self._c_mac, pad80(self.aid, _BLOCK), _ZERO_IV)[:6]
        self.card_challenge = known if is_pseudo_random(self.options.option) else self.random_challenge

    @property
    def cryptogram_length(self) -> int:
        """Always 8 bytes."""
        return _MAC_LENGTH

    @property
    def levels(self) -> frozenset[int]:
        """What this `i` allows."""
        return supported_levels(self.options.option)

    @property
    def _card_part(self) -> bytes:
        return self.counter.to_bytes(2, "big") + self.card_challenge

    def card_cryptogram(self) -> bytes:
        """Return what proves to the host that the card has the keys."""
        return tdes_mac(self._enc, pad80(self.host_challenge + self._card_part, _BLOCK), _ZERO_IV)

    def verify_mac(self, command: CommandApdu) -> bool:
        """Check the MAC of EXTERNAL AUTHENTICATE, with the zero chaining value."""
        mac = retail_mac(
            self._c_mac,
            pad80(_mac_input(self.options, command, command.data[:-_MAC_LENGTH], None), _BLOCK),
            _ZERO_IV,
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
        r_mac = _session_key(self.keys.mac, _R_MAC_KEY, self.counter)
        session = Scp02Session(
            level=Level(level) | Level.AUTHENTICATED,
            options=self.options,
            enc=self._enc,
            c_mac=self._c_mac,
            dek=_session_key(self.keys.dek, _DEK_KEY, self.counter),
            chain=self._chain,
            # §E.3.2: also when BEGIN R-MAC SESSION comes later.
            r_mac=ResponseMac(r_mac, self._chain),
        )
        if level & Level.R_MAC:
            session.responses = ResponseMac(r_mac, self._chain)
        return session


@dataclass(slots=True)
class ResponseMac:
    """The chain of R-MACs over commands and responses (§E.4.5)."""

    key: bytes = field(repr=False)
    chain: bytes = field(repr=False)
    every: bool = True

    def advance(self, message: bytes) -> None:
        """Take in one command with its response."""
        self.chain = retail_mac(self.key, pad80(message, _BLOCK), self.chain)


def implicit_response_mac(keys: ChannelKeys, counter: int, aid: bytes) -> ResponseMac:
    """Return the R-MAC chain of implicit mode: current counter, first ICV over the AID (§E.3.3)."""
    key = _session_key(keys.mac, _R_MAC_KEY, counter)
    return ResponseMac(key, _aid_mac(key, aid))


def open_implicitly(
    keys: ChannelKeys,
    options: Scp02Options,
    counter: int,
    aid: bytes,
    command: CommandApdu,
    *,
    responses: ResponseMac | None,
) -> "tuple[Scp02Session, CommandApdu]":
    """Open a session by the first command that carries a C-MAC (§E.1.2.2).

    Args:
        keys: the static keys.
        options: of the card; i without the explicit bit.
        counter: the sequence counter, which the caller increments on success.
        aid: of the selected application.
        command: with secure messaging.
        responses: an R-MAC session that is open and goes on.

    Returns:
        The session, and the command without its protection.

    Raises:
        MessagingError: the C-MAC is wrong.
    """
    c_mac = _session_key(keys.mac, _C_MAC_KEY, counter)
    session = Scp02Session(
        level=Level.AUTHENTICATED | Level.C_MAC,
        options=options,
        enc=b"",
        c_mac=c_mac,
        # §E.1.2.2: with the newly incremented counter.
        dek=_session_key(keys.dek, _DEK_KEY, counter + 1),
        chain=_aid_mac(c_mac, aid),
        r_mac=implicit_response_mac(keys, counter + 1, aid),
        responses=responses,
        first=True,
    )
    if responses is not None:
        session.continue_r_mac()
    return session, session.unwrap(command)


def responses_only(keys: ChannelKeys, options: Scp02Options, counter: int, aid: bytes) -> "Scp02Session":
    """Return what BEGIN R-MAC SESSION needs in implicit mode before any C-MAC came (§E.1.6)."""
    r_mac = implicit_response_mac(keys, counter, aid)
    return Scp02Session(Level.NONE, options, b"", b"", b"", b"", r_mac)


@dataclass(slots=True)
class Scp02Session:
    """After EXTERNAL AUTHENTICATE, or after the first C-MAC in implicit mode.

    Args:
        level: of the session.
        options: of the card.
        enc: session key of command encryption.
        c_mac: session key of C-MACs.
        dek: session key of sensitive data.
        chain: the last verified C-MAC.
        r_mac: where an R-MAC session starts from.
        responses: the R-MAC session that is open.
        first: whether the next C-MAC is the session's first, whose chaining value is not encrypted.
    """

    level: Level
    options: Scp02Options
    enc: bytes = field(repr=False)
    c_mac: bytes = field(repr=False)
    dek: bytes = field(repr=False)
    chain: bytes = field(repr=False)
    r_mac: ResponseMac = field(repr=False)
    responses: ResponseMac | None = field(default=None, repr=False)
    first: bool = False
    _begun: bool = False
    _silent: bool = False
    _ended: bool = False
    _can_end: bool = False
    _command: bytes = field(default=b"", repr=False)

    @property
    def key_block_length(self) -> int:
        """DES blocks."""
        return _BLOCK

    @property
    def is_implicit(self) -> bool:
        """Tell whether the first C-MAC opened it."""
        return not is_explicit(self.options.option)

    def unwrap(self, command: CommandApdu, chained: Chained | None = None) -> CommandApdu:
        """Decipher the data, then check the C-MAC over the plain text (§E.4.4, §E.4.6)."""
        verify = bool(self.level & Level.C_MAC)
        if verify and self.is_implicit and not has_secure_messaging(command.cla):
            # §E.1.6: the session stays, the next C-MAC starts a new one.
            self.level, verify = self.level & ~Level.C_MAC, False
        data = self._verified(command, chained) if verify else command.data
        plain = CommandApdu(
            plain_class(command.cla), command.ins, command.p1, command.p2, data, command.ne, command.extended
        )
        if self.responses is not None or plain.ins == _BEGIN_R_MAC_SESSION:
            # §E.4.5: header without channel and secure messaging, Lc (00 without data), data.
            header = bytes([plain.cla & 0x80, plain.ins, plain.p1, plain.p2])
            self._command = header + coded_length(plain, len(data), 0, chained) + data
        self._silent = plain.ins == _END_R_MAC_SESSION
        return plain

    def _verified(self, command: CommandApdu, chained: Chained | None) -> bytes:
        if not has_secure_messaging(command.cla) or len(command.data) < _MAC_LENGTH:
            raise MessagingError
        data, mac = command.data[:-_MAC_LENGTH], command.data[-_MAC_LENGTH:]
        if self.level & Level.C_DECRYPTION and (data or self.options.encrypts_empty):
            data = self._decrypted(data)
        message = pad80(_mac_input(self.options, command, data, chained), _BLOCK)
        expected = retail_mac(self.c_mac, message, self._icv())
        if not compare_digest(expected, mac):
            raise MessagingError
        self.chain, self.first = expected, False
        return data

    def _icv(self) -> bytes:
        # §E.3.4: single DES with the left half of the C-MAC session key; never the first of a session.
        encrypted = self.options.option & _I_ICV_ENCRYPTION and not self.first
        return des_ecb_encrypt(self.c_mac[:8], self.chain) if encrypted else self.chain

    def _decrypted(self, data: bytes) -> bytes:
        if not data or len(data) % _BLOCK:
            raise MessagingError
        try:
            return unpad80(tdes_cbc_decrypt(self.enc, _ZERO_IV, data))
        except PaddingError:
            raise MessagingError from None

    def wrap(self, data: bytes, sw: int) -> bytes:
        """MAC the response; with an error status word the chain moves but nothing is sent (§E.4.5)."""
        if self.responses is None:
            return data
        if self._silent:
            self._close_responses()
            return data
        begun, self._begun = self._begun, False
        shown = data if carries_data(sw) else b""
        message = self._command + bytes([len(shown) & 0xFF]) + shown + sw.to_bytes(2, "big")
        self.responses.advance(message)
        told = self.responses.every and (carries_data(sw) or self.options.mac_on_errors)
        return data + self.responses.chain if told and not begun else data

    def begin_r_mac(self, p1: int) -> None:
        """Start the R-MAC chain with this command; 10 tells it each time, 00 at the end (§E.5.3)."""
        if p1 not in {_EVERY_RESPONSE, _ONLY_AT_THE_END} or not self.options.option & _I_R_MAC:
            raise StatusError(SW_WRONG_P1P2)
        if self.responses is not None:
            raise StatusError(SW_CONDITIONS)
        self.responses = replace(self.r_mac, every=p1 == _EVERY_RESPONSE)
        self.level |= Level.R_MAC
        self._begun = self._can_end = True

    def end_r_mac(self, p2: int) -> bytes:
        """Tell the R-MAC, and with 03 end the chain; this command is not part of it (§E.5.4)."""
        if p2 not in {_TELL_R_MAC, _END_R_MAC}:
            raise StatusError(SW_WRONG_P1P2)
        if self.responses is None or not self._can_end:
            raise StatusError(SW_CONDITIONS)
        self._ended = p2 == _END_R_MAC
        return self.responses.chain

    def continue_r_mac(self) -> None:
        """Take over an R-MAC session that began before this session (§E.1.6, implicit mode)."""
        self.level |= Level.R_MAC
        self._can_end = True

    def _close_responses(self) -> None:
        if self._ended:
            self.responses, self._ended, self._can_end = None, False, False
            self.level &= ~Level.R_MAC

    def decrypt_key(self, data: bytes) -> bytes:
        """Decipher under the session DEK: 3DES-ECB, in implicit mode CBC (§E.4.7)."""
        if self.is_implicit:
            return tdes_cbc_decrypt(self.dek, _ZERO_IV, data)
        return tdes_ecb_decrypt(self.dek, data)


def _session_key(static: bytes, constant: int, counter: int) -> bytes:
    source = constant.to_bytes(2, "big") + counter.to_bytes(2, "big") + bytes(12)
    return tdes_cbc_encrypt(static, _ZERO_IV, source)


def _aid_mac(key: bytes, aid: bytes) -> bytes:
    return retail_mac(key, pad80(aid, _BLOCK), _ZERO_IV)


def _mac_input(options: Scp02Options, command: CommandApdu, data: bytes, chained: Chained | None) -> bytes:
    """Return header and plain data as the C-MAC sees them (§E.4.4)."""
    if options.option & _I_UNMODIFIED:
        header = bytes([command.cla & 0x80, command.ins, command.p1, command.p2])
        return header + coded_length(command, len(data), 0, chained) + data
    header = bytes([mac_class(command.cla), command.ins, command.p1, command.p2])
    return header + coded_length(command, len(data) + _MAC_LENGTH, _MAC_LENGTH, chained) + data
