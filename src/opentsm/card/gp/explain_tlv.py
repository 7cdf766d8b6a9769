"""Names the data objects of GlobalPlatform and says what their values mean.

Specification: GlobalPlatform Card Specification 2.3.1, §11 and Annex H; ETSI TS 102 226.
"""

from __future__ import annotations

from opentsm.card.codec.tlv import Tlv, parse_tlvs
from opentsm.card.errors import CardError
from opentsm.card.gp.lifecycle import application_state_name
from opentsm.card.gp.note import Note
from opentsm.card.gp.privileges import Privilege

_GP_OID = "1.2.840.114283"

_NAMES: dict[int, str] = {
    0x06: "Object identifier",
    0x42: "Issuer identification number",
    0x45: "Card image number",
    0x4F: "AID",
    0x5C: "Tag list",
    0x5F20: "Application provider identifier",
    0x61: "Application template",
    0x66: "Card data",
    0x67: "Card capability information",
    0x6F: "File control information",
    0x73: "Card recognition data",
    0x84: "AID",
    0x93: "Token identifier",
    0x9E: "Token",
    0x9F65: "Maximum length of command data",
    0x9F70: "Life-cycle state",
    0x9F7F: "Card production life cycle",
    0xA5: "Proprietary data",
    0xB6: "Control reference template of a token",
    0xB9: "Key control",
    0xC0: "Key information",
    0xC1: "Sequence counter",
    0xC3: "Signature of the load file (DAP)",
    0xC4: "Load file",
    0xC5: "Privileges",
    0xC9: "Application parameters",
    0xCC: "Associated security domain",
    0xCE: "Version of the load file",
    0xCF: "Implicit selection",
    0xD0: "Key identifier",
    0xD2: "Key version number",
    0xD3: "Security level",
    0xD4: "Ciphered load file",
    0xE0: "Key information template",
    0xE2: "DAP block",
    0xE3: "Registry entry",
    0xEA: "UICC parameters",
    0xEF: "System parameters",
    0xFF21: "Extended card resources",
}

_IN_CONTEXT: dict[tuple[int, int], str] = {
    (0x73, 0x60): "Card management type and version",
    (0x73, 0x63): "Card identification scheme",
    (0x73, 0x64): "Secure channel protocols",
    (0x73, 0x65): "Card configuration",
    (0x73, 0x66): "Card and chip details",
    (0x73, 0x67): "Trust point of the issuer security domain",
    (0x73, 0x68): "Certificate of the issuer security domain",
    (0xEF, 0xC6): "Least non-volatile memory for code",
    (0xEF, 0xC7): "Volatile memory (quota, or least for a load)",
    (0xEF, 0xC8): "Non-volatile memory (quota, or least for a load)",
    (0xEF, 0xCA): "SIM file access and toolkit parameters",
    (0xEF, 0xCB): "Global service parameters",
    (0xEF, 0xCD): "Load-file format",
    (0xEF, 0xD7): "Reserved volatile memory",
    (0xEF, 0xD8): "Reserved non-volatile memory",
    (0xEF, 0xD9): "Restricted functions",
    (0xEA, 0x80): "UICC toolkit parameters",
    (0xEA, 0x81): "UICC access parameters",
    (0xE3, 0x84): "Executable module",
    (0xE3, 0xC4): "Load file",
    (0xE3, 0xEA): "Proprietary data",
    (0xFF21, 0x81): "Installed applications",
    (0xFF21, 0x82): "Free non-volatile memory",
    (0xFF21, 0x83): "Free volatile memory",
    (0x67, 0xA0): "Secure channel capability",
    (0x67, 0x81): "Privileges that a security domain may get",
    (0x67, 0x82): "Privileges that an application may get",
    (0xB9, 0x80): "Key type",
    (0xB9, 0x81): "Key length",
    (0xB9, 0x82): "Key identifier",
    (0xB9, 0x83): "Key version number",
    (0xB9, 0x84): "Key check value",
    (0xB9, 0x95): "Key usage",
    (0xB9, 0x96): "Key access",
}

_NUMBERS = {(0xFF21, 0x81), (0xFF21, 0x82), (0xFF21, 0x83), (0x6F, 0x9F65), (0xA5, 0x9F65)}
_MEMORY_TAGS = {0xC6, 0xC7, 0xC8, 0xD7, 0xD8}


def explain_tlvs(data: bytes, parent: int = 0) -> tuple[Note, ...]:
    """Explain a sequence of data objects.

    Args:
        parent: tag of the template that they stand in, 0 at the top.
    Raises:
        TlvError: no well-formed TLVs.
    """
    return tuple(_explain(tlv, parent) for tlv in parse_tlvs(data))


def _explain(tlv: Tlv, parent: int) -> Note:
    name = _IN_CONTEXT.get((parent, tlv.tag)) or _NAMES.get(tlv.tag, "Data object")
    title = f"{tlv.tag:02X} {name}"
    if _is_constructed(tlv.tag):
        try:
            return Note(title, "", b"", explain_tlvs(tlv.value, tlv.tag))
        except CardError:
            return Note(title, "not well-formed inside", tlv.value)
    return Note(title, _words(tlv, parent), tlv.value)


def _is_constructed(tag: int) -> bool:
    first = tag >> 8 * ((tag.bit_length() + 7) // 8 - 1) if tag else 0
    return bool(first & 0x20)


def _words(tlv: Tlv, parent: int) -> str:
    if tlv.tag == 0xC5 or (parent == 0x67 and tlv.tag in (0x81, 0x82)):
        return f"({Privilege.from_bytes(tlv.value)})" if len(tlv.value) in (1, 3) else ""
    if tlv.tag == 0x9F70 and tlv.value:
        return f"({application_state_name(tlv.value[0])} if it is an application)"
    if tlv.tag == 0x06:
        return _oid_words(tlv.value)
    if (parent, tlv.tag) in _NUMBERS or (parent == 0xEF and tlv.tag in _MEMORY_TAGS):
        return f"({int.from_bytes(tlv.value, 'big')})"
    if tlv.tag == 0xC0 and len(tlv.value) >= 4:
        return f"(key {tlv.value[0]:02X} of version {tlv.value[1]:02X}, type {tlv.value[2]:02X})"
    return "" if tlv.value else "empty"


def _oid_words(value: bytes) -> str:
    dotted = _dotted(value)
    if dotted.startswith(f"{_GP_OID}.4.") and len(value) == 9:
        return f"(SCP{value[7]:02X} i={value[8]:02X})"
    if dotted.startswith(f"{_GP_OID}.2."):
        return f"(GlobalPlatform {dotted.removeprefix(_GP_OID + '.2.')})"
    return f"({dotted})" if dotted else ""


def _dotted(value: bytes) -> str:
    numbers, current = [], 0
    for byte in value:
        current = current << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(current)
            current = 0
    if not numbers:
        return ""
    first = min(numbers[0] // 40, 2)
    return ".".join(str(number) for number in (first, numbers[0] - 40 * first, *numbers[1:]))
