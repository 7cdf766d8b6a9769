"""A cardholder verification method: its value, its states and its retry counter.

What must survive is in a store; the states INVALID_SUBMISSION and VALIDATED end with the card session.
Source: GPCS 2.3.1 §8.2.
"""

from collections.abc import Callable, MutableMapping
from enum import IntEnum
from hmac import compare_digest
from typing import Final

from opentsm.vse.status import SW_CONDITIONS, SW_WRONG_DATA, StatusError

MOST_TRIES: Final = 15
_LONGEST: Final = 14
_VALUE, _LIMIT, _TRIES = "cvm/value", "cvm/limit", "cvm/tries"
_FILLER: Final = 0xF
_DISPLAYABLE: Final = range(0x20, 0x7F)


class CvmState(IntEnum):
    """§8.2.2.2; NOT_READY is before value and retry limit are set."""

    NOT_READY = 0x00
    ACTIVE = 0x01
    INVALID_SUBMISSION = 0x02
    VALIDATED = 0x03
    BLOCKED = 0x04


class CvmFormat(IntEnum):
    """§8.2.2.3, numbered as the GlobalPlatform API does."""

    ASCII = 0x01
    BCD = 0x02
    HEX = 0x03


class Cvm:
    """One method.

    Args:
        store: where value, limit and counter are kept.
        commit: saves it at once.
    """

    def __init__(self, store: MutableMapping[str, bytes], commit: Callable[[], None]) -> None:
        self._store = store
        self._commit = commit
        self._state = CvmState.ACTIVE

    @property
    def state(self) -> CvmState:
        """The state of this card session."""
        if _VALUE not in self._store or _LIMIT not in self._store:
            return CvmState.NOT_READY
        return self._state if self.tries else CvmState.BLOCKED

    @property
    def tries(self) -> int:
        """How often a wrong value may still be presented (the Retry Counter, downwards)."""
        return self._store.get(_TRIES, b"\x00")[0]

    def verify(self, value: bytes, kind: CvmFormat) -> bool:
        """Compare a value; what cannot be converted is wrong, too.

        The try is counted and saved before the comparison: cutting the power must not give it back.

        Raises:
            StatusError: 6985 before value and limit are set.
        """
        if self.state is CvmState.NOT_READY:
            raise StatusError(SW_CONDITIONS)
        if self.state is CvmState.BLOCKED:
            return False
        self._state = CvmState.INVALID_SUBMISSION
        self._store[_TRIES] = bytes([self.tries - 1])
        self._commit()
        kept = self._store[_VALUE]
        if not compare_digest(kept, _comparable(value, kind)):
            return False
        self._store[_TRIES] = self._store[_LIMIT]
        self._state = CvmState.VALIDATED
        return True

    def update(self, value: bytes, kind: CvmFormat) -> None:
        """Set another value; the Retry Counter begins anew, the state is ACTIVE.

        Raises:
            StatusError: 6A80 the value is not of its format.
        """
        comparable = _comparable(value, kind)
        if not comparable or not 1 <= len(value) <= _LONGEST:
            raise StatusError(SW_WRONG_DATA)
        self._store[_VALUE] = comparable
        self.unblock()

    def set_limit(self, limit: int) -> None:
        """Set the Retry Limit; the counter begins anew, the state is ACTIVE.

        Raises:
            StatusError: 6A80 not 1 to 15.
        """
        if not 1 <= limit <= MOST_TRIES:
            raise StatusError(SW_WRONG_DATA)
        self._store[_LIMIT] = bytes([limit])
        self.unblock()

    def reset(self) -> bool:
        """Back to ACTIVE within the session, which any application may; not from BLOCKED."""
        if self.state in {CvmState.BLOCKED, CvmState.NOT_READY}:
            return False
        self._state = CvmState.ACTIVE
        return True

    def unblock(self) -> None:
        """Back to ACTIVE from any state, with all tries."""
        self._state = CvmState.ACTIVE
        if _LIMIT in self._store:
            self._store[_TRIES] = self._store[_LIMIT]

    def block(self) -> None:
        """To BLOCKED, which outlives the session.

        Raises:
            StatusError: 6985 before value and limit are set.
        """
        if self.state is CvmState.NOT_READY:
            raise StatusError(SW_CONDITIONS)
        self._store[_TRIES] = b"\x00"


def _comparable(value: bytes, kind: CvmFormat) -> bytes:
    """Return a value so that ASCII and BCD of the same digits are alike and HEX is like nothing else.

    Empty when the value is not of its format (§8.2.2.3).
    """
    if kind is CvmFormat.HEX:
        return bytes([CvmFormat.HEX]) + value
    if kind is CvmFormat.BCD:
        value = _digits(value)
    fits = value and all(byte in _DISPLAYABLE for byte in value)
    return bytes([CvmFormat.ASCII]) + value if fits else b""


def _digits(value: bytes) -> bytes:
    """Expand BCD; one filler may stand at the end."""
    nibbles = [nibble for byte in value for nibble in (byte >> 4, byte & 0x0F)]
    if nibbles and nibbles[-1] == _FILLER:
        nibbles.pop()
    return bytes(0x30 + nibble for nibble in nibbles) if all(n <= 9 for n in nibbles) else b""
