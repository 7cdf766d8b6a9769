"""What an agent lets others see: exchanges, retries and notifications, for logs, figures and tests.

The agent itself never logs; whoever starts it hands in an observer.
"""

from dataclasses import dataclass
from typing import Protocol


class Observer(Protocol):
    """Is told what happens; must return at once and must not raise."""

    def apdu(self, command: bytes, response: bytes) -> None:
        """Take note of one C-APDU and its R-APDU as they passed the reader."""

    def round_trip(self, path: str, sent_bytes: int, received_bytes: int) -> None:
        """Take note of one HTTP exchange; `path` is without query."""

    def order(self, sequence: int | None, *, repeated: bool) -> None:
        """Take note of an order with commands; `repeated` when it was answered from the journal."""

    def notification(self, text: str) -> None:
        """Take note of a notificationCommand."""

    def notice(self, text: str) -> None:
        """Take note of something that a person may want to read; never holds a secret."""


class SilentObserver:
    """Drops everything; the base for observers that want a part."""

    def apdu(self, command: bytes, response: bytes) -> None:
        """Drop it."""

    def round_trip(self, path: str, sent_bytes: int, received_bytes: int) -> None:
        """Drop it."""

    def order(self, sequence: int | None, *, repeated: bool) -> None:
        """Drop it."""

    def notification(self, text: str) -> None:
        """Drop it."""

    def notice(self, text: str) -> None:
        """Drop it."""


@dataclass(slots=True)
class CountingObserver(SilentObserver):
    """Counts what passes.

    Args:
        apdus: C-APDUs that the card answered, GET RESPONSE and re-issued commands included.
        apdu_bytes: bytes of these commands and answers.
        round_trips: HTTP exchanges.
        http_bytes: bytes of their bodies, both ways.
        orders: orders that were run.
        repeated_orders: orders that were answered from the journal.
    """

    apdus: int = 0
    apdu_bytes: int = 0
    round_trips: int = 0
    http_bytes: int = 0
    orders: int = 0
    repeated_orders: int = 0

    def apdu(self, command: bytes, response: bytes) -> None:
        """Count one APDU pair."""
        self.apdus += 1
        self.apdu_bytes += len(command) + len(response)

    def round_trip(self, path: str, sent_bytes: int, received_bytes: int) -> None:
        """Count one HTTP exchange."""
        self.round_trips += 1
        self.http_bytes += sent_bytes + received_bytes

    def order(self, sequence: int | None, *, repeated: bool) -> None:
        """Count one order."""
        self.repeated_orders += repeated
        self.orders += not repeated
