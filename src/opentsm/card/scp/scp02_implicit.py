"""Secure Channel Protocol 02 in implicit mode, the off-card side: the first C-MAC opens the session.

Host and card know keys and sequence counter beforehand (GET DATA C1); no command opens the session, and
commands are never encrypted.
Source: GPCS 2.3.1 §E.1.2.2, §E.1.6, §E.3.3, §E.3.4, §E.4.1, §E.4.4, §E.4.7.
"""

from dataclasses import replace

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.crypto.cipher import DES_BLOCK, tdes_cbc_encrypt
from opentsm.card.crypto.context import RetailMacKey
from opentsm.card.crypto.padding import pad80
from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import SecureChannelError
from opentsm.card.scp.channel import (
    ResponseLink,
    SessionKeys,
    StaticKeys,
    WrappedCommand,
    coded_lc,
    mac_class,
    plain_class,
    secured_class,
)
from opentsm.card.scp.scp02 import derive_session_keys
from opentsm.card.scp.scp02_responses import MAC_LENGTH, ResponseMacs

_I_UNMODIFIED_APDU, _I_EXPLICIT, _I_ICV_OVER_AID, _I_ICV_ENCRYPTION = 0x02, 0x04, 0x08, 0x10


class Scp02ImplicitChannel:
    """Sessions in implicit mode with one application, one after another.

    Args:
        static: the keys; with a single base key (i without bit 01) three times the same.
        counter: sequence counter before the first session.
        aid: of the selected application.
        i: implementation option.

    Raises:
        SecureChannelError: `i` is no implicit mode.
    """

    def __init__(self, static: StaticKeys, *, counter: int, aid: bytes, i: int = 0x1A) -> None:
        if i & _I_EXPLICIT or not i & _I_ICV_OVER_AID:
            raise SecureChannelError(f"SCP02 i={i:02X} is not implicit mode")
        self._static = static
        self._counter = counter
        self._aid = pad80(aid, DES_BLOCK)
        self._i = i
        self._mac: RetailMacKey | None = None
        self._first = False
        self._icv = b""
        self._number = 0
        self._responses: ResponseMacs | None = None

    @property
    def counter(self) -> int:
        """The sequence counter that the card should have now."""
        return self._counter

    @property
    def dek(self) -> Secret:
        """Session key of sensitive data, of the counter after the first C-MAC (§E.1.2.2)."""
        return self._keys().dek

    def _keys(self) -> SessionKeys:
        return derive_session_keys(self._static, self._counter)

    def encrypt(self, data: bytes) -> bytes:
        """Encrypt sensitive data, whole blocks: CBC in implicit mode (§E.4.7)."""
        return tdes_cbc_encrypt(self.dek.reveal(), bytes(DES_BLOCK), data)

    def wrap(self, command: CommandApdu, *, protected: bool = True) -> WrappedCommand:
        """Make the next command.

        Args:
            command: plain.
            protected: False ends the message integrity; the next protected command opens a new session.
        """
        plain = command
        if protected:
            command = self._with_mac(command)
        else:
            self._mac = None
        self._number += 1
        if self._responses is None or not self._responses.is_open:
            # Keys of the counter at the time the R-MAC session begins (§E.4.1), behind this command's C-MAC.
            key = RetailMacKey(self._keys().rmac.reveal())
            responses = ResponseMacs(key, key.mac(self._aid), every=False)
            entered = responses.wrapped(plain, self._number)
            self._responses = responses if entered else self._responses
        else:
            entered = self._responses.wrapped(plain, self._number)
        return WrappedCommand(command.to_bytes(), ResponseLink(self._icv, self._number, entered))

    def _with_mac(self, command: CommandApdu) -> CommandApdu:
        if self._mac is None:
            self._mac = RetailMacKey(self._keys().mac.reveal())
            self._icv, self._first = self._mac.mac(self._aid), True
            self._counter += 1
        unmodified = bool(self._i & _I_UNMODIFIED_APDU)
        cla = plain_class(command.cla) if unmodified else mac_class(command.cla)
        size = len(command.data) + (0 if unmodified else MAC_LENGTH)
        header = bytes((cla, command.ins, command.p1, command.p2))
        message = header + coded_lc(size, extended=command.extended) + command.data
        # §E.3.4: the first ICV of a session is not encrypted.
        encrypted = self._i & _I_ICV_ENCRYPTION and not self._first
        icv = self._mac.encrypt_single(self._icv) if encrypted else self._icv
        self._icv, self._first = self._mac.mac(pad80(message, DES_BLOCK), icv), False
        return replace(command, cla=secured_class(command.cla), data=command.data + self._icv)

    def unwrap(self, response: ResponseApdu, link: ResponseLink) -> ResponseApdu:
        """Check the answer to one command, in the order of the commands.

        Raises:
            ResponseMacError: an R-MAC is missing or wrong.
        """
        return self._responses.checked(response, link) if self._responses else response
