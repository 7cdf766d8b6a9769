"""One entry of a card's registry as GET STATUS shows it.

Specification: GlobalPlatform Card Specification 2.3.1, §6.5 and §11.4.3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from opentsm.card.codec.aid import Aid
from opentsm.card.gp import lifecycle
from opentsm.card.gp.privileges import Privilege


class RegistryKind(Enum):
    """What an entry is."""

    ISD = "ISD"
    SSD = "SSD"
    APPLICATION = "APPLICATION"
    LOAD_FILE = "LOAD_FILE"


@dataclass(frozen=True, slots=True)
class RegistryEntry:
    """What the card says about one object.

    Attributes:
        state: the life-cycle byte; for the ISD the state of the card.
        load_file: the load file that an application came from, when the card tells it.
        associated_sd: the security domain that the object belongs to, when the card tells it.
        modules: the executable modules of a load file, only when they were asked for.
        version: major and minor version of a load file, when the card tells it.
        implicit_selection: the parameters of tag CF, one byte each.
    """

    aid: Aid
    kind: RegistryKind
    state: int
    privileges: Privilege = Privilege.NONE
    load_file: Aid | None = None
    associated_sd: Aid | None = None
    modules: tuple[Aid, ...] = ()
    version: bytes | None = None
    implicit_selection: tuple[int, ...] = ()

    @property
    def is_locked(self) -> bool:
        """Whether the object (for the ISD: the card) is locked."""
        if self.kind is RegistryKind.ISD:
            return self.state == lifecycle.CardState.CARD_LOCKED
        return self.kind is not RegistryKind.LOAD_FILE and lifecycle.is_locked(self.state)

    @property
    def state_name(self) -> str:
        """The standard's name of the state."""
        return _STATE_NAMES[self.kind](self.state)


_STATE_NAMES = {
    RegistryKind.ISD: lifecycle.card_state_name,
    RegistryKind.SSD: lifecycle.security_domain_state_name,
    RegistryKind.APPLICATION: lifecycle.application_state_name,
    RegistryKind.LOAD_FILE: lifecycle.load_file_state_name,
}
