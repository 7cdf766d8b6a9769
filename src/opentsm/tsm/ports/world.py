"""Time, randomness and new ids: everything that is not a function of the arguments."""

from datetime import datetime
from typing import Protocol


class World(Protocol):
    """The clock and the dice."""

    def now(self) -> datetime:
        """Return the present time, aware, in UTC."""
        ...

    def random(self, length_bytes: int) -> bytes:
        """Return cryptographically strong random bytes."""
        ...

    def new_id(self) -> str:
        """Return a new UUID version 7 in text form."""
        ...
