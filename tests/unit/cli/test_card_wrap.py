"""`opentsm card wrap`: published sessions, predictions, and what is refused.

Source of the session at level 33: osmocom pySim `test_globalplatform.py` (SCP03_Test_AES128_33, an eUICC's
trace); of the SCP02 session: the globalplatform C library `scp02Test.c` (`install_mac_enc`); of the predicted
SCP02 challenge: GlobalPlatformPro issue 259 (NXP JCOP 3).
"""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from opentsm.cli.card import card_app
from opentsm.cli.exit_codes import ExitCode

ENC, MAC = "000102030405060708090a0b0c0d0e0f", "101112131415161718191a1b1c1d1e1f"
DEK = "202122232425262728292a2b2c2d2e2f"
HOST = "fdf38259a1e0de44"
INIT = "000000000000000000003003703b1aca81e821f219081cdc01c26b372d000003"
AID = "A0000005591010FFFFFFFF8900000100"
KEYS = ["--enc", ENC, "--mac", MAC, "--dek", DEK, "--host-challenge", HOST]
PLAIN = ["80e2910006bf3e035c015a00", "80f22002", "80ca006600"]
WRAPPED = [
    "84e2910018267a85dfe4a98fca6fb0527e0dfecce4914e40401433c87f00",
    "84f2200208ac6a59024bed84cc",
    "84ca006608409912ad8fb7aed000",
]
ANSWER = "f3ba2b1013aa6224f5e1c138d71805c569e5439b47576260b75fc021b25097cb2e68f8a0144975b99000"
RUNNER = CliRunner()


def run(*arguments: str) -> tuple[int, dict[str, object], str]:
    result = RUNNER.invoke(card_app, ["wrap", *arguments, "--json"])
    return result.exit_code, json.loads(result.stdout) if result.stdout else {}, result.stderr


def test_wrap_when_card_answer_given_then_the_published_session() -> None:
    code, document, warning = run(*KEYS, "--i", "70", "--init-update-response", INIT, "--level", "33", *PLAIN)
    assert code == ExitCode.OK
    assert document == {
        "init_update": "8050300008fdf38259a1e0de4400".upper(),
        "card_cryptogram_ok": True,
        "external_authenticate": "84823300108c36f96bcc00724a4e13ad591d7da3f0".upper(),
        "wrapped": [one.upper() for one in WRAPPED],
    }
    assert "@FILE" in warning


def test_wrap_when_status_word_at_the_end_then_left_out() -> None:
    _, document, _ = run(*KEYS, "--init-update-response", INIT + "9000")
    assert document["card_cryptogram_ok"] is True


def test_wrap_when_answer_given_then_unwrapped() -> None:
    _, document, _ = run(*KEYS, "--init-update-response", INIT, PLAIN[0], "--answer", ANSWER)
    assert document["unwrapped"] == ["BF3E125A10898821199000000000000000000000059000"]


def test_wrap_when_sequence_and_aid_then_the_answer_is_predicted() -> None:
    code, document, _ = run(*KEYS, "--sequence", "3", "--sd-aid", AID, *PLAIN)
    assert code == ExitCode.OK
    assert document["expected_init_update_response"] == INIT.upper()
    assert document["card_cryptogram_ok"] is None
    assert document["wrapped"] == [one.upper() for one in WRAPPED]


def test_wrap_when_scp02_predicted_then_a_real_cards_challenge() -> None:
    key = "404142434445464748494a4b4c4d4e4f"
    keys = ["--enc", key, "--mac", key, "--dek", key, "--host-challenge", "a012e7d45549d80a"]
    card = [
        "--sequence",
        "194",
        "--sd-aid",
        "a000000151000000",
        "--kdd",
        "00009326519195994079",
        "--kvn",
        "01",
    ]
    _, document, _ = run(*keys, *card, "--scp", "02", "--i", "55", "--level", "03")
    expected = "00009326519195994079010200c218c143d7040c164cdb4cb916754d"
    assert document["expected_init_update_response"] == expected.upper()


def test_wrap_when_scp02_then_mac_and_encryption() -> None:
    key = "404142434445464748494a4b4c4d4e4f"
    _, document, _ = run(
        *("--enc", key, "--mac", key, "--dek", key, "--host-challenge", "ebaa9e53c696281b"),
        *("--scp", "02", "--i", "15", "--level", "03"),
        *("--init-update-response", "000074746e6e6e626262010206a15086bbee58f467149061da4b6eae"),
        "80e400800a4f08d0d1d2d3d4d5010100",
    )
    assert document["wrapped"] == ["84e4008018bc146fa0403be4bad3bc089e4abd8674da7efea21047b85800".upper()]


def test_wrap_when_keys_in_files_then_no_warning(tmp_path: Path) -> None:
    for name, key in (("enc", ENC), ("mac", MAC), ("dek", DEK)):
        (tmp_path / name).write_text(key + "\n")
    files = [word for name in ("enc", "mac", "dek") for word in (f"--{name}", f"@{tmp_path / name}")]
    code, document, warning = run(*files, "--host-challenge", HOST, "--init-update-response", INIT)
    assert code == ExitCode.OK and document["card_cryptogram_ok"] is True
    assert warning == ""


def test_wrap_when_keys_are_wrong_then_said() -> None:
    keys = [ENC if word == MAC else word for word in KEYS]
    code, document, message = run(*keys, "--init-update-response", INIT, *PLAIN)
    assert code == ExitCode.WRONG_CRYPTOGRAM
    assert document["card_cryptogram_ok"] is False
    assert document["external_authenticate"] is None and document["wrapped"] == []
    assert "cryptogram is wrong" in message


@pytest.mark.parametrize("answer", ["9000", "00" * 8 + "9000", "f3" + ANSWER[4:]])
def test_wrap_when_r_mac_missing_or_wrong_then_wrong_cryptogram(answer: str) -> None:
    code, document, _ = run(*KEYS, "--init-update-response", INIT, PLAIN[0], "--answer", answer)
    assert code == ExitCode.WRONG_CRYPTOGRAM
    assert "error" in document


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--init-update-response", "00"], "INITIALIZE UPDATE"),
        (["--init-update-response", "zz"], "not hex"),
        (["--init-update-response", INIT, "--i", "60"], "i=70"),
        (["--init-update-response", INIT, "--scp", "02"], "SCP03"),
        (["--init-update-response", INIT, "--level", "31"], "level"),
        (["--init-update-response", INIT, "--level", "zz"], "--level takes one byte"),
        (["--init-update-response", INIT, "--kvn", "1FF"], "--kvn takes one byte"),
        (["--init-update-response", INIT, "80e4"], "4 bytes"),
        (["--sequence", "1", "--sd-aid", "A000"], "5 to 16"),
        (["--sequence", "1", "--sd-aid", AID, "--i", "60"], "pseudo-random"),
        (["--sequence", "1", "--sd-aid", AID, "--scp", "11"], "SCP11"),
        (["--sequence", "1", "--sd-aid", AID, "--kdd", "0001"], "10"),
    ],
)
def test_wrap_when_input_is_bad_then_bad_input(arguments: list[str], word: str) -> None:
    code, document, message = run(*KEYS, *arguments)
    assert code == ExitCode.BAD_INPUT
    assert document["error"] == {"code": "BAD_INPUT", "what": message.split("error: ")[1].rstrip("\n")}
    assert word in message


def test_wrap_when_a_key_is_no_hex_then_it_is_not_repeated() -> None:
    code, document, message = run(*KEYS, "--enc", "secret-thing", "--init-update-response", INIT)
    assert code == ExitCode.BAD_INPUT
    assert "secret-thing" not in message + json.dumps(document)


@pytest.mark.parametrize("content", [b"\xd3" * 16, "€".encode(), b"00" * 511 + b"0"])
def test_wrap_when_a_key_file_is_not_hex_then_the_option_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    code, document, _ = run(*KEYS, "--mac", f"@{tmp_path / 'key'}", "--init-update-response", INIT)
    assert code == ExitCode.BAD_INPUT
    assert document["error"] == {"code": "BAD_INPUT", "what": "--mac is not hex"}


def test_wrap_and_cap_when_a_file_never_ends_then_they_do() -> None:
    assert run(*KEYS, "--mac", "@/dev/zero", "--init-update-response", INIT)[0] == ExitCode.BAD_INPUT
    assert RUNNER.invoke(card_app, ["cap", "/dev/zero"]).exit_code == ExitCode.BAD_INPUT


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--sequence", "1"],
        ["--sd-aid", AID],
        ["--init-update-response", INIT, *PLAIN, "--answer", "9000"],
    ],
)
def test_wrap_when_options_do_not_fit_together_then_usage(arguments: list[str]) -> None:
    assert run(*KEYS, *arguments)[0] == ExitCode.USAGE


def test_wrap_when_not_json_then_lines() -> None:
    result = RUNNER.invoke(card_app, ["wrap", *KEYS, "--init-update-response", INIT, PLAIN[1]])
    assert "wrapped: " in result.stdout and "card_cryptogram_ok: True" in result.stdout
