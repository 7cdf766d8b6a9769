"""What ARA-M and CRS answer: whole lists, lists in parts, and everything that cannot be believed."""

import pytest

from opentsm.card.codec.aid import Aid
from opentsm.tsm.custody import registries
from opentsm.tsm.engine import activation_steps as a

APP = Aid.from_hex("F04F54534D020101")
SELECTED = "6F009000"
# SE Access Control 1.1 section 6: any app, all AIDs, APDUs never
RULE = "E20B E104 4F00 C100 E303 D00100".replace(" ", "")
ENTRY = "61 0F 4F08 F04F54534D020101 9F7002 07{:02X}".replace(" ", "")
READ_RULES, READ_STATES = a.ReadAccess(), a.ReadContactless()
SWITCH = a.SetContactless(application=APP, activate=True)


def test_opening_when_reading_then_any_answer_will_do_and_when_switching_success_only() -> None:
    assert [one.apdu for one in registries.opening(READ_RULES)] == [
        "00A4040009A00000015141434C0000",
        "80CAFF4000",
    ]
    assert all(one.expected.status_words == () for one in registries.opening(READ_RULES))
    (select,) = registries.opening(SWITCH)
    assert (select.apdu, select.expected.status_words) == ("00A4040009A0000001514352530000", ("9000",))
    (switch,) = registries.commands(SWITCH, (SELECTED,))
    assert switch.apdu == "80F001010A4F08F04F54534D02010100"
    assert switch.barrier


def test_rules_when_they_come_at_once_then_read() -> None:
    opened = (SELECTED, f"FF400D{RULE}9000")
    assert registries.commands(READ_RULES, opened) == ()
    (access,) = registries.report(READ_RULES, opened, ()).access or ()
    assert (access.aid, access.device, access.apdu, access.nfc) == (b"", b"", False, None)


def test_rules_when_they_come_in_parts_then_the_rest_is_asked_for_and_one_to_spare() -> None:
    whole = "FF401A" + 2 * RULE
    parts = [whole[at : at + 20] + "9000" for at in range(0, len(whole), 20)]
    commands = registries.commands(READ_RULES, (SELECTED, parts[0]))
    assert [one.apdu for one in commands] == 3 * ["80CAFF6000"]
    report = registries.report(READ_RULES, (SELECTED, parts[0]), (*parts[1:], "6985"))
    assert report.steps[0].done
    assert len(report.access or ()) == 2


@pytest.mark.parametrize("opened", [("6A82", "6D00"), (SELECTED, "6A88"), (SELECTED, "FF40009000")])
def test_rules_when_there_are_none_or_no_ara_m_then_none(opened: tuple[str, str]) -> None:
    assert registries.commands(READ_RULES, opened) == ()
    report = registries.report(READ_RULES, opened, ())
    assert (report.steps[0].done, report.access) == (True, ())


@pytest.mark.parametrize(
    ("opened", "answers"),
    [
        ((), ()),
        ((SELECTED,), ()),
        ((SELECTED, "6985"), ()),
        ((SELECTED, "FF400D9000"), ("6A84",)),
        ((SELECTED, f"FF400D{RULE}009000"), ()),
        ((SELECTED, "FF4003E201009000"), ()),
        ((SELECTED, f"FF501234{RULE}9000"), ()),
        ((SELECTED, "zz"), ()),
        ((SELECTED, f"FF401A{RULE}9000"), ()),
    ],
)
def test_rules_when_the_answers_are_malformed_or_torn_then_nothing_is_known(
    opened: tuple[str, ...], answers: tuple[str, ...]
) -> None:
    registries.commands(READ_RULES, opened)
    report = registries.report(READ_RULES, opened, answers)
    assert (report.steps[0].done, report.access) == (False, None)


@pytest.mark.parametrize(
    ("state", "word"),
    [(0x00, "DEACTIVATED"), (0x01, "ACTIVATED"), (0x80, "NON_ACTIVATABLE"), (0x7F, "DEACTIVATED")],
)
def test_states_when_read_then_named_and_an_unknown_one_is_not_active(state: int, word: str) -> None:
    opened = (SELECTED, ENTRY.format(state) + "9000")
    assert registries.commands(READ_STATES, opened) == ()
    assert registries.report(READ_STATES, opened, ()).contactless == {str(APP): word}


def test_states_when_the_list_goes_on_then_read_to_its_end() -> None:
    opened = (SELECTED, ENTRY.format(0) + "6310")
    assert len(registries.commands(READ_STATES, opened)) > 1
    answers = (ENTRY.format(1) + "9000", "6985", "6985")
    report = registries.report(READ_STATES, opened, answers)
    assert report.contactless == {str(APP): "ACTIVATED"}
    torn = registries.report(READ_STATES, opened, (ENTRY.format(1) + "6310",))
    assert (torn.steps[0].done, torn.contactless) == (False, None)


@pytest.mark.parametrize("opened", [("6A82", "6D00"), (SELECTED, "6A88")])
def test_states_when_there_is_no_crs_or_nothing_then_none_is_active(opened: tuple[str, str]) -> None:
    assert registries.report(READ_STATES, opened, ()).contactless == {}


def test_states_when_an_entry_is_malformed_then_nothing_is_known() -> None:
    report = registries.report(READ_STATES, (SELECTED, "61024F009000"), ())
    assert (report.steps[0].done, report.contactless) == (False, None)


@pytest.mark.parametrize(
    ("answers", "done", "word"),
    [(("9000",), True, None), (("A00A4F08F04F54534D0201026320",), False, "6320"), ((), False, None)],
)
def test_switch_when_answered_then_the_cards_word_counts(
    answers: tuple[str, ...], done: bool, word: str | None
) -> None:
    (step,) = registries.report(SWITCH, (SELECTED,), answers).steps
    assert (step.done, step.status_word) == (done, word)
