"""Explanations in words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.errors import CardError
from opentsm.card.gp import commands as gp
from opentsm.card.gp import install_params as params
from opentsm.card.gp.explain import Reading, explain
from opentsm.card.gp.instructions import StatusScope, StatusTarget, StoreDataStructure
from opentsm.card.gp.note import Note
from opentsm.card.gp.privileges import Privilege

ELF, APP = Aid.from_hex("F04F54534D01"), Aid.from_hex("F04F54534D0101")


def words(data: bytes | str, reading: Reading | None = None) -> str:
    raw = bytes.fromhex(data) if isinstance(data, str) else data
    return "\n".join(explain(raw, reading).note.lines())


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (gp.select(), "the default one"),
        (gp.select(APP), "F04F54534D0101"),
        (gp.initialize_update(0x30, bytes(8)), "Key version number: 30"),
        (gp.initialize_update(0, bytes(8)), "first available set"),
        (gp.get_data(0x66), "Tag: 66"),
        (gp.get_status(StatusScope.LOAD_FILES_AND_MODULES), "load files and modules"),
        (gp.set_status(StatusTarget.CARD, 0x7F), "CARD_LOCKED"),
        (gp.lock(APP, with_applications=True), "a security domain and all below it"),
        (gp.unlock(APP), "unlock"),
        (gp.put_key(0x30, [b"\x88"], replace_kvn=0x2F), "replace key version 2F"),
        (gp.delete(ELF, related=True), "what is related"),
        (gp.delete_key(1, 0x30), "Key version number: 30"),
        (gp.install_for_load(ELF, None), "INSTALL [for load]"),
        (
            gp.install_for_install(
                ELF,
                APP,
                APP,
                Privilege.CARD_LOCK,
                params.application_parameters(b"\x07"),
                make_selectable=True,
            ),
            "C9 Application parameters: 07",
        ),
        (gp.install_for_extradition(APP, ELF), "New security domain: F04F54534D01"),
        (gp.install_for_personalization(APP), "[for personalization]"),
        (gp.install_for_combined_load(ELF, None), "(first command)"),
        (gp.load_blocks(b"\x01", block_size=100)[0], "the last"),
        (gp.store_data(b"\x01", 0, last=True, structure=StoreDataStructure.DGI), "Structure: DGI"),
    ],
)
def test_explain_when_a_command_then_its_meaning(command: CommandApdu, expected: str) -> None:
    explanation = explain(command.to_bytes())
    assert explanation.reading is Reading.COMMAND
    assert expected in "\n".join(explanation.note.lines())


def test_explain_when_install_and_make_selectable_then_both_named() -> None:
    command = gp.install_for_install(ELF, APP, APP, Privilege.CARD_LOCK, b"\xc9\x00", make_selectable=True)
    text = words(command.to_bytes())
    assert "[for install and make selectable]" in text
    assert "Privileges: 100000 Card Lock" in text and "Token: none" in text


def test_explain_when_put_key_then_no_key_bytes_are_shown() -> None:
    command = gp.put_key(0x30, [bytes.fromhex("8011DEADBEEFDEADBEEFDEADBEEFDEADBEEF")])
    assert "DEADBEEF" not in words(command.to_bytes())


def test_explain_when_token_of_128_bytes_coded_80_then_read() -> None:
    plain = gp.install_for_load(ELF, None).data[:-1]
    command = gp.install_for_load(ELF, None).with_data(plain + b"\x80" + b"\x5a" * 128)
    assert "Token: 5A5A" in words(command.to_bytes())


def test_explain_when_protected_then_says_that_no_more_can_be_known() -> None:
    assert "Protected data" in words("84F22002081122334455667788")
    assert "C-MAC, C-DECRYPTION, R-MAC" in words("8482330010108C36F96BCC00724A4E13AD591D7DA3")


def test_explain_when_an_answer_then_data_and_status_word() -> None:
    explanation = explain(bytes.fromhex("E3144F07A00000015100009F700107C50180EA0280009000"))
    assert explanation.reading is Reading.RESPONSE
    text = "\n".join(explanation.note.lines())
    assert "A0000001510000" in text and "Security Domain" in text and "success" in text


def test_explain_when_card_data_then_protocols_and_version() -> None:
    text = words(
        "6657735506072a864886fc6b01600b06092a864886fc6b020202630906072a864886fc6b03640b06092a864886fc6b0403"
        "70640b06092a864886fc6b048000650a06082a864886fc6b0504660c060a2b060104012a026e0103"
    )
    assert "SCP03 i=70" in text and "GlobalPlatform 2.2" in text and "1.3.6.1.4.1.42.2.110.1.3" in text


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("FF210C8101058202100083030010E1", "Free volatile memory: 0010E1 (4321)"),
        ("E006C00401308810", "key 01 of version 30, type 88"),
        ("EF04C6020128", "Least non-volatile memory for code: 0128 (296)"),
        ("A04000", "Authorized Management excludes Delegated Management"),
        ("80", "Security Domain"),
        ("6A88", "referenced data not found"),
    ],
)
def test_explain_when_small_things_then_their_meaning(data: str, expected: str) -> None:
    assert expected in words(data)


def test_explain_when_a_length_is_wrong_then_the_reason_is_told() -> None:
    with pytest.raises(CardError, match="as command: Lc says"):
        explain(bytes.fromhex("80E60C0005AA"))


def test_explain_when_install_has_more_behind_its_token_then_refused() -> None:
    command = gp.install_for_personalization(APP)
    with pytest.raises(CardError, match="behind its token"):
        explain(command.with_data(command.data + b"\x01").to_bytes(), Reading.COMMAND)


@given(st.binary(max_size=60), st.sampled_from([None, *Reading]))
def test_explain_when_any_bytes_then_words_or_card_error(data: bytes, reading: Reading | None) -> None:
    try:
        explanation = explain(data, reading)
    except CardError as error:
        assert str(error)
    else:
        assert explanation.note.lines()
        assert explanation.note.document()


def test_note_when_empty_members_then_left_out() -> None:
    note = Note("a", parts=(Note("b", "c", b"\x01"),))
    assert note.lines() == ("a", "  b: 01 c")
    assert note.document() == {"name": "a", "parts": [{"name": "b", "text": "c", "data": "01"}]}


def test_answer_when_it_holds_a_receipt_then_counter_and_token_identifier_are_told() -> None:
    data = "2310" + "5A" * 16 + "020007" + "0CF04F54530000000000000007" + "0109"
    told = words(data + "9000", Reading.RESPONSE)
    assert "signature of 16 bytes" in told
    assert "Confirmation counter: 7" in told
    assert "Token identifier: 09" in told


@pytest.mark.parametrize(
    "data", ["", "00", "42021122", "664C734A", "E3144F07A00000015100009F700107C50180EA028000"]
)
def test_answer_when_it_holds_no_receipt_then_none_is_told(data: str) -> None:
    assert "Receipt" not in words(data + "9000", Reading.RESPONSE)


def test_load_when_it_is_the_first_block_then_signatures_and_kind_are_told() -> None:
    dap = "E2154F06F04F54534D01C30B0102030405060708090A0B"
    told = words("80E800001B" + dap + "C482010000", Reading.COMMAND)
    assert "DAP block" in told
    assert "Load file data block: in clear, 256 bytes" in told
    ciphered = words("80E800000ED308" + "00" * 8 + "D482010000", Reading.COMMAND)
    assert "ICV" in ciphered
    assert "encrypted, 256 bytes" in ciphered
    assert "in clear" not in words("80E8000104C482010000", Reading.COMMAND)
