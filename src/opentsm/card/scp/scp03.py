"""Secure Channel Protocol 03, the off-card side: AES, 8-byte (S8) and 16-byte (S16) MACs and challenges.

Source: Amendment D 1.1.1 (SCP03); S16, implementation option bit 01, from Amendment D 1.2.
"""

from dataclasses import replace
from hmac import compare_digest

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu, encode_command
from opentsm.card.crypto.cipher import AES_BLOCK, aes_cbc_decrypt
from opentsm.card.crypto.context import CbcKey
from opentsm.card.crypto.kdf import sp800_108_cmac
from opentsm.card.crypto.mac import CmacKey
from opentsm.card.crypto.padding import pad80, unpad80
from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import (
    CardCryptogramError,
    KeyFormatError,
    PaddingError,
    ResponseFormatError,
    ResponseMacError,
    SecureChannelError,
)
from opentsm.card.gp.instructions import Ins
from opentsm.card.gp.session_commands import in_parts
from opentsm.card.scp.channel import (
    CLA_EXTERNAL_AUTHENTICATE,
    INS_EXTERNAL_AUTHENTICATE,
    InitializeUpdateResponse,
    ResponseLink,
    SecurityLevel,
    SessionKeys,
    StaticKeys,
    WrappedChain,
    WrappedCommand,
    carries_response_mac,
    mac_class,
    secured_class,
)

# Derivation constants, Amendment D Table 4-1.
_CARD_CRYPTOGRAM, _HOST_CRYPTOGRAM, _CARD_CHALLENGE = 0x00, 0x01, 0x02
_S_ENC, _S_MAC, _S_RMAC = 0x04, 0x06, 0x07

# Implementation option bits, Amendment D Table 5-1.
_I_S16, _I_PSEUDO_RANDOM, _I_R_MAC, _I_R_MAC_R_ENC = 0x01, 0x10, 0x20, 0x60
_LEGAL_I = frozenset(base | s16 for base in (0x00, 0x10, 0x20, 0x30, 0x60, 0x70) for s16 in (0, _I_S16))
# Amendment D Table 7-5: levels 10, 30 and 31 do not exist.
_LEVELS = frozenset({0x00, 0x01, 0x03, 0x11, 0x13, 0x33})
_MAX_COUNTER = 0xFFFFFF
_R_MAC_SESSION = frozenset({Ins.BEGIN_R_MAC_SESSION, Ins.END_R_MAC_SESSION})
_SHORT_DATA = 255

# Both classes of every class byte: a table is quicker than a rule.
_MAC_CLASS = bytes(mac_class(cla) for cla in range(256))
_SECURED_CLASS = bytes(secured_class(cla) for cla in range(256))


def derive_session_keys(static: StaticKeys, host_challenge: bytes, card_challenge: bytes) -> SessionKeys:
    """Derive the session keys (Amendment D §6.2.1).

    Args:
        static: three AES keys of equal length.
        host_challenge: 8 bytes, S16: 16 bytes.
        card_challenge: as long as the host challenge.

    Raises:
        KeyFormatError: the keys are no AES keys or differ in length.
    """
    size = len(static.enc)
    if not size == len(static.mac) == len(static.dek):
        raise KeyFormatError("the three keys of an SCP03 set have equal length")
    context, bits = host_challenge + card_challenge, 8 * size
    return SessionKeys(
        enc=Secret(_derive(static.enc, _S_ENC, context, bits)),
        mac=Secret(_derive(static.mac, _S_MAC, context, bits)),
        rmac=Secret(_derive(static.mac, _S_RMAC, context, bits)),
        dek=static.dek,
    )


def card_challenge(static_enc: Secret, counter: int, aid: bytes, *, s16: bool = False) -> bytes:
    """Compute the challenge of a card with pseudo-random challenges (Amendment D §6.2.2.1).

    Args:
        static_enc: the static encryption key of the set.
        counter: the sequence counter that the answer carries: 1 for the first session of a set.
        aid: of the application that is asked: a security domain, or an application that uses its channel.
        s16: 16 bytes instead of 8.

    Raises:
        SecureChannelError: the counter does not fit 3 bytes.
    """
    if not 0 <= counter <= _MAX_COUNTER:
        raise SecureChannelError(f"an SCP03 sequence counter cannot be {counter}")
    context = counter.to_bytes(3, "big") + aid
    return _derive(static_enc, _CARD_CHALLENGE, context, 128 if s16 else 64)


def card_cryptogram(keys: SessionKeys, host_challenge: bytes, card_challenge: bytes) -> bytes:
    """Compute the card cryptogram, as long as a challenge (Amendment D §6.2.2.2)."""
    context = host_challenge + card_challenge
    return _derive(keys.mac, _CARD_CRYPTOGRAM, context, 8 * len(card_challenge))


def host_cryptogram(keys: SessionKeys, host_challenge: bytes, card_challenge: bytes) -> bytes:
    """Compute the host cryptogram, as long as a challenge (Amendment D §6.2.2.3)."""
    context = host_challenge + card_challenge
    return _derive(keys.mac, _HOST_CRYPTOGRAM, context, 8 * len(card_challenge))


def predict_initialize_update(
    static: StaticKeys, *, kdd: bytes, kvn: int, i: int, counter: int, aid: bytes, host_challenge: bytes
) -> InitializeUpdateResponse:
    """Compute the answer of a card with pseudo-random challenges before it is asked.

    Args:
        static: the key set.
        kdd: 10 bytes of key diversification data.
        kvn: key version number of the set.
        i: implementation option with bit 10.
        counter: the sequence counter of the coming session: GET DATA C1 plus one.
        aid: of the application that will be asked.
        host_challenge: 8 bytes, S16: 16 bytes.

    Raises:
        SecureChannelError: a card with this `i` has random challenges.
    """
    if i not in _LEGAL_I or not i & _I_PSEUDO_RANDOM:
        raise SecureChannelError(f"SCP03 i={i:02X} has no pseudo-random challenge")
    challenge = card_challenge(static.enc, counter, aid, s16=bool(i & _I_S16))
    keys = derive_session_keys(static, host_challenge, challenge)
    cryptogram = card_cryptogram(keys, host_challenge, challenge)
    return InitializeUpdateResponse(kdd, kvn, 3, i, challenge, cryptogram, counter)


class Scp03Channel:
    """One SCP03 session, from the card's answer to INITIALIZE UPDATE on."""

    def __init__(self, keys: SessionKeys, init: InitializeUpdateResponse, host_challenge: bytes) -> None:
        """Check that the card holds the keys.

        Args:
            keys: session keys derived from both challenges.
            init: the card's answer.
            host_challenge: what the card was sent.

        Raises:
            CardCryptogramError: the card cryptogram is wrong.
            SecureChannelError: not an SCP03 answer, or challenges of different length.
        """
        i = init.i or 0
        if init.scp != 3 or i not in _LEGAL_I:
            raise SecureChannelError(f"SCP{init.scp:02X} i={i:02X} is not an SCP03 variant")
        if len(host_challenge) != len(init.card_challenge):
            raise SecureChannelError("host and card challenge have equal length in SCP03")
        expected = card_cryptogram(keys, host_challenge, init.card_challenge)
        if not compare_digest(expected, init.card_cryptogram):
            raise CardCryptogramError
        self._host_cryptogram = host_cryptogram(keys, host_challenge, init.card_challenge)
        self._start(keys, i)

    @classmethod
    def established(
        cls, keys: SessionKeys, *, level: SecurityLevel, chain: bytes, s16: bool = False
    ) -> "Scp03Channel":
        """Make the channel of a session that another protocol has opened with SCP03's secure messaging.

        Args:
            keys: its session keys.
            level: its level; there will be no EXTERNAL AUTHENTICATE.
            chain: 16 bytes, the first chaining value of the C-MAC.
            s16: MACs of 16 bytes.

        Source: Amendment F (SCP11).
        """
        if level not in _LEVELS or len(chain) != AES_BLOCK:
            raise SecureChannelError(f"no session of level {level:02X} starts with {len(chain)} bytes")
        channel = cls.__new__(cls)
        channel._host_cryptogram = b""
        channel._start(keys, _I_R_MAC_R_ENC | (_I_S16 if s16 else 0))
        channel._chain = chain
        channel._set_level(level)
        return channel

    def _start(self, keys: SessionKeys, i: int) -> None:
        self._i = i
        self._mac_length = 16 if i & _I_S16 else 8
        self._enc = CbcKey.aes(keys.enc.reveal())
        self._s_enc = keys.enc
        self._mac = CmacKey(keys.mac.reveal())
        self._rmac = CmacKey(keys.rmac.reveal())
        self._level: SecurityLevel | None = None
        self._macs = self._encrypts = False
        self._chain = bytes(AES_BLOCK)
        self._counter = 0
        # From which command on answers have which level: EXTERNAL AUTHENTICATE's, until an R-MAC session.
        self._answer_levels: list[tuple[int, SecurityLevel]] = []

    @property
    def level(self) -> SecurityLevel | None:
        """The level of the session, None before EXTERNAL AUTHENTICATE."""
        return self._level

    def external_authenticate(self, level: SecurityLevel) -> CommandApdu:
        """Make the EXTERNAL AUTHENTICATE command that opens the session.

        Raises:
            SecureChannelError: the level does not exist or the card cannot do it, or the session is open.
        """
        if self._level is not None:
            raise SecureChannelError("EXTERNAL AUTHENTICATE was made already")
        self._require_supported(level)
        plain = CommandApdu(
            CLA_EXTERNAL_AUTHENTICATE, INS_EXTERNAL_AUTHENTICATE, level, 0x00, self._host_cryptogram
        )
        self._chain = self._command_mac(plain, plain.data)
        self._set_level(level)
        return plain.with_data(plain.data + self._chain[: self._mac_length])

    def resume(self, level: SecurityLevel, link: ResponseLink) -> None:
        """Go on with a session whose EXTERNAL AUTHENTICATE and later commands were made before.

        Args:
            level: its level.
            link: of the last command that was made.

        Raises:
            SecureChannelError: the level does not exist or the card cannot do it, or this channel is in use.
        """
        if self._level is not None:
            raise SecureChannelError("the channel is in use already")
        self._require_supported(level)
        self._set_level(level)
        self._chain, self._counter = link.chain, link.counter

    def _set_level(self, level: SecurityLevel) -> None:
        self._level = level
        self._answer_levels = [(0, level)]
        self._macs = bool(level & SecurityLevel.C_MAC)
        self._encrypts = bool(level & SecurityLevel.C_DECRYPTION)

    def wrap(self, command: CommandApdu) -> WrappedCommand:
        """Protect the next command of the session (Amendment D §6.2.4, §6.2.6).

        Raises:
            SecureChannelError: the session is not open.
            ApduError: the protected command is longer than its form allows; the session is unchanged.
        """
        if self._level is None:
            self._open_level()
        counter, chain, cla, data = self._counter + 1, self._chain, command.cla, command.data
        # §6.2.6: a command without data is not encrypted, the counter moves all the same.
        if self._encrypts and data:
            data = self._encrypted(data, counter)
        if self._macs:
            chain = self._command_mac(command, data)
            cla, data = _SECURED_CLASS[cla], data + chain[: self._mac_length]
        raw = encode_command(cla, command.ins, command.p1, command.p2, data, command.ne, command.extended)
        self._counter, self._chain = counter, chain
        if command.ins in _R_MAC_SESSION:
            self._note_r_mac_session(command)
        return WrappedCommand(raw, ResponseLink(chain, counter))

    def wrap_in_parts(self, command: CommandApdu) -> WrappedChain:
        """Protect DELETE, INSTALL or PUT KEY as a whole, then cut it (GPCS §11.1.5.1).

        The encryption counter moves once; all parts but the last are answered with 9000 and nothing else.

        Raises:
            ApduError: another command.
            SecureChannelError: the session is not open.
        """
        self._open_level()
        whole, counter, chain = replace(command, extended=True), self._counter + 1, self._chain
        if self._encrypts and whole.data:
            whole = whole.with_data(self._encrypted(whole.data, counter))
        if self._macs:
            chain = self._command_mac(whole, whole.data, chained=True)
            data = whole.data + chain[: self._mac_length]
            whole = replace(whole, cla=_SECURED_CLASS[whole.cla], data=data)
        parts = in_parts(whole)
        self._counter, self._chain = counter, chain
        return WrappedChain(parts, ResponseLink(chain, counter))

    def _note_r_mac_session(self, command: CommandApdu) -> None:
        """Amendment D §7.1.3.3, §7.1.4.6: the new level is that of the answers after this command's."""
        base = self._answer_levels[0][1]
        begins = command.ins == Ins.BEGIN_R_MAC_SESSION
        level = base | SecurityLevel(command.p1) if begins else base
        self._answer_levels.append((self._counter, level))

    def _answer_level(self, counter: int) -> SecurityLevel:
        return next(level for after, level in reversed(self._answer_levels) if after < counter)

    def unwrap(self, response: ResponseApdu, link: ResponseLink) -> ResponseApdu:
        """Check and open the answer to one command, in any order (Amendment D §6.2.5, §6.2.7).

        An answer with an error status word is never protected; data in it would not be authentic and is
        dropped.

        Raises:
            ResponseMacError: the R-MAC is missing on 9000, 62xx or 63xx, or wrong.
            ResponseFormatError: authentic, but not decipherable.
            SecureChannelError: the session is not open.
        """
        self._open_level()
        level = self._answer_level(link.counter)
        if not carries_response_mac(response.sw):
            # A refused BEGIN or END R-MAC SESSION leaves everything as it was.
            self._answer_levels = [entry for entry in self._answer_levels if entry[0] != link.counter]
        if not level & SecurityLevel.R_MAC:
            return response
        if not carries_response_mac(response.sw):
            return ResponseApdu(b"", response.sw)
        data = self._verified(response, link)
        if level & SecurityLevel.R_ENCRYPTION and data:
            data = self._decrypted(data, link.counter)
        return ResponseApdu(data, response.sw)

    def _open_level(self) -> SecurityLevel:
        if self._level is None:
            raise SecureChannelError("the session is not open: EXTERNAL AUTHENTICATE comes first")
        return self._level

    def _require_supported(self, level: SecurityLevel) -> None:
        if level not in _LEVELS:
            raise SecureChannelError(f"SCP03 has no security level {level:02X}")
        if level & SecurityLevel.R_MAC and not self._i & _I_R_MAC:
            raise SecureChannelError(f"SCP03 i={self._i:02X} has no R-MAC: level {level:02X} is impossible")
        if level & SecurityLevel.R_ENCRYPTION and self._i & _I_R_MAC_R_ENC != _I_R_MAC_R_ENC:
            raise SecureChannelError(
                f"SCP03 i={self._i:02X} does not encrypt answers: level {level:02X} is impossible"
            )

    def _encrypted(self, data: bytes, counter: int) -> bytes:
        # §6.2.6: the chaining value is the encrypted counter.
        return self._enc.encrypt_after(counter, pad80(data, AES_BLOCK))

    def _command_mac(self, command: CommandApdu, data: bytes, *, chained: bool = False) -> bytes:
        """Return the new chaining value, whose first bytes are the C-MAC."""
        cla, length = _MAC_CLASS[command.cla], len(data) + self._mac_length
        if command.extended and (not chained or length > _SHORT_DATA):
            coded = bytes((cla, command.ins, command.p1, command.p2, 0, length >> 8, length & 0xFF))
        else:
            coded = bytes((cla, command.ins, command.p1, command.p2, length & 0xFF))
        return self._mac.mac(self._chain + coded + data)

    def _verified(self, response: ResponseApdu, link: ResponseLink) -> bytes:
        """Return the data in front of the R-MAC."""
        if len(response.data) < self._mac_length:
            raise ResponseMacError(f"the R-MAC is missing from an answer {response.sw:04X}")
        data, mac = response.data[: -self._mac_length], response.data[-self._mac_length :]
        expected = self._rmac.mac(link.chain + data + response.sw.to_bytes(2, "big"))
        if not compare_digest(expected[: self._mac_length], mac):
            raise ResponseMacError(f"the R-MAC of an answer {response.sw:04X} is wrong")
        return data

    def _decrypted(self, data: bytes, counter: int) -> bytes:
        # Real cards pad by more than one block: unpad80 strips any number of zeros.
        icv = self._enc.encrypt(b"\x80" + counter.to_bytes(AES_BLOCK - 1, "big"))
        try:
            return unpad80(aes_cbc_decrypt(self._s_enc.reveal(), icv, data))
        except PaddingError as error:
            raise ResponseFormatError(
                f"the answer's R-MAC is right, but not its encryption: {error}"
            ) from error


def _derive(key: Secret, constant: int, context: bytes, bits: int) -> bytes:
    return sp800_108_cmac(key.reveal(), bytes(11) + bytes((constant,)), context, bits)
