"""An applet that is personalised by STORE DATA with DGIs, and that dispatches its commands by a table.

Data groupings are staged until DGI 7FFF completes the personalisation: a torn one is never half in force.
Source: GPCS 2.3.1 §11.11 (STORE DATA); EMV CPS 1.1 §2.2 (DGIs); docs/reference/applets.md.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.codec.tlv import encode_tlv
from opentsm.card.errors import CardError
from opentsm.vse.applets.base import Applet
from opentsm.vse.applets.dgi_stream import split_dgis
from opentsm.vse.status import (
    SW_CLA_NOT_SUPPORTED,
    SW_CONDITIONS,
    SW_INS_NOT_SUPPORTED,
    SW_NOT_FOUND,
    SW_OK,
    SW_SECURITY,
    SW_WRONG_DATA,
    SW_WRONG_LENGTH,
    SW_WRONG_P1P2,
    StatusError,
)

DGI_VERSION: Final = 0xDF01
DGI_KCVS: Final = 0x9000
DGI_COMPLETION: Final = 0x7FFF
INS_GET_DATA: Final = 0xCA

_LAST_BLOCK: Final = 0x80
_ENCRYPTION: Final = 0x60
_PLAIN: Final = 0x00
_ENCRYPTED: Final = 0x60
_STRUCTURE: Final = 0x18
_DGI_STRUCTURES: Final = (0x00, 0x08)  # EMV CPS leaves the bits clear, GPCS has 01 for DGIs

Handler = Callable[[CommandApdu], bytes]


@dataclass(frozen=True, slots=True)
class DgiRule:
    """What one data grouping must look like.

    `lengths` are those allowed for the clear value, in bytes; an encrypted one must come with P1 b7b6 = 11.
    """

    dgi: int
    lengths: range | tuple[int, ...]
    required: bool = True
    encrypted: bool = False
    updatable: bool = False


VERSION_RULE: Final = DgiRule(DGI_VERSION, range(1, 17), updatable=True)


class PersonalizedApplet(Applet):
    """Common behaviour of the applets: DGIs in, personalisation probe out."""

    RULES: ClassVar[tuple[DgiRule, ...]]

    _tail = b""
    _tail_mode = _PLAIN

    def install(self, instance_aid: Aid, parameters: bytes) -> None:
        """Refuse application parameters: these applets take all their data by STORE DATA.

        Raises:
            StatusError: 6A80 when tag C9 is not empty.
        """
        if parameters:
            raise StatusError(SW_WRONG_DATA)

    def select(self) -> bytes:
        """Return the FCI: name and the applet's proprietary data."""
        proprietary = encode_tlv(0xA5, self.fci_data())
        return encode_tlv(0x6F, encode_tlv(0x84, bytes(self.services.instance_aid)) + proprietary)

    @abstractmethod
    def fci_data(self) -> bytes:
        """Return the content of tag A5."""

    @abstractmethod
    def commands(self) -> Mapping[tuple[int, int], Handler]:
        """Return the handler for each CLA and INS, beyond GET DATA of the probe."""

    def process(self, command: CommandApdu) -> ResponseApdu:
        """Answer one command by the table."""
        handlers = {(0x80, INS_GET_DATA): self.get_data, **self.commands()}
        handler = handlers.get((command.cla, command.ins))
        if handler is not None:
            return ResponseApdu(handler(command), SW_OK)
        known_ins = any(ins == command.ins for _, ins in handlers)
        raise StatusError(SW_CLA_NOT_SUPPORTED if known_ins else SW_INS_NOT_SUPPORTED)

    def get_data(self, command: CommandApdu) -> bytes:
        """Answer GET DATA; DF01 is the personalisation probe."""
        tag = command.p1 << 8 | command.p2
        value = self.data_object(tag)
        if value is None:
            raise StatusError(SW_NOT_FOUND)
        return encode_tlv(tag, value)

    def data_object(self, tag: int) -> bytes | None:
        """Return the value that GET DATA gives for `tag`, or None."""
        return self.value(DGI_VERSION) if tag == DGI_VERSION else None

    @property
    def personalized(self) -> bool:
        """Whether DGI 7FFF was accepted once."""
        return "personalized" in self.store

    def value(self, dgi: int) -> bytes | None:
        """Return the value in force, or None."""
        return self.store.get(f"dgi/{dgi:04X}")

    def require(self, dgi: int) -> bytes:
        """Return the value in force.

        Raises:
            StatusError: 6985 when the applet is not personalised with it.
        """
        value = self.value(dgi)
        if value is None:
            raise StatusError(SW_CONDITIONS)
        return value

    def rule_for(self, dgi: int) -> DgiRule | None:
        """Return the rule for a data grouping, or None when the applet does not know it."""
        return next((rule for rule in self.RULES if rule.dgi == dgi), None)

    def check(self, values: Mapping[int, bytes]) -> None:
        """Check the data groupings that are about to come into force, together.

        Raises:
            StatusError: 6A80 or 6982.
        """

    def completed(self, changed: Mapping[int, bytes], *, first: bool) -> None:
        """Prepare counters after a completion; `changed` holds the data groupings that came into force."""

    def personalize(self, command: CommandApdu, decrypt: Callable[[bytes], bytes]) -> bytes:
        """Take one STORE DATA; nothing of it is kept when any part is refused."""
        before = dict(self.store)
        try:
            self._take(command, decrypt)
        except StatusError:  # half of it must not stay, nor the series before go
            self._restore(before)
            raise
        return b""

    def _take(self, command: CommandApdu, decrypt: Callable[[bytes], bytes]) -> None:
        mode = _mode(command)
        if command.p2 == 0:
            self._begin_series()
        dgis, tail = self._read(command, mode)
        clear = [(dgi, self._accept(dgi, value, mode, decrypt)) for dgi, value in dgis]
        complete = _completion(clear)
        staged = self._staged() | {dgi: value for dgi, value in clear if dgi != DGI_COMPLETION}
        if complete:
            self._check_complete(staged)
        self._tail, self._tail_mode = tail, mode
        self._write(staged, complete=complete, last=bool(command.p1 & _LAST_BLOCK))

    def _restore(self, before: Mapping[str, bytes]) -> None:
        for name in [name for name in self.store if name not in before]:
            del self.store[name]
        for name, value in sorted(before.items(), key=lambda item: len(item[1])):
            if self.store.get(name) != value:
                self.store[name] = value

    def _begin_series(self) -> None:
        self._tail = b""
        if "series" in self.store:  # the series before was torn: a mixture must not come into force
            for dgi in self._staged():
                del self.store[f"staged/{dgi:04X}"]
            del self.store["series"]

    def _read(self, command: CommandApdu, mode: int) -> tuple[list[tuple[int, bytes]], bytes]:
        tail, self._tail = self._tail, b""
        if tail and mode != self._tail_mode:
            raise StatusError(SW_WRONG_DATA)
        dgis, rest = split_dgis(tail + command.data)
        if rest and command.p1 & _LAST_BLOCK:
            raise StatusError(SW_WRONG_DATA)
        return dgis, rest

    def _accept(self, dgi: int, value: bytes, mode: int, decrypt: Callable[[bytes], bytes]) -> bytes:
        if dgi == DGI_COMPLETION:
            return value
        rule = self.rule_for(dgi)
        if rule is None:
            raise StatusError(SW_NOT_FOUND)
        if self.personalized and not rule.updatable:
            raise StatusError(SW_CONDITIONS)
        if rule.encrypted != (mode == _ENCRYPTED):
            raise StatusError(SW_WRONG_DATA)
        clear = _decrypted(value, decrypt) if rule.encrypted else value
        if len(clear) not in rule.lengths:
            raise StatusError(SW_WRONG_DATA)
        return clear

    def _staged(self) -> dict[int, bytes]:
        return self._group("staged/")

    def _group(self, prefix: str) -> dict[int, bytes]:
        names = [name for name in self.store if name.startswith(prefix)]
        return {int(name.removeprefix(prefix), 16): self.store[name] for name in names}

    def _check_complete(self, staged: Mapping[int, bytes]) -> None:
        values = {**self._group("dgi/"), **staged}
        if any(rule.required and rule.dgi not in values for rule in self.RULES):
            raise StatusError(SW_WRONG_DATA)
        self.check(values)

    def _write(self, staged: Mapping[int, bytes], *, complete: bool, last: bool) -> None:
        for dgi, value in staged.items():
            self.store[f"staged/{dgi:04X}"] = value
        if complete:
            self._activate(staged)
        if last:
            self.store.pop("series", None)
        else:
            self.store["series"] = b"\x01"

    def _activate(self, staged: Mapping[int, bytes]) -> None:
        first = not self.personalized
        for dgi, value in staged.items():
            del self.store[f"staged/{dgi:04X}"]  # first: the card need not have room for both
            self.store[f"dgi/{dgi:04X}"] = value
        self.store["personalized"] = b"\x01"
        self.completed(staged, first=first)


def _mode(command: CommandApdu) -> int:
    mode = command.p1 & _ENCRYPTION
    if mode not in (_PLAIN, _ENCRYPTED) or command.p1 & _STRUCTURE not in _DGI_STRUCTURES:
        raise StatusError(SW_WRONG_P1P2)
    return mode


def _decrypted(value: bytes, decrypt: Callable[[bytes], bytes]) -> bytes:
    try:
        return decrypt(value)
    except CardError as error:  # not whole blocks
        raise StatusError(SW_WRONG_DATA) from error


def _completion(dgis: list[tuple[int, bytes]]) -> bool:
    """Tell whether 7FFF is there; it must be empty and the last data grouping of its command."""
    places = [place for place, (dgi, _) in enumerate(dgis) if dgi == DGI_COMPLETION]
    if not places:
        return False
    if places != [len(dgis) - 1] or dgis[-1][1]:
        raise StatusError(SW_WRONG_DATA)
    return True


def check_kcvs(values: Mapping[int, bytes], keys: tuple[int, ...], kcv: Callable[[bytes], bytes]) -> None:
    """Compare DGI 9000, when given, with the key check values of the key data groupings in this order.

    Raises:
        StatusError: 6982, the keys are not those that the service provider meant.
    """
    expected = values.get(DGI_KCVS)
    if expected is not None and expected != b"".join(kcv(values[dgi]) for dgi in keys):
        raise StatusError(SW_SECURITY)


def require_length(command: CommandApdu, length: int) -> None:
    """Refuse a command whose data field has another length with 6700."""
    if len(command.data) != length:
        raise StatusError(SW_WRONG_LENGTH)


def require_p1p2(command: CommandApdu, p1: int, p2: int) -> None:
    """Refuse other parameters with 6A86."""
    if (command.p1, command.p2) != (p1, p2):
        raise StatusError(SW_WRONG_P1P2)
