"""Host-side card profiles, the packaged ones included."""

import json
from importlib import resources

import pytest

from opentsm.card.errors import ProfileError
from opentsm.card.gp.keys import AesLayout, KeyType
from opentsm.card.profiles import DEFAULT_PROFILE, Challenge, FirstKeys, SeProfile
from opentsm.card.scp.channel import SecurityLevel

PACKAGED = {
    entry.name.removesuffix(".json"): json.loads(entry.read_text())
    for entry in resources.files("opentsm.card").joinpath("profiles_data").iterdir()
    if entry.name.endswith(".json")
}


@pytest.mark.parametrize("name", sorted(PACKAGED))
def test_from_dict_when_packaged_then_valid_and_named_like_its_file(name: str) -> None:
    profile = SeProfile.from_dict(PACKAGED[name])
    assert profile.name == name
    # A configuration of a secure element is not named after its protocol.
    assert name.startswith("se-") or name.endswith(f"{profile.i:02x}")
    assert profile.is_s16 == ("s16" in name)
    assert profile.first_kvn <= profile.initial_kvn <= profile.last_kvn


def test_packaged_when_listed_then_every_variant_is_there() -> None:
    assert DEFAULT_PROFILE in PACKAGED
    assert {"scp02-i15", "scp02-i55", "scp03-i60", "scp03-s16-i71"} <= set(PACKAGED)


def test_from_dict_when_all_fields_then_typed() -> None:
    profile = SeProfile.from_dict(
        {"name": "x", "scp": "03", "i": "60", "level": "13", "aes_layout": "bare", "first_keys": "inherited"}
    )
    assert profile.level is SecurityLevel.C_MAC_C_DECRYPTION_R_MAC
    assert profile.aes_layout is AesLayout.BARE and profile.first_keys is FirstKeys.INHERITED
    assert profile.challenge is Challenge.RANDOM and profile.key_type is KeyType.AES


@pytest.mark.parametrize(
    ("name", "challenge", "length", "plain"),
    [
        ("scp03-i70", Challenge.PSEUDO_RANDOM, 8, 239),
        ("scp03-i60", Challenge.RANDOM, 8, 239),
        ("scp03-s16-i71", Challenge.PSEUDO_RANDOM, 16, 223),
        ("scp02-i55", Challenge.PSEUDO_RANDOM, 8, 239),
        ("scp02-i15", Challenge.RANDOM, 8, 239),
    ],
)
def test_derived_when_packaged_then_as_the_options_say(
    name: str, challenge: Challenge, length: int, plain: int
) -> None:
    profile = SeProfile.from_dict(PACKAGED[name])
    assert (profile.challenge, profile.challenge_length, profile.max_plain_data) == (challenge, length, plain)


@pytest.mark.parametrize(
    ("i", "level", "plain"), [("70", "00", 255), ("70", "01", 247), ("71", "11", 239), ("71", "33", 223)]
)
def test_max_plain_data_when_level_then_arithmetic(i: str, level: str, plain: int) -> None:
    assert SeProfile.from_dict({"name": "x", "i": i, "level": level}).max_plain_data == plain


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"colour": "red"}, "colour"),
        ({"scp": "11"}, "SCP11"),
        ({"level": "31"}, "security level"),
        ({"scp": "02", "level": "33"}, "security level"),
        ({"scp": "02", "level": "03", "key_size": 24}, "24 bytes"),
        ({"key_size": "16"}, "key_size"),
        ({"extended_length": 1}, "extended_length"),
        ({"first_kvn": "40", "last_kvn": "3F"}, "key version"),
        ({"max_command_data": 2048}, "2048"),
        ({"isd_aid": "A000"}, "isd_aid"),
        ({"aes_layout": "both"}, "aes_layout"),
        ({"i": 112}, "i: 112"),
        ({"i": "zz"}, "i: 'zz'"),
    ],
)
def test_from_dict_when_wrong_then_refused(change: dict[str, object], word: str) -> None:
    with pytest.raises(ProfileError, match=word):
        SeProfile.from_dict({"name": "x", **change})


def test_from_dict_when_no_name_then_refused() -> None:
    with pytest.raises(ProfileError, match="name"):
        SeProfile.from_dict({})
