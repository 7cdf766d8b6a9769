"""The contactless registry: which application is available over the air interface, and in which order.

Source: Amendment C (contactless services) sections 3.6 to 3.11, as open implementations read it; what is
uncertain stands in docs/reference/divergences.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Final

from opentsm.card.codec.tlv import Tlv, find
from opentsm.vse.contactless_events import of_state, tell
from opentsm.vse.fields import data_objects
from opentsm.vse.lifecycle import is_selectable
from opentsm.vse.privileges import Privilege
from opentsm.vse.state import CardImage, Contactless, Instance
from opentsm.vse.status import SW_CONDITIONS, SW_NOT_FOUND, SW_SECURITY, SW_WRONG_DATA, StatusError

if TYPE_CHECKING:
    from opentsm.vse.environment import Environment

DEACTIVATED: Final = 0x00
ACTIVATED: Final = 0x01
NON_ACTIVATABLE: Final = 0x80
PROXIMITY: Final = 0x40

PROTOCOLS: Final = 0xA0
INTERACTION: Final = 0xA1
PRIVACY: Final = 0x96
INITIAL_STATE: Final = 0x81
# Inside A0: what is kept as it came.
_PROTOCOL_TAGS: Final = frozenset({0x80, 0x83, 0x84, 0x86, 0x87, 0x88, 0x89, 0xA2, 0xA5})
# Inside A1.
# display control, discretionary data, application family, display required; the lists of AIDs have cases.
_INTERACTION_TAGS: Final = frozenset({0x7F20, 0xA6, 0x87, 0x88})
_TYPE_DATA: Final = (0x86, 0x87, 0x88)
_COUNTER_LIMIT: Final = 0x10000


class ConflictError(Exception):
    """The application cannot be active together with `others`."""

    def __init__(self, others: Sequence[bytes]) -> None:
        super().__init__("a conflict of contactless applications")
        self.others = tuple(others)


def configured(environment: Environment, instance: Instance, system: Sequence[Tlv]) -> Contactless | None:
    """Return the contactless registry entry that INSTALL asks for; the instance is not changed.

    Args:
        environment: the card.
        instance: the application, registered or not.
        system: the objects of the system specific parameters (EF).

    Raises:
        StatusError: 6A80 malformed, 6985 the group's head does not let it in.
    """
    protocols, interaction, privacy = (find(system, tag) for tag in (PROTOCOLS, INTERACTION, PRIVACY))
    if protocols is None and interaction is None and privacy is None:
        return instance.contactless
    if instance.domain is not None:
        raise StatusError(SW_WRONG_DATA)
    entry = deepcopy(instance.contactless) or Contactless(_initial(environment))
    if protocols is not None:
        _set_protocols(entry, data_objects(protocols))
    if interaction is not None:
        _set_interaction(environment, instance, entry, data_objects(interaction))
    if privacy is not None:
        entry.objects[PRIVACY] = privacy
    if entry.state == ACTIVATED and _conflicts(environment, instance, entry):
        entry.state = DEACTIVATED
    return entry


def _initial(environment: Environment) -> int:
    return ACTIVATED if environment.profile.contactless_activated else DEACTIVATED


def _set_protocols(entry: Contactless, objects: Sequence[Tlv]) -> None:
    for one in objects:
        if one.tag == INITIAL_STATE:
            if one.value not in {bytes([DEACTIVATED]), bytes([ACTIVATED])}:
                raise StatusError(SW_WRONG_DATA)
            entry.state = one.value[0]
        elif one.tag in _PROTOCOL_TAGS:
            if one.tag in _TYPE_DATA:
                _type_data(one.value)
            entry.protocols[one.tag] = one.value
        else:
            raise StatusError(SW_WRONG_DATA)


def _set_interaction(
    environment: Environment, instance: Instance, entry: Contactless, objects: Sequence[Tlv]
) -> None:
    for one in objects:
        match one.tag:
            case 0xA0:  # head application
                entry.head = _head(environment, instance, _aids(one.value))
            case 0xA1:  # who may join the group
                entry.joinable = _added(entry.joinable, _aids(one.value))
            case 0xA2:  # who may no longer
                entry.joinable = _removed(entry.joinable, _aids(one.value))
            case 0xA3:  # CREL applications, added
                entry.listeners = _added(entry.listeners, _aids(one.value))
            case 0xA4:  # and removed
                entry.listeners = _removed(entry.listeners, _aids(one.value))
            case 0xA5:  # policy restricted applications
                entry.policy = _aids(one.value)
            case tag if tag in _INTERACTION_TAGS:
                entry.objects[tag] = one.value
            case _:
                raise StatusError(SW_WRONG_DATA)


def _aids(value: bytes) -> list[bytes]:
    objects = data_objects(value)
    if any(one.tag != 0x4F or not 5 <= len(one.value) <= 16 for one in objects):
        raise StatusError(SW_WRONG_DATA)
    return [one.value for one in objects]


def _added(known: list[bytes], new: list[bytes]) -> list[bytes]:
    return [*known, *(aid for aid in new if aid not in known)]


def _removed(known: list[bytes], gone: list[bytes]) -> list[bytes]:
    return [aid for aid in known if aid not in gone]


def _head(environment: Environment, instance: Instance, aids: list[bytes]) -> bytes:
    """Return the group's head; it must exist, be no member itself, and let this application in."""
    if not aids:
        return b""
    if len(aids) > 1 or aids[0] == instance.aid:
        raise StatusError(SW_WRONG_DATA)
    head = environment.image.instance(aids[0])
    if head is None:
        raise StatusError(SW_NOT_FOUND)
    if head.contactless is None or head.contactless.head or instance.aid not in head.contactless.joinable:
        raise StatusError(SW_CONDITIONS)
    return head.aid


# --- groups and conflicts ----------------------------------------------------------------------


def group_head(image: CardImage, instance: Instance, entry: Contactless | None = None) -> bytes:
    """Return the AID of the head of the group that an application is in: its own when it is in none."""
    mine = entry or instance.contactless
    head = image.instance(mine.head) if mine is not None and mine.head else None
    if head is None or head.contactless is None or instance.aid not in head.contactless.joinable:
        return instance.aid
    return head.aid


def members(image: CardImage, head: Instance) -> list[bytes]:
    """Return the AIDs of the members of a group, without its head."""
    return [one.aid for one in image.instances if one is not head and group_head(image, one) == head.aid]


def _conflicts(environment: Environment, instance: Instance, entry: Contactless) -> list[bytes]:
    """Return who is active and cannot be so together with this application; its own group can."""
    image, found = environment.image, []
    for other in image.instances[1:]:
        theirs = other.contactless
        if other is instance or theirs is None or theirs.state != ACTIVATED:
            continue
        if group_head(image, other) != group_head(image, instance, entry) and _clash(
            instance.aid, entry, other.aid, theirs
        ):
            found.append(other.aid)
    return found


def _clash(one: bytes, mine: Contactless, other: bytes, theirs: Contactless) -> bool:
    if other in mine.policy or one in theirs.policy:
        return True
    return any(
        _differ(mine.protocols[tag], theirs.protocols[tag])
        for tag in _TYPE_DATA
        if tag in mine.protocols and tag in theirs.protocols
    )


def _type_data(value: bytes) -> tuple[dict[int, bytes], dict[int, bytes]]:
    """Return protocol parameters (A0) and their mandatory masks (A1), by tag."""
    objects = data_objects(value)
    data, masks = data_objects(find(objects, 0xA0) or b""), data_objects(find(objects, 0xA1) or b"")
    return {one.tag: one.value for one in data}, {one.tag: one.value for one in masks}


def _differ(mine: bytes, theirs: bytes) -> bool:
    """Tell whether a bit that one of the two must have as it is differs from the other's."""
    (own, own_masks), (other, other_masks) = _type_data(mine), _type_data(theirs)
    for tag in own.keys() & other.keys():
        width = max(len(own[tag]), len(other[tag]))
        mask = _number(own_masks.get(tag, b""), width) | _number(other_masks.get(tag, b""), width)
        if (_number(own[tag], width) ^ _number(other[tag], width)) & mask:
            return True
    return False


def _number(value: bytes, width: int) -> int:
    return int.from_bytes(value[:width].ljust(width, b"\x00"), "big")


# --- what applications may do ------------------------------------------------------------------


def state_of(environment: Environment, instance: Instance) -> int:
    """Return the contactless activation state of an application."""
    return _initial(environment) if instance.contactless is None else instance.contactless.state


def set_own_state(environment: Environment, instance: Instance, state: int) -> None:
    """Let an application change its own state; to activate itself it needs Contactless Self-Activation.

    Raises:
        StatusError: 6982, 6A80, or 6985 when another application is in its way.
    """
    if state not in {DEACTIVATED, ACTIVATED, NON_ACTIVATABLE}:
        raise StatusError(SW_WRONG_DATA)
    if state == ACTIVATED and not instance.holds(Privilege.CONTACTLESS_SELF_ACTIVATION):
        raise StatusError(SW_SECURITY)
    try:
        _move(environment, instance, state, originator=instance.aid)
    except ConflictError:
        raise StatusError(SW_CONDITIONS) from None


def _move(environment: Environment, instance: Instance, state: int, *, originator: bytes) -> None:
    entry = instance.contactless or Contactless(_initial(environment))
    if state == ACTIVATED:
        others = _conflicts(environment, instance, entry)
        if others:
            raise ConflictError(others)
    changed = entry.state != state
    if changed:
        entry.state = state
        entry.counter = (entry.counter + 1) % _COUNTER_LIMIT
        environment.image.contactless_counter = (environment.image.contactless_counter + 1) % _COUNTER_LIMIT
    instance.contactless = entry
    environment.touch()
    if changed:
        tell(environment, instance, [of_state(state)], originator=originator)


class ContactlessRegistry:
    """The registry as the application that asks may use it.

    Args:
        environment: the card.
        caller: the application; it changes others only with Contactless Activation.
    """

    def __init__(self, environment: Environment, caller: Instance) -> None:
        self._environment = environment
        self._caller = caller

    @property
    def counter(self) -> int:
        """The global update counter: it moves with every change."""
        return self._environment.image.contactless_counter

    def state_of(self, instance: Instance) -> int:
        """Return the state of an application."""
        return state_of(self._environment, instance)

    def head_of(self, instance: Instance) -> bytes:
        """Return the head of the group that an application is in, itself when in none."""
        return group_head(self._environment.image, instance)

    def members_of(self, instance: Instance) -> list[bytes]:
        """Return the members of the group that an application heads."""
        return members(self._environment.image, instance)

    def applications(self) -> list[Instance]:
        """Return all applications, by priority."""
        return ordered(self._environment)

    def set_state(self, aid: bytes, state: int) -> None:
        """Activate or deactivate an application.

        Raises:
            StatusError: 6982 the caller may not, 6A88 unknown, 6985 the application cannot be activated.
            ConflictError: another active application is in its way.
        """
        instance = self._changeable(aid)
        if state == ACTIVATED and (
            state_of(self._environment, instance) == NON_ACTIVATABLE or not is_selectable(instance.state)
        ):
            raise StatusError(SW_CONDITIONS)
        _move(self._environment, instance, state, originator=self._caller.aid)

    def set_priority(self, aids: Iterable[bytes], *, highest: bool) -> None:
        """Put applications first, or last, in the order given.

        Raises:
            StatusError: 6982, 6A88.
        """
        chosen = [self._changeable(aid).aid for aid in aids]
        image = self._environment.image
        rest = [one.aid for one in ordered(self._environment, volatile=False) if one.aid not in chosen]
        image.contactless_order = [*chosen, *rest] if highest else [*rest, *chosen]
        self._changed()

    def set_volatile_priority(self, aid: bytes | None) -> None:
        """Put one application first until the power goes, or nobody.

        Raises:
            StatusError: 6982, 6A88.
        """
        self._require_right()
        self._environment.volatile_priority = b"" if aid is None else self._changeable(aid).aid

    def set_interface(self, interface: int, *, on: bool) -> None:
        """Switch a communication interface on or off.

        Raises:
            StatusError: 6982.
        """
        self._require_right()
        image = self._environment.image
        image.interfaces_off = image.interfaces_off & ~interface if on else image.interfaces_off | interface
        self._changed()

    def _changeable(self, aid: bytes) -> Instance:
        self._require_right()
        instance = self._environment.image.instance(aid)
        if instance is None or instance.domain is not None:
            raise StatusError(SW_NOT_FOUND)
        return instance

    def _require_right(self) -> None:
        if not self._caller.holds(Privilege.CONTACTLESS_ACTIVATION):
            raise StatusError(SW_SECURITY)

    def _changed(self) -> None:
        image = self._environment.image
        image.contactless_counter = (image.contactless_counter + 1) % _COUNTER_LIMIT
        self._environment.touch()


def ordered(environment: Environment, *, volatile: bool = True) -> list[Instance]:
    """Return the applications by priority: volatile first, then the order set, then the registry's."""
    image = environment.image
    rank = {aid: number for number, aid in enumerate(image.contactless_order)}
    first = environment.volatile_priority if volatile else b""
    applications = [one for one in image.instances[1:] if one.domain is None]
    return sorted(applications, key=lambda one: (one.aid != first, rank.get(one.aid, len(rank))))


def available(environment: Environment) -> list[Instance]:
    """Return what a contactless terminal can reach now, by priority."""
    if environment.image.interfaces_off & PROXIMITY:
        return []
    return [
        one
        for one in ordered(environment)
        if is_selectable(one.state) and state_of(environment, one) == ACTIVATED
    ]


def forget(image: CardImage, aid: bytes) -> None:
    """Take a deleted application out of the order, so that its AID begins afresh."""
    image.contactless_order = [one for one in image.contactless_order if one != aid]


def order_is_set(environment: Environment) -> bool:
    """Tell whether somebody has set an order, so that the applications' own wishes do not count."""
    return bool(environment.image.contactless_order or environment.volatile_priority)
