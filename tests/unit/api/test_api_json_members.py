"""Members that stand twice in an object are found and named, whatever the rest of the document is."""

import json

import pytest

from opentsm.api.json_members import refuse_repeated_members, repeated_member
from opentsm.tsm.kernel.errors import InvalidInputError


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        ('{"a": 1, "a": 1}', "/a"),
        ('{"a": 1, "\\u0061": 2}', "/a"),
        ('{"": 1, "": 2}', "/"),
        ('{"a/b": 1, "~": {"x": 1, "x": 2}}', "/~0/x"),
        ('{"a/b": 1, "a/b": 2}', "/a~1b"),
        ('[{"a": 1}, {"b": [0, {"c": 1, "d": 2, "c": 3}]}]', "/1/b/1/c"),
        ('{"a": {"b": 1, "b": 2}, "a": 0}', "/a"),
    ],
)
def test_document_when_a_member_stands_twice_then_its_pointer(text: str, pointer: str) -> None:
    assert repeated_member(text) == pointer
    with pytest.raises(InvalidInputError) as refused:
        refuse_repeated_members(text)
    assert refused.value.field == pointer


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "null",
        '"a"',
        '{"a": {"a": {"a": 1}}, "b": ["a", "a"]}',
        '[{"a": 1}, {"a": 1}]',
        '{"a": 1, "A": 1, "ä": 1, "a\\u0308": 1}',
        '{"n": ' + "9" * 100_000 + "}",
        '{"n": 1e99999, "m": -0.0}',
    ],
)
def test_document_when_no_member_stands_twice_then_taken(text: str) -> None:
    refuse_repeated_members(text)


def test_document_when_it_is_as_long_as_a_device_may_send_then_checked_all_the_same() -> None:
    filling = '"' + "9000" * 2_400_000 + '"'
    refuse_repeated_members('{"a": ' + filling + ', "b": 2}')
    with pytest.raises(InvalidInputError):
        refuse_repeated_members('{"a": ' + filling + ', "a": 2}')


def test_document_when_nested_too_deeply_then_told_as_such() -> None:
    with pytest.raises(RecursionError):
        repeated_member("[" * 100_000 + "]" * 100_000)


def test_report_when_many_long_answers_then_taken() -> None:
    report = {"ramResponses": [{"listOfRAPDU": ["90" * 100] * 3000}], "orderSequence": 1}
    refuse_repeated_members(json.dumps(report))
