"""What `opentsm card ota` computes: packets and short messages from words, and words from packets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.errors import CardError, OtaError
from opentsm.card.gp.explain import Reading, explain
from opentsm.card.gp.status_words import describe
from opentsm.card.ota import sms
from opentsm.card.ota.key_reference import Algorithm, KeyReference, PacketKeys
from opentsm.card.ota.remote_apdu import (
    CompactResponse,
    ExpandedResponse,
    ExpandedScript,
    decode_compact,
    encode_compact,
    is_expanded,
)
from opentsm.card.ota.scp80 import (
    CommandPacket,
    Policy,
    ResponsePacket,
    decode_command,
    decode_response,
    encode_command,
    peek_command,
    peek_response_tar,
)
from opentsm.card.ota.spi import Integrity, Spi

if TYPE_CHECKING:
    from collections.abc import Sequence

_ENVELOPE = b"\x80\xc2"
_PROACTIVE = 0xD0
_KINDS = {sms.PacketKind.COMMAND: "command packet", sms.PacketKind.RESPONSE: "response packet"}


@dataclass(frozen=True, slots=True)
class Security:
    """How packets are protected: what SPI, KIc and KID say, and the keys."""

    spi: Spi
    kic: int
    kid: int
    keys: PacketKeys
    policy: Policy


def key_octet(text: str, *, redundancy: bool = False) -> int:
    """Read `VERSION:ALGORITHM`, such as 1:aes, or the octet in hex.

    Raises:
        OtaError: the algorithm is unknown or does not belong there.
    """
    version, colon, name = text.partition(":")
    try:
        if not colon:
            value = int(text, 16)
            return KeyReference.from_byte(value, redundancy=redundancy).to_byte()
        wanted = KeyReference(int(version), Algorithm(name.lower()))
    except ValueError:
        names = ", ".join(one.value for one in Algorithm)
        raise OtaError(f"{text[:40]!r} is no key reference: VERSION:ALGORITHM, one of {names}") from None
    if KeyReference.from_byte(wanted.to_byte(), redundancy=redundancy) != wanted:
        raise OtaError(f"{name} is not an algorithm for this use")
    return wanted.to_byte()


def encode_document(security: Security, tar: bytes, counter: int, data: bytes) -> dict[str, object]:
    """Protect secured data and say what was done."""
    packet = CommandPacket(security.spi, security.kic, security.kid, tar, counter, data)
    sealed = encode_command(packet, security.keys, policy=security.policy)
    return {
        "packet": _text(sealed),
        "spi": _text(security.spi.to_bytes()),
        "kic": f"{security.kic:02X}",
        "kid": f"{security.kid:02X}",
        "tar": _text(tar),
        "counter": counter,
        "data": _text(data),
        "explained": list(security.spi.lines()),
    }


def message_document(
    packet: bytes, originator: sms.Address, reference: int, *, wide: bool
) -> dict[str, object]:
    """Return the short messages of a packet, and the ENVELOPE commands that hand them to the card."""
    parts = sms.split_packet(packet, reference=reference, wide=wide)
    tpdus = sms.deliver_messages(parts, originator)
    return {
        "user_data": [_text(one) for one in parts],
        "tpdus": [_text(one) for one in tpdus],
        "envelopes": [_text(sms.envelope(one).to_bytes()) for one in tpdus],
    }


def script_data(apdus: Sequence[bytes], form: str) -> bytes:
    """Return the script that carries these commands: compact, expanded or indefinite.

    Raises:
        OtaError: no such form, or the commands do not fit into it.
    """
    commands = tuple(CommandApdu.parse(one) for one in apdus)
    if form == "compact":
        return encode_compact(commands)
    if form not in {"expanded", "indefinite"}:
        raise OtaError(f"{form!r} is no form of a script: compact, expanded, indefinite")
    return ExpandedScript(commands, indefinite=form == "indefinite").to_bytes()


def packet_in(parts: Sequence[bytes], *, response: bool) -> tuple[sms.PacketKind, bytes]:
    """Find the packet in ENVELOPEs, TPDUs, proactive commands or user data, or take it as it is.

    Args:
        parts: the bytes of each argument.
        response: what a packet without any wrapping is.

    Raises:
        OtaError: the parts do not belong together.
    """
    unwrapped = [_unwrapped(one) for one in parts]
    if all(_is_user_data(one) for one in unwrapped):
        return sms.join_packet(unwrapped)
    if len(parts) > 1:
        raise OtaError("several arguments are the short messages of one packet; these are not")
    return (sms.PacketKind.RESPONSE if response else sms.PacketKind.COMMAND), unwrapped[0]


def _unwrapped(data: bytes) -> bytes:
    """Return user data or a packet."""
    if data[:2] == _ENVELOPE:
        data = sms.open_envelope(CommandApdu.parse(data))
    elif data[:1] == bytes((_PROACTIVE,)):
        data = sms.open_proactive_message(data)
    if _is_user_data(data):
        return data
    try:
        return sms.SmsTpdu.parse(data).user_data
    except OtaError:
        return data


def _is_user_data(data: bytes) -> bool:
    """Tell whether bytes begin with the header of a secured packet or of a part of one."""
    try:
        part = sms.parse_user_data(data)
    except OtaError:
        return False
    return part.kind is not None or part.reference is not None


def decode_document(kind: sms.PacketKind, packet: bytes, security: Security) -> dict[str, object]:
    """Open a packet and say what is in it.

    Raises:
        OtaError: it is malformed, or a key is missing.
        PacketChecksumError: its checksum is wrong.
    """
    document: dict[str, object] = {"kind": _KINDS[kind], "packet": _text(packet)}
    if kind is sms.PacketKind.RESPONSE:
        return document | _response(packet, security)
    return document | _command(packet, security)


def _command(packet: bytes, security: Security) -> dict[str, object]:
    policy = replace(security.policy, aes_without_counter=True)
    header = peek_command(packet)
    document: dict[str, object] = {
        "spi": _text(header.spi.to_bytes()),
        "kic": f"{header.kic:02X}",
        "kid": f"{header.kid:02X}",
        "tar": _text(header.tar),
        "explained": [*header.spi.lines(), *_key_lines(header)],
    }
    opened = decode_command(packet, security.keys, policy=policy)
    checked = opened.spi.integrity is not Integrity.NONE
    return document | {
        "counter": opened.counter,
        "checksum_ok": True if checked else None,
        "data": _text(opened.data),
        "script": _script(opened.data),
    }


def _key_lines(header: CommandPacket) -> list[str]:
    lines = []
    if header.spi.ciphered:
        kic = KeyReference.from_byte(header.kic)
        lines.append(f"ciphering: key version {kic.index}, {kic.algorithm.value}")
    if header.spi.integrity is not Integrity.NONE:
        kid = KeyReference.from_byte(header.kid, redundancy=header.spi.integrity is Integrity.RC)
        lines.append(f"checksum: key version {kid.index}, {kid.algorithm.value}")
    return lines


def _response(packet: bytes, security: Security) -> dict[str, object]:
    command = CommandPacket(security.spi, security.kic, security.kid, peek_response_tar(packet))
    opened = decode_response(packet, command, security.keys, policy=security.policy)
    return {
        "tar": _text(opened.tar),
        "counter": opened.counter,
        "status": f"{opened.status:02X}",
        "status_name": opened.status_name,
        "authentic": opened.authentic,
        "data": _text(opened.data),
        "answer": _answer(opened),
    }


def _script(data: bytes) -> dict[str, object]:
    """Say what the secured data orders; data that is no script is left as it is."""
    try:
        expanded = is_expanded(data)
        commands = ExpandedScript.parse(data).commands if expanded else decode_compact(data)
    except OtaError as error:
        return {"form": "unknown", "why": str(error), "commands": []}
    described = [_explained(one.to_bytes(), Reading.COMMAND) for one in commands]
    return {"form": "expanded" if expanded else "compact", "commands": described}


def _answer(packet: ResponsePacket) -> dict[str, object]:
    data = packet.data
    if not data:
        return {"form": "none"}
    try:
        if is_expanded(data):
            return _expanded_answer(ExpandedResponse.parse(data))
        compact = CompactResponse.parse(data)
    except OtaError as error:
        return {"form": "unknown", "why": str(error)}
    last = _status(compact.sw, compact.data)
    return {"form": "compact", "executed": compact.executed, "answers": [last]}


def _expanded_answer(answer: ExpandedResponse) -> dict[str, object]:
    return {
        "form": "expanded",
        "executed": answer.executed,
        "answers": [_status(one.sw, one.data) for one in answer.responses],
        "bad_format": answer.bad_format,
        "immediate_action": answer.immediate_action,
        "chaining": answer.chaining,
    }


def _status(sw: int, data: bytes) -> dict[str, object]:
    return {"status_word": f"{sw:04X}", "meaning": describe(sw), "data": _text(data)}


def _explained(data: bytes, reading: Reading) -> dict[str, object]:
    try:
        lines = list(explain(data, reading).note.lines())
    except CardError as error:
        lines = [str(error)]
    return {"apdu": _text(data), "explained": lines}


def _text(data: bytes) -> str:
    return data.hex().upper()
