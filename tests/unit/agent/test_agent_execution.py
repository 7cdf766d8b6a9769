"""Transport status words and the limits of an answer. Source: ISO/IEC 7816-3 §12, ISO/IEC 7816-4 §5."""

from dataclasses import dataclass, field

import pytest

from opentsm.agent.errors import ReaderError
from opentsm.agent.execution import Card, get_response, with_le
from opentsm.agent.observer import CountingObserver


@dataclass
class ListedCard:
    """Gives its answers in sequence, the last one for ever."""

    answers: list[str]
    seen: list[str] = field(default_factory=list)
    on: bool = False

    async def connect(self) -> bytes:
        """Power on."""
        self.on = True
        return b"\x3b\x00"

    async def transmit(self, apdu: bytes) -> bytes:
        """Give the next answer."""
        assert self.on
        self.seen.append(apdu.hex().upper())
        return bytes.fromhex(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])

    async def disconnect(self) -> None:
        """Power off."""
        self.on = False


@pytest.mark.parametrize(
    ("command", "le", "again"),
    [
        ("80CA0066", 0x10, "80CA006610"),
        ("80CA006600", 0x10, "80CA006610"),
        ("80CA006600", 0x00, "80CA006600"),
        ("80F28000024F00", 0x07, "80F28000024F0007"),
        ("80F28000024F0000", 0x07, "80F28000024F0007"),
        ("80CA0066000000", 0x10, "80CA0066000010"),
        ("80CA0066000000", 0x00, "80CA0066000100"),
        ("80E60200000003A1A2A3", 0x10, "80E60200000003A1A2A30010"),
        ("80E60200000003A1A2A30000", 0x10, "80E60200000003A1A2A30010"),
    ],
)
def test_with_le_every_case_of_command_keeps_header_and_data(command: str, le: int, again: str) -> None:
    assert with_le(bytes.fromhex(command), le).hex().upper() == again


@pytest.mark.parametrize(
    ("cla", "expected"),
    [(0x00, 0x00), (0x80, 0x00), (0x84, 0x00), (0x03, 0x03), (0x87, 0x03), (0x40, 0x40), (0xEF, 0x4F)],
)
def test_get_response_stays_on_the_channel_without_secure_messaging(cla: int, expected: int) -> None:
    assert get_response(cla, 0x20) == bytes([expected, 0xC0, 0x00, 0x00, 0x20])


async def test_card_long_answer_is_put_together() -> None:
    card, observer = ListedCard(["A16102", "A2A36100", "A49000"]), CountingObserver()
    assert await Card(card, observer).exchange(bytes.fromhex("80CA006600")) == bytes.fromhex("A1A2A3A49000")
    assert card.seen == ["80CA006600", "00C0000002", "00C0000000"]
    assert observer.apdus == 3


async def test_card_wrong_le_is_corrected_once() -> None:
    card = ListedCard(["6C02"])
    assert await Card(card, CountingObserver()).exchange(bytes.fromhex("80CA006600")) == b"\x6c\x02"
    assert card.seen == ["80CA006600", "80CA006602"]


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        (["6110", "6110"], "does not give"),
        (["AA" * 256 + "6100"], "does not end"),
        ([""], "shorter"),
        (["90"], "shorter"),
    ],
)
async def test_card_answer_that_is_none_is_a_lost_card(answers: list[str], why: str) -> None:
    card = ListedCard(answers)
    with pytest.raises(ReaderError, match=why):
        await Card(card, CountingObserver()).exchange(bytes.fromhex("80CA006600"))
    assert not card.on


async def test_card_that_cannot_be_switched_off_is_only_noted() -> None:
    class Stuck(ListedCard):
        async def disconnect(self) -> None:
            raise ReaderError("stuck")

    noted: list[str] = []

    class Noting(CountingObserver):
        def notice(self, text: str) -> None:
            noted.append(text)

    await Card(Stuck(["9000"]), Noting()).off()
    assert noted == ["the reader could not switch the card off: stuck"]
