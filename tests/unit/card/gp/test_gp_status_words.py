"""Names and advice of status words."""

import pytest

from opentsm.card.gp.instructions import Ins
from opentsm.card.gp.status_words import describe, is_warning, look_up


def test_describe_when_success_then_no_advice() -> None:
    assert describe(0x9000) == "9000: success"


def test_describe_when_instruction_known_then_its_meaning() -> None:
    assert "key set not found" in describe(0x6A88, Ins.INITIALIZE_UPDATE)
    assert "nothing matches" in describe(0x6A88, Ins.GET_STATUS)
    assert "referenced data not found" in describe(0x6A88)


def test_describe_when_unknown_instruction_then_general_meaning() -> None:
    assert describe(0x6A88, 0x12) == describe(0x6A88)


@pytest.mark.parametrize(
    ("sw", "word"),
    [
        (0x6110, "16 more bytes"),
        (0x6100, "256 more bytes"),
        (0x6C1C, "28 bytes are available"),
        (0x63C2, "2 tries left"),
        (0x6AFF, "wrong parameters"),
        (0x9110, "proactive"),
        (0x1234, "unknown"),
    ],
)
def test_describe_when_a_family_then_its_meaning(sw: int, word: str) -> None:
    assert word in describe(sw)


@pytest.mark.parametrize("sw", range(0x6000, 0xA000, 0x101))
def test_look_up_when_any_value_then_a_name(sw: int) -> None:
    assert look_up(sw).name


@pytest.mark.parametrize("sw", [-1, 0x10000])
def test_look_up_when_not_two_bytes_then_refused(sw: int) -> None:
    with pytest.raises(ValueError, match="two bytes"):
        look_up(sw)


def test_is_warning_when_62_or_63_then_true() -> None:
    assert is_warning(0x6310) and is_warning(0x6283) and not is_warning(0x9000)
