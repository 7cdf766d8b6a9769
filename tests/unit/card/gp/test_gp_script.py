"""Scripts and expectations."""

import pytest

from opentsm.card.codec.apdu import ResponseApdu
from opentsm.card.errors import ScriptError
from opentsm.card.gp import commands as gp
from opentsm.card.gp.script import ANYTHING, SUCCESS, Expectation, Script, Step, first_difference


@pytest.mark.parametrize(
    ("patterns", "sw", "fits"),
    [
        (("9000",), 0x9000, True),
        (("9000",), 0x9001, False),
        (("9000", "61??"), 0x6110, True),
        (("61??",), 0x6200, False),
        (("?A8?",), 0x6A88, True),
        ((), 0x6F00, True),
    ],
)
def test_difference_when_status_word_then_by_pattern(patterns: tuple[str, ...], sw: int, fits: bool) -> None:
    assert (Expectation(patterns).difference(ResponseApdu(b"", sw)) is None) is fits


def test_difference_when_data_differs_then_said() -> None:
    expectation = Expectation(data=b"\x01\x02")
    assert expectation.difference(ResponseApdu(b"\x01\x02", 0x9000)) is None
    assert expectation.difference(ResponseApdu(b"\x01\x03", 0x9000)) == "other data than expected"
    assert expectation.difference(ResponseApdu(b"\x01", 0x9000)) == "1 data bytes, expected 2"
    assert expectation.difference(ResponseApdu(b"", 0x6A88)) == "status word 6A88, expected 9000"


def test_difference_when_masked_then_only_those_bits_count() -> None:
    expectation = Expectation(data=b"\x10\x20", mask=b"\xf0\x00")
    assert expectation.difference(ResponseApdu(b"\x1f\x99", 0x9000)) is None
    assert expectation.difference(ResponseApdu(b"\x20\x20", 0x9000)) is not None


def test_difference_when_empty_data_expected_then_empty_only() -> None:
    assert Expectation(data=b"").difference(ResponseApdu(b"\x00", 0x9000)) is not None


@pytest.mark.parametrize("pattern", ["900", "90000", "61xx", "9 00", "6a88"])
def test_expectation_when_pattern_malformed_then_refused(pattern: str) -> None:
    with pytest.raises(ScriptError, match="pattern"):
        Expectation((pattern,))


def test_expectation_when_mask_does_not_fit_then_refused() -> None:
    with pytest.raises(ScriptError, match="mask"):
        Expectation(data=b"\x01", mask=b"\xff\xff")
    with pytest.raises(ScriptError, match="mask"):
        Expectation(mask=b"\xff")


SCRIPT = Script((Step(gp.select(), meaning="select the ISD"),)).then(Step(gp.get_data(0x66), ANYTHING))


def test_first_difference_when_all_fit_then_none() -> None:
    assert first_difference(SCRIPT, (ResponseApdu(b"", 0x9000), ResponseApdu(b"", 0x6A88))) is None
    assert first_difference(SCRIPT, ()) is None


def test_first_difference_when_one_differs_then_its_index() -> None:
    script = SCRIPT + Script((Step(gp.get_data(0xE0), SUCCESS),))
    ok = ResponseApdu(b"", 0x9000)
    assert first_difference(script, (ok, ok, ResponseApdu(b"", 0x6985))) == (
        2,
        "status word 6985, expected 9000",
    )


def test_first_difference_when_too_many_answers_then_refused() -> None:
    with pytest.raises(ScriptError, match="3 answers to 2"):
        first_difference(SCRIPT, (ResponseApdu(b"", 0x9000),) * 3)


def test_size_bytes_when_summed_then_of_all_commands() -> None:
    assert SCRIPT.size_bytes == 10
    assert len(SCRIPT) == 2
