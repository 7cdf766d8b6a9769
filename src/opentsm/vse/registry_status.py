"""GET STATUS and SET STATUS.

Source: GPCS 2.3.1 §9.6, §11.4, §11.10.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.codec.lv import lv
from opentsm.card.codec.tlv import Tlv, encode_tlv, find, find_all
from opentsm.vse.contactless_events import Event, tell
from opentsm.vse.environment import Environment, LogicalChannel
from opentsm.vse.fields import data_objects
from opentsm.vse.lifecycle import (
    CARD_TRANSITIONS,
    LOADED,
    LOCKED_BIT,
    PERSONALIZED,
    SELECTABLE,
    CardMove,
    is_locked,
    locked,
    unlocked,
)
from opentsm.vse.privileges import Privilege, encode
from opentsm.vse.state import Instance, LoadFile
from opentsm.vse.status import (
    SW_CONDITIONS,
    SW_MORE_DATA,
    SW_NOT_FOUND,
    SW_OK,
    SW_WRONG_DATA,
    SW_WRONG_P1P2,
    StatusError,
)

_SCOPE: Final = 0xF0
_ISSUER: Final = 0x80
_APPLICATIONS: Final = 0x40
_LOAD_FILES: Final = 0x20
_LOAD_FILES_AND_MODULES: Final = 0x10
_NEXT: Final = 0x01
_TLV_FORMAT: Final = 0x02

_CARD: Final = 0x80
_APPLICATION: Final = 0x40
_HIERARCHY: Final = 0x60
_STATUS_TYPE: Final = 0xE0

_MOVE_PRIVILEGE: Final = {
    CardMove.CARD_LOCK: Privilege.CARD_LOCK,
    CardMove.CARD_TERMINATE: Privilege.CARD_TERMINATE,
}


def get_status(
    environment: Environment, channel: LogicalChannel, domain: Instance, command: CommandApdu
) -> ResponseApdu:
    """List what this security domain may see.

    Returns:
        Entries in E3 templates, 6310 when there are more.

    Raises:
        StatusError: 6A88 nothing found, 6985 next without first, 6A86 unknown scope, 6A80 malformed.
    """
    scope = command.p1 & _SCOPE
    old_format = not command.p2 & _TLV_FORMAT
    if not scope or (old_format and not environment.profile.gp211):
        raise StatusError(SW_WRONG_P1P2)
    if scope & _ISSUER and not _sees_issuer(environment, domain):
        raise StatusError(SW_WRONG_P1P2)
    if command.p2 & _NEXT:
        if scope == _ISSUER:
            # §11.4.2.2: one entry has no next.
            raise StatusError(SW_WRONG_P1P2)
        return _continue(environment, channel, scope)
    criteria = data_objects(command.data)
    prefix = find(criteria, 0x4F)
    if prefix is None:
        raise StatusError(SW_WRONG_DATA)
    entries = _entries(environment, domain, scope, prefix, _Form(_tag_list(criteria), old_format))
    channel.status_rest[scope] = entries
    if not entries:
        raise StatusError(SW_NOT_FOUND)
    return _continue(environment, channel, scope)


def _sees_issuer(environment: Environment, domain: Instance) -> bool:
    return domain is environment.image.isd or domain.holds(Privilege.GLOBAL_REGISTRY)


def _continue(environment: Environment, channel: LogicalChannel, scope: int) -> ResponseApdu:
    rest = channel.status_rest.pop(scope, [])
    if not rest:
        raise StatusError(SW_CONDITIONS)
    data, count = rest[0], 1
    while count < len(rest) and len(data) + len(rest[count]) <= environment.profile.status_chunk:
        data += rest[count]
        count += 1
    if count == len(rest):
        return ResponseApdu(data, SW_OK)
    channel.status_rest[scope] = rest[count:]
    return ResponseApdu(data, SW_MORE_DATA)


def _tag_list(criteria: Sequence[Tlv]) -> frozenset[int] | None:
    """Return the tags of 5C, or None when all are wanted."""
    value = find(criteria, 0x5C)
    if not value:
        return None
    tags, position = [], 0
    while position < len(value):
        size = 2 if value[position] & 0x1F == 0x1F else 1
        tags.append(int.from_bytes(value[position : position + size], "big"))
        position += size
    return frozenset(tags)


def _entries(
    environment: Environment, domain: Instance, scope: int, prefix: bytes, form: "_Form"
) -> list[bytes]:
    image = environment.image
    entries: list[list[Tlv]] = []
    if scope & _ISSUER:
        entries.append(_instance_objects(environment, image.isd))
    for instance in image.instances[1:]:
        if scope & _APPLICATIONS and _is_listed(environment, domain, instance, prefix):
            entries.append(_instance_objects(environment, instance))
    for load_file in image.load_files:
        if scope & (_LOAD_FILES | _LOAD_FILES_AND_MODULES) and _is_listed(
            environment, domain, load_file, prefix
        ):
            entries.append(_load_file_objects(load_file, modules=bool(scope & _LOAD_FILES_AND_MODULES)))
    return [form.entry(objects) for objects in entries]


def _is_listed(environment: Environment, domain: Instance, entry: Instance | LoadFile, prefix: bytes) -> bool:
    visible = domain.holds(Privilege.GLOBAL_REGISTRY) or environment.image.sees(domain, entry)
    return visible and entry.aid.startswith(prefix)


def _instance_objects(environment: Environment, instance: Instance) -> list[Tlv]:
    objects = [Tlv(0x4F, instance.aid), Tlv(0x9F70, bytes([instance.state]))]
    shown = 1 if environment.profile.gp211 else 3
    objects += [Tlv(0xC5, encode(instance.privileges)[:shown])]
    objects += [Tlv(0xCF, bytes([value])) for value in instance.implicit]
    if instance.load_file:
        objects.append(Tlv(0xC4, instance.load_file))
    if instance is not environment.image.isd:
        objects.append(Tlv(0xCC, instance.sd))
    return objects


def _load_file_objects(load_file: LoadFile, *, modules: bool) -> list[Tlv]:
    objects = [Tlv(0x4F, load_file.aid), Tlv(0x9F70, bytes([LOADED])), Tlv(0xCE, bytes(load_file.version))]
    if modules:
        objects += [Tlv(0x84, module) for module in load_file.modules]
    return [*objects, Tlv(0xCC, load_file.sd)]


@dataclass(frozen=True, slots=True)
class _Form:
    """How entries are written: E3 templates with the tags asked for, or the old form of 2.1.1.

    Source: Card Specification 2.1.1 section 9.4.3.1: AID with its length, state, privileges, modules.
    """

    tags: frozenset[int] | None
    old: bool

    def entry(self, objects: Sequence[Tlv]) -> bytes:
        """Write one entry."""
        if not self.old:
            return _template(objects, self.tags)
        head = lv(find(objects, 0x4F) or b"") + (find(objects, 0x9F70) or b"")
        modules = find_all(objects, 0x84)
        count = bytes([len(modules)]) if modules else b""
        return head + (find(objects, 0xC5) or b"\x00") + count + b"".join(map(lv, modules))


def _template(objects: Iterable[Tlv], tags: frozenset[int] | None) -> bytes:
    wanted = [entry for entry in objects if tags is None or entry.tag in tags]
    return encode_tlv(0xE3, b"".join(encode_tlv(entry.tag, entry.value) for entry in wanted))


def set_status(
    environment: Environment, channel: LogicalChannel, domain: Instance, command: CommandApdu
) -> bytes:
    """Change the state of the card, of one object, or lock and unlock a whole sub-hierarchy.

    Raises:
        StatusError: 6985 no such transition, or not allowed; 6A88 unknown AID; 6A86 unknown type.
    """
    kind = command.p1 & _STATUS_TYPE
    if kind == _CARD:
        _set_card_state(environment, domain, command.p2)
        return b""
    if kind not in {_APPLICATION, _HIERARCHY} or (kind == _HIERARCHY and environment.profile.gp211):
        raise StatusError(SW_WRONG_P1P2)
    target = environment.image.instance(command.data)
    if target is None or target is environment.image.isd:
        raise StatusError(SW_NOT_FOUND)
    if kind == _HIERARCHY:
        _set_hierarchy(environment, domain, target, lock=bool(command.p2 & LOCKED_BIT))
    elif target is domain:
        _set_own_state(environment, domain, command.p2)
    else:
        _set_lock(environment, domain, target, lock=bool(command.p2 & LOCKED_BIT))
    environment.touch()
    return b""


def _set_card_state(environment: Environment, domain: Instance, state: int) -> None:
    isd = environment.image.isd
    move = CARD_TRANSITIONS.get((isd.state, state))
    if move is None:
        raise StatusError(SW_CONDITIONS)
    privilege = _MOVE_PRIVILEGE.get(move)
    allowed = _may_initialize(environment, domain) if privilege is None else domain.holds(privilege)
    if not allowed:
        raise StatusError(SW_CONDITIONS)
    isd.state = state
    environment.touch()


def _may_initialize(environment: Environment, domain: Instance) -> bool:
    """Figure 5-1 says "privileged security domain" and names no privilege."""
    by_others = environment.profile.initialization_by == "authorized"
    is_issuer = domain is environment.image.isd
    return is_issuer or (by_others and domain.holds(Privilege.AUTHORIZED_MANAGEMENT))


def _set_own_state(environment: Environment, domain: Instance, state: int) -> None:
    """§11.10.2.2: a security domain may only personalize or lock itself."""
    if domain.state == SELECTABLE and state == PERSONALIZED:
        domain.state = PERSONALIZED
    elif state & LOCKED_BIT and not domain.holds(Privilege.FINAL_APPLICATION):
        _set_state(environment, domain, locked(domain.state))
    else:
        raise StatusError(SW_CONDITIONS)


def _set_lock(environment: Environment, domain: Instance, target: Instance, *, lock: bool) -> None:
    _require_lock_right(environment, domain, target)
    if is_locked(target.state) == lock:
        raise StatusError(SW_CONDITIONS)
    _set_state(environment, target, locked(target.state) if lock else unlocked(target.state))


def _set_hierarchy(environment: Environment, domain: Instance, target: Instance, *, lock: bool) -> None:
    """Lock or unlock a security domain and all below it; what is so already is passed over (§11.10.2.1)."""
    if target.domain is None:
        raise StatusError(SW_WRONG_DATA)
    if target is domain and not lock:
        raise StatusError(SW_CONDITIONS)
    if target is not domain:
        _require_lock_right(environment, domain, target)
    for entry in environment.image.instances[1:]:
        below = environment.image.sees(target, entry)
        if below and not entry.holds(Privilege.FINAL_APPLICATION):
            _set_state(environment, entry, locked(entry.state) if lock else unlocked(entry.state))


def _set_state(environment: Environment, entry: Instance, state: int) -> None:
    """Set a state; that a contactless application was locked or unlocked concerns its listeners."""
    changed = is_locked(entry.state) != is_locked(state)
    entry.state = state
    if changed and entry.contactless is not None:
        tell(environment, entry, [Event.LOCKED if is_locked(state) else Event.UNLOCKED])


def _require_lock_right(environment: Environment, domain: Instance, target: Instance) -> None:
    """§9.6.2: a security domain above it, or a holder of Global Lock; never the Final Application."""
    above = any(ancestor is domain for ancestor in environment.image.ancestors(target))
    allowed = above or domain.holds(Privilege.GLOBAL_LOCK)
    if not allowed or target.holds(Privilege.FINAL_APPLICATION):
        raise StatusError(SW_CONDITIONS)
