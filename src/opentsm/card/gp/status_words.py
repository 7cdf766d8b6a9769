"""Status words with their names and what to do about them.

Specification: GlobalPlatform Card Specification 2.3.1, Table 11-10 and the error tables of §11;
ISO/IEC 7816-4 §5.6. A status word means different things in different commands, so one may say which.
"""

from __future__ import annotations

from typing import NamedTuple

from opentsm.card.gp.instructions import Ins

SUCCESS = 0x9000
MORE_REGISTRY_DATA = 0x6310
REFERENCED_DATA_NOT_FOUND = 0x6A88


class StatusWord(NamedTuple):
    """A name, and advice that a person can follow (may be empty)."""

    name: str
    advice: str = ""


_GENERAL: dict[int, StatusWord] = {
    0x9000: StatusWord("success"),
    0x6200: StatusWord("warning: logical channel already closed"),
    0x6283: StatusWord("warning: the card is CARD_LOCKED", "Unlock the card with SET STATUS 80/0F first."),
    0x62F1: StatusWord("warning: the response data was cut"),
    0x6300: StatusWord(
        "authentication of the host failed",
        "The host cryptogram was wrong: stop, do not try again with the same keys; the card counts failures.",
    ),
    0x6320: StatusWord(
        "not all of them could be activated",
        "Another active application is in the way: deactivate it, then resume or deploy again.",
    ),
    0x6381: StatusWord("stored beside another rule for the same target"),
    0x6310: StatusWord("more data is available", "Send GET STATUS again with P2 = 03."),
    0x6400: StatusWord("no specific diagnosis; nothing was changed", "Refused without a reason."),
    0x6581: StatusWord("memory failure", "A write failed: read the card back before going on."),
    0x6700: StatusWord("wrong length in Lc or Le"),
    0x6881: StatusWord("logical channel not supported or not open", "Use channel 0, or open the channel."),
    0x6882: StatusWord("secure messaging not supported", "Send the command without secure messaging."),
    0x6982: StatusWord(
        "security status not satisfied",
        "No secure channel, a level that is too low, or a wrong MAC: open a new secure channel.",
    ),
    0x6983: StatusWord("authentication method blocked", "The key or CVM is blocked after too many failures."),
    0x6985: StatusWord(
        "conditions of use not satisfied",
        "The state or a privilege does not allow it: compare states and privileges with GET STATUS.",
    ),
    0x6999: StatusWord("the application refused to be selected", "It is not selectable or locked."),
    0x6A80: StatusWord(
        "incorrect values in the command data",
        "An AID already in use, a privilege that cannot be given, or malformed parameters.",
    ),
    0x6A81: StatusWord("function not supported", "The card is locked, or has no free channel."),
    0x6A82: StatusWord("application or file not found", "Check the AID, and that it is selectable."),
    0x6A84: StatusWord("not enough memory", "Free memory: delete an application or a load file."),
    0x6A86: StatusWord("incorrect P1 or P2"),
    0x6A88: StatusWord("referenced data not found", "The key, the AID or the data object does not exist."),
    0x6D00: StatusWord("instruction not supported", "Another application may be selected than you think."),
    0x6E00: StatusWord("class not supported", "Another application may be selected than you think."),
    0x6F00: StatusWord("the card failed without a diagnosis"),
    0x9484: StatusWord("algorithm not supported (old card)"),
    0x9485: StatusWord("wrong key check value (old card)"),
}

_BY_INSTRUCTION: dict[tuple[int, int], StatusWord] = {
    (Ins.INITIALIZE_UPDATE, 0x6A88): StatusWord(
        "key set not found",
        "The key version number is unknown or its set incomplete; GET DATA E0 shows them.",
    ),
    (Ins.INITIALIZE_UPDATE, 0x6985): StatusWord("the sequence counter is used up", "Replace the key set."),
    (Ins.EXTERNAL_AUTHENTICATE, 0x6982): StatusWord(
        "wrong C-MAC", "The MAC key or the sequence is wrong: stop and check the keys."
    ),
    (Ins.SELECT, 0x6A82): StatusWord(
        "application not found", "The AID is unknown, not yet selectable, or locked."
    ),
    (Ins.GET_STATUS, 0x6A88): StatusWord("nothing matches", "The list is empty for this security domain."),
    (Ins.GET_DATA, 0x6A88): StatusWord("no such data object"),
    (Ins.SET_STATUS, 0x6985): StatusWord(
        "this change of state is not allowed",
        "The object is in this state already, or the security domain has no right to change it.",
    ),
    (Ins.SET_STATUS, 0x6A88): StatusWord("no such application", "Check the AID."),
    (Ins.PUT_KEY, 0x6982): StatusWord(
        "wrong key check value",
        "Nothing was stored; the keys were encrypted under another DEK than the card's.",
    ),
    (Ins.PUT_KEY, 0x6A88): StatusWord("the key version to be replaced does not exist"),
    (Ins.PUT_KEY, 0x6A80): StatusWord(
        "key refused", "The type or size is not supported, or the key exists already: replace it instead."
    ),
    (Ins.STORE_DATA, 0x6982): StatusWord("wrong key check value, or no secure channel"),
    (Ins.STORE_DATA, 0x6A86): StatusWord(
        "incorrect P1 or P2", "The target has response data: send case 4 with bit 1 of P1."
    ),
    (Ins.DELETE, 0x6985): StatusWord(
        "the object is in use",
        "Delete what depends on it first (instances, content of a domain), or ask for related objects.",
    ),
    (Ins.DELETE, 0x6A88): StatusWord("nothing to delete", "The AID or the key does not exist."),
    (Ins.DELETE, 0x6A82): StatusWord("nothing to delete", "The AID does not exist."),
    (Ins.INSTALL, 0x6A88): StatusWord(
        "a named object does not exist", "Check the AIDs of load file, module and security domain."
    ),
    (Ins.INSTALL, 0x6A80): StatusWord(
        "incorrect values in the INSTALL data",
        "The AID is in use, C9 is missing, or the privileges cannot be given together.",
    ),
    (Ins.INSTALL, 0x6985): StatusWord(
        "INSTALL refused",
        "The security domain may not manage, is not PERSONALIZED, or a token is missing or not wanted.",
    ),
    (Ins.INSTALL, 0x6A84): StatusWord("not enough memory to install", "Free memory or lower the quota."),
    (Ins.LOAD, 0x6985): StatusWord(
        "LOAD out of order", "Blocks start at 00 without a gap; begin again with INSTALL [for load]."
    ),
    (Ins.LOAD, 0x6982): StatusWord("hash or DAP signature wrong", "Compare the load file's hash variants."),
    (Ins.LOAD, 0x6A84): StatusWord("not enough memory for the load file", "Delete a load file first."),
}


def look_up(sw: int, ins: int | None = None) -> StatusWord:
    """Return name and advice of a status word, as an answer to an instruction if that is known.

    Raises:
        ValueError: not a 16-bit value.
    """
    if not 0 <= sw <= 0xFFFF:
        raise ValueError(f"a status word has two bytes, not {sw:X}")
    if ins is not None and (ins, sw) in _BY_INSTRUCTION:
        return _BY_INSTRUCTION[ins, sw]
    return _GENERAL.get(sw) or _family(sw)


def describe(sw: int, ins: int | None = None) -> str:
    """Say a status word in one line: number, name and advice."""
    word = look_up(sw, ins)
    return f"{sw:04X}: {word.name}" + (f". {word.advice}" if word.advice else "")


def is_warning(sw: int) -> bool:
    """Tell whether the command was done with a warning (62xx, 63xx)."""
    return sw >> 8 in (0x62, 0x63)


def _family(sw: int) -> StatusWord:
    low = sw & 0xFF
    if sw >> 8 == 0x61:
        return StatusWord(f"{low or 256} more bytes are waiting", "Fetch them with GET RESPONSE.")
    if sw >> 8 == 0x6C:
        return StatusWord(f"wrong Le: {low or 256} bytes are available", "Send it again with this Le.")
    if sw & 0xFFF0 == 0x63C0:
        return StatusWord(f"verification failed, {low & 0x0F} tries left")
    if sw >> 8 == 0x91:
        return StatusWord(f"success; {low or 256} bytes of a proactive command are waiting", "FETCH them.")
    return StatusWord(_FAMILIES.get(sw >> 8, "unknown status word"))


_FAMILIES = {
    0x62: "warning; nothing was changed",
    0x63: "warning; something was changed",
    0x64: "error; nothing was changed",
    0x65: "error; something was changed",
    0x66: "security-related error",
    0x67: "wrong length",
    0x68: "function of the class byte not supported",
    0x69: "command not allowed",
    0x6A: "wrong parameters",
    0x6B: "wrong P1 or P2",
    0x6F: "no precise diagnosis",
    0x90: "success with a proprietary meaning",
    0x93: "proprietary: transaction refused",
    0x94: "proprietary: value or key error",
}
