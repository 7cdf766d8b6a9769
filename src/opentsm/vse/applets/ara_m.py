"""The Access Rule Application Master: keeps the rules by which a device decides who may use which applet.

Rules come by STORE DATA through its security domain, or directly when C9 is 01 (then anybody may write
them). Source: GlobalPlatform Secure Element Access Control 1.1, sections 4.1, 5.1 and 6.
"""

from collections.abc import Callable, Iterable
from typing import ClassVar, Final

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.codec.tlv import Tlv, encode_tlv, find, parse_tlvs
from opentsm.card.errors import TlvError
from opentsm.vse.applets.base import Applet
from opentsm.vse.status import (
    SW_CLA_NOT_SUPPORTED,
    SW_CONDITIONS,
    SW_INS_NOT_SUPPORTED,
    SW_MEMORY_FAILURE,
    SW_NO_MEMORY,
    SW_NOT_FOUND,
    SW_OK,
    SW_SECURITY,
    SW_WRONG_DATA,
    StatusError,
)

SW_RULE_EXISTS: Final = 0x6381
SW_UNKNOWN_DROPPED: Final = 0x6382
SW_OBJECT_NOT_SUPPORTED: Final = 0x6981
SW_RULES_CHANGED: Final = 0x6A84

_GET_DATA: Final = 0xCA
_STORE_DATA: Final = 0xE2
_LAST: Final = 0x80
_PART: Final = 255
_MAX_COMMAND: Final = 4096
_INTERFACE_VERSION: Final = bytes((1, 1, 0))
_REFRESH_BYTES: Final = 8
_OPEN: Final = b"\x01"
_HASHES: Final = frozenset({0, 20, 32})
# What rules may hold: REF-DO (6.1) and AR-DO (6.2); the rest is dropped with a warning.
_REF_TAGS: Final = frozenset({0x4F, 0xC0, 0xC1, 0xCA})
_AR_TAGS: Final = frozenset({0xD0, 0xD1, 0xDB})


class AraM(Applet):
    """One instance has the rules of the whole SE."""

    MODULE_AID: ClassVar[Aid] = Aid.from_hex("A00000015141434C00")

    _pending: bytes | None = None
    _pending_tag = b""
    _blocks = b""

    def install(self, instance_aid: Aid, parameters: bytes) -> None:
        """Take C9: empty for rules through the security domain only, 01 for anybody's.

        Raises:
            StatusError: 6A80 for anything else.
        """
        if parameters not in {b"", b"\x00", _OPEN}:
            raise StatusError(SW_WRONG_DATA)
        self.store["open"] = parameters
        self._renew()

    def select(self) -> bytes:
        """Return the name; the rules are read with GET DATA."""
        return encode_tlv(0x6F, encode_tlv(0x84, bytes(self.services.instance_aid)) + encode_tlv(0xA5, b""))

    def deselect(self) -> None:
        """Forget what was left of a long answer."""
        self._pending = None
        self._blocks = b""

    def process(self, command: CommandApdu) -> ResponseApdu:
        """Answer GET DATA to everybody, STORE DATA where the instance is open."""
        if command.cla != 0x80:
            raise StatusError(SW_CLA_NOT_SUPPORTED)
        if command.ins == _GET_DATA:
            return ResponseApdu(self._get(command), SW_OK)
        if command.ins != _STORE_DATA:
            raise StatusError(SW_INS_NOT_SUPPORTED)
        if self.store.get("open") != _OPEN:
            raise StatusError(SW_SECURITY)
        return ResponseApdu(self._collect(command), SW_OK)

    def personalize(self, command: CommandApdu, decrypt: Callable[[bytes], bytes]) -> bytes:
        """Take STORE DATA that the security domain forwards."""
        return self._collect(command)

    # --- reading ---------------------------------------------------------------------------------

    def _get(self, command: CommandApdu) -> bytes:
        tag = command.p1 << 8 | command.p2
        match tag:
            case 0xFF40:
                return self._first_part(encode_tlv(tag, b"".join(self._rules())))
            case 0xFF60:
                return self._next_part()
            case 0xFF50:
                return encode_tlv(tag, self._specific(command.data))
            case 0xDF20:
                return encode_tlv(tag, self.store["refresh"])
            case 0xDF21:
                self._note_device(command.data)
                return encode_tlv(tag, encode_tlv(0xE5, encode_tlv(0xE6, _INTERFACE_VERSION)))
        raise StatusError(SW_NOT_FOUND)

    def _rules(self) -> list[bytes]:
        return [self.store[name] for name in sorted(self.store) if name.startswith("rule")]

    def _first_part(self, answer: bytes) -> bytes:
        """4.1.1.1: the first part tells the whole length, GET DATA [next] brings the rest."""
        self._pending, self._pending_tag = answer, self.store["refresh"]
        return self._next_part()

    def _next_part(self) -> bytes:
        if self._pending is None:
            raise StatusError(SW_CONDITIONS)
        if self._pending_tag != self.store["refresh"]:
            self._pending = None
            raise StatusError(SW_RULES_CHANGED)
        part, rest = self._pending[:_PART], self._pending[_PART:]
        self._pending = rest or None
        return part

    def _specific(self, data: bytes) -> bytes:
        objects = _objects(data)
        if [entry.tag for entry in objects] != [0xE1]:
            raise StatusError(SW_WRONG_DATA)
        wanted = _reference(objects[0].value)
        found = [rule for rule in map(_parts, self._rules()) if _reference(rule[0]) == wanted]
        if not found:
            raise StatusError(SW_NOT_FOUND)
        return b"".join(encode_tlv(0xE3, permission) for _, permission in found)

    def _note_device(self, data: bytes) -> None:
        version = find(_objects(find(_objects(data), 0xE4) or b""), 0xE6)
        if version is not None:
            if len(version) != 3:
                raise StatusError(SW_WRONG_DATA)
            self._write("device", version)

    # --- writing ---------------------------------------------------------------------------------

    def _collect(self, command: CommandApdu) -> bytes:
        """Keep the blocks of one STORE DATA until the last has come."""
        self._blocks = command.data if command.p2 == 0 else self._blocks + command.data
        if len(self._blocks) > _MAX_COMMAND:
            self._blocks = b""
            raise StatusError(SW_MEMORY_FAILURE)
        if not command.p1 & _LAST:
            return b""
        data, self._blocks = self._blocks, b""
        objects = _objects(data)
        if len(objects) != 1:
            raise StatusError(SW_WRONG_DATA)
        return self._command(objects[0])

    def _command(self, entry: Tlv) -> bytes:
        match entry.tag:
            case 0xF0:
                return self._store_rule(entry.value)
            case 0xF1:
                return self._delete(entry.value)
            case 0xF2:
                self._renew()
                return b""
            case 0xF3:
                return self._first_part(encode_tlv(0xFF40, b"".join(self._of_aid(entry.value))))
            case 0xF4:
                return self._first_part(encode_tlv(0xFF40, b"".join(self._rules())))
            case 0xF5:
                return self._next_part()
            case 0xF6:
                return encode_tlv(0xFF70, self.store.get("clients", b""))
            case 0xF7:
                return self._register(entry.value)
            case 0xF8:
                version = self.store.get("device")
                known = b"" if version is None else encode_tlv(0xE4, encode_tlv(0xE6, version))
                return encode_tlv(0xFF7F, known)
        raise StatusError(SW_OBJECT_NOT_SUPPORTED)

    def _store_rule(self, value: bytes) -> bytes:
        objects = _objects(value)
        if [entry.tag for entry in objects] != [0xE2]:
            raise StatusError(SW_WRONG_DATA)
        rule, dropped = _checked_rule(objects[0].value)
        same_target = [one for one in self._rules() if _parts(one)[0] == _parts(rule)[0]]
        if rule not in same_target:
            self._write(self._free_name(), rule)
            self._renew()
        if same_target:
            raise StatusError(SW_RULE_EXISTS)
        if dropped:
            raise StatusError(SW_UNKNOWN_DROPPED)
        return b""

    def _free_name(self) -> str:
        used = [int(name[4:]) for name in self.store if name.startswith("rule")]
        return f"rule{max(used, default=0) + 1:05d}"

    def _delete(self, value: bytes) -> bytes:
        chosen = _selector(value)
        names = [name for name in list(self.store) if name.startswith("rule") and chosen(self.store[name])]
        if not names and value:
            raise StatusError(SW_NOT_FOUND)
        for name in names:
            del self.store[name]
        if names:
            self._renew()
        return b""

    def _of_aid(self, value: bytes) -> list[bytes]:
        chosen = _selector(value)
        found = [rule for rule in self._rules() if chosen(rule)]
        if not found:
            raise StatusError(SW_NOT_FOUND)
        return found

    def _register(self, value: bytes) -> bytes:
        for entry in _objects(value):
            if entry.tag != 0x4F or not 5 <= len(entry.value) <= 16:
                raise StatusError(SW_WRONG_DATA)
        self._write("clients", value)
        return b""

    def _renew(self) -> None:
        """4.1.1.3: every change of the rules gives another refresh tag."""
        tag = self.services.random(_REFRESH_BYTES)
        if tag == self.store.get("refresh"):
            tag = ((int.from_bytes(tag, "big") + 1) % (1 << 64)).to_bytes(_REFRESH_BYTES, "big")
        self._write("refresh", tag)

    def _write(self, name: str, value: bytes) -> None:
        """Write; in this application 6A84 means changed rules, so a full memory is 6581."""
        try:
            self.store[name] = value
        except StatusError as refusal:
            raise StatusError(SW_MEMORY_FAILURE if refusal.sw == SW_NO_MEMORY else refusal.sw) from None


def _objects(data: bytes) -> tuple[Tlv, ...]:
    try:
        return parse_tlvs(data)
    except TlvError:
        raise StatusError(SW_WRONG_DATA) from None


def _parts(rule: bytes) -> tuple[bytes, bytes]:
    """Return the values of REF-DO and AR-DO of a stored REF-AR-DO."""
    (template,) = parse_tlvs(rule)
    parts = parse_tlvs(template.value)
    return find(parts, 0xE1) or b"", find(parts, 0xE3) or b""


def _reference(value: bytes) -> frozenset[tuple[int, bytes]]:
    """Return what a REF-DO names, whatever the order; an absent device application is any."""
    parts = {(entry.tag, entry.value) for entry in _objects(value)}
    return frozenset(parts | {(0xC1, b"")} if all(tag != 0xC1 for tag, _ in parts) else parts)


def _checked_rule(value: bytes) -> tuple[bytes, bool]:
    """Return the rule as it is stored, and whether something unknown was left out.

    Raises:
        StatusError: 6A80.
    """
    parts = _objects(value)
    reference, permission = find(parts, 0xE1), find(parts, 0xE3)
    if reference is None or permission is None:
        raise StatusError(SW_WRONG_DATA)
    about, allowed = _objects(reference), _objects(permission)
    _check_reference(about)
    _check_permission(allowed)
    kept_about, kept_allowed = _known(about, _REF_TAGS), _known(allowed, _AR_TAGS)
    dropped = len(parts) > 2 or len(kept_about) < len(about) or len(kept_allowed) < len(allowed)
    content = encode_tlv(0xE1, _joined(kept_about)) + encode_tlv(0xE3, _joined(kept_allowed))
    return encode_tlv(0xE2, content), dropped


def _known(objects: Iterable[Tlv], tags: frozenset[int]) -> list[Tlv]:
    return [entry for entry in objects if entry.tag in tags]


def _joined(objects: Iterable[Tlv]) -> bytes:
    return b"".join(encode_tlv(entry.tag, entry.value) for entry in objects)


def _check_reference(objects: tuple[Tlv, ...]) -> None:
    aid, implicit, device = find(objects, 0x4F), find(objects, 0xC0), find(objects, 0xC1)
    wrong = aid is not None and implicit is not None
    wrong |= bool(implicit) or (bool(aid) and not 5 <= len(aid or b"") <= 16)
    wrong |= len(device or b"") not in _HASHES or len(find(objects, 0xCA) or b"") > 127
    tags = [entry.tag for entry in objects if entry.tag in _REF_TAGS]
    if wrong or not tags or len(set(tags)) != len(tags):
        raise StatusError(SW_WRONG_DATA)


def _check_permission(objects: tuple[Tlv, ...]) -> None:
    apdu, event, mask = find(objects, 0xD0), find(objects, 0xD1), find(objects, 0xDB)
    wrong = all(entry is None for entry in (apdu, event, mask))
    wrong |= apdu is not None and apdu not in {b"\x00", b"\x01"} and (not apdu or len(apdu) % 8 != 0)
    wrong |= event is not None and event not in {b"\x00", b"\x01"}
    wrong |= mask is not None and len(mask) != 8
    if wrong:
        raise StatusError(SW_WRONG_DATA)


def _selector(value: bytes) -> Callable[[bytes], bool]:
    """Return what chooses the rules that a Command-Delete or Command-Get names.

    Raises:
        StatusError: 6A80.
    """
    objects = _objects(value)
    if not objects:
        return lambda _: True
    if len(objects) != 1:
        raise StatusError(SW_WRONG_DATA)
    entry = objects[0]
    match entry.tag:
        case 0x4F | 0xC0:
            return lambda rule: (entry.tag, entry.value) in _reference(_parts(rule)[0])
        case 0xE1:
            wanted = _reference(entry.value)
            return lambda rule: _reference(_parts(rule)[0]) == wanted
        case 0xE2:
            exact = _checked_rule(entry.value)[0]
            return lambda rule: rule == exact
    raise StatusError(SW_WRONG_DATA)
