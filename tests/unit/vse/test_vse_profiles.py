"""Card profiles, identities, and cards kept on disk."""

from pathlib import Path

import pytest
from tests.unit.vse.card_host import FACTORY_KEYS, CardHost, make_card

from opentsm.card.codec.tlv import parse_tlv
from opentsm.card.gp import commands
from opentsm.vse.card import CardIdentity, KeyMaterial, VirtualCard
from opentsm.vse.cards_on_disk import CardDirectory, CardDirectoryError, list_cards
from opentsm.vse.description import describe
from opentsm.vse.nvm import FileNvm, MemoryNvm
from opentsm.vse.profiles import ProfileError, load_profile, profile_names
from opentsm.vse.state import decode_image, encode_image

KEYS = KeyMaterial(FACTORY_KEYS.enc, FACTORY_KEYS.mac, FACTORY_KEYS.dek)


@pytest.mark.parametrize("name", profile_names())
def test_packaged_profile_makes_a_card_that_answers(name: str) -> None:
    host = CardHost(make_card(name))
    assert load_profile(load_profile(name).to_dict()) == load_profile(name)
    answer = host.raw(commands.select())
    if answer.sw >> 8 == 0x6C:  # T=0: the right length
        answer = host.raw(bytes.fromhex("00A40400") + bytes([answer.sw & 0xFF]))
    assert answer.sw == 0x9000
    assert answer.data[2:4] == bytes.fromhex("8408")


def test_every_protocol_variant_has_a_profile() -> None:
    s8 = {f"scp03-i{i}" for i in ("00", "10", "20", "30", "60", "70")}
    s16 = {f"scp03-s16-i{i}" for i in ("01", "11", "21", "31", "61", "71")}
    assert s8 | s16 | {"scp02-i15", "scp02-i55"} <= set(profile_names())


@pytest.mark.parametrize(
    "profile",
    [
        "nothing-like-it",
        {"name": "x", "colour": "red"},
        {"name": "x", "isd_aid": "A0"},
        {"name": "x", "atr": "3"},
        {"name": "x", "scp": []},
        {"name": "x", "scp": [["11", "00"]]},
        {"name": "x", "memory": "much"},
        {"base": "nothing-like-it", "name": "x"},
        {"name": "x", "factory": [{"aid": "00"}]},
    ],
)
def test_wrong_profile_is_refused(profile: str | dict[str, object]) -> None:
    with pytest.raises(ProfileError):
        load_profile(profile)


def test_atr_and_aid_come_from_the_profile() -> None:
    card = make_card(atr="3B8001810F", isd_aid="A000000003000000")
    assert card.power_on() == bytes.fromhex("3B8001810F")
    assert CardHost(card).raw("00A4040008A000000003000000").sw == 0x9000


def test_identity_is_readable_and_differs_by_serial_number() -> None:
    first, second = CardIdentity.from_serial(1), CardIdentity.from_serial(2)
    assert first.kdd != second.kdd
    assert first.cin != second.cin
    host = CardHost(make_card())
    assert parse_tlv(host.raw(commands.get_data(0xCF)).data).value == CardIdentity.from_serial(7).kdd


def test_identity_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(ValueError, match="10 bytes"):
        CardIdentity(b"\1", b"\2", bytes(9), bytes(42))


def test_opening_an_empty_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="no card"):
        VirtualCard.open(MemoryNvm())


def test_opening_an_image_of_another_version_is_refused() -> None:
    image = make_card().image()
    image.version = 99
    with pytest.raises(ValueError, match="version 99"):
        decode_image(encode_image(image))


def test_file_memory_replaces_the_image_and_leaves_no_litter(tmp_path: Path) -> None:
    nvm = FileNvm(tmp_path / "card.nvm")
    assert nvm.load() is None
    nvm.save(b"old")
    nvm.save(b"new")
    assert nvm.load() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["card.nvm"]


def test_card_directory_lives_and_dies(tmp_path: Path) -> None:
    directory = CardDirectory(tmp_path / "a")
    document = directory.issue("scp03-i70", 5, KEYS)
    assert document["kdd"] == CardIdentity.from_serial(5).kdd.hex().upper()
    assert directory.identity() == document
    assert directory.keys_file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(CardDirectoryError):
        directory.issue("scp03-i70", 5, KEYS)
    card = directory.open()
    card.power_on()
    CardHost(card).authenticate()
    assert directory.open().image().isd.domain_data().sequence[0x30] == 1
    assert [entry.name for entry in list_cards(tmp_path)] == ["a"]
    directory.erase()
    assert list_cards(tmp_path) == ()
    assert list_cards(tmp_path / "missing") == ()
    for use in (directory.open, directory.erase):
        with pytest.raises(CardDirectoryError):
            use()


def test_description_shows_check_values_and_no_keys() -> None:
    card = make_card()
    text = str(describe(card.image(), card.profile.memory))
    for key in (FACTORY_KEYS.enc, FACTORY_KEYS.mac, FACTORY_KEYS.dek):
        assert key.reveal().hex().upper() not in text
    assert "A000000151000000" in text


def test_repr_of_the_content_shows_no_keys() -> None:
    image = make_card().image()
    assert repr(FACTORY_KEYS.enc.reveal()) not in repr(image)
