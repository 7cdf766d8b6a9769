"""Remote APDUs on the card: reading a script, running it command by command, writing the answer.

Source: ETSI TS 102 226 §5.2.1 (compact format), §5.2.2 (expanded format).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.codec.tlv import Tlv, decode_length, encode_tlv, parse_tlvs
from opentsm.card.errors import ApduError, TlvError
from opentsm.vse.status import SW_WRONG_LENGTH

Execute = Callable[[CommandApdu], ResponseApdu]

DEFINITE: Final = 0xAA
INDEFINITE: Final = 0xAE
_BAD_FORMAT: Final = 0x90
_UNKNOWN_TAG: Final = 1
_WRONG_LENGTH: Final = 2
_NO_LENGTH: Final = 3
_SUSPENSION_ERROR: Final = bytes([0x81, 0x01, 0x01])
_NO_PREVIOUS: Final = 1
_NOT_SUPPORTED: Final = 2
_CASE_2: Final = frozenset({0xC0, 0xB0, 0xB2, 0x84})


@dataclass(slots=True)
class ScriptChain:
    """Whether scripts of one application are chained at the moment (volatile)."""

    open: bool = False


def run_script(data: bytes, execute: Execute, chain: ScriptChain) -> bytes:
    """Run secured data as a script and return the additional response data.

    Args:
        data: the script; its first octet tells the format.
        execute: carries out one command.
        chain: the state of script chaining of this application.
    """
    if data[:1] in {bytes([DEFINITE]), bytes([INDEFINITE])}:
        return _run_expanded(data, execute, chain)
    return _run_compact(data, execute)


def _run_compact(data: bytes, execute: Execute) -> bytes:
    executed, last = 0, ResponseApdu(b"", SW_WRONG_LENGTH)
    for command in _compact_commands(data):
        last = execute(command) if command else ResponseApdu(b"", SW_WRONG_LENGTH)
        executed += 1
        if is_error(last.sw):
            break
    return bytes([executed & 0xFF]) + last.sw.to_bytes(2, "big") + last.data


def _compact_commands(data: bytes) -> Iterator[CommandApdu | None]:
    """Yield the commands of a compact script; None for one that is cut off."""
    while data:
        if len(data) < 5:
            yield None
            return
        cla, ins, p1, p2, p3 = data[:5]
        if p3 == 0 or ins in _CASE_2 or (ins == 0xCA and (p1, p2) != (0x2F, 0x00)):
            yield CommandApdu(cla, ins, p1, p2, ne=p3 or 256)
            data = data[5:]
            continue
        if len(data) < 5 + p3:
            yield None
            return
        body, data = data[5 : 5 + p3], data[5 + p3 :]
        # One octet behind the last command is its Le.
        expected = (data[0] or 256) if len(data) == 1 else None
        yield CommandApdu(cla, ins, p1, p2, body, ne=expected)
        data = b"" if expected else data


def is_error(sw: int) -> bool:
    """Tell whether a status word ends a script: all but success, warnings, more data, proactive command."""
    return sw >> 8 not in {0x90, 0x91, 0x92, 0x9F, 0x61, 0x62, 0x63}


class _BadFormatError(Exception):
    def __init__(self, reason: int) -> None:
        super().__init__(f"bad format {reason}")
        self.reason = reason


def _run_expanded(data: bytes, execute: Execute, chain: ScriptChain) -> bytes:
    definite = data[0] == DEFINITE
    executed, answers = 0, b""
    try:
        for command in _prepared(_expanded_objects(data), chain):
            answer = execute(command)
            executed += 1
            answers += encode_tlv(0x23, answer.data + answer.sw.to_bytes(2, "big"))
            if is_error(answer.sw):
                break
    except _BadFormatError as problem:
        answers += encode_tlv(_BAD_FORMAT, bytes([problem.reason]))
    except _ChainingError as problem:
        answers += encode_tlv(0x83, bytes([problem.reason]))
    except _SuspensionError:
        answers += _SUSPENSION_ERROR
    if not definite:
        return bytes([0xAF, 0x80]) + answers + bytes(2)
    count = executed.to_bytes(1 if executed < 0x100 else 2, "big")
    return encode_tlv(0xAB, encode_tlv(0x80, count) + answers)


def _expanded_objects(data: bytes) -> tuple[Tlv, ...]:
    """Open the outer object; inner ones always have a length."""
    try:
        if data[0] == INDEFINITE:
            if data[1:2] != b"\x80" or data[-2:] != bytes(2):
                raise _BadFormatError(_NO_LENGTH)
            content = data[2:-2]
        else:
            if len(data) < 2:
                raise _BadFormatError(_NO_LENGTH)
            length, start = decode_length(data, 1)
            if start + length != len(data):
                raise _BadFormatError(_WRONG_LENGTH)
            content = data[start:]
        return parse_tlvs(content)
    except TlvError:
        raise _BadFormatError(_WRONG_LENGTH) from None


class _ChainingError(Exception):
    def __init__(self, reason: int) -> None:
        super().__init__(f"chaining {reason}")
        self.reason = reason


class _SuspensionError(Exception):
    """There is no proactive session that a script could wait for."""


def _prepared(objects: tuple[Tlv, ...], chain: ScriptChain) -> list[CommandApdu]:
    """Read the whole script before its first command: one that is half understood is not begun."""
    commands: list[CommandApdu] = []
    linked = False
    for entry in objects:
        if entry.tag == 0x83:
            _link(entry.value, chain)
            linked = True
        elif entry.tag == 0x81:
            raise _SuspensionError
        elif entry.tag == 0x22:
            commands.append(_expanded_command(entry.value))
        elif entry.tag != 0x82:
            raise _BadFormatError(_UNKNOWN_TAG)
    chain.open &= linked
    return commands


def _link(value: bytes, chain: ScriptChain) -> None:
    if value == b"\x01":
        chain.open = True
    elif value in {b"\x02", b"\x03"}:
        if not chain.open:
            raise _ChainingError(_NO_PREVIOUS)
        chain.open = value == b"\x02"
    else:
        raise _ChainingError(_NOT_SUPPORTED)


def _expanded_command(value: bytes) -> CommandApdu:
    try:
        return CommandApdu.parse(value)
    except ApduError:
        raise _BadFormatError(_WRONG_LENGTH) from None
