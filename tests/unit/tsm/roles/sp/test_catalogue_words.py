"""What the repository's refusals say of a value: JSON's words, since providers send JSON."""

import pytest

from opentsm.tsm.roles.sp.errors import bad_format


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "true"),
        (False, "false"),
        (None, "null"),
        ([1, "a"], '[1, "a"]'),
        ({"a": None}, '{"a": null}'),
        ("text", "text"),
        (1.5, "1.5"),
        ("x" * 70, "x" * 59 + "…"),
    ],
    ids=["true", "false", "null", "list", "object", "text", "number", "long"],
)
def test_bad_format_when_it_shows_the_value_then_as_json_writes_it(value: object, shown: str) -> None:
    assert bad_format(value, "a.b", "c").detail == f"Invalid format ‘{shown}’ for a.b. Supported format is c."
