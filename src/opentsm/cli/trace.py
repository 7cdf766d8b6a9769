"""A conversation with a card in words: each command and answer as it was, and below it what it means.

A trace is a recording too (lines `>` and `<`, words behind `#`). Keys, PINs and data on their way into
the card are left out, whatever protection they had; other data under secure messaging stays as it was on the
wire.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.errors import CardError
from opentsm.card.gp.explain import Reading, explain
from opentsm.card.gp.instructions import Ins
from opentsm.card.gp.status_words import describe

_VERIFY, _CHANGE_REFERENCE, _RESET_RETRY, _ENVELOPE, _PUT_DATA = 0x20, 0x24, 0x2C, 0xC2, 0xDA
# What may carry a key, a PIN or personal data in clear: PUT KEY and STORE DATA also under a C-MAC alone, and
# a message over the air may hold either.
SECRET_INS = frozenset(
    {Ins.PUT_KEY, Ins.STORE_DATA, _VERIFY, _CHANGE_REFERENCE, _RESET_RETRY, _ENVELOPE, _PUT_DATA}
)
_NAMES = {
    _VERIFY: "VERIFY",
    _CHANGE_REFERENCE: "CHANGE REFERENCE DATA",
    _RESET_RETRY: "RESET RETRY COUNTER",
    _ENVELOPE: "ENVELOPE",
    _PUT_DATA: "PUT DATA",
}


@dataclass(slots=True)
class Trace:
    """Puts one conversation into words, pair by pair."""

    number: int = field(default=0, init=False)

    def pair(self, raw: bytes, answer: bytes | None) -> dict[str, object]:
        """Explain one command and its answer.

        Args:
            raw: the C-APDU as it was sent.
            answer: the R-APDU; None when none came.

        Returns:
            `number`, `command`, `answer` (None when none came) and their `words`.
        """
        self.number += 1
        command = _parsed(raw)
        secret = command is None or command.ins in SECRET_INS
        return {
            "number": self.number,
            "command": _shown(raw, command, secret=secret),
            "secret": secret,
            "words": [*_command_words(raw, command), *_answer_words(command, answer)],
            "answer": None if answer is None else answer.hex().upper(),
        }


def trace_lines(entry: dict[str, object]) -> Iterator[str]:
    """Write an entry as lines of a recording; a command with secrets or without answer stands behind `#`."""
    mark = "# >" if entry["secret"] or entry["answer"] is None else ">"
    yield f"{mark} {entry['command']}"
    if entry["answer"] is not None:
        yield f"{'# <' if entry['secret'] else '<'} {entry['answer']}"
    words = entry["words"]
    for line in words if isinstance(words, list) else ():
        yield f"#   {line}"


def _parsed(raw: bytes) -> CommandApdu | None:
    try:
        return CommandApdu.parse(raw)
    except CardError:
        return None


def _shown(raw: bytes, command: CommandApdu | None, *, secret: bool) -> str:
    if command is None:
        return f"{raw[:4].hex().upper()} ({len(raw)} bytes that are no command, not shown)"
    if secret and command.data:
        return f"{command.header.hex().upper()} ({len(command.data)} bytes of data, not shown)"
    return raw.hex().upper()


def _command_words(raw: bytes, command: CommandApdu | None) -> Iterable[str]:
    if command is None:
        return ["not a command: its lengths do not fit"]
    if command.ins in _NAMES:
        return [_NAMES[command.ins]]
    if command.ins in SECRET_INS:
        protected = bool(command.cla & (0x20 if command.cla & 0x40 else 0x0C))
        name = Ins(command.ins).name.replace("_", " ")
        return [f"{name}, under secure messaging" if protected else name]
    try:
        return explain(raw, Reading.COMMAND).note.lines()
    except CardError as error:
        return [f"instruction {command.ins:02X}, not understood: {error}"]


def _answer_words(command: CommandApdu | None, answer: bytes | None) -> Iterable[str]:
    if answer is None or len(answer) < 2:
        return ["no answer: the power or the connection went"]
    sw = int.from_bytes(answer[-2:], "big")
    said = describe(sw, None if command is None else command.ins)
    length = len(answer) - 2
    return [f"answered {said}" + (f"; {length} bytes of data" if length else "")]
