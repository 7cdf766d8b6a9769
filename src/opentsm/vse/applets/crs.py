"""The Contactless Registry Service: the user's side of the contactless registry.

Source: Amendment C section 3.11 (CRS application), as open implementations read it.
"""

from collections.abc import Iterator
from typing import ClassVar, Final

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.codec.tlv import Tlv, encode_tlv, find, parse_tlvs
from opentsm.card.errors import TlvError
from opentsm.vse.applets.base import Applet
from opentsm.vse.contactless import ACTIVATED, DEACTIVATED, PRIVACY, ConflictError
from opentsm.vse.state import Contactless, Instance
from opentsm.vse.status import (
    SW_CLA_NOT_SUPPORTED,
    SW_CONDITIONS,
    SW_INS_NOT_SUPPORTED,
    SW_MORE_DATA,
    SW_NOT_FOUND,
    SW_OK,
    SW_SECURITY,
    SW_WRONG_DATA,
    SW_WRONG_P1P2,
    StatusError,
)

SW_PARTLY_FAILED: Final = 0x6320

_GET_STATUS, _SET_STATUS, _GET_DATA = 0xF2, 0xF0, 0xCA
_APPLICATIONS: Final = 0x40
_AVAILABILITY, _PRIORITY, _INTERFACE, _REST = 0x01, 0x02, 0x04, 0x80
_HIGHEST, _LOWEST, _VOLATILE, _RESET_VOLATILE = 0x01, 0x81, 0x02, 0x82
_ON: Final = 0x80
_VERSION: Final = bytes((1, 0))
_CHUNK: Final = 255
_CRITERIA: Final = frozenset({0x9F70, 0x87, 0x88})
# Where an object of INSTALL's A0 stands in the answer.
_PROTOCOL_OBJECTS: Final = (
    (0x89, 0x89),
    (0x84, 0x8A),
    (0x83, 0x8B),
    (0x80, 0x8C),
    (0x86, 0x8D),
    (0x87, 0x8E),
    (0x88, 0x93),
    (0xA5, 0x95),
)


class Crs(Applet):
    """One instance, which needs Contactless Activation to change anything."""

    MODULE_AID: ClassVar[Aid] = Aid.from_hex("A00000015143525300")

    _rest: tuple[bytes, ...] = ()

    def select(self) -> bytes:
        """Return name, version and the global update counter."""
        return encode_tlv(0x6F, encode_tlv(0x84, bytes(self.services.instance_aid)) + self._proprietary())

    def deselect(self) -> None:
        """Forget what was left of a list."""
        self._rest = ()

    def process(self, command: CommandApdu) -> ResponseApdu:
        """Answer GET DATA, GET STATUS and SET STATUS."""
        if command.cla != 0x80:
            raise StatusError(SW_CLA_NOT_SUPPORTED)
        match command.ins:
            case 0xCA if (command.p1, command.p2) == (0x00, 0xA5):
                return ResponseApdu(self._proprietary(), SW_OK)
            case 0xF2:
                return self._get_status(command)
            case 0xF0:
                return self._set_status(command)
        raise StatusError(SW_NOT_FOUND if command.ins == _GET_DATA else SW_INS_NOT_SUPPORTED)

    def _proprietary(self) -> bytes:
        counter = self.services.contactless_registry().counter.to_bytes(2, "big")
        return encode_tlv(0xA5, encode_tlv(0x9F08, _VERSION) + encode_tlv(0x80, counter))

    # --- GET STATUS ------------------------------------------------------------------------------

    def _get_status(self, command: CommandApdu) -> ResponseApdu:
        if command.p1 != _APPLICATIONS or command.p2 & 0xFE:
            raise StatusError(SW_WRONG_P1P2)
        if command.p2:
            if not self._rest:
                raise StatusError(SW_CONDITIONS)
            return self._part()
        self._rest = ()
        self._rest = tuple(self._found(_objects(command.data)))
        if not self._rest:
            raise StatusError(SW_NOT_FOUND)
        return self._part()

    def _part(self) -> ResponseApdu:
        data, count = self._rest[0], 1
        while count < len(self._rest) and len(data) + len(self._rest[count]) <= _CHUNK:
            data += self._rest[count]
            count += 1
        self._rest = self._rest[count:]
        return ResponseApdu(data, SW_MORE_DATA if self._rest else SW_OK)

    def _found(self, criteria: tuple[Tlv, ...]) -> Iterator[bytes]:
        prefix, wanted = find(criteria, 0x4F), find(criteria, 0x5C)
        if prefix is None or any(one.tag not in _CRITERIA | {0x4F, 0x5C} for one in criteria):
            raise StatusError(SW_WRONG_DATA)
        tags = None if wanted is None else frozenset(_tags(wanted)) | {0x4F, 0x9F70}
        for rank, instance in enumerate(self.services.contactless_registry().applications(), 1):
            objects = self._entry(instance, rank)
            if instance.aid.startswith(prefix) and all(_fits(objects, one) for one in criteria):
                shown = [one for one in objects if tags is None or one.tag in tags]
                yield encode_tlv(0x61, b"".join(encode_tlv(one.tag, one.value) for one in shown))

    def _entry(self, instance: Instance, rank: int) -> list[Tlv]:
        registry = self.services.contactless_registry()
        state = bytes([instance.state, registry.state_of(instance)])
        known = instance.contactless or Contactless(registry.state_of(instance))
        objects = [Tlv(0x4F, instance.aid), Tlv(0x9F70, state), Tlv(0x80, known.counter.to_bytes(2, "big"))]
        if 0x7F20 in known.objects:
            objects.append(Tlv(0x7F20, known.objects[0x7F20]))
        objects.append(Tlv(0x81, bytes([min(rank, 0xFF)])))
        head = registry.head_of(instance)
        lists = (
            (0xA2, [head] if head != instance.aid else []),
            (0xA3, registry.members_of(instance)),
            (0xA4, known.listeners),
            (0xA5, known.policy),
        )
        objects += [Tlv(tag, b"".join(encode_tlv(0x4F, aid) for aid in aids)) for tag, aids in lists if aids]
        objects += [Tlv(tag, known.objects[tag]) for tag in (0xA6, 0x87, 0x88) if tag in known.objects]
        protocols = known.protocols
        objects += [Tlv(shown, protocols[tag]) for tag, shown in _PROTOCOL_OBJECTS if tag in protocols]
        objects += [Tlv(PRIVACY, known.objects[PRIVACY])] if PRIVACY in known.objects else []
        return objects

    # --- SET STATUS ------------------------------------------------------------------------------

    def _set_status(self, command: CommandApdu) -> ResponseApdu:
        match command.p1:
            case 0x01:
                return self._set_availability(command)
            case 0x02:
                return self._set_priority(command)
            case 0x04:
                return self._set_interface(command)
            case 0x80:
                # Every list of this card fits into one answer.
                raise StatusError(SW_CONDITIONS)
        raise StatusError(SW_WRONG_P1P2)

    def _set_availability(self, command: CommandApdu) -> ResponseApdu:
        if command.p2 not in {DEACTIVATED, ACTIVATED}:
            raise StatusError(SW_WRONG_P1P2 if command.p2 == 0x80 else SW_WRONG_DATA)
        registry, failed, conflicting = self.services.contactless_registry(), [], list[bytes]()
        for aid in _aids(command.data):
            try:
                registry.set_state(aid, command.p2)
            except ConflictError as conflict:
                failed.append(aid)
                conflicting += [one for one in conflict.others if one not in conflicting]
            except StatusError as refusal:
                if refusal.sw == SW_SECURITY:
                    raise
                failed.append(aid)
        if not failed:
            return ResponseApdu(b"", SW_OK)
        return ResponseApdu(_list(0xA0, conflicting) + _list(0xA1, failed), SW_PARTLY_FAILED)

    def _set_priority(self, command: CommandApdu) -> ResponseApdu:
        registry = self.services.contactless_registry()
        if command.p2 == _RESET_VOLATILE:
            registry.set_volatile_priority(None)
            return ResponseApdu(b"", SW_OK)
        aids = _aids(command.data)
        if command.p2 in {_HIGHEST, _LOWEST}:
            registry.set_priority(aids, highest=command.p2 == _HIGHEST)
        elif command.p2 == _VOLATILE and len(aids) == 1:
            registry.set_volatile_priority(aids[0])
        else:
            raise StatusError(SW_WRONG_DATA if command.p2 == _VOLATILE else SW_WRONG_P1P2)
        return ResponseApdu(b"", SW_OK)

    def _set_interface(self, command: CommandApdu) -> ResponseApdu:
        if command.p2 not in {_ON, 0x00}:
            raise StatusError(SW_WRONG_P1P2)
        interface = find(_objects(command.data), 0x80)
        if interface is None or len(interface) != 1:
            raise StatusError(SW_WRONG_DATA)
        self.services.contactless_registry().set_interface(interface[0], on=command.p2 == _ON)
        return ResponseApdu(b"", SW_OK)


def _objects(data: bytes) -> tuple[Tlv, ...]:
    try:
        return parse_tlvs(data)
    except TlvError:
        raise StatusError(SW_WRONG_DATA) from None


def _aids(data: bytes) -> list[bytes]:
    objects = _objects(data)
    if not objects or any(one.tag != 0x4F for one in objects):
        raise StatusError(SW_WRONG_DATA)
    return [one.value for one in objects]


def _list(tag: int, aids: list[bytes]) -> bytes:
    return encode_tlv(tag, b"".join(encode_tlv(0x4F, aid) for aid in aids)) if aids else b""


def _tags(value: bytes) -> Iterator[int]:
    position = 0
    while position < len(value):
        size = 2 if value[position] & 0x1F == 0x1F else 1
        yield int.from_bytes(value[position : position + size], "big")
        position += size


def _fits(objects: list[Tlv], criterion: Tlv) -> bool:
    """Tell whether an entry meets a criterion; of 9F70 only the contactless state counts."""
    if criterion.tag not in _CRITERIA:
        return True
    value = find(objects, criterion.tag)
    if criterion.tag == 0x9F70:
        return len(criterion.value) == 2 and value is not None and value[1:] == criterion.value[1:]
    return value == criterion.value
