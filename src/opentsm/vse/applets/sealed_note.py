"""A note that anybody reads, and that is written only through the secure channel of its security domain.

It shows how an applet leaves authentication and secure messaging to its security domain.
Source: GPCS 2.3.1 §10.3; docs/reference/applets.md (the commands).
"""

from collections.abc import Callable
from typing import ClassVar, Final

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.codec.tlv import encode_tlv
from opentsm.vse.applets.base import Applet
from opentsm.vse.status import (
    SW_CLA_NOT_SUPPORTED,
    SW_INS_NOT_SUPPORTED,
    SW_NOT_FOUND,
    SW_OK,
    SW_SECURITY,
    SW_WRONG_LENGTH,
    SW_WRONG_P1P2,
    StatusError,
)

_AUTHENTICATION: Final = frozenset({0x50, 0x82})
_READ: Final = 0xB0
_WRITE: Final = 0xD0
_OWN_STATE: Final = 0xF0
_SECURE_MESSAGING: Final = 0x04
_AUTHENTICATED: Final = 0x80
_LONGEST: Final = 200


class SealedNote(Applet):
    """READ (80 B0 00 00; what INSTALL brought: P2 01) for all, WRITE (80 D0 00 00) and the
    contactless activation state (80 F0 00 P2) when authenticated.
    """

    MODULE_AID: ClassVar[Aid] = Aid.from_hex("F04F54534D7F01")
    MULTISELECTABLE: ClassVar[bool] = True

    def install(self, instance_aid: Aid, parameters: bytes) -> None:
        """Keep what came with INSTALL; it can be read back."""
        self.store["installed"] = self.services.installation

    def personalize(self, command: CommandApdu, decrypt: Callable[[bytes], bytes]) -> bytes:
        """Take the data as the note; answer with the one before."""
        before = self.store.get("note", b"")
        self._write(command.data, _AUTHENTICATED)
        return before

    def select(self) -> bytes:
        """Return the FCI: the name only."""
        return encode_tlv(0x6F, encode_tlv(0x84, bytes(self.services.instance_aid)) + encode_tlv(0xA5, b""))

    def process(self, command: CommandApdu) -> ResponseApdu:
        """Open a session, or answer one command inside or outside of it."""
        secure = self.services.secure_channel
        if command.cla & ~_SECURE_MESSAGING != 0x80:
            raise StatusError(SW_CLA_NOT_SUPPORTED)
        if command.ins in _AUTHENTICATION:
            return ResponseApdu(secure.process_security(command), SW_OK)
        plain = secure.unwrap(command)
        try:
            answer = ResponseApdu(self._answer(plain, secure.level), SW_OK)
        except StatusError as refusal:
            answer = ResponseApdu(b"", refusal.sw)
        return ResponseApdu(secure.wrap(answer.data, answer.sw), answer.sw)

    def _answer(self, command: CommandApdu, level: int) -> bytes:
        if command.ins == _OWN_STATE:
            return self._set_own_state(command, level)
        if command.ins not in {_READ, _WRITE}:
            raise StatusError(SW_INS_NOT_SUPPORTED)
        if command.p1 or command.p2 > (command.ins == _READ):
            raise StatusError(SW_WRONG_P1P2)
        if command.ins == _WRITE:
            return self._write(command.data, level)
        return self.store["installed"] if command.p2 else self._read()

    def _read(self) -> bytes:
        note = self.store.get("note")
        if note is None:
            raise StatusError(SW_NOT_FOUND)
        return note

    def _set_own_state(self, command: CommandApdu, level: int) -> bytes:
        """Ask the card for another contactless activation state, P2; the privilege is the card's to check."""
        if not level & _AUTHENTICATED:
            raise StatusError(SW_SECURITY)
        if command.p1 or command.data:
            raise StatusError(SW_WRONG_P1P2)
        self.services.set_contactless_state(command.p2)
        return b""

    def _write(self, note: bytes, level: int) -> bytes:
        if not level & _AUTHENTICATED:
            raise StatusError(SW_SECURITY)
        if not 1 <= len(note) <= _LONGEST:
            raise StatusError(SW_WRONG_LENGTH)
        self.store["note"] = note
        return b""
