"""Privileges as a flag type (GPCS 2.3.1 §11.1.2; fresh ISD: §6.6.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentsm.card.errors import ResponseFormatError
from opentsm.card.gp.privileges import Privilege, effective, objections


def test_from_bytes_when_fresh_isd_then_all_thirteen() -> None:
    privileges = Privilege.from_bytes(bytes.fromhex("9EFE80"))
    assert len(privileges.names) == 13
    assert Privilege.AUTHORIZED_MANAGEMENT in privileges
    assert Privilege.DELEGATED_MANAGEMENT not in privileges


def test_from_bytes_when_one_byte_then_other_bytes_are_clear() -> None:
    assert Privilege.from_bytes(b"\x80") == Privilege.SECURITY_DOMAIN


def test_to_bytes3_when_default_ssd_then_808000() -> None:
    assert (Privilege.SECURITY_DOMAIN | Privilege.TRUSTED_PATH).to_bytes3() == bytes.fromhex("808000")


def test_from_bytes_when_rfu_bits_then_ignored() -> None:
    assert Privilege.from_bytes(bytes.fromhex("000007")) == Privilege.NONE


@pytest.mark.parametrize("length", [0, 2, 4])
def test_from_bytes_when_wrong_length_then_refused(length: int) -> None:
    with pytest.raises(ResponseFormatError, match="1 or 3"):
        Privilege.from_bytes(bytes(length))


@given(st.integers(0, 0xFFFFF).map(lambda bits: bits << 4))
def test_round_trip_when_any_set_then_the_same(bits: int) -> None:
    assert Privilege.from_bytes(Privilege(bits).to_bytes3()) == Privilege(bits)


def test_str_when_none_then_said() -> None:
    assert str(Privilege.NONE) == "no privilege"
    assert str(Privilege.CARD_LOCK) == "Card Lock"


def test_effective_when_one_byte_ssd_then_trusted_path() -> None:
    assert effective(b"\x80") == Privilege.SECURITY_DOMAIN | Privilege.TRUSTED_PATH
    assert effective(bytes.fromhex("800000")) == Privilege.SECURITY_DOMAIN
    assert effective(b"\x04") == Privilege.CARD_RESET


@pytest.mark.parametrize(
    ("privileges", "word"),
    [
        ("A04000", "Authorized Management excludes Delegated Management"),
        ("A02000", "Token Verification excludes Delegated Management"),
        ("A00080", "Receipt Generation excludes Delegated Management"),
        ("004000", "Authorized Management needs Security Domain"),
        ("810000", "Mandated DAP Verification needs DAP Verification"),
    ],
)
def test_objections_when_a_rule_is_broken_then_named(privileges: str, word: str) -> None:
    assert word in objections(Privilege.from_bytes(bytes.fromhex(privileges)))


@pytest.mark.parametrize("privileges", ["9EFE80", "808000", "C18000", "A08000", "000000"])
def test_objections_when_lawful_then_none(privileges: str) -> None:
    assert objections(Privilege.from_bytes(bytes.fromhex(privileges))) == ()
