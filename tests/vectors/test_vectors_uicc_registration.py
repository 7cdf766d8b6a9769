"""The card's reading of published toolkit parameters: TARs and minimum security level.

Source: the globalplatform C library, installDataTest.c (build_uicc_system_specific_params_toolkit,
build_sim_specific_params).
"""

from opentsm.card.codec.tlv import Tlv, encode_tlv
from opentsm.vse.ota.registration import Registration, is_enough, read_registration

UICC = bytes.fromhex("800d010014000202011e03d501030081180001000010a0000000871002ffffffff8900000100010000")
SIM = bytes.fromhex("010001011000010003d50101")


def test_uicc_parameters_when_read_name_tar_and_level() -> None:
    assert read_registration([Tlv(0xEA, UICC)]) == Registration((bytes.fromhex("d50103"),), 0x1E)


def test_sim_parameters_when_read_name_the_tar() -> None:
    parameters = [Tlv(0xEF, encode_tlv(0xCA, SIM))]
    assert read_registration(parameters) == Registration((bytes.fromhex("d50101"),), None)


def test_uicc_parameters_when_both_are_there_win() -> None:
    both = [Tlv(0xEF, encode_tlv(0xCA, SIM)), Tlv(0xEA, UICC)]
    assert read_registration(both).tars == (bytes.fromhex("d50103"),)


def test_level_when_compared_counts_each_part_on_its_own() -> None:
    """1E: checksum, ciphering, counter exactly one more."""
    assert is_enough(0x1E, 0x1E)
    assert not is_enough(0x16, 0x1E)
    assert not is_enough(0x1A, 0x1E)
    assert not is_enough(0x1D, 0x1E)
    assert is_enough(0x1F, 0x12)
