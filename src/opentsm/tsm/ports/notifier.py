"""A hint that something changed; polling stays the truth."""

from typing import Protocol

OUTBOX_TOPIC = "outbox"


class Notifier(Protocol):
    """Wakes whoever waits for a topic, in this process or, as a hint, in another."""

    def notify(self, topic: str) -> None:
        """Wake all who wait for the topic."""
        ...

    async def wait(self, topic: str, timeout_s: float) -> bool:
        """Wait for the topic; False when the time is over. A hint may be missed: look before and after."""
        ...
