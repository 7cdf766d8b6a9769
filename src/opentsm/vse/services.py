"""Global Services: who offers which service on the card, and what another application may ask of it.

Source: GPCS 2.3.1 §8.1 (registration, access), §8.2 (CVM services and their management).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opentsm.vse.cvm import Cvm, CvmFormat, CvmState
from opentsm.vse.lifecycle import is_selectable
from opentsm.vse.privileges import Privilege
from opentsm.vse.state import Instance
from opentsm.vse.status import SW_CONDITIONS, SW_NOT_FOUND, SW_SECURITY, SW_WRONG_DATA, StatusError

if TYPE_CHECKING:
    from opentsm.vse.environment import Environment

CVM_FAMILY: Final = 0x82
GLOBAL_PIN: Final = 0x11

_NAME_LENGTH: Final = 2
_NOT_AVAILABLE: Final = frozenset({0x80, 0xFF})


def service_names(value: bytes) -> list[bytes]:
    """Split Global Service Parameters (tag CB): two bytes each, family and service (§8.1.3).

    Raises:
        StatusError: 6A80 a half name, or a family that there is not.
    """
    names = _split(value)
    if not names or any(len(name) != _NAME_LENGTH or name[0] in _NOT_AVAILABLE for name in names):
        raise StatusError(SW_WRONG_DATA)
    return names


def _split(value: bytes) -> list[bytes]:
    return [value[at : at + _NAME_LENGTH] for at in range(0, len(value), _NAME_LENGTH)]


def register_unique(environment: Environment, instance: Instance, name: bytes) -> None:
    """Register a service name that nobody else on the card may have.

    Raises:
        StatusError: 6985 without Global Service, when INSTALL named other services, or when the name is
            another's; 6A80 malformed.
    """
    service_names(name)
    named = _split(instance.services)
    fits = not named or any(other == name or other == name[:1] + b"\x00" for other in named)
    others = (other for other in environment.image.instances if other is not instance)
    taken = any(name in other.unique_services for other in others)
    if not instance.holds(Privilege.GLOBAL_SERVICE) or not fits or taken:
        raise StatusError(SW_CONDITIONS)
    if name not in instance.unique_services:
        instance.unique_services.append(name)
        environment.touch()


def deregister_unique(environment: Environment, instance: Instance, name: bytes) -> None:
    """Give a service name up.

    Raises:
        StatusError: 6985 without Global Service, or when the name is not the caller's.
    """
    if not instance.holds(Privilege.GLOBAL_SERVICE) or name not in instance.unique_services:
        raise StatusError(SW_CONDITIONS)
    instance.unique_services.remove(name)
    environment.touch()


def provider_of(environment: Environment, name: bytes, aid: bytes = b"") -> Instance | None:
    """Return who offers a service: whoever registered it uniquely, or the application that is named (§8.1.2).

    Args:
        environment: the card.
        name: family and service; service 00 is any of the family.
        aid: of one application; empty for any that is registered.
    """
    for instance in environment.image.instances[1:]:
        if not instance.holds(Privilege.GLOBAL_SERVICE) or not is_selectable(instance.state):
            continue
        names = list(instance.unique_services)
        if aid:
            names += _split(instance.services)
        if aid in {b"", instance.aid} and any(_is_meant(name, other) for other in names):
            return instance
    return None


def _is_meant(name: bytes, offered: bytes) -> bool:
    """The same name, or the same family where one side leaves the service open (§8.1.3)."""
    return name == offered or (name[:1] == offered[:1] and b"\x00" in {name[1:], offered[1:]})


class CvmHandle:
    """A CVM as one application may use it: all may verify, to change it takes CVM Management (§8.2.1).

    Args:
        caller: the application that asks.
        cvm: the method of the application that offers it.
    """

    def __init__(self, caller: Instance, cvm: Cvm) -> None:
        self._caller = caller
        self._cvm = cvm

    @property
    def state(self) -> CvmState:
        """The state of the method."""
        return self._cvm.state

    @property
    def tries(self) -> int:
        """How often a wrong value may still be presented."""
        return self._cvm.tries

    def verify(self, value: bytes, kind: CvmFormat) -> bool:
        """Compare a value with the cardholder's.

        Raises:
            StatusError: 6985 there is no value yet.
        """
        return self._cvm.verify(value, kind)

    def reset(self) -> bool:
        """Forget within the session what was presented; tell whether it was possible."""
        return self._cvm.reset()

    def update(self, value: bytes, kind: CvmFormat) -> None:
        """Set another value.

        Raises:
            StatusError: 6982 without CVM Management, 6A80.
        """
        self._manage().update(value, kind)

    def set_limit(self, limit: int) -> None:
        """Set the Retry Limit.

        Raises:
            StatusError: 6982 without CVM Management, 6A80.
        """
        self._manage().set_limit(limit)

    def unblock(self) -> None:
        """Bring the method back to ACTIVE, with all tries.

        Raises:
            StatusError: 6982 without CVM Management.
        """
        self._manage().unblock()

    def block(self) -> None:
        """Block the method.

        Raises:
            StatusError: 6982 without CVM Management, 6985 there is no value yet.
        """
        self._manage().block()

    def _manage(self) -> Cvm:
        if not self._caller.holds(Privilege.CVM_MANAGEMENT):
            raise StatusError(SW_SECURITY)
        return self._cvm


def find_cvm(environment: Environment, caller: Instance, identifier: int, aid: bytes = b"") -> CvmHandle:
    """Return a CVM for an application that wants to use it.

    Raises:
        StatusError: 6A88 nobody offers it.
    """
    server = provider_of(environment, bytes([CVM_FAMILY, identifier]), aid)
    cvm = environment.applet(server).cvm() if server is not None and server.domain is None else None
    if cvm is None:
        raise StatusError(SW_NOT_FOUND)
    return CvmHandle(caller, cvm)
