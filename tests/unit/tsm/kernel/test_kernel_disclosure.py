"""Texts lose what may be a secret, and keep everything else."""

import pytest

from opentsm.tsm.kernel.disclosure import VEIL, may_be_secret, veiled

KEY = "404142434445464748494a4b4c4d4e4f"


@pytest.mark.parametrize(
    "secret",
    [
        KEY,
        KEY.upper(),
        KEY + "0",
        "4929123456789017",
        "492912345678",
        "QEFCQ0RFRkdISUpLTE1OTw==",
        "QEFC/0RFRkdI+UpLTE1OTw",
        "otsm_Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFy",
    ],
)
def test_veiled_when_a_text_holds_a_secret_hides_it(secret: str) -> None:
    assert veiled(f"profile '{secret}' is not known") == f"profile '{VEIL}' is not known"
    assert veiled(f"‘{secret}’, ‘{secret}’.") == f"‘{VEIL}’, ‘{VEIL}’."
    assert may_be_secret(secret)


@pytest.mark.parametrize(
    "text",
    [
        "There is no such service instance.",
        "Service with id ‘019a2045-2b2d-7395-8485-21a1fa53c2b1’ does not exist.",
        "Flavor with id ‘00000000-0000-7000-8000-000000000000’ does not exist.",
        "application must name one of F04F54534D020101, A0000000041010, 325041592E5359532E4444463031",
        "Unknown: ‘installConfig.applicationSpecificInstallParamter’ is not a valid attribute.",
        "/key_sets/0/source/master",
        "key set 30: the master key 'isd-master-2026' is not in the issuer's keystore",
        "2026-11-22T17:46:11Z",
        "Could not install A0000000041010: 6A84 (not enough memory space).",
    ],
)
def test_veiled_when_a_text_holds_none_returns_it(text: str) -> None:
    assert veiled(text) == text
    assert not may_be_secret(text)


def test_veiled_when_a_text_holds_paths_keeps_them() -> None:
    line = '  File "/opt/Python3/lib/python3.11/site-packages/litestar/App.py", line 120, in handle'
    assert veiled(line, paths=True) == line
    assert KEY not in veiled(f"{line}: {KEY}", paths=True)
