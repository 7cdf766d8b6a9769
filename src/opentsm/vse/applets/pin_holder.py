"""A CVM application: it keeps the cardholder's PIN for all applications of the card.

Source: GPCS 2.3.1 §8.2; ISO/IEC 7816-4 §11.5 (VERIFY); docs/reference/applets.md (the data).
"""

from collections.abc import Mapping, MutableMapping
from typing import ClassVar, Final

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.vse.applets.base import CardServices, CvmService
from opentsm.vse.applets.personalized import VERSION_RULE, DgiRule, Handler, PersonalizedApplet, require_p1p2
from opentsm.vse.cvm import Cvm, CvmFormat
from opentsm.vse.status import SW_BLOCKED, SW_CONDITIONS, SW_WRONG_DATA, SW_WRONG_P1P2, StatusError

DGI_IDENTIFIER: Final = 0x7001
DGI_LIMIT: Final = 0x7002
DGI_VALUE: Final = 0x8001
TAG_TRIES: Final = 0x9F17
TAG_STATE: Final = 0xDF31
RESET: Final = 0xFF
SW_TRIES_LEFT: Final = 0x63C0

_FAMILY: Final = 0x82
_NO_IDENTIFIER: Final = 0x00
_BLOCK: Final = 16


class PinHolder(PersonalizedApplet):
    """Offers one CVM, uniquely registered once it is personalised; VERIFY works on the applet itself, too."""

    MODULE_AID: ClassVar[Aid] = Aid.from_hex("F04F54534D0401")
    RULES: ClassVar[tuple[DgiRule, ...]] = (
        DgiRule(DGI_IDENTIFIER, (1,)),
        DgiRule(DGI_LIMIT, (1,), updatable=True),
        DgiRule(DGI_VALUE, (_BLOCK,), required=False, encrypted=True, updatable=True),
        VERSION_RULE,
    )

    def __init__(self, store: MutableMapping[str, bytes], services: CardServices) -> None:
        super().__init__(store, services)
        self._cvm = Cvm(store, services.commit)

    def cvm(self) -> Cvm | None:
        """Offer the method to others once it is personalised."""
        return self._cvm if self.personalized else None

    def fci_data(self) -> bytes:
        """Return nothing: the state is asked for by GET DATA."""
        return b""

    def check(self, values: Mapping[int, bytes]) -> None:
        """Refuse an identifier that there is not, a limit that is not 1 to 15, a malformed value."""
        if values[DGI_IDENTIFIER][0] == _NO_IDENTIFIER or not 1 <= values[DGI_LIMIT][0] <= 15:
            raise StatusError(SW_WRONG_DATA)
        if DGI_VALUE in values:
            Cvm({}, _nothing).update(*read_value(values[DGI_VALUE]))
        elif not self.personalized:
            raise StatusError(SW_WRONG_DATA)

    def completed(self, changed: Mapping[int, bytes], *, first: bool) -> None:
        """Set what came, either of which unblocks the method (§8.2.2.2.4); register it at first."""
        if DGI_VALUE in changed:
            # The value is kept once only.
            del self.store[f"dgi/{DGI_VALUE:04X}"]
            self._cvm.update(*read_value(changed[DGI_VALUE]))
        if DGI_LIMIT in changed:
            self._cvm.set_limit(changed[DGI_LIMIT][0])
        if first:
            # Last: what is refused before must not stay registered.
            self.services.register_service(bytes([_FAMILY]) + changed[DGI_IDENTIFIER])

    def commands(self) -> Mapping[tuple[int, int], Handler]:
        """VERIFY; changes come by STORE DATA alone."""
        return {(0x00, 0x20): self._verify}

    def data_object(self, tag: int) -> bytes | None:
        """Also give the tries (9F17) and the state (DF31)."""
        if tag in {TAG_TRIES, TAG_STATE} and self.personalized:
            return bytes([self._cvm.tries if tag == TAG_TRIES else self._cvm.state])
        return super().data_object(tag)

    def _verify(self, command: CommandApdu) -> bytes:
        if not self.personalized:
            raise StatusError(SW_CONDITIONS)
        return verify_with(self._cvm, command)


def _nothing() -> None:
    """A value that is only looked at is not saved."""


def read_value(block: bytes) -> tuple[bytes, CvmFormat]:
    """Read a value as STORE DATA brings it: format, length, value, filled up with 00.

    Raises:
        StatusError: 6A80.
    """
    kind, length, value, rest = block[0], block[1], block[2 : 2 + block[1]], block[2 + block[1] :]
    if kind not in set(CvmFormat) or not 1 <= length <= _BLOCK - 2 or any(rest):
        raise StatusError(SW_WRONG_DATA)
    return value, CvmFormat(kind)


def verify_with(cvm: CvmService | Cvm, command: CommandApdu) -> bytes:
    """Answer VERIFY: a value in the format of P2; without data the tries; P1 = FF forgets the verification.

    Raises:
        StatusError: 63Cx wrong, or not verified, x tries left; 6983 blocked; 6985 nothing to forget; 6A86.
    """
    if command.p1 == RESET:
        require_p1p2(command, RESET, 0)
        if command.data or not cvm.reset():
            raise StatusError(SW_CONDITIONS)
        return b""
    kind = value_format(command, p1=0)
    if command.data and cvm.verify(command.data, kind):
        return b""
    if not cvm.tries:
        raise StatusError(SW_BLOCKED)
    if command.data or cvm.state.name != "VALIDATED":
        raise StatusError(SW_TRIES_LEFT | cvm.tries)
    return b""


def value_format(command: CommandApdu, *, p1: int) -> CvmFormat:
    """Return the format that P2 names.

    Raises:
        StatusError: 6A86.
    """
    if command.p1 != p1 or command.p2 not in set(CvmFormat):
        raise StatusError(SW_WRONG_P1P2)
    return CvmFormat(command.p2)
