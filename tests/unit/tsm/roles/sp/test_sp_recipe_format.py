"""Recipes at upload: what is read, and which fault is named at which place."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentsm.tsm.roles.sp.recipe_format import MAX_BYTES, is_key_name, read_recipe
from opentsm.tsm.roles.sp.recipe_values import RecipeError
from opentsm.tsm.roles.sp.recipes import Constant, DerivedKey, Encoding, FieldValue, Wrapped

PURSE: dict[str, Any] = {
    "format": "opentsm-personalization/1",
    "version": "2026-1",
    "fields": [
        {"name": "purse_id", "type": "hex", "length": 8, "generated": "random:8"},
        {"name": "label", "type": "ascii", "min": 1, "max": 16},
        {"name": "limit", "type": "integer", "length": 4, "max": 50000},
    ],
    "groupings": [
        {"dgi": "5001", "value": [{"hex": "01010978"}]},
        {"dgi": "5002", "value": [{"field": "purse_id", "encoding": "hex"}]},
        {"dgi": "5003", "value": [{"field": "label"}]},
        {"dgi": "5004", "value": [{"field": "limit", "encoding": "binary"}]},
        {
            "dgi": "8001",
            "value": [{"key": "purse-load", "diversify": [{"field": "purse_id"}]}],
            "encrypted": True,
        },
        {"dgi": "DF01", "value": [{"recipe_version": True}]},
        {"dgi": "7FFF", "value": []},
    ],
    "probe": {"get_data": "DF01"},
}


TITLE = {"en": "Name", "de": "Name", "zh-Hans": "姓名"}


def changed(**members: Any) -> bytes:
    return json.dumps({**PURSE, **members}).encode()


def with_grouping(number: int, **members: Any) -> bytes:
    recipe = copy.deepcopy(PURSE)
    recipe["groupings"][number] |= members
    return json.dumps(recipe).encode()


def with_field(number: int, **members: Any) -> bytes:
    recipe = copy.deepcopy(PURSE)
    recipe["fields"][number] |= members
    recipe["fields"][number] = {k: v for k, v in recipe["fields"][number].items() if v is not None}
    return json.dumps(recipe).encode()


def command(**members: Any) -> dict[str, Any]:
    return {"to": "application", "cla": "80", "ins": "CA", "p1": "9F", "p2": "17", "le": 256, **members}


def with_command(**members: Any) -> bytes:
    return changed(commands=[command(**members)])


def with_commands(**members: Any) -> bytes:
    return changed(commands=[command(**members), command(**members)])


def with_secret(**members: Any) -> bytes:
    recipe = copy.deepcopy(PURSE)
    recipe["fields"][1]["secret"] = True
    recipe["commands"] = [command(data=[{"tlv": "50", "value": [{"field": "label"}]}], **members)]
    return json.dumps(recipe).encode()


def test_recipe_when_in_order_then_read_whole() -> None:
    recipe = read_recipe(json.dumps(PURSE).encode())
    assert recipe.version == "2026-1"
    assert recipe.probe == 0xDF01
    assert recipe.keys == {"purse-load"}
    assert list(recipe.fields) == ["purse_id", "label", "limit"]
    assert recipe.fields["limit"].high == 50000
    assert [grouping.dgi for grouping in recipe.groupings][:2] == [0x5001, 0x5002]
    assert recipe.groupings[0].parts == (Constant(bytes.fromhex("01010978")),)
    assert recipe.groupings[3].parts == (FieldValue("limit", Encoding.BINARY),)
    (key,) = recipe.groupings[4].parts
    assert isinstance(key, DerivedKey)
    assert recipe.groupings[4].encrypted


def test_recipe_when_parts_are_nested_then_keys_are_found_inside() -> None:
    part = {"tlv": "BF0C", "value": [{"tlv": "57", "value": [{"key": "k", "diversify": [{"hex": "01"}]}]}]}
    recipe = read_recipe(with_grouping(0, value=[part], encrypted=True))
    assert recipe.keys == {"k", "purse-load"}
    outer = recipe.groupings[0].parts[0]
    assert isinstance(outer, Wrapped)
    assert outer.tag == 0xBF0C


FAULTS = {
    b"": "not JSON",
    b"\xff": "not JSON",
    b"[" * 5000: "not JSON",
    b"[]": "recipe: must be an object",
    b"{}": 'format: must be "opentsm-personalization/1"',
    changed(format="opentsm-personalization/2"): "format:",
    changed(version=""): "version: must be 1 to 16",
    changed(version="x" * 17): "version:",
    changed(version="ä"): "version:",
    changed(version=1): "version:",
    changed(extra=1): 'recipe: there is no member "extra"',
    changed(fields={}): "fields: must be a list",
    changed(fields=[1]): r"fields\[0\]: must be an object",
    changed(groupings=[]): "groupings: must not be empty",
    changed(groupings=None): "groupings: must be a list",
    changed(probe={"get_data": "DF"}): "probe.get_data:",
    changed(probe={}): "probe.get_data:",
    changed(probe=7): "probe: must be an object",
    with_field(0, name="9"): r"fields\[0\].name:",
    with_field(0, name="label"): r'fields\[1\].name: "label" occurs twice',
    with_field(0, type="date"): r"fields\[0\].type: must be one of hex, digits, ascii, text, integer",
    with_field(0, **{"from": "card"}): r"fields\[0\].from: must be provider or user",
    with_field(1, **{"from": "user"}): r"fields\[1\].title: is missing",
    with_field(1, title=TITLE): r"fields\[1\].title: the end user is not asked",
    with_field(1, hint=TITLE): r"fields\[1\].hint: the end user is not asked",
    with_field(0, **{"from": "user", "title": TITLE}): r"fields\[0\].generated: the end user is asked",
    with_field(1, **{"from": "user", "title": {"de": "x"}}): r"fields\[1\].title: en is missing",
    with_field(1, **{"from": "user", "title": {"en": ""}}): r"fields\[1\].title.en: must be 1 to",
    with_field(1, **{"from": "user", "title": {"en": "a\nb"}}): r"fields\[1\].title.en: must be 1 to",
    with_field(1, **{"from": "user", "title": {"english": "x"}}): "is no language tag",
    with_field(1, **{"from": "user", "title": "x"}): r"fields\[1\].title: must be an object",
    with_field(0, characters="AB"): r"fields\[0\].characters: only for a field of type ascii",
    with_field(1, characters="ä"): r"fields\[1\].characters: must be 1 to 95",
    with_field(1, choices=[]): r"fields\[1\].choices: must not be empty",
    with_field(1, choices=[{"value": "x" * 17}]): r"fields\[1\].choices\[0\].value: must be printable",
    with_field(1, choices=[{"value": "a"}, {"value": "a"}]): r"choices\[1\].value: occurs twice",
    with_field(1, characters="a", choices=[{"value": "b"}]): r"choices\[0\].value: holds a character",
    with_field(1, choices=[{"title": TITLE}]): r"choices\[0\].value: must be ascii",
    changed(commands={}): "commands: must be a list",
    with_command(to="card"): r"commands\[0\].to: must be one of personalization, application",
    with_command(ins="A4"): r"commands\[0\].ins: must be no SELECT",
    with_command(ins="70"): r"commands\[0\].ins: must be no SELECT",
    with_command(ins="6A"): r"commands\[0\].ins: must be no SELECT",
    with_command(cla="84"): r"commands\[0\].cla: must be for the basic channel",
    with_command(cla="8"): r"commands\[0\].cla: must be a byte in hex",
    with_command(le=0): r"commands\[0\].le: must be a whole number from 1 to 256",
    with_command(expect=[]): r"commands\[0\].expect: must not be empty",
    with_command(expect=["90"]): r"commands\[0\].expect\[0\]: must be 4",
    with_command(tag="a b"): r"commands\[0\].tag: must be",
    with_command(data=[{"field": "pan"}]): r"commands\[0\].data\[0\].field: there is no such field",
    with_command(data=[{"key": "k", "diversify": [{"hex": "01"}]}]): r"commands\[0\].data: must hold no key",
    with_command(surprise=1): r'commands\[0\]: there is no member "surprise"',
    with_command(to="personalization"): r"commands\[0\]: a security domain forwards STORE DATA",
    with_command(to="personalization", ins="E2", p1="E8"): r"commands\[0\].p1: b7b6 must be 00",
    with_command(to="personalization", ins="E2", p1="08"): r"commands\[0\].p1: b8 must be set",
    with_commands(tag="a"): "commands: a tag occurs twice",
    with_commands(to="personalization", ins="E2", p1="88"): r"commands\[0\].p1: b8 must be clear",
    with_secret(): r"commands\[0\].data: must hold no secret field",
    with_secret(to="personalization", ins="E2", p1="88", tag="a"): r"commands\[0\].tag: the answer is shown",
    changed(messages={"done": TITLE}): 'messages: there is no member "done"',
    changed(messages={"success": {"de": "x"}}): "messages.success: en is missing",
    with_grouping(0, value=[{"sp_parameter": ""}]): r"value\[0\].sp_parameter: must be a name",
    with_grouping(0, value=[{"sp_parameter": "a", "encoding": "bcd"}]): "a service parameter allows hex",
    with_field(0, min=1): r"fields\[0\]: length stands for min and max",
    with_field(0, length=None, generated=None): r"fields\[0\]: give length, or max",
    with_field(0, length=0): r"fields\[0\].length:",
    with_field(0, length=True): r"fields\[0\].length:",
    with_field(0, generated="random:9"): r"fields\[0\].generated: 9 is not among",
    with_field(0, generated="uuid"): r"fields\[0\].generated: must be random:N",
    with_field(1, generated="random:4"): r"fields\[1\].generated: must be random:N",
    with_field(1, min=20): r"fields\[1\].min:",
    with_field(0, secret=1): r"fields\[0\].secret:",
    with_field(2, length=9): r"fields\[2\].length:",
    with_field(2, max=2**32): r"fields\[2\].max:",
    with_field(0, surprise=1): r'fields\[0\]: there is no member "surprise"',
    with_grouping(0, dgi="50"): r"groupings\[0\].dgi:",
    with_grouping(0, dgi="5002"): r"groupings\[1\].dgi: 5002 occurs twice",
    with_grouping(0, dgi="7FFF", value=[]): r"groupings\[0\]: 7FFF completes, it must be the last",
    with_grouping(6, value=[{"hex": "00"}]): r"groupings\[6\]: 7FFF must be empty",
    with_grouping(6, encrypted=True): r"groupings\[6\]: 7FFF must be empty",
    with_grouping(4, encrypted=False): r"groupings\[4\].encrypted: must be true, the grouping holds a key",
    with_grouping(0, encrypted="yes"): r"groupings\[0\].encrypted:",
    with_grouping(0, value=[{}]): r"groupings\[0\].value\[0\]: must be one of hex, field",
    with_grouping(0, value=[{"recipe_version": False}]): r"groupings\[0\].value\[0\]: must be one of",
    with_grouping(0, value=[[]]): r"groupings\[0\].value\[0\]: must be an object",
    with_grouping(0, value=[{"hex": "0"}]): r"groupings\[0\].value\[0\].hex: must be bytes in hex",
    with_grouping(0, value=[{"hex": "00", "x": 1}]): r'groupings\[0\].value\[0\]: there is no member "x"',
    with_grouping(0, value=[{"field": "pan"}]): r"groupings\[0\].value\[0\].field: there is no such field",
    with_grouping(1, value=[{"field": "purse_id", "encoding": "bcd"}]): "a field of type hex allows hex",
    with_grouping(2, value=[{"hex": "00"}]): r'fields\[1\]: nothing uses "label"',
    with_grouping(0, value=[{"tlv": "5F", "value": []}]): r"value\[0\].tlv: must be a BER tag",
    with_grouping(0, value=[{"tlv": "5A5A", "value": []}]): r"value\[0\].tlv: must be a BER tag",
    with_grouping(0, value=[{"tlv": "", "value": []}]): r"value\[0\].tlv: must be a BER tag",
    with_grouping(4, value=[{"key": "Load", "diversify": [{"hex": "01"}]}]): r"value\[0\].key: must be",
    with_grouping(4, value=[{"key": "k", "diversify": []}]): r"value\[0\].diversify:",
    with_grouping(4, value=[{"key": "k"}]): r"value\[0\].diversify:",
    with_grouping(0, value=[{"nibbles": ["5G"]}]): r"nibbles\[0\]: must be hex digits",
    with_grouping(0, value=[{"nibbles": [{"field": "label"}]}]): "must be of type digits or hex",
    with_grouping(0, value=[{"nibbles": ["12"], "last": 3}]): r"value\[0\].last: must be even",
}


@pytest.mark.parametrize("recipe", FAULTS, ids=list(FAULTS.values()))
def test_recipe_when_faulty_then_refused_with_the_place(recipe: bytes) -> None:
    with pytest.raises(RecipeError, match=f"^.*{FAULTS[recipe]}"):
        read_recipe(recipe)


def test_recipe_when_too_long_or_too_deep_then_refused() -> None:
    with pytest.raises(RecipeError, match="more than"):
        read_recipe(b" " * (MAX_BYTES + 1))
    part: dict[str, Any] = {"hex": "00"}
    for _ in range(10):
        part = {"tlv": "70", "value": [part]}
    with pytest.raises(RecipeError, match="nested deeper"):
        read_recipe(with_grouping(0, value=[part]))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["5001", "hex", "00"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["dgi", "value", "hex", "field", "tlv", "key", "diversify", "nibbles", "name", "type"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(fields=JSON, groupings=st.lists(JSON, max_size=3) | JSON, probe=JSON)
def test_recipe_when_anything_at_all_then_read_or_refused(fields: Any, groupings: Any, probe: Any) -> None:
    try:
        read_recipe(changed(fields=fields, groupings=groupings, probe=probe))
    except RecipeError as error:
        assert str(error)


def test_key_name_when_it_could_be_a_path_then_refused() -> None:
    assert is_key_name("purse-load")
    assert not any(is_key_name(name) for name in ("", "../x", "a/b", "A", "a" * 65, "a\n"))
