"""Status words that the card answers with, and the error that carries one through the card's code.

Source: GPCS 2.3.1 §11.1.3 (Table 11-10) and the error tables of each command; ISO/IEC 7816-4 §5.6.
"""

from typing import Final

SW_OK: Final = 0x9000
SW_LOGICAL_CHANNEL_ALREADY_CLOSED: Final = 0x6200
SW_CARD_LOCKED: Final = 0x6283
SW_AUTHENTICATION_FAILED: Final = 0x6300
SW_MORE_DATA: Final = 0x6310
SW_MEMORY_FAILURE: Final = 0x6581
SW_WRONG_LENGTH: Final = 0x6700
SW_CHANNEL_NOT_OPEN: Final = 0x6881
SW_SECURE_MESSAGING_NOT_SUPPORTED: Final = 0x6882
SW_LAST_OF_CHAIN_EXPECTED: Final = 0x6883
SW_SECURITY: Final = 0x6982
SW_BLOCKED: Final = 0x6983
SW_CONDITIONS: Final = 0x6985
SW_WRONG_DATA: Final = 0x6A80
SW_FUNCTION_NOT_SUPPORTED: Final = 0x6A81
SW_FILE_NOT_FOUND: Final = 0x6A82
SW_NO_MEMORY: Final = 0x6A84
SW_WRONG_P1P2: Final = 0x6A86
SW_NOT_FOUND: Final = 0x6A88
SW_INS_NOT_SUPPORTED: Final = 0x6D00
SW_CLA_NOT_SUPPORTED: Final = 0x6E00
SW_INTERNAL: Final = 0x6F00
# TS 102 221 §10.2.1.3: the card toolkit is busy; other commands are taken.
SW_TOOLKIT_BUSY: Final = 0x9300


class StatusError(Exception):
    """The card refuses the command with this status word.

    Args:
        sw: the status word, 0..FFFF.
        data: response data that goes with it (warnings only).
    """

    def __init__(self, sw: int, data: bytes = b"") -> None:
        super().__init__(f"status word {sw:04X}")
        self.sw = sw
        self.data = data


def carries_data(sw: int) -> bool:
    """Tell whether an answer with this status word may carry data: 9000, 91xx and warnings."""
    return sw == SW_OK or sw >> 8 in {0x62, 0x63, 0x91}
