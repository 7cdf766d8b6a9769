"""The calls of the TSM-API: every state with every call and every list of commands.

The expected pairs are those of BSI TR-03165 §4.2.5.3 to 4.2.5.6, written down once more.
"""

import itertools

import pytest

from opentsm.tsm.domain.card_content import Stage
from opentsm.tsm.domain.device_call import (
    LEGAL_CALLS,
    Call,
    DeviceCallError,
    InvalidArgumentError,
    NotAllowedError,
    Request,
    TsmErrorType,
    error_type_of,
    service_operation,
    target_state,
)
from opentsm.tsm.domain.service import InstanceState
from opentsm.tsm.domain.version_pattern import VersionPattern

LETTERS = {"I": Stage.INSTALL, "P": Stage.PERSONALIZE, "A": Stage.ACTIVATE}
LISTS = ["".join(one) for length in range(4) for one in itertools.permutations("IPA", length)]
STATES: list[InstanceState] = [
    s for s in InstanceState if s not in (InstanceState.UNKNOWN, InstanceState.TERMINATED)
]
FROM_NOTHING = {"IAP", "IA", "IPA", "IP", "I"}
DEPLOYMENTS = {
    InstanceState.NOT_DEPLOYED: FROM_NOTHING,
    InstanceState.INSTALLED: {"AP", "PA", "A"},
    InstanceState.PERSONALIZED: {"A", ""},
    InstanceState.ACTIVATED: {"P", ""},
    # missing steps (§3.2.2): whatever is a list from some state
    InstanceState.IN_ERROR: FROM_NOTHING | {"AP", "PA", "A", "P"},
}
DEPLOYED = (InstanceState.OPERATIONAL, InstanceState.SUSPENDED)
ENDS = {"I": InstanceState.INSTALLED, "P": InstanceState.PERSONALIZED, "A": InstanceState.ACTIVATED}


def request(call: Call, letters: str = "", *, finalize: bool = False, suspend: bool = False) -> Request:
    return Request(call, tuple(LETTERS[letter] for letter in letters), finalize, suspend)


def legal_lists(state: InstanceState, call: Call) -> set[str]:
    if call is Call.DEPLOY:
        return DEPLOYMENTS.get(state, set())
    return FROM_NOTHING if state in DEPLOYED else set()


@pytest.mark.parametrize("finalize", [False, True])
@pytest.mark.parametrize("call", [Call.DEPLOY, Call.UPDATE])
@pytest.mark.parametrize("state", STATES)
def test_call_with_commands_when_the_guideline_lists_it_leads_on_else_is_refused(
    state: InstanceState, call: Call, finalize: bool
) -> None:
    for letters in LISTS:
        asked = request(call, letters, finalize=finalize)
        if not letters and not finalize:
            with pytest.raises(InvalidArgumentError):
                target_state(state, asked)
        elif letters not in legal_lists(state, call) or (finalize and letters == "I"):
            with pytest.raises(NotAllowedError) as refused:
                target_state(state, asked)
            assert refused.value.type is TsmErrorType.NOT_ALLOWED
        elif not finalize:
            assert target_state(state, asked) is ENDS[letters[-1]]
        else:
            kept = state is InstanceState.SUSPENDED and "A" not in letters
            assert target_state(state, asked) is (
                InstanceState.SUSPENDED if kept else InstanceState.OPERATIONAL
            )


@pytest.mark.parametrize("state", STATES)
def test_call_without_commands_when_made_in_any_state_is_the_guidelines(state: InstanceState) -> None:
    assert target_state(state, request(Call.TERMINATE)) is None
    for call, reached in ((Call.SUSPEND, DEPLOYED[1]), (Call.RESUME, DEPLOYED[0])):
        if state in DEPLOYED:
            assert target_state(state, request(call)) is reached
        else:
            with pytest.raises(NotAllowedError):
                target_state(state, request(call))


def test_table_when_counted_holds_every_legal_call_and_no_other() -> None:
    lists: set[tuple[InstanceState, Call, str]] = {
        (s, c, x) for s in STATES for c in (Call.DEPLOY, Call.UPDATE) for x in legal_lists(s, c)
    }
    others = {(s, Call.TERMINATE, "") for s in STATES}
    others |= {(s, c, "") for s in DEPLOYED for c in (Call.SUSPEND, Call.RESUME)}
    short = {stage: letter for letter, stage in LETTERS.items()}
    assert {(s, c, "".join(short[x] for x in xs)) for s, c, xs in LEGAL_CALLS} == lists | others


def test_call_when_a_command_comes_twice_is_an_invalid_argument() -> None:
    with pytest.raises(InvalidArgumentError, match="Install more than once"):
        target_state(InstanceState.NOT_DEPLOYED, Request(Call.DEPLOY, (Stage.INSTALL, Stage.INSTALL)))


def test_suspension_control_when_there_is_no_activate_is_an_invalid_argument() -> None:
    asked = request(Call.DEPLOY, "IP", finalize=True, suspend=True)
    with pytest.raises(InvalidArgumentError, match="Activate"):
        target_state(InstanceState.NOT_DEPLOYED, asked)


def test_suspension_control_when_the_call_finalises_ends_suspended() -> None:
    asked = request(Call.DEPLOY, "IPA", finalize=True, suspend=True)
    assert target_state(InstanceState.NOT_DEPLOYED, asked) is InstanceState.SUSPENDED


def test_error_types_when_compared_with_the_guideline_have_its_numbers() -> None:
    """TR-03165 §4.2.4.4."""
    assert [error.value for error in TsmErrorType] == [*range(21), 100]
    kinds = {error.type.value: error.code for error in DeviceCallError.__subclasses__()}
    assert {4, 5, 8, 9, 12, 13, 14, 15, 17} <= kinds.keys()
    assert all(error_type_of(code).value == number for number, code in kinds.items())
    assert error_type_of(None) is TsmErrorType.NO_ERROR
    assert error_type_of("card_refused") is TsmErrorType.SECURE_COMPONENT_ERROR


def test_service_operation_when_numbered_is_the_guidelines() -> None:
    """TR-03165 §4.2.4.2."""
    numbers = {
        request(Call.DEPLOY, "I"): 10,
        request(Call.DEPLOY, "IP"): 11,
        request(Call.DEPLOY, "IPA"): 12,
        request(Call.DEPLOY, "IPA", finalize=True): 13,
        request(Call.UPDATE, "I"): 20,
        request(Call.UPDATE, "IP"): 21,
        request(Call.UPDATE, "IA"): 22,
        request(Call.UPDATE, "IA", finalize=True): 23,
        request(Call.SUSPEND): 30,
        request(Call.RESUME): 31,
        request(Call.TERMINATE): 40,
    }
    assert {asked: service_operation(asked).value for asked in numbers} == numbers


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("1.3.0", "1.3.0", "1.3.1"),
        ("1.3.x", "1.3.77", "1.4.0"),
        ("1.X.x", "1.9.0", "2.0.0"),
        ("x.x.x", "999.0.1", None),
    ],
)
def test_pattern_when_it_is_one_of_the_four_matches_its_versions(
    pattern: str, matching: str, other: str | None
) -> None:
    found = VersionPattern.parse(pattern)
    assert found.matches(matching)
    assert other is None or not found.matches(other)
    assert found.tag == (pattern if "x" not in pattern.lower() else None)


@pytest.mark.parametrize(
    "pattern",
    ["x.1.x", "x.x.1", "1.x.1", "1.x", "1", "x", "", "1.2.3.4", "a.b.c", "1.2.1000", "1.2.٣", "-1.2.3"],
)
def test_pattern_when_it_is_another_is_an_invalid_argument(pattern: str) -> None:
    with pytest.raises(InvalidArgumentError):
        VersionPattern.parse(pattern)
