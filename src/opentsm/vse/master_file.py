"""The master file of a UICC without any other file: readers look for it to tell a UICC from other cards.

Source: ETSI TS 102 221 §11.1.1 (SELECT), §11.1.1.3.1 (file control parameters of the MF); ISO/IEC 7816-4.
"""

from typing import Final

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.codec.tlv import encode_tlv
from opentsm.vse.environment import Environment, LogicalChannel
from opentsm.vse.selection import enter, implicit_application
from opentsm.vse.status import (
    SW_FILE_NOT_FOUND,
    SW_OK,
    SW_SECURE_MESSAGING_NOT_SUPPORTED,
    SW_WRONG_P1P2,
    StatusError,
)

BY_IDENTIFIER: Final = 0x00
_MASTER_FILE: Final = b"\x3f\x00"
_WITH_PARAMETERS: Final = 0x04
_WITHOUT_DATA: Final = 0x0C
_SECURE_MESSAGING_BITS: Final = 0x0C
_DIRECTORY: Final = b"\x78\x21"
_ACTIVATED: Final = b"\x05"
_NO_PIN: Final = encode_tlv(0x90, b"\x00")


def select_file(environment: Environment, channel: LogicalChannel, command: CommandApdu) -> ResponseApdu:
    """Select a file by its identifier; there is the MF only, and with it ends the application's session.

    Raises:
        StatusError: 6A82 another file, 6A86 P2 asks for something else, 6882 secure messaging.
    """
    if command.cla & _SECURE_MESSAGING_BITS:
        raise StatusError(SW_SECURE_MESSAGING_NOT_SUPPORTED)
    if command.p2 not in {_WITH_PARAMETERS, _WITHOUT_DATA}:
        raise StatusError(SW_WRONG_P1P2)
    if command.data != _MASTER_FILE:
        raise StatusError(SW_FILE_NOT_FOUND)
    enter(environment, channel, implicit_application(environment.image, channel.number))
    return ResponseApdu(_parameters() if command.p2 == _WITH_PARAMETERS else b"", SW_OK)


def _parameters() -> bytes:
    fields = ((0x82, _DIRECTORY), (0x83, _MASTER_FILE), (0x8A, _ACTIVATED), (0xC6, _NO_PIN))
    return encode_tlv(0x62, b"".join(encode_tlv(tag, value) for tag, value in fields))
