"""The life-cycle states of cards, security domains, applications and load files.

Specification: GlobalPlatform Card Specification 2.3.1, §5 and §11.1.1 (Tables 11-3 to 11-6).
"""

from __future__ import annotations

from enum import IntEnum

_LOCK_BIT = 0x80


class CardState(IntEnum):
    """The state of the card, which is also that of the issuer security domain (Table 11-6)."""

    OP_READY = 0x01
    INITIALIZED = 0x07
    SECURED = 0x0F
    CARD_LOCKED = 0x7F
    TERMINATED = 0xFF


class SecurityDomainState(IntEnum):
    """The unlocked states of a supplementary security domain (Table 11-5)."""

    INSTALLED = 0x03
    SELECTABLE = 0x07
    PERSONALIZED = 0x0F


class ApplicationState(IntEnum):
    """The states of an application that the card knows; others are the application's own (Table 11-4)."""

    INSTALLED = 0x03
    SELECTABLE = 0x07


class LoadFileState(IntEnum):
    """The only state of an executable load file (Table 11-3)."""

    LOADED = 0x01


def is_locked(state: int) -> bool:
    """Tell whether an application or security domain is LOCKED (not for the card's own state)."""
    return state & (_LOCK_BIT | 0x03) == _LOCK_BIT | 0x03


def locked(state: int) -> int:
    """Return the LOCKED coding that keeps the earlier state in its other bits."""
    return state | _LOCK_BIT


def unlocked(state: int) -> int:
    """Return the state to which an unlock goes back."""
    return state & ~_LOCK_BIT


def card_state_name(state: int) -> str:
    """Name a card state, `unknown` included."""
    return _name(CardState, state)


def load_file_state_name(state: int) -> str:
    """Name the state of an executable load file."""
    return _name(LoadFileState, state)


def security_domain_state_name(state: int) -> str:
    """Name the state of a supplementary security domain."""
    if is_locked(state):
        return f"LOCKED (was {_name(SecurityDomainState, unlocked(state))})"
    return _name(SecurityDomainState, state)


def application_state_name(state: int) -> str:
    """Name the state of an application; states of its own are shown as such."""
    if is_locked(state):
        return f"LOCKED (was {application_state_name(unlocked(state))})"
    if state in (ApplicationState.INSTALLED, ApplicationState.SELECTABLE):
        return ApplicationState(state).name
    if state & 0x87 == 0x07:
        return f"SELECTABLE (application state {state:02X})"
    return f"unknown ({state:02X})"


def _name(states: type[IntEnum], state: int) -> str:
    try:
        return states(state).name
    except ValueError:
        return f"unknown ({state:02X})"
