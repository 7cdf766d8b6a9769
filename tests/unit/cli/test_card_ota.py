"""`opentsm card ota`: published packets both ways, short messages, and what is refused.

Source of the packets: osmocom pySim tests/unittests/test_ota.py (answers of a sysmoISIM-SJA5).
"""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from opentsm.card.crypto.secret import Secret
from opentsm.cli.card import card_app
from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError
from opentsm.vse.card import KeyMaterial
from opentsm.vse.cards_on_disk import CardDirectory

KIC, KID = "200102030405060708090a0b0c0d0e0f", "201102030405060708090a0b0c0d0e0f"
KEYS = ["--kic", KIC, "--kid", KID]
AES = ["--kic-ref", "2:aes", "--kid-ref", "2:aes"]
PYSIM = [*KEYS, *AES, "--counter-mode", "none", "--replayable", "--tar", "B00011"]
PACKET = "00281506192222B00011E87CCEEBB2D93083011CE294F93FC4D8DE80DA1ABAE8C37CA3E72EC4432E5058"
RESPONSE = "027100002412B00011EBC6B497E2CAD7AEDF36ACE0E3A29B38853F0FE9CCDE81913BE5702B73ABCE1F"
TEST_KEY = "404142434445464748494A4B4C4D4E4F"
SELECT_MF = "00A40004023F00"
RUNNER = CliRunner()


def run(*arguments: str) -> dict[str, object]:
    result = RUNNER.invoke(card_app, ["ota", *arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert isinstance(document, dict)
    return document


def refused(*arguments: str) -> CliError:
    with pytest.raises(CliError) as caught:
        run(*arguments)
    return caught.value


def test_encode_when_given_words_makes_the_published_packet() -> None:
    document = run("encode", SELECT_MF, *PYSIM)
    assert (document["packet"], document["spi"]) == (PACKET, "0619")


def test_decode_when_given_the_published_packet_says_what_is_in_it() -> None:
    document = run("decode", PACKET, *KEYS)
    assert (document["kind"], document["tar"], document["data"]) == ("command packet", "B00011", SELECT_MF)
    assert document["checksum_ok"] is True
    assert "ciphering: key version 2, aes" in str(document["explained"])
    assert "SELECT" in str(document["script"])


def test_decode_when_given_the_cards_answer_explains_it() -> None:
    document = run("decode", RESPONSE, *KEYS, *AES, "--spi", "0619")
    assert (document["kind"], document["status"], document["authentic"]) == ("response packet", "00", True)
    answer = document["answer"]
    assert isinstance(answer, dict)
    assert (answer["form"], answer["executed"]) == ("compact", 1)
    assert answer["answers"][0]["status_word"] == "6132"


def test_short_messages_when_asked_for_decode_to_the_same_packet() -> None:
    apdu = "80E80000C8" + "5A" * 200
    made = run("encode", apdu, *KEYS, "--counter", "7", "--sms", "--reference", "300")
    for form in ("envelopes", "tpdus", "user_data"):
        parts = made[form]
        assert isinstance(parts, list)
        assert len(parts) == 2
        opened = run("decode", *reversed(parts), *KEYS)
        assert (opened["packet"], opened["counter"], opened["data"]) == (made["packet"], 7, apdu)


@pytest.mark.parametrize(("form", "first"), [("compact", "80"), ("expanded", "AA"), ("indefinite", "AE80")])
def test_script_when_encoded_in_any_form_is_decoded_again(form: str, first: str) -> None:
    made = run("encode", "80CA00C100", "80F28002024F0000", *KEYS, "--counter", "1", "--script", form)
    assert str(made["data"]).startswith(first)
    script = run("decode", str(made["packet"]), *KEYS)["script"]
    assert isinstance(script, dict)
    assert [one["apdu"] for one in script["commands"]] == ["80CA00C100", "80F28002024F0000"]


def test_keys_when_in_files_and_environment_give_no_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "kic"
    file.write_text(KIC + "\n", "utf-8")
    monkeypatch.setenv("OTA_KID", KID)
    arguments = ["ota", "decode", PACKET, "--kic", f"@{file}", "--kid", "env:OTA_KID"]
    result = RUNNER.invoke(card_app, arguments, catch_exceptions=False)
    assert (result.exit_code, result.stderr) == (0, "")
    warned = RUNNER.invoke(card_app, ["ota", "decode", PACKET, *KEYS], catch_exceptions=False)
    assert "warning: keys on the command line" in warned.stderr


def test_decode_when_the_checksum_is_wrong_ends_with_its_own_code() -> None:
    error = refused("decode", PACKET, "--kic", KIC, "--kid", "00" * 16)
    assert error.code == ExitCode.WRONG_CRYPTOGRAM
    assert "00000000" not in error.what


@pytest.mark.parametrize(
    "arguments",
    [
        ["encode", SELECT_MF, *KEYS, "--counter-mode", "none"],
        ["encode", SELECT_MF, "--counter", "1"],
        ["encode", SELECT_MF, *KEYS, "--kic-ref", "1:des"],
        ["encode", SELECT_MF, *KEYS, "--kid-ref", "1:rot13"],
        ["encode", SELECT_MF, *KEYS, "--kic-ref", "16:aes"],
        ["encode", SELECT_MF, *KEYS, "--tar", "0000"],
        ["encode", SELECT_MF, *KEYS, "--spi", "FF19"],
        ["encode", *KEYS],
        ["encode", "80F2", *KEYS],
        ["encode", SELECT_MF, *KEYS, "--script", "long"],
        ["encode", SELECT_MF, *KEYS, "--integrity", "rc"],
        ["encode", SELECT_MF, *KEYS, "--kid-ref", "1:crc32"],
        ["decode", PACKET],
        ["decode", PACKET[:-2], *KEYS],
        ["decode", PACKET, PACKET, *KEYS],
        ["decode", "zz", *KEYS],
        ["decode", PACKET, "--kic", "env:NOT_SET_ANYWHERE", "--kid", KID],
        ["decode", PACKET, "--kic", "@/nonexistent/key", "--kid", KID],
    ],
)
def test_arguments_when_they_do_not_fit_are_bad_input(arguments: list[str]) -> None:
    assert refused(*arguments).code == ExitCode.BAD_INPUT


def test_key_when_it_is_not_hex_is_not_repeated() -> None:
    assert "secret" not in refused("decode", PACKET, "--kic", "secret-not-hex", "--kid", KID).what


def test_redundancy_check_when_asked_for_needs_no_key() -> None:
    words = ["--integrity", "rc", "--kid-ref", "0:crc32", "--no-cipher", "--por", "never"]
    made = run("encode", SELECT_MF, *words)
    assert run("decode", str(made["packet"]))["checksum_ok"] is True


def test_text_when_printed_for_people_names_each_part() -> None:
    result = RUNNER.invoke(card_app, ["ota", "decode", PACKET, *KEYS], catch_exceptions=False)
    assert "kind: command packet" in result.stdout
    assert "counter: 0" in result.stdout


def test_order_when_a_virtual_card_gets_it_comes_back_as_an_authentic_answer(tmp_path: Path) -> None:
    """The steps of docs/howto/send-commands-over-the-air.md."""
    keys = ["--kic", TEST_KEY, "--kid", TEST_KEY]
    order = run("encode", "80F24002024F0000", *keys, "--counter", "1", "--sms")
    key = Secret(bytes.fromhex(TEST_KEY))
    directory = CardDirectory(tmp_path / "phone")
    directory.issue("uicc-scp80", 1, KeyMaterial(key, key, key))
    card = directory.open()
    card.power_on()
    (envelope,) = order["envelopes"] if isinstance(order["envelopes"], list) else []
    answer = card.transmit(bytes.fromhex(envelope))
    opened = run("decode", answer[:-2].hex(), *keys, "--spi", str(order["spi"]))
    assert (opened["status"], opened["counter"], opened["authentic"]) == ("00", 1, True)
    replayed = card.transmit(bytes.fromhex(envelope))
    assert run("decode", replayed[:-2].hex(), *keys, "--spi", str(order["spi"]))["status"] == "02"
