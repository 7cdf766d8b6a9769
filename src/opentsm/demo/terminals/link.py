"""How a terminal talks to a card: commands in, answers out, GET RESPONSE and the right Le where needed.

Source: ISO/IEC 7816-4:2013 §5.3.4, §5.6.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu, ResponseApdu

Transmit = Callable[[bytes], Awaitable[bytes]]

_MORE_DATA = 0x61
_WRONG_LE = 0x6C


class TerminalError(Exception):
    """The terminal cannot finish its transaction."""


class CardRefusedError(TerminalError):
    """The card refuses a step.

    Args:
        step: the command, by its name in the standard.
        sw: the status word.
    """

    def __init__(self, step: str, sw: int) -> None:
        super().__init__(f"the card refuses {step} with {sw:04X}")
        self.step = step
        self.sw = sw


class NotAuthenticError(TerminalError):
    """The card did not prove that it is genuine."""


class NoApplicationError(TerminalError):
    """The card has no application that this terminal supports."""


class CardLink:
    """One card in front of the terminal; counts the commands.

    Args:
        transmit: sends one command and returns the answer with its status word.
    """

    def __init__(self, transmit: Transmit) -> None:
        self._transmit = transmit
        self.apdus = 0

    async def send(self, command: CommandApdu) -> ResponseApdu:
        """Send one command and collect the whole answer."""
        answer = await self._exchange(command)
        if answer.sw1 == _WRONG_LE:
            answer = await self._exchange(replace(command, ne=answer.sw2 or 256))
        data = answer.data
        while answer.sw1 == _MORE_DATA:
            answer = await self._exchange(CommandApdu(0x00, 0xC0, 0x00, 0x00, ne=answer.sw2 or 256))
            data += answer.data
        return ResponseApdu(data, answer.sw)

    async def require(self, step: str, command: CommandApdu) -> bytes:
        """Send one command and return the data of a success.

        Raises:
            CardRefusedError: any status word but 9000.
        """
        answer = await self.send(command)
        if answer.sw != 0x9000:
            raise CardRefusedError(step, answer.sw)
        return answer.data

    async def select(self, aid: Aid) -> bytes:
        """Select an application and return its FCI."""
        return await self.require("SELECT", CommandApdu(0x00, 0xA4, 0x04, 0x00, bytes(aid), ne=256))

    async def _exchange(self, command: CommandApdu) -> ResponseApdu:
        self.apdus += 1
        return ResponseApdu.parse(await self._transmit(command.to_bytes()))
