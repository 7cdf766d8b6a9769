"""The steps of activation: who may use an application from the device, and whether a terminal finds it."""

from typing import ClassVar

from opentsm.card.codec.aid import Aid
from opentsm.tsm.kernel.documents import Record


class GrantAccess(Record, frozen=True, kw_only=True, tag="grant_access"):
    """Store an access rule: `rule` is the REF-AR-DO, `device` the hash of the device app's certificate."""

    changes: ClassVar[bool] = True
    application: Aid
    device: bytes
    rule: bytes

    def describe(self) -> str:
        return f"let the device application {_short(self.device)} use {self.application}"


class RevokeAccess(Record, frozen=True, kw_only=True, tag="revoke_access"):
    """Delete an access rule that this TSM stored."""

    changes: ClassVar[bool] = True
    application: Aid
    device: bytes
    rule: bytes

    def describe(self) -> str:
        return f"no longer let the device application {_short(self.device)} use {self.application}"


class SetContactless(Record, frozen=True, kw_only=True, tag="set_contactless"):
    """Activate or deactivate an application on the contactless interface.

    In a session without secure channel the CRS is asked, in one with it the registry is updated.
    """

    changes: ClassVar[bool] = True
    application: Aid
    activate: bool

    def describe(self) -> str:
        verb = "activate" if self.activate else "deactivate"
        return f"{verb} {self.application} on the contactless interface"


class ReadAccess(Record, frozen=True, kw_only=True, tag="read_access"):
    """Read all access rules of the card."""

    changes: ClassVar[bool] = False

    def describe(self) -> str:
        return "read the card's access rules"


class ReadContactless(Record, frozen=True, kw_only=True, tag="read_contactless"):
    """Read the contactless registry through the CRS."""

    changes: ClassVar[bool] = False

    def describe(self) -> str:
        return "read the card's contactless registry"


def _short(device: bytes) -> str:
    """Return enough of a hash to tell one device application from another."""
    return device[:4].hex().upper() + "…" if device else "(any)"
