"""`opentsm card token`: tokens made offline, and what is refused."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from typer.testing import CliRunner

from opentsm.card.crypto.signature import Curve, EcVerificationKey
from opentsm.cli.card import card_app
from opentsm.cli.exit_codes import ExitCode

DELETE = "80E40000074F05F00102030400"
COMBINED = ("80E60E010A05F00102030400000000", "80E60E0310000005F0F0F0F0F00300000002C90000")
RUNNER = CliRunner()
KEY = ec.derive_private_key(7, ec.SECP256R1())


def pem(path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> str:
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return str(path)


def run(*arguments: str) -> tuple[int, dict[str, str]]:
    result = RUNNER.invoke(card_app, ["token", *arguments, "--json"])
    return result.exit_code, json.loads(result.stdout) if result.stdout else {}


def verify(signed: str, token: str) -> None:
    point = KEY.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    EcVerificationKey(Curve.P_256, point).verify(bytes.fromhex(signed), bytes.fromhex(token))


def test_token_when_delete_then_p1_p2_length_and_fields_are_signed(tmp_path: Path) -> None:
    code, document = run(DELETE, "--key", pem(tmp_path / "key.pem", KEY))
    assert code == ExitCode.OK
    assert document["signs"].upper() == "0000074F05F001020304"
    verify(document["signs"], document["token"])
    assert document["command"].upper().startswith("80E40000494F05F0010203049E40")


def test_token_when_combined_then_both_commands_are_signed(tmp_path: Path) -> None:
    code, document = run(*COMBINED, "--key", pem(tmp_path / "key.pem", KEY))
    assert code == ExitCode.OK
    first = "0E010905F001020304000000"
    assert document["signs"].upper() == first + "0E030F000005F0F0F0F0F00300000002C900"
    verify(document["signs"], document["token"])


def test_token_when_not_json_then_only_its_hex(tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 1024)  # noqa: S505  GPCS B.3.1
    result = RUNNER.invoke(card_app, ["token", DELETE, "--key", pem(tmp_path / "key.pem", key)])
    assert result.exit_code == ExitCode.OK
    assert len(bytes.fromhex(result.stdout)) == 128


@pytest.mark.parametrize("apdus", [("00A4040000",), ("80E4",), ("zz",), (COMBINED[0],), (DELETE,) * 3])
def test_token_when_the_command_takes_none_then_bad_input(tmp_path: Path, apdus: tuple[str, ...]) -> None:
    code, document = run(*apdus, "--key", pem(tmp_path / "key.pem", KEY))
    assert code == ExitCode.BAD_INPUT
    assert "error" in document


def test_token_when_the_file_holds_no_token_key_then_bad_input_and_nothing_of_it_shown(
    tmp_path: Path,
) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("40414243444546474849")
    other = pem(tmp_path / "other.pem", ed25519.Ed25519PrivateKey.generate())
    short = pem(tmp_path / "curve.pem", ec.generate_private_key(ec.SECP256K1()))
    for path in (str(wrong), other, short, str(tmp_path / "missing.pem"), str(tmp_path)):
        result = RUNNER.invoke(card_app, ["token", DELETE, "--key", path])
        assert result.exit_code == ExitCode.BAD_INPUT
        assert "40414243" not in result.stdout + result.stderr
