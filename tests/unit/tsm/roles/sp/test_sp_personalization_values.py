"""Personalisation data against recipes: encodings, generated values, and refusals that tell no value."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from opentsm.card.crypto.secret import Secret
from opentsm.tsm.kernel.errors import InvalidInputError
from opentsm.tsm.roles.sp.personalization import complete, evaluate
from opentsm.tsm.roles.sp.recipe_format import read_recipe
from opentsm.tsm.roles.sp.recipes import DerivedKey, Recipe

KEY = bytes(range(16))


def recipe_of(fields: list[dict[str, Any]], *values: Any, encrypted: bool = False) -> Recipe:
    groupings = [
        {"dgi": f"{0x100 + number:04X}", "value": value, "encrypted": encrypted}
        for number, value in enumerate(values)
    ]
    document = {
        "format": "opentsm-personalization/1",
        "version": "7",
        "fields": fields,
        "groupings": groupings,
    }
    return read_recipe(json.dumps(document).encode())


def count_up(length: int) -> bytes:
    return bytes(range(length))


async def value_of(field: dict[str, Any], part: dict[str, Any], text: str) -> str:
    recipe = recipe_of([{"name": "f", **field}], [part])
    values = await complete([recipe], {"f": text}, count_up)
    (grouping,) = await evaluate(recipe, values, no_key)
    return grouping.value.reveal().hex().upper()


async def no_key(_part: DerivedKey, _diversifier: bytes) -> Secret:
    return Secret(KEY)


@pytest.mark.parametrize(
    ("field", "part", "text", "expected"),
    [
        ({"type": "hex", "length": 2}, {"field": "f"}, "0aFf", "0AFF"),
        ({"type": "hex", "length": 2}, {"field": "f", "encoding": "binary"}, "0aFf", "0AFF"),
        ({"type": "digits", "max": 19}, {"field": "f"}, "123", "0123"),
        ({"type": "digits", "max": 19}, {"field": "f", "encoding": "bcd"}, "1234", "1234"),
        ({"type": "digits", "max": 19}, {"field": "f", "encoding": "cn"}, "123", "123F"),
        ({"type": "digits", "max": 19}, {"field": "f", "encoding": "ascii"}, "123", "313233"),
        ({"type": "ascii", "max": 19}, {"field": "f"}, "Öffi".replace("Ö", "O"), "4F666669"),
        ({"type": "integer"}, {"field": "f"}, "258", "00000102"),
        ({"type": "integer", "length": 2}, {"field": "f", "encoding": "bcd"}, "258", "0258"),
        ({"type": "digits", "max": 19}, {"tlv": "5A", "value": [{"field": "f"}]}, "1234", "5A021234"),
        ({"type": "digits", "max": 19}, {"nibbles": [{"field": "f"}, "D2612201"]}, "123", "123D2612201F"),
        ({"type": "digits", "max": 19}, {"nibbles": [{"field": "f"}, "00"], "last": 8}, "123", "00012300"),
        (
            {"type": "digits", "max": 19},
            {"nibbles": [{"field": "f"}, "01"], "last": 4},
            "9876543210",
            "1001",
        ),
    ],
)
async def test_field_when_encoded_then_these_bytes(
    field: dict[str, Any], part: dict[str, Any], text: str, expected: str
) -> None:
    assert await value_of(field, part, text) == expected


async def test_recipe_version_when_asked_for_then_its_ascii() -> None:
    recipe = recipe_of([], [{"recipe_version": True}])
    (grouping,) = await evaluate(recipe, {}, no_key)
    assert grouping.value.reveal() == b"7"


async def test_key_when_asked_for_then_derived_from_the_diversifier() -> None:
    asked: list[tuple[str, bytes]] = []

    async def note(part: DerivedKey, diversifier: bytes) -> Secret:
        asked.append((part.name, diversifier))
        return Secret(KEY)

    part = {"key": "purse-load", "diversify": [{"hex": "01"}, {"field": "f"}]}
    recipe = recipe_of([{"name": "f", "type": "hex", "length": 2}], [part], encrypted=True)
    (grouping,) = await evaluate(recipe, {"f": "A1B2"}, note)
    assert asked == [("purse-load", bytes.fromhex("01A1B2"))]
    assert grouping.value == Secret(KEY)


HEX = [{"name": "purse_id", "type": "hex", "length": 8, "generated": "random:8"}]
DIGITS = [{"name": "number", "type": "digits", "length": 12, "generated": "random:12"}]


async def test_generated_fields_when_not_given_then_made() -> None:
    recipe = recipe_of(HEX + DIGITS, [{"field": "purse_id"}, {"field": "number"}])
    values = await complete([recipe], {}, count_up)
    assert values["purse_id"] == "0001020304050607"
    assert len(values["number"]) == 12
    assert values["number"].isdigit()


async def test_generated_fields_when_given_then_kept() -> None:
    recipe = recipe_of(HEX, [{"field": "purse_id"}])
    values = await complete([recipe], {"purse_id": "AA" * 8}, count_up)
    assert values == {"purse_id": "AA" * 8}


async def test_field_when_in_two_recipes_then_given_once_and_checked_by_both() -> None:
    wide = recipe_of([{"name": "pan", "type": "digits", "max": 19}], [{"field": "pan"}])
    narrow = recipe_of([{"name": "pan", "type": "digits", "length": 16}], [{"field": "pan"}])
    assert await complete([wide, narrow], {"pan": "4" * 16}, count_up) == {"pan": "4" * 16}
    with pytest.raises(InvalidInputError, match="pan"):
        await complete([wide, narrow], {"pan": "4" * 15}, count_up)


SECRET = "9473628150"


@pytest.mark.parametrize(
    ("field", "data", "why"),
    [
        ({"type": "digits", "length": 4}, {}, "is missing"),
        ({"type": "digits", "length": 4}, {"f": "1234", "g": SECRET}, "is not a field"),
        ({"type": "digits", "length": 4}, {"f": SECRET}, "must be decimal digits, this many: 4"),
        ({"type": "digits", "length": 10}, {"f": "947362815x"}, "decimal digits"),
        ({"type": "digits", "length": 4}, {"f": "١٢٣٤"}, "decimal digits"),
        ({"type": "hex", "min": 1, "max": 4}, {"f": SECRET}, "this many bytes: 1 to 4"),
        ({"type": "hex", "max": 9}, {"f": SECRET[:-1]}, "bytes in hex"),
        ({"type": "ascii", "max": 9}, {"f": SECRET}, "printable ASCII"),
        ({"type": "ascii", "max": 19}, {"f": SECRET + "\n"}, "printable ASCII"),
        ({"type": "ascii", "max": 19}, {"f": SECRET + "ä"}, "printable ASCII"),
        ({"type": "integer", "length": 2}, {"f": SECRET}, "in the range 0 to 65535"),
        ({"type": "integer"}, {"f": "-" + SECRET}, "a whole number"),
        ({"type": "integer"}, {"f": SECRET * 1000}, "a whole number"),
    ],
)
async def test_data_when_wrong_then_the_field_is_named_but_not_the_value(
    field: dict[str, Any], data: Mapping[str, str], why: str
) -> None:
    recipe = recipe_of([{"name": "f", **field}], [{"field": "f"}])
    with pytest.raises(InvalidInputError) as refused:
        await complete([recipe], data, count_up)
    message = str(refused.value)
    assert why in message
    assert refused.value.field in ("/data/f", "/data/g")
    assert SECRET[:6] not in message


async def test_encrypted_grouping_when_not_whole_blocks_then_refused_before_anything_is_stored() -> None:
    recipe = recipe_of([{"name": "f", "type": "hex", "max": 32}], [{"field": "f"}], encrypted=True)
    assert await complete([recipe], {"f": "00" * 16}, count_up)
    for length in (0, 8, 17):
        with pytest.raises(InvalidInputError, match=rf"groupings\[0\].*{length} bytes"):
            await complete([recipe], {"f": "00" * length}, count_up)


async def test_option_a_when_the_diversifier_has_another_length_then_refused() -> None:
    part = {"key": "bank", "derivation": "emv-option-a", "diversify": [{"field": "f"}]}
    recipe = recipe_of([{"name": "f", "type": "digits", "max": 19}], [part], encrypted=True)
    assert await complete([recipe], {"f": "4" * 16}, count_up)
    with pytest.raises(InvalidInputError, match="Option A"):
        await complete([recipe], {"f": "4" * 18}, count_up)


async def test_integer_when_it_does_not_fit_its_bcd_then_refused() -> None:
    recipe = recipe_of([{"name": "f", "type": "integer", "length": 1}], [{"field": "f", "encoding": "bcd"}])
    assert await complete([recipe], {"f": "99"}, count_up)
    with pytest.raises(InvalidInputError, match="BCD"):
        await complete([recipe], {"f": "100"}, count_up)
