"""Secure Channel Protocol 02, the off-card side: triple DES, explicit initiation.

Deprecated since GPCS 2.3.1, but many cards in the field know nothing else.
Source: GPCS 2.3.1 Appendix E.
"""

from dataclasses import replace
from hmac import compare_digest

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.crypto.cipher import DES_BLOCK, tdes_cbc_encrypt
from opentsm.card.crypto.context import CbcKey, RetailMacKey
from opentsm.card.crypto.mac import retail_mac, tdes_mac
from opentsm.card.crypto.padding import pad80
from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import CardCryptogramError, SecureChannelError
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
    chained_lc,
    coded_lc,
    mac_class,
    plain_class,
    secured_class,
)
from opentsm.card.scp.scp02_responses import MAC_LENGTH as _MAC_LENGTH
from opentsm.card.scp.scp02_responses import ResponseMacs

# Derivation constants, E.4.1.
_C_MAC, _R_MAC, _DEK, _ENC = b"\x01\x01", b"\x01\x02", b"\x01\x81", b"\x01\x82"

# Implementation option bits, Table E-1.
_I_UNMODIFIED_APDU, _I_EXPLICIT, _I_ICV_OVER_AID = 0x02, 0x04, 0x08
_I_ICV_ENCRYPTION, _I_R_MAC, _I_PSEUDO_RANDOM = 0x10, 0x20, 0x40
# E.5.2.3: R-ENCRYPTION does not exist in SCP02.
_LEVELS = frozenset({0x00, 0x01, 0x03, 0x10, 0x11, 0x13})
_CHALLENGE_LENGTH = 6
_NO_ICV = bytes(DES_BLOCK)


def derive_session_keys(static: StaticKeys, counter: int) -> SessionKeys:
    """Derive the session keys (E.4.1).

    Args:
        static: three keys of 16 bytes.
        counter: the sequence counter in the answer to INITIALIZE UPDATE, 0 to FFFF.

    Raises:
        KeyFormatError: the keys are no triple DES keys.
        SecureChannelError: the counter is out of range.
    """
    return SessionKeys(
        enc=_derive(static.enc, _ENC, counter),
        mac=_derive(static.mac, _C_MAC, counter),
        rmac=_derive(static.mac, _R_MAC, counter),
        dek=_derive(static.dek, _DEK, counter),
    )


def card_challenge(keys: SessionKeys, aid: bytes) -> bytes:
    """Compute the 6-byte challenge of a card with pseudo-random challenges (E.4.2.3).

    Args:
        keys: session keys of the counter that the answer will carry.
        aid: of the application that is asked.
    """
    return retail_mac(keys.mac.reveal(), pad80(aid, DES_BLOCK), _NO_ICV)[:_CHALLENGE_LENGTH]


def card_cryptogram(keys: SessionKeys, counter: int, host_challenge: bytes, card_challenge: bytes) -> bytes:
    """Compute the 8-byte card cryptogram (E.4.2.1)."""
    return _cryptogram(keys, host_challenge + counter.to_bytes(2, "big") + card_challenge)


def host_cryptogram(keys: SessionKeys, counter: int, host_challenge: bytes, card_challenge: bytes) -> bytes:
    """Compute the 8-byte host cryptogram (E.4.2.2)."""
    return _cryptogram(keys, counter.to_bytes(2, "big") + card_challenge + host_challenge)


def predict_initialize_update(
    static: StaticKeys, *, kdd: bytes, kvn: int, i: int, counter: int, aid: bytes, host_challenge: bytes
) -> InitializeUpdateResponse:
    """Compute the answer of a card with pseudo-random challenges before it is asked.

    Args:
        static: the key set.
        kdd: 10 bytes of key diversification data.
        kvn: key version number of the set.
        i: implementation option with bit 40.
        counter: the sequence counter of the coming session: GET DATA C1 as it is.
        aid: of the application that will be asked.
        host_challenge: 8 bytes.

    Raises:
        SecureChannelError: a card with this `i` has random challenges.
    """
    if not i & _I_PSEUDO_RANDOM:
        raise SecureChannelError(f"SCP02 i={i:02X} has no pseudo-random challenge")
    keys = derive_session_keys(static, counter)
    challenge = card_challenge(keys, aid)
    cryptogram = card_cryptogram(keys, counter, host_challenge, challenge)
    return InitializeUpdateResponse(kdd, kvn, 2, i, challenge, cryptogram, counter)


class Scp02Channel:
    """One SCP02 session, from the card's answer to INITIALIZE UPDATE on."""

    def __init__(
        self, keys: SessionKeys, init: InitializeUpdateResponse, host_challenge: bytes, *, i: int = 0x15
    ) -> None:
        """Check that the card holds the keys.

        Args:
            keys: session keys of the counter in the answer.
            init: the card's answer.
            host_challenge: 8 bytes that the card was sent.
            i: implementation option, which the answer does not tell (GET DATA 66 does).

        Raises:
            CardCryptogramError: the card cryptogram is wrong.
            SecureChannelError: not an SCP02 answer, or a variant that is not supported.
        """
        if init.scp != 2 or init.sequence_counter is None:
            raise SecureChannelError(f"SCP{init.scp:02X} is not SCP02")
        if not i & _I_EXPLICIT or i & _I_ICV_OVER_AID:
            raise SecureChannelError(f"SCP02 i={i:02X} is not supported: only explicit initiation is")
        challenges = (init.sequence_counter, host_challenge, init.card_challenge)
        if not compare_digest(card_cryptogram(keys, *challenges), init.card_cryptogram):
            raise CardCryptogramError
        self._i = i
        self._enc = CbcKey.tdes(keys.enc.reveal())
        self._mac = RetailMacKey(keys.mac.reveal())
        self._rmac = RetailMacKey(keys.rmac.reveal())
        self._responses: ResponseMacs | None = None
        self._host_cryptogram = host_cryptogram(keys, *challenges)
        self._level: SecurityLevel | None = None
        self._icv = _NO_ICV
        self._counter = 0

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
        mac = self._command_mac(plain)
        # E.3.2, E.4.5: the chain of R-MACs starts with the C-MAC of EXTERNAL AUTHENTICATE.
        self._icv = mac
        self._responses = ResponseMacs(self._rmac, mac, every=bool(level & SecurityLevel.R_MAC))
        self._level = level
        return plain.with_data(plain.data + mac)

    def wrap(self, command: CommandApdu) -> WrappedCommand:
        """Protect the next command of the session (E.4.4, E.4.6).

        Raises:
            SecureChannelError: the session is not open.
            ApduError: the protected command is longer than its form allows; the session is unchanged.
        """
        protected, icv = self._protected(command, chained=False)
        return WrappedCommand(protected.to_bytes(), self._link(command, icv))

    def wrap_in_parts(self, command: CommandApdu) -> WrappedChain:
        """Protect DELETE, INSTALL or PUT KEY as a whole, then cut it (GPCS §11.1.5.1).

        All parts but the last are answered with 9000 and nothing else, also at a level with R-MAC.

        Raises:
            ApduError: another command.
            SecureChannelError: the session is not open.
        """
        whole, icv = self._protected(replace(command, extended=True), chained=True)
        parts = in_parts(whole)
        return WrappedChain(parts, self._link(command, icv))

    def _protected(self, command: CommandApdu, *, chained: bool) -> tuple[CommandApdu, bytes]:
        level, icv = self._open_level(), self._icv
        if not level & SecurityLevel.C_MAC:
            return command, icv
        icv = self._command_mac(command, chained=chained)
        data = self._encrypted(command.data) if level & SecurityLevel.C_DECRYPTION else command.data
        return replace(command, cla=secured_class(command.cla), data=data + icv), icv

    def _link(self, command: CommandApdu, icv: bytes) -> ResponseLink:
        self._counter, self._icv = self._counter + 1, icv
        answered_with = self._responses.wrapped(command, self._counter) if self._responses else b""
        return ResponseLink(icv, self._counter, answered_with)

    def unwrap(self, response: ResponseApdu, link: ResponseLink) -> ResponseApdu:
        """Check and open the answer to one command (E.4.5).

        At a level with R-MAC the answers are given in the order of the commands, none left out: each R-MAC
        starts from the one before. Data in an answer with an error status word is not authentic and dropped.

        Raises:
            ResponseMacError: the R-MAC is missing on 9000, 62xx or 63xx, or wrong.
            SecureChannelError: the session is not open, or an answer was left out.
        """
        self._open_level()
        return self._responses.checked(response, link) if self._responses else response

    def _open_level(self) -> SecurityLevel:
        if self._level is None:
            raise SecureChannelError("the session is not open: EXTERNAL AUTHENTICATE comes first")
        return self._level

    def _require_supported(self, level: SecurityLevel) -> None:
        if level not in _LEVELS:
            raise SecureChannelError(f"SCP02 has no security level {level:02X}")
        if level & SecurityLevel.R_MAC and not self._i & _I_R_MAC:
            raise SecureChannelError(f"SCP02 i={self._i:02X} has no R-MAC: level {level:02X} is impossible")

    def _command_mac(self, command: CommandApdu, *, chained: bool = False) -> bytes:
        """Return the C-MAC over the plain command; it becomes the next ICV."""
        unmodified = bool(self._i & _I_UNMODIFIED_APDU)
        cla = plain_class(command.cla) if unmodified else mac_class(command.cla)
        size = len(command.data) + (0 if unmodified else _MAC_LENGTH)
        header = bytes((cla, command.ins, command.p1, command.p2))
        lc = chained_lc(size) if chained else coded_lc(size, extended=command.extended)
        message = header + lc + command.data
        return self._mac.mac(pad80(message, DES_BLOCK), self._command_icv())

    def _command_icv(self) -> bytes:
        # E.3.4: the first ICV of a session is never encrypted.
        if self._level is None or not self._i & _I_ICV_ENCRYPTION:
            return self._icv
        return self._mac.encrypt_single(self._icv)

    def _encrypted(self, data: bytes) -> bytes:
        # E.4.6 is silent about commands without data; they are left alone, as in SCP01 (D.3.4).
        if not data:
            return b""
        return self._enc.encrypt(pad80(data, DES_BLOCK))


def _cryptogram(keys: SessionKeys, data: bytes) -> bytes:
    return tdes_mac(keys.enc.reveal(), pad80(data, DES_BLOCK), _NO_ICV)


def _derive(key: Secret, constant: bytes, counter: int) -> Secret:
    if not 0 <= counter <= 0xFFFF:
        raise SecureChannelError(f"an SCP02 sequence counter cannot be {counter}")
    return Secret(tdes_cbc_encrypt(key.reveal(), _NO_ICV, constant + counter.to_bytes(2, "big") + bytes(12)))
