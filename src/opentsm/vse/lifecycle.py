"""Life cycles of card, security domains and applications, as tables.

Source: GPCS 2.3.1 §5.1-5.3 (Figures 5-1 to 5-3), §11.1.1 (Tables 11-3 to 11-6).
"""

from enum import IntEnum, unique
from typing import Final


@unique
class CardState(IntEnum):
    """Life cycle of the card, shown as the state of the issuer security domain."""

    OP_READY = 0x01
    INITIALIZED = 0x07
    SECURED = 0x0F
    CARD_LOCKED = 0x7F
    TERMINATED = 0xFF


LOADED: Final = 0x01
INSTALLED: Final = 0x03
SELECTABLE: Final = 0x07
PERSONALIZED: Final = 0x0F
LOCKED_BIT: Final = 0x80


@unique
class CardMove(IntEnum):
    """What the off-card entity must hold for a transition of the card."""

    ISSUER = 1
    CARD_LOCK = 2
    CARD_TERMINATE = 3


# Figure 5-1: (from, to) -> who may do it. What is not here does not exist.
CARD_TRANSITIONS: Final[dict[tuple[int, int], CardMove]] = {
    (CardState.OP_READY, CardState.INITIALIZED): CardMove.ISSUER,
    (CardState.INITIALIZED, CardState.SECURED): CardMove.ISSUER,
    (CardState.SECURED, CardState.CARD_LOCKED): CardMove.CARD_LOCK,
    (CardState.CARD_LOCKED, CardState.SECURED): CardMove.CARD_LOCK,
    (CardState.OP_READY, CardState.TERMINATED): CardMove.CARD_TERMINATE,
    (CardState.INITIALIZED, CardState.TERMINATED): CardMove.CARD_TERMINATE,
    (CardState.SECURED, CardState.TERMINATED): CardMove.CARD_TERMINATE,
    (CardState.CARD_LOCKED, CardState.TERMINATED): CardMove.CARD_TERMINATE,
}

CONTENT_STATES: Final = frozenset({CardState.OP_READY, CardState.INITIALIZED, CardState.SECURED})


def is_locked(state: int) -> bool:
    """Tell whether an application or a supplementary security domain is LOCKED."""
    return bool(state & LOCKED_BIT)


def is_selectable(state: int) -> bool:
    """Tell whether an application or security domain in this state may be selected."""
    return not is_locked(state) and state & 0x07 == 0x07


def locked(state: int) -> int:
    """Return the LOCKED state that remembers `state`."""
    return state | LOCKED_BIT


def unlocked(state: int) -> int:
    """Return the state before the lock."""
    return state & ~LOCKED_BIT & 0xFF
