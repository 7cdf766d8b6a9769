"""Life-cycle codings (GPCS 2.3.1 Tables 11-3 to 11-6) and the registry entry that shows them."""

import pytest

from opentsm.card.codec.aid import Aid
from opentsm.card.gp import lifecycle
from opentsm.card.gp.registry import RegistryEntry, RegistryKind

AID = Aid(bytes.fromhex("F04F54534D0101"))


@pytest.mark.parametrize(("state", "locked"), [(0x03, 0x83), (0x07, 0x87), (0x0F, 0x8F)])
def test_locked_when_unlocked_again_then_the_earlier_state(state: int, locked: int) -> None:
    assert lifecycle.locked(state) == locked
    assert lifecycle.is_locked(locked) and not lifecycle.is_locked(state)
    assert lifecycle.unlocked(locked) == state


@pytest.mark.parametrize(
    ("kind", "state", "name"),
    [
        (RegistryKind.ISD, 0x01, "OP_READY"),
        (RegistryKind.ISD, 0x7F, "CARD_LOCKED"),
        (RegistryKind.ISD, 0x42, "unknown (42)"),
        (RegistryKind.SSD, 0x0F, "PERSONALIZED"),
        (RegistryKind.SSD, 0x8F, "LOCKED (was PERSONALIZED)"),
        (RegistryKind.APPLICATION, 0x03, "INSTALLED"),
        (RegistryKind.APPLICATION, 0x87, "LOCKED (was SELECTABLE)"),
        (RegistryKind.APPLICATION, 0x17, "SELECTABLE (application state 17)"),
        (RegistryKind.APPLICATION, 0x00, "unknown (00)"),
        (RegistryKind.LOAD_FILE, 0x01, "LOADED"),
    ],
)
def test_state_name_when_any_kind_then_the_standards_word(kind: RegistryKind, state: int, name: str) -> None:
    assert RegistryEntry(AID, kind, state).state_name == name


@pytest.mark.parametrize(
    ("kind", "state", "locked"),
    [
        (RegistryKind.ISD, 0x7F, True),
        (RegistryKind.ISD, 0xFF, False),
        (RegistryKind.SSD, 0x83, True),
        (RegistryKind.APPLICATION, 0x07, False),
        (RegistryKind.LOAD_FILE, 0x83, False),
    ],
)
def test_is_locked_when_any_kind_then_by_its_own_coding(kind: RegistryKind, state: int, locked: bool) -> None:
    assert RegistryEntry(AID, kind, state).is_locked is locked
