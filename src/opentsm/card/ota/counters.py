"""Counters of secured packets: the server's side, and the check that a receiver makes.

The server keeps one counter for each card and key version, moves it before it sends, and never moves it back.
Source: ETSI TS 102 225 §5.1.4 (counter management).
"""

from enum import Enum

from opentsm.card.errors import OtaError
from opentsm.card.ota.scp80 import COUNTER_MAX, ResponsePacket, ResponseStatus
from opentsm.card.ota.spi import CounterMode


class Verdict(Enum):
    """What a receiver finds when it looks at a counter."""

    ACCEPTED = "accepted"
    LOW = "low"
    HIGH = "high"
    BLOCKED = "blocked"


def judge(mode: CounterMode, stored: int, received: int, *, window: int | None = None) -> Verdict:
    """Judge a received counter.

    Args:
        mode: what the packet says about its counter.
        stored: the last one that was accepted.
        received: the one in the packet.
        window: with `HIGHER`, how far the counter may leap; None for any distance.
    """
    if mode in {CounterMode.NONE, CounterMode.UNCHECKED}:
        return Verdict.ACCEPTED
    if stored >= COUNTER_MAX:
        return Verdict.BLOCKED
    if received <= stored:
        return Verdict.LOW
    reach = 1 if mode is CounterMode.NEXT else window
    return Verdict.ACCEPTED if reach is None or received <= stored + reach else Verdict.HIGH


def next_counter(last: int) -> int:
    """Return the counter for the next packet; it must be stored before the packet is sent.

    Raises:
        OtaError: the key version is used up.
    """
    if not 0 <= last < COUNTER_MAX:
        raise OtaError("the counter is at its end: replace the key set")
    return last + 1


def resynchronized(last: int, response: ResponsePacket) -> int:
    """Return the counter to go on from after a response; it never moves back.

    A card that says *counter low* answers with the counter it was sent (TS 102 225 §5.2) or, on some cards,
    with its own. Only an authentic response may move the server's counter, else anybody could use it up.
    """
    if response.status != ResponseStatus.COUNTER_LOW or not response.authentic:
        return last
    return max(last, response.counter)
