"""The parameter fields of INSTALL (GPCS 2.3.1 §11.5.2.3.7)."""

import pytest

from opentsm.card.errors import ApduError
from opentsm.card.gp import install_params as params


def test_application_parameters_when_nothing_then_empty_c9() -> None:
    assert params.application_parameters() == bytes.fromhex("C900")


def test_application_parameters_when_all_then_in_order() -> None:
    system = params.SystemParameters(
        volatile_reserved=100,
        nonvolatile_reserved=40000,
        services=bytes.fromhex("8201"),
        implicit_selection=0x80,
    )
    field = params.application_parameters(b"\x01", system=system, uicc=b"\x80\x00", crt=b"\x42\x01\x07")
    assert field.hex().upper() == "C90101EF11D7020064D80400009C40CB028201CF0180EA028000B603420107"


def test_load_parameters_when_code_only_then_c6() -> None:
    assert params.load_parameters(code=0x128) == bytes.fromhex("EF04C6020128")


def test_load_parameters_when_nothing_then_empty() -> None:
    assert params.load_parameters() == b""


@pytest.mark.parametrize(("size", "coded"), [(0, "C6020000"), (32767, "C6027FFF"), (32768, "C60400008000")])
def test_load_parameters_when_large_then_four_bytes(size: int, coded: str) -> None:
    assert params.load_parameters(code=size)[2:].hex().upper() == coded


def test_load_parameters_when_negative_then_refused() -> None:
    with pytest.raises(ApduError, match="negative"):
        params.load_parameters(code=-1)


def test_toolkit_when_tar_of_two_bytes_then_refused() -> None:
    with pytest.raises(ApduError, match="TAR"):
        params.Toolkit(priority=1, tars=(b"\x01\x02",)).to_bytes()


def test_toolkit_when_menu_then_entries_follow_their_count() -> None:
    toolkit = params.Toolkit(
        priority=1, menu_text_length=15, menu=((1, 0x81), (2, 0x82)), tars=(b"\xb0\x00\x10",)
    )
    assert toolkit.to_bytes().hex() == "01000f0201810282000003b00010"


def test_implicit_selection_and_restrict_when_built_then_inside_ef() -> None:
    assert params.implicit_selection_parameters(0x81).hex().upper() == "EF03CF0181"
    assert params.restrict_parameters(0x02).hex().upper() == "EF03D90102"


def test_token_reference_when_fields_then_in_order() -> None:
    value = params.token_reference(iin=b"\x12", cin=b"\x34", provider=b"SP", token_id=b"\x01")
    assert value.hex().upper() == "4201124501345F20025350930101"
