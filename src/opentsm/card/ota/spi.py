"""The security parameter indicator: how a command packet is protected, and which proof of receipt it wants.

Source: ETSI TS 102 225 §5.1.1 (coding of the SPI).
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from opentsm.card.errors import OtaError

_CIPHERED: Final = 0x04
_POR_CIPHERED: Final = 0x10
_POR_SUBMIT: Final = 0x20
_RESERVED: Final = (0xE0, 0xC0)


class Integrity(IntEnum):
    """Against changes: nothing, redundancy check (RC), cryptographic checksum (CC), digital signature."""

    NONE = 0
    RC = 1
    CC = 2
    DS = 3


class CounterMode(IntEnum):
    """What the receiver does with the counter."""

    NONE = 0
    UNCHECKED = 1
    HIGHER = 2
    NEXT = 3


class PorRequest(IntEnum):
    """When a proof of receipt (PoR) is wanted."""

    NEVER = 0
    ALWAYS = 1
    ON_ERROR = 2


@dataclass(frozen=True, slots=True)
class Spi:
    """Both octets of the security parameter indicator, in words.

    Attributes:
        por_submit: the proof of receipt comes as SMS-SUBMIT, else in the delivery report.
    """

    integrity: Integrity = Integrity.CC
    ciphered: bool = True
    counter: CounterMode = CounterMode.HIGHER
    por: PorRequest = PorRequest.ALWAYS
    por_integrity: Integrity = Integrity.CC
    por_ciphered: bool = True
    por_submit: bool = False

    def to_bytes(self) -> bytes:
        """Encode the two octets."""
        first = self.counter << 3 | (_CIPHERED if self.ciphered else 0) | self.integrity
        second = self.por_integrity << 2 | self.por
        second |= (_POR_CIPHERED if self.por_ciphered else 0) | (_POR_SUBMIT if self.por_submit else 0)
        return bytes((first, second))

    @classmethod
    def from_bytes(cls, data: bytes) -> "Spi":
        """Decode the two octets.

        Raises:
            OtaError: not two octets, or a reserved bit or value is used.
        """
        if len(data) != 2:
            raise OtaError(f"an SPI has two octets, not {len(data)}")
        first, second = data
        if first & _RESERVED[0] or second & _RESERVED[1] or second & 3 == 3:
            raise OtaError(f"SPI {data.hex().upper()} uses reserved bits")
        return cls(
            integrity=Integrity(first & 3),
            ciphered=bool(first & _CIPHERED),
            counter=CounterMode(first >> 3),
            por=PorRequest(second & 3),
            por_integrity=Integrity(second >> 2 & 3),
            por_ciphered=bool(second & _POR_CIPHERED),
            por_submit=bool(second & _POR_SUBMIT),
        )

    def lines(self) -> tuple[str, ...]:
        """Say in words what the two octets mean."""
        return (
            f"command: {_INTEGRITY[self.integrity]}, {'ciphered' if self.ciphered else 'not ciphered'}",
            f"counter: {_COUNTER[self.counter]}",
            f"proof of receipt: {_POR[self.por]}" + (f"; {self._por_line()}" if self.por else ""),
        )

    def _por_line(self) -> str:
        bearer = "by SMS-SUBMIT" if self.por_submit else "in the delivery report"
        ciphered = "ciphered" if self.por_ciphered else "not ciphered"
        return f"{_INTEGRITY[self.por_integrity]}, {ciphered}, {bearer}"


_INTEGRITY: Final = {
    Integrity.NONE: "no checksum",
    Integrity.RC: "redundancy check",
    Integrity.CC: "cryptographic checksum",
    Integrity.DS: "digital signature",
}
_COUNTER: Final = {
    CounterMode.NONE: "not used",
    CounterMode.UNCHECKED: "present, not checked",
    CounterMode.HIGHER: "must be higher than the card's",
    CounterMode.NEXT: "must be the card's plus one",
}
_POR: Final = {
    PorRequest.NEVER: "none",
    PorRequest.ALWAYS: "always",
    PorRequest.ON_ERROR: "only on error",
}
