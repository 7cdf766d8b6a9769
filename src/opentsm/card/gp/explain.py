"""Says in words what a command, an answer, a TLV, a status word or a privilege field means.

Specification: GlobalPlatform Card Specification 2.3.1, §11 and Annex H; ISO/IEC 7816-4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.lv import read_ber_lv, read_lv
from opentsm.card.codec.tlv import decode_length, parse_tlvs
from opentsm.card.errors import CardError, ResponseFormatError
from opentsm.card.gp import status_words
from opentsm.card.gp.confirmations import parse_confirmation
from opentsm.card.gp.explain_tlv import explain_tlvs
from opentsm.card.gp.instructions import Ins, InstallKind, StatusScope, StatusTarget
from opentsm.card.gp.lifecycle import application_state_name, card_state_name
from opentsm.card.gp.note import Note
from opentsm.card.gp.privileges import Privilege, objections

_DAP_BLOCK = 0xE2
_WHOLE_OBJECTS = (b"\xe2", b"\xd3")
# A receipt of 8 bytes, counter and one byte of card unique data, each with its length.
_LEAST_CONFIRMATION = 15
_SW_FIRST_BYTES = (*range(0x61, 0x70), *range(0x90, 0xA0))


class Reading(Enum):
    """What the bytes are taken for."""

    COMMAND = "command"
    RESPONSE = "response"
    STATUS_WORD = "status-word"
    PRIVILEGES = "privileges"
    TLV = "tlv"


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the bytes were taken for, and what they say."""

    reading: Reading
    note: Note


def explain(data: bytes, reading: Reading | None = None) -> Explanation:
    """Explain bytes, as the reading asked for or as the first one that fits.

    Raises:
        CardError: the bytes do not fit.
    """
    if reading is not None:
        return Explanation(reading, _READERS[reading](data))
    reasons = []
    for candidate in _candidates(data):
        try:
            return Explanation(candidate, _READERS[candidate](data))
        except CardError as error:
            reasons.append(f"as {candidate.value}: {error}")
    raise ResponseFormatError("nothing known fits. " + "; ".join(reasons))


def _candidates(data: bytes) -> tuple[Reading, ...]:
    if len(data) == 2 and data[0] in _SW_FIRST_BYTES:
        return (Reading.STATUS_WORD, Reading.TLV)
    if len(data) in (1, 3):
        return (Reading.TLV, Reading.PRIVILEGES) if len(data) == 3 and data[1] == 1 else (Reading.PRIVILEGES,)
    if len(data) >= 4 and _known_class(data[0]) and data[1] in Ins._value2member_map_:
        return (Reading.COMMAND, Reading.TLV, Reading.RESPONSE)
    if len(data) > 4 and data[-2] in _SW_FIRST_BYTES and _are_tlvs(data[:-2]):
        return (Reading.RESPONSE,)
    fallback = (Reading.COMMAND,) if data and _known_class(data[0]) else ()
    return (Reading.TLV, Reading.RESPONSE, *fallback)


def _are_tlvs(data: bytes) -> bool:
    try:
        return bool(parse_tlvs(data))
    except CardError:
        return False


def _known_class(cla: int) -> bool:
    # §11.1.4: 00-1F and 80-9F on channels 0 to 3, 40-7F and C0-EF on the further ones.
    return cla & 0xE0 in (0x00, 0x80) or 0x40 <= cla <= 0x7F or 0xC0 <= cla <= 0xEF


# --- simple readings ---------------------------------------------------------------------------


def _status_word(data: bytes) -> Note:
    if len(data) != 2:
        raise ResponseFormatError("a status word has two bytes")
    return Note("Status word", status_words.describe(int.from_bytes(data, "big")))


def _privileges(data: bytes) -> Note:
    privileges = Privilege.from_bytes(data)
    refused = tuple(Note("A card refuses this", reason) for reason in objections(privileges))
    return Note("Privileges", str(privileges), data, refused)


def _tlv(data: bytes) -> Note:
    return Note("Data objects", "", b"", explain_tlvs(data))


def _response(data: bytes) -> Note:
    if len(data) < 2 or data[-2] not in _SW_FIRST_BYTES:
        raise ResponseFormatError("an answer ends with a status word")
    body = data[:-2]
    notes = _confirmation(body) or _best_effort(body)
    return Note("Answer", "", b"", (*notes, _status_word(data[-2:])))


def _confirmation(data: bytes) -> tuple[Note, ...]:
    """Explain the confirmation of a delegated operation (§11.1.6); nothing if the data is something else."""
    try:
        found = parse_confirmation(data)
    except CardError:
        return ()
    if found is None or len(data) < _LEAST_CONFIRMATION:
        return ()
    notes = [
        Note("Receipt", f"signature of {len(found.receipt)} bytes", found.receipt),
        Note("Confirmation counter", str(found.counter)),
        Note("Security domain that made it", "tags 42 and 45", found.sd_unique_data),
    ]
    if found.token_id is not None:
        notes.append(Note("Token identifier", "" if found.token_id else "none", found.token_id))
    if found.token_digest is not None:
        notes.append(Note("Token data digest", "", found.token_digest))
    return tuple(notes)


def _best_effort(data: bytes) -> tuple[Note, ...]:
    """Explain data as TLVs if it is that, else show it."""
    if not data:
        return ()
    try:
        return explain_tlvs(data)
    except CardError:
        return (Note("Data", "", data),)


# --- commands ----------------------------------------------------------------------------------


def _command(data: bytes) -> Note:
    command = CommandApdu.parse(data)
    head = [Note("Class", _class_words(command.cla), bytes((command.cla,)))]
    if _is_protected(command.cla) and command.ins != Ins.EXTERNAL_AUTHENTICATE:
        # The last bytes are the C-MAC, and the rest may be encrypted: nothing more can be known.
        details: tuple[Note, ...] = (Note("Protected data with C-MAC", "", command.data),)
    else:
        reader = _key_agreement if _is_key_agreement(command) else _COMMANDS.get(command.ins)
        details = reader(command) if reader else _best_effort(command.data)
    return Note(_command_name(command), "", b"", (*head, *details))


def _is_key_agreement(command: CommandApdu) -> bool:
    """Tell SCP11's commands; EXTERNAL AUTHENTICATE of other protocols has P2 00."""
    return command.ins in _KEY_AGREEMENT and bool(command.p2) and not _is_protected(command.cla)


def _key_agreement(command: CommandApdu) -> tuple[Note, ...]:
    """SCP11: P1 is the version and P2 the identifier of the key, with b8 while certificates follow."""
    kid, more = command.p2 & 0x7F, bool(command.p2 & 0x80)
    named = Note("Key", f"identifier {kid:02X}, version {command.p1:02X}", bytes((command.p1, command.p2)))
    follow = (Note("More certificates follow"),) if more else ()
    return (named, *follow, *_best_effort(command.data))


_KEY_AGREEMENT: dict[int, str] = {
    Ins.PERFORM_SECURITY_OPERATION: "PERFORM SECURITY OPERATION [verify certificate] (SCP11)",
    Ins.EXTERNAL_AUTHENTICATE: "MUTUAL AUTHENTICATE (SCP11a or c)",
    Ins.INTERNAL_AUTHENTICATE: "INTERNAL AUTHENTICATE (SCP11b)",
}


def _command_name(command: CommandApdu) -> str:
    if command.ins == Ins.INSTALL:
        return f"INSTALL {_install_words(command)}"
    if _is_key_agreement(command):
        return _KEY_AGREEMENT[command.ins]
    try:
        return Ins(command.ins).name.replace("_", " ").replace(" ISO", "")
    except ValueError:
        return f"Instruction {command.ins:02X} (not of GlobalPlatform)"


def _class_words(cla: int) -> str:
    further = bool(cla & 0x40)
    channel = (cla & 0x0F) + 4 if further else cla & 0x03
    owner = "GlobalPlatform" if cla & 0x80 else "ISO"
    protected = ", secure messaging" if _is_protected(cla) else ""
    return f"{owner}, logical channel {channel}{protected}"


def _is_protected(cla: int) -> bool:
    return bool(cla & (0x20 if cla & 0x40 else 0x04))


def _install_words(command: CommandApdu) -> str:
    if command.p1 & 0x7F == InstallKind.COMBINED:
        part = {0x01: " (first command)", 0x03: " (last command)"}.get(command.p2, "")
        return f"[for load, install and make selectable]{part}"
    parts = [name for bit, name in _INSTALL_BITS if command.p1 & bit]
    return f"[for {' and '.join(parts) or 'nothing known'}]"


_INSTALL_BITS = (
    (0x40, "registry update"),
    (0x20, "personalization"),
    (0x10, "extradition"),
    (0x02, "load"),
    (0x04, "install"),
    (0x08, "make selectable"),
)
_LOAD_FIELDS = ("Load file", "Security domain", "Load-file data block hash")
_INSTALL_FIELDS = ("Load file", "Module", "Instance", "Privileges")
_MOVE_FIELDS = ("New security domain", "", "Application", "Privileges")


def _install(command: CommandApdu) -> tuple[Note, ...]:
    names: tuple[str, ...] = _INSTALL_FIELDS
    if command.p1 & 0x02 and command.p2 != 0x03:
        names = _LOAD_FIELDS
    elif command.p1 & 0x50:
        names = _MOVE_FIELDS
    notes, at = [], 0
    for name in names:
        value, at = read_lv(command.data, at)
        notes += _install_field(name, value)
    # Parameters and token: here, and only here, a length byte 80 may mean 128 (§11.5.2.3).
    parameters, at = read_ber_lv(command.data, at, eighty_is_128=True)
    notes.append(Note("Parameters", "" if parameters else "none", b"", _best_effort(parameters)))
    token, at = read_ber_lv(command.data, at, eighty_is_128=True)
    notes.append(Note("Token", "" if token else "none", token))
    if at != len(command.data):
        raise ResponseFormatError(f"INSTALL has {len(command.data) - at} bytes behind its token")
    return tuple(notes)


def _install_field(name: str, value: bytes) -> list[Note]:
    if not value:
        return [Note(name, "not given")] if name else []
    if name == "Privileges":
        return [_privileges(value)]
    return [Note(name, "", value)]


def _select(command: CommandApdu) -> tuple[Note, ...]:
    if command.p1 != 0x04:
        return (Note("Not by name", "the selected application gets this command"),)
    occurrence = "next occurrence" if command.p2 & 0x02 else "first or only occurrence"
    who = Note("Application", "", command.data) if command.data else Note("Application", "the default one")
    return (who, Note("Which", occurrence))


def _initialize_update(command: CommandApdu) -> tuple[Note, ...]:
    version = f"{command.p1:02X}" if command.p1 else "the first available set"
    return (Note("Key version number", version), Note("Host challenge", "", command.data))


def _external_authenticate(command: CommandApdu) -> tuple[Note, ...]:
    half = len(command.data) // 2
    return (
        Note("Security level", _LEVELS.get(command.p1, "unknown"), bytes((command.p1,))),
        Note("Host cryptogram", "", command.data[:half]),
        Note("C-MAC", "", command.data[half:]),
    )


_LEVELS = {
    0x00: "no protection",
    0x01: "C-MAC",
    0x03: "C-MAC, C-DECRYPTION",
    0x10: "R-MAC",
    0x11: "C-MAC, R-MAC",
    0x13: "C-MAC, C-DECRYPTION, R-MAC",
    0x33: "C-MAC, C-DECRYPTION, R-MAC, R-ENCRYPTION",
}


def _get_data(command: CommandApdu) -> tuple[Note, ...]:
    tag = command.p1 << 8 | command.p2
    return (Note("Tag", f"{tag:02X}", b"", ()), *_best_effort(command.data))


def _get_status(command: CommandApdu) -> tuple[Note, ...]:
    try:
        scope = StatusScope(command.p1 & 0xF0).name.replace("_", " ").lower()
    except ValueError:
        scope = "a combination"
    order = "next entries" if command.p2 & 0x01 else "first or all entries"
    form = "TLV" if command.p2 & 0x02 else "old format"
    return (Note("Scope", scope), Note("Which", f"{order}, {form}"), *_best_effort(command.data))


def _set_status(command: CommandApdu) -> tuple[Note, ...]:
    try:
        target = StatusTarget(command.p1 & 0xE0)
    except ValueError:
        return (Note("Target", "unknown", bytes((command.p1,))), Note("Data", "", command.data))
    if target is StatusTarget.CARD:
        return (Note("Target", "the card"), Note("New state", card_state_name(command.p2)))
    effect = "lock" if command.p2 & 0x80 else "unlock, or the domain's own change"
    what = "one object" if target is StatusTarget.APPLICATION else "a security domain and all below it"
    state = f"{effect} ({application_state_name(command.p2)})"
    return (Note("Target", what), Note("New state", state), Note("Object", "", command.data))


def _put_key(command: CommandApdu) -> tuple[Note, ...]:
    old = command.p1 & 0x7F
    what = f"replace key version {old:02X}" if old else "add keys"
    several = " and the following" if command.p2 & 0x80 else ""
    new = command.data[:1].hex().upper()
    return (
        Note("Action", what),
        Note("Key identifier", f"{command.p2 & 0x7F:02X}{several}"),
        Note("New key version number", new),
        Note("Key data", "not shown: it may be a key", b""),
    )


def _delete(command: CommandApdu) -> tuple[Note, ...]:
    related = "the object and what is related to it" if command.p2 & 0x80 else "the object only"
    return (Note("Extent", related), *_best_effort(command.data))


def _load(command: CommandApdu) -> tuple[Note, ...]:
    last = ", the last" if command.p1 & 0x80 else ""
    block = Note("Block", f"{command.p2}{last}, {len(command.data)} bytes")
    return (block, *_load_file_start(command.data)) if command.p2 == 0 else (block,)


def _load_file_start(data: bytes) -> tuple[Note, ...]:
    """Explain what a load file starts with, as far as the first block goes: DAP blocks, then C4, D3 or D4."""
    notes: list[Note] = []
    try:
        while data[:1] in _WHOLE_OBJECTS:
            value, end = read_ber_lv(data, 1)
            notes += explain_tlvs(data[:end]) if data[0] == _DAP_BLOCK else [Note("ICV", "", value)]
            data = data[end:]
        length, _ = decode_length(data, 1)
    except CardError:
        return tuple(notes)
    kind = {0xC4: "in clear", 0xD4: "encrypted"}.get(data[0])
    return (*notes, Note("Load file data block", f"{kind}, {length} bytes")) if kind else tuple(notes)


def _store_data(command: CommandApdu) -> tuple[Note, ...]:
    last = ", the last" if command.p1 & 0x80 else ""
    protection = {0x00: "none or unknown", 0x20: "application dependent", 0x60: "encrypted"}
    structure = {0x00: "none or unknown", 0x08: "DGI", 0x10: "BER-TLV"}
    return (
        Note("Block", f"{command.p2}{last}, {len(command.data)} bytes"),
        Note("Encryption", protection.get(command.p1 & 0x60, "RFU")),
        Note("Structure", structure.get(command.p1 & 0x18, "RFU")),
        Note("Answer", "may have data" if command.p1 & 0x01 else "has no data"),
    )


_COMMANDS: dict[int, Callable[[CommandApdu], tuple[Note, ...]]] = {
    Ins.SELECT: _select,
    Ins.INITIALIZE_UPDATE: _initialize_update,
    Ins.EXTERNAL_AUTHENTICATE: _external_authenticate,
    Ins.GET_DATA: _get_data,
    Ins.GET_DATA_ISO: _get_data,
    Ins.GET_STATUS: _get_status,
    Ins.SET_STATUS: _set_status,
    Ins.PUT_KEY: _put_key,
    Ins.DELETE: _delete,
    Ins.INSTALL: _install,
    Ins.LOAD: _load,
    Ins.STORE_DATA: _store_data,
}

_READERS: dict[Reading, Callable[[bytes], Note]] = {
    Reading.COMMAND: _command,
    Reading.RESPONSE: _response,
    Reading.STATUS_WORD: _status_word,
    Reading.PRIVILEGES: _privileges,
    Reading.TLV: _tlv,
}
