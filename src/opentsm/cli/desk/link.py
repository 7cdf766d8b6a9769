"""The plain way to a card on the desk: one command, one answer, without the transport's own status words."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from opentsm.agent.errors import ReaderError, ReaderMissingError
from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.errors import ApduError
from opentsm.card.gp.instructions import CLA_ISO, Ins
from opentsm.card.gp.status_words import SUCCESS, look_up
from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError

if TYPE_CHECKING:
    from opentsm.agent.readers import Reader

_MORE_SW1 = 0x61
_WRONG_LE_SW1 = 0x6C
_MAX_PARTS = 300
# What changes nothing on the card: losing its answer leaves no doubt.
_READING = frozenset(
    {
        Ins.SELECT,
        Ins.GET_DATA,
        Ins.GET_DATA_ISO,
        Ins.GET_STATUS,
        Ins.GET_RESPONSE,
        Ins.INITIALIZE_UPDATE,
        Ins.EXTERNAL_AUTHENTICATE,
    }
)


class CardLink:
    """A powered card in a reader.

    Args:
        reader: the way to the card; this link connects and disconnects it.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.atr = b""

    async def __aenter__(self) -> CardLink:
        try:
            self.atr = await self._reader.connect()
        except ReaderMissingError as error:
            raise CliError("no such reader", why=str(error), code=ExitCode.CONFIGURATION) from error
        except ReaderError as error:
            raise CliError(
                "the card does not answer",
                why=str(error),
                advice="is a card in the reader, and does nobody else use it?",
                code=ExitCode.UNAVAILABLE,
            ) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        with suppress(ReaderError):  # the power is gone either way
            await self._reader.disconnect()

    async def send(self, command: CommandApdu) -> ResponseApdu:
        """Send one command as it is and return its whole answer.

        Raises:
            CliError: no answer; IN_DOUBT when the command may have changed the card.
        """
        answer = await self._transmit(command)
        if answer.sw1 == _WRONG_LE_SW1:
            answer = await self._transmit(replace(command, ne=answer.sw2 or 256))
        data = answer.data
        for _ in range(_MAX_PARTS):
            if answer.sw1 != _MORE_SW1:
                return ResponseApdu(data, answer.sw)
            answer = await self._transmit(
                CommandApdu(CLA_ISO, Ins.GET_RESPONSE, 0, 0, ne=answer.sw2 or 256), command.ins
            )
            data += answer.data
        raise CliError("the card's answer has no end", code=ExitCode.UNAVAILABLE)

    async def _transmit(self, command: CommandApdu, about: int | None = None) -> ResponseApdu:
        ins = command.ins if about is None else about
        try:
            return ResponseApdu.parse(await self._reader.transmit(command.to_bytes()))
        except (ReaderError, ApduError) as error:
            raise lost_answer(ins, str(error)) from error


def lost_answer(ins: int, why: str) -> CliError:
    """Return the error for a command whose answer did not come."""
    name = Ins(ins).name.replace("_", " ") if ins in Ins._value2member_map_ else f"instruction {ins:02X}"
    if ins in _READING:
        return CliError(
            f"the card gave no answer to {name}",
            why=why,
            advice="nothing was changed: put the card in again and repeat",
            code=ExitCode.UNAVAILABLE,
        )
    return CliError(
        f"the card gave no answer to {name}: it may or may not have done it",
        why=why,
        advice="look with `opentsm card list` before you repeat",
        code=ExitCode.IN_DOUBT,
    )


def require_success(answer: ResponseApdu, ins: int, meaning: str) -> ResponseApdu:
    """Return an answer 9000.

    Raises:
        CliError: REFUSED, with the status word, its meaning and what to do.
    """
    if answer.sw == SUCCESS:
        return answer
    word = look_up(answer.sw, ins)
    raise CliError(
        f"{meaning}: the card answered {answer.sw:04X}",
        why=word.name,
        advice=word.advice
        or f"`opentsm card explain {answer.sw:04X}`; compare states with `opentsm card list`",
        code=ExitCode.REFUSED,
    )
