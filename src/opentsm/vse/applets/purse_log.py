"""The purse's transaction logs: the last ten loads and the last ten purchases, newest first.

Loads have a log of their own, so that purchases never push out the answer to «did this top-up happen?».
"""

from dataclasses import dataclass
from typing import Final

ENTRIES: Final = 10
ENTRY_LENGTH: Final = 50


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One finished transaction.

    `counter` is the transaction's own (before it moved on), `balance` the one after, `moment` date and time
    (7 bytes BCD), `reference` the host's transaction id or the terminal's number (8 bytes), `mac` is MAC2.
    """

    counter: int
    kind: int
    amount: int
    balance: int
    terminal: bytes
    moment: bytes
    reference: bytes
    mac: bytes
    tac: bytes = b""

    def to_bytes(self) -> bytes:
        """Encode the entry in 50 bytes; shorter tags are filled up with zeros on the right."""
        numbers = self.counter.to_bytes(4, "big") + bytes((self.kind,)) + self.amount.to_bytes(4, "big")
        place = self.balance.to_bytes(4, "big") + self.terminal + self.moment + self.reference
        return numbers + place + self.mac.ljust(8, b"\x00") + self.tac.ljust(8, b"\x00")

    @classmethod
    def from_bytes(cls, data: bytes) -> "LogEntry":
        """Decode 50 bytes; tags keep their fill."""
        number = int.from_bytes
        return cls(
            counter=number(data[0:4], "big"),
            kind=data[4],
            amount=number(data[5:9], "big"),
            balance=number(data[9:13], "big"),
            terminal=data[13:19],
            moment=data[19:26],
            reference=data[26:34],
            mac=data[34:42],
            tac=data[42:50],
        )


def empty() -> bytes:
    """Return a log with room for all entries, so that no later transaction can find the card full."""
    return bytes(ENTRIES * ENTRY_LENGTH)


def add(log: bytes, entry: LogEntry) -> bytes:
    """Put an entry in front; the eleventh falls out."""
    return (entry.to_bytes() + log)[: ENTRIES * ENTRY_LENGTH]


def entries(log: bytes) -> tuple[LogEntry, ...]:
    """Return the entries, newest first."""
    starts = range(0, len(log), ENTRY_LENGTH)
    places = (LogEntry.from_bytes(log[start : start + ENTRY_LENGTH]) for start in starts)
    return tuple(entry for entry in places if entry.kind)
