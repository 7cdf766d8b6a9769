"""Events of the contactless registry: who is told that an application's entry has changed.

Those on the application's CREL list are told first, then who holds Contactless Activation (the CRS), then the
application itself; never whoever caused the event.
Source: Amendment C (contactless services) section 3.10, as open implementations read it; what is uncertain
stands in docs/reference/divergences.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from opentsm.card.codec.aid import Aid
from opentsm.vse.fields import data_objects
from opentsm.vse.lifecycle import is_selectable
from opentsm.vse.privileges import Privilege
from opentsm.vse.state import Contactless, Instance
from opentsm.vse.status import StatusError

if TYPE_CHECKING:
    from opentsm.vse.environment import Environment


class Event(IntEnum):
    """What happened to an application's entry."""

    ACTIVATED = 0x02
    URI = 0x04
    DISCRETIONARY_DATA = 0x05
    LOGO = 0x06
    TYPE_A = 0x07
    TYPE_B = 0x08
    TYPE_F = 0x09
    FAMILY = 0x0C
    CONTINUOUS_ON = 0x0D
    LISTENER_ADDED = 0x0E
    GROUP_JOINED = 0x0F
    INSTALLED = 0x11
    SELECTABLE = 0x12
    LOCKED = 0x13
    DELETED = 0x14
    NON_ACTIVATABLE = 0x81
    DEACTIVATED = 0x82
    CONTINUOUS_OFF = 0x8D
    LISTENER_REMOVED = 0x8E
    GROUP_LEFT = 0x8F
    UNLOCKED = 0x93


_STATES: Final = {0x00: Event.DEACTIVATED, 0x01: Event.ACTIVATED, 0x80: Event.NON_ACTIVATABLE}
_TYPES: Final = {0x86: Event.TYPE_A, 0x87: Event.TYPE_B, 0x88: Event.TYPE_F}
_CONTINUOUS: Final = 0x84
_DISPLAY: Final = 0x7F20
_URI: Final = 0x5F50
_OBJECTS: Final = {0xA6: Event.DISCRETIONARY_DATA, 0x87: Event.FAMILY}


def tell(
    environment: Environment, source: Instance, events: Iterable[Event], *, originator: bytes = b""
) -> None:
    """Tell everybody concerned what happened to an application.

    Args:
        environment: the card.
        source: the application; a deleted one hears nothing itself.
        events: in their order.
        originator: AID of the application that caused them.
    """
    listeners = [one for one in _listeners(environment, source) if one.aid != originator]
    for event in events:
        for listener in listeners:
            if listener is source and event is Event.DELETED:
                continue
            try:
                environment.applet(listener).notify_contactless(Aid(source.aid), event)
            except StatusError:
                # What a listener makes of it changes nothing of what has happened.
                continue


def _listeners(environment: Environment, source: Instance) -> list[Instance]:
    image = environment.image
    listed = source.contactless.listeners if source.contactless is not None else []
    found = [one for one in map(image.instance, listed) if one is not None]
    found += [one for one in image.instances[1:] if one.holds(Privilege.CONTACTLESS_ACTIVATION)]
    if image.instance(source.aid) is source:
        found.append(source)
    reachable = [one for one in found if one.domain is None and is_selectable(one.state)]
    return list({one.aid: one for one in reachable}.values())


def of_state(state: int) -> Event:
    """Return the event of a new contactless activation state."""
    return _STATES[state]


def of_change(before: Contactless | None, after: Contactless | None) -> list[Event]:
    """Return what a registry update means for an application's entry."""
    if after is None or before is after:
        return []
    return list(_differences(before or Contactless(after.state), after))


def _differences(before: Contactless, after: Contactless) -> Iterator[Event]:
    if before.state != after.state:
        yield of_state(after.state)
    if before.objects.get(_DISPLAY) != after.objects.get(_DISPLAY):
        yield from _display(after.objects.get(_DISPLAY, b""))
    yield from (event for tag, event in _OBJECTS.items() if before.objects.get(tag) != after.objects.get(tag))
    yield from (
        event for tag, event in _TYPES.items() if before.protocols.get(tag) != after.protocols.get(tag)
    )
    on, was_on = (any(entry.protocols.get(_CONTINUOUS, b"")) for entry in (after, before))
    if on != was_on:
        yield Event.CONTINUOUS_ON if on else Event.CONTINUOUS_OFF
    if set(after.listeners) - set(before.listeners):
        yield Event.LISTENER_ADDED
    if set(before.listeners) - set(after.listeners):
        yield Event.LISTENER_REMOVED
    if before.head != after.head:
        yield Event.GROUP_JOINED if after.head else Event.GROUP_LEFT


def _display(value: bytes) -> Iterator[Event]:
    """The display object holds a URI, a logo and texts: what is there has changed."""
    try:
        tags = {one.tag for one in data_objects(value)}
    except StatusError:
        tags = set()
    if _URI in tags:
        yield Event.URI
    if tags - {_URI} or not tags:
        yield Event.LOGO
