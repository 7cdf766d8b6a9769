"""Remote APDUs: command scripts in secured data, and the responses to them.

    compact    APDUs one behind the other; answer: number executed, status word and data of the last
    expanded   AA (definite) or AE 80 … 00 00 (indefinite) with command objects; answer AB or AF 80 … 00 00

Source: ETSI TS 102 226 §5.2.1 (compact), §5.2.2 (expanded).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.codec.tlv import Tlv, encode_tlv, find, find_all, parse_tlv, parse_tlvs
from opentsm.card.errors import CardError, OtaError

_COMMANDS: Final = 0xAA
_COMMANDS_INDEFINITE: Final = 0xAE
_RESPONSES: Final = 0xAB
_RESPONSES_INDEFINITE: Final = 0xAF
_C_APDU: Final = 0x22
_R_APDU: Final = 0x23
_EXECUTED: Final = 0x80
_IMMEDIATE: Final = 0x81
_ERROR_ACTION: Final = 0x82
_CHAINING: Final = 0x83
_BAD_FORMAT: Final = 0x90
_INDEFINITE: Final = 0x80
_END: Final = b"\x00\x00"
_HEADER: Final = 5
# Commands whose P3 is the length of the answer: GET RESPONSE, READ BINARY, READ RECORD, GET CHALLENGE.
_ANSWERING: Final = frozenset({0xC0, 0xB0, 0xB2, 0x84})
_GET_DATA: Final = 0xCA
_GET_DATA_LIST: Final = (0x2F, 0x00)


class Chaining(IntEnum):
    """Script chaining: whether the context of a script is kept for the next one."""

    FIRST = 0x01
    FIRST_KEPT = 0x11
    MORE = 0x02
    LAST = 0x03


class BadFormat(IntEnum):
    """Why the card could not read a script."""

    UNKNOWN_TAG = 0x01
    WRONG_LENGTH = 0x02
    LENGTH_MISSING = 0x03


def encode_compact(commands: Sequence[CommandApdu]) -> bytes:
    """Return a compact script; only the last command may have both data and an answer.

    Raises:
        OtaError: there is none, or a command has an extended length.
    """
    if not commands:
        raise OtaError("a script has at least one command")
    head = b"".join(_compact(command, last=False) for command in commands[:-1])
    return head + _compact(commands[-1], last=True)


def _compact(command: CommandApdu, *, last: bool) -> bytes:
    if command.extended:
        raise OtaError("a compact script holds short commands only")
    if command.data:
        le = bytes((command.ne & 0xFF,)) if last and command.ne is not None else b""
        return command.header + bytes((len(command.data),)) + command.data + le
    return command.header + bytes(((command.ne or 0) & 0xFF,))


def decode_compact(data: bytes) -> tuple[CommandApdu, ...]:
    """Take a compact script apart; the instruction tells whether P3 is a length of data or of the answer.

    Raises:
        OtaError: a command is cut off, or there is none.
    """
    commands: list[CommandApdu] = []
    rest = data
    while rest:
        command, rest = _first_compact(rest)
        commands.append(command)
    if not commands:
        raise OtaError("the script is empty")
    return tuple(commands)


def _first_compact(data: bytes) -> tuple[CommandApdu, bytes]:
    if len(data) < _HEADER:
        raise OtaError("a command of the script is cut off")
    cla, ins, p1, p2, p3 = data[:_HEADER]
    if ins in _ANSWERING or p3 == 0 or (ins == _GET_DATA and (p1, p2) != _GET_DATA_LIST):
        return CommandApdu(cla, ins, p1, p2, ne=p3 or 256), data[_HEADER:]
    end = _HEADER + p3
    if len(data) < end:
        raise OtaError("a command of the script is cut off")
    body, rest = data[_HEADER:end], data[end:]
    if len(rest) == 1:
        return CommandApdu(cla, ins, p1, p2, body, ne=rest[0] or 256), b""
    return CommandApdu(cla, ins, p1, p2, body), rest


@dataclass(frozen=True, slots=True)
class CompactResponse:
    """Answer to a compact script: commands executed, then status word and data of the last."""

    executed: int
    sw: int
    data: bytes = b""

    def to_bytes(self) -> bytes:
        """Encode the answer."""
        return bytes((self.executed,)) + self.sw.to_bytes(2, "big") + self.data

    @classmethod
    def parse(cls, data: bytes) -> "CompactResponse":
        """Decode the answer.

        Raises:
            OtaError: it is shorter than a count and a status word.
        """
        if len(data) < 3:
            raise OtaError("the answer to a compact script has at least three octets")
        return cls(data[0], int.from_bytes(data[1:3], "big"), data[3:])


@dataclass(frozen=True, slots=True)
class ExpandedScript:
    """An expanded script.

    Attributes:
        commands: C-APDUs as they are sent to a card.
        chaining: whether it belongs together with other scripts.
        immediate_action, error_action: values of these objects; None when absent.
        indefinite: coded without a length, as HTTP bodies often are.
    """

    commands: tuple[CommandApdu, ...]
    chaining: int | None = None
    immediate_action: bytes | None = None
    error_action: bytes | None = None
    indefinite: bool = False

    def to_bytes(self) -> bytes:
        """Encode the script; the actions stand before the commands."""
        head = b"" if self.chaining is None else encode_tlv(_CHAINING, bytes((self.chaining,)))
        head += b"" if self.immediate_action is None else encode_tlv(_IMMEDIATE, self.immediate_action)
        head += b"" if self.error_action is None else encode_tlv(_ERROR_ACTION, self.error_action)
        body = head + b"".join(encode_tlv(_C_APDU, command.to_bytes()) for command in self.commands)
        return _wrap(body, _COMMANDS, _COMMANDS_INDEFINITE, indefinite=self.indefinite)

    @classmethod
    def parse(cls, data: bytes) -> "ExpandedScript":
        """Decode a script.

        Raises:
            OtaError: it is malformed, or has an unknown object.
        """
        objects, indefinite = _unwrap(data, _COMMANDS, _COMMANDS_INDEFINITE)
        known = {_C_APDU, _IMMEDIATE, _ERROR_ACTION, _CHAINING}
        if any(one.tag not in known for one in objects):
            raise OtaError("the script has an object that is not known")
        chaining = find(objects, _CHAINING)
        if chaining is not None and len(chaining) != 1:
            raise OtaError("script chaining has one octet")
        try:
            commands = tuple(CommandApdu.parse(value) for value in find_all(objects, _C_APDU))
        except CardError as error:
            raise OtaError(str(error)) from error
        return cls(
            commands,
            chaining[0] if chaining else None,
            find(objects, _IMMEDIATE),
            find(objects, _ERROR_ACTION),
            indefinite,
        )


@dataclass(frozen=True, slots=True)
class ExpandedResponse:
    """Answer to an expanded script.

    Attributes:
        executed: number of commands executed; not told in the indefinite form.
        responses: R-APDUs in the order of their commands.
        bad_format: what the card could not read, see `BadFormat`.
        immediate_action, chaining: what the card says about these objects.
    """

    responses: tuple[ResponseApdu, ...] = ()
    executed: int | None = None
    bad_format: int | None = None
    immediate_action: int | None = None
    chaining: int | None = None
    indefinite: bool = False

    def to_bytes(self) -> bytes:
        """Encode the answer."""
        body = b""
        if self.executed is not None:
            body += encode_tlv(_EXECUTED, _number(self.executed))
        body += b"".join(encode_tlv(_R_APDU, one.to_bytes()) for one in self.responses)
        for tag, value in (
            (_IMMEDIATE, self.immediate_action),
            (_CHAINING, self.chaining),
            (_BAD_FORMAT, self.bad_format),
        ):
            body += b"" if value is None else encode_tlv(tag, bytes((value,)))
        return _wrap(body, _RESPONSES, _RESPONSES_INDEFINITE, indefinite=self.indefinite)

    @classmethod
    def parse(cls, data: bytes) -> "ExpandedResponse":
        """Decode the answer; objects that are not known are passed over.

        Raises:
            OtaError: it is malformed.
        """
        objects, indefinite = _unwrap(data, _RESPONSES, _RESPONSES_INDEFINITE)
        try:
            responses = tuple(ResponseApdu.parse(value) for value in find_all(objects, _R_APDU))
        except CardError as error:
            raise OtaError(str(error)) from error
        executed = find(objects, _EXECUTED)
        return cls(
            responses,
            int.from_bytes(executed, "big") if executed else None,
            _single(objects, _BAD_FORMAT),
            _single(objects, _IMMEDIATE),
            _single(objects, _CHAINING),
            indefinite,
        )


def is_expanded(data: bytes) -> bool:
    """Tell whether secured data begins as an expanded script or answer does."""
    return data[:1] in (b"\xaa", b"\xab", b"\xae", b"\xaf")


def _number(value: int) -> bytes:
    return value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")


def _single(objects: Sequence[Tlv], tag: int) -> int | None:
    value = find(objects, tag)
    if value is None:
        return None
    if len(value) != 1:
        raise OtaError(f"object {tag:02X} of an answer has one octet")
    return value[0]


def _wrap(body: bytes, definite_tag: int, indefinite_tag: int, *, indefinite: bool) -> bytes:
    if indefinite:
        return bytes((indefinite_tag, _INDEFINITE)) + body + _END
    return encode_tlv(definite_tag, body)


def _unwrap(data: bytes, definite_tag: int, indefinite_tag: int) -> tuple[tuple[Tlv, ...], bool]:
    indefinite = data[:2] == bytes((indefinite_tag, _INDEFINITE))
    try:
        if indefinite:
            if not data.endswith(_END):
                raise OtaError("the end of the script (00 00) is missing")
            return parse_tlvs(data[2:-2]), True
        outer = parse_tlv(data)
        if outer.tag != definite_tag:
            raise OtaError(f"{outer.tag:02X} does not open an expanded script or answer")
        return parse_tlvs(outer.value), False
    except OtaError:
        raise
    except CardError as error:
        raise OtaError(str(error)) from error
