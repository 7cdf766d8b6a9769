"""Contactless parameters and CRS answers.

Source of the encoding: skythen/gobalplatform, TestSystemSpecificParameters_Bytes, objects A0, A1, 96.
"""

import pytest

from opentsm.card.codec.aid import Aid
from opentsm.card.errors import ApduError, CardError
from opentsm.card.gp.contactless import (
    Activation,
    ContactlessParameters,
    PriorityChange,
    ProtocolData,
    crs_status,
    parse_crs_counter,
    parse_crs_status,
    parse_ppse,
    parse_set_status,
    set_availability,
    set_priority,
)
from opentsm.card.gp.install_params import SystemParameters

SIX, SEVEN = Aid(bytes(range(1, 7))), Aid(bytes(range(1, 8)))
PUBLISHED = bytes.fromhex(
    "A02F 800184 810101 A205A103810101 8306010102030405 840102 A503820180"
    "880DA006800401020304A103800100 890120"
    "A156 7F20035F4501 A0084F06010203040506 A1114F060102030405064F0701020304050607 A2084F06010203040506"
    "A3084F06010203040506 A4084F06010203040506 A5084F06010203040506 A603010101 870101 880100"
    "960100"
)


def test_parameters_when_all_are_given_then_as_published() -> None:
    parameters = ContactlessParameters(
        assigned_protocols=b"\x84",
        activation=Activation.ACTIVATED,
        profile=bytes.fromhex("A103810101"),
        recognition=bytes.fromhex("010102030405"),
        continuous=b"\x02",
        access=bytes.fromhex("820180"),
        type_f=ProtocolData(bytes.fromhex("800401020304"), bytes.fromhex("800100")),
        type_state=0x20,
        display=bytes.fromhex("5F4501"),
        head=SIX,
        joinable=(SIX, SEVEN),
        not_joinable=(SIX,),
        add_listeners=(SIX,),
        remove_listeners=(SIX,),
        policy=(SIX,),
        discretionary=b"\x01\x01\x01",
        family=1,
        display_required=0,
        privacy=0,
    )
    # The published display template is cut (5F45 without value), so only its bytes are compared.
    assert parameters.to_bytes() == PUBLISHED
    assert SystemParameters(contactless=parameters.to_bytes()).to_bytes() == PUBLISHED


def test_parameters_when_none_then_no_bytes() -> None:
    assert ContactlessParameters().to_bytes() == b""


def test_commands_when_built_then_their_bytes() -> None:
    assert crs_status(tag_list=bytes.fromhex("4F9F70")).to_bytes().hex() == "80f24000074f005c034f9f7000"
    assert crs_status(activation=Activation.ACTIVATED).data.hex() == "4f009f70020001"
    assert set_availability([SIX], activate=True).to_bytes().hex() == "80f00101084f0601020304050600"
    assert set_priority([], PriorityChange.RESET_VOLATILE).to_bytes().hex() == "80f0028200"
    with pytest.raises(ApduError):
        set_priority([], PriorityChange.HIGHEST)


def test_answers_when_read_then_their_values() -> None:
    entry = "611A4F060102030405069F70020701800200058101018701018C0184"
    (found,) = parse_crs_status(bytes.fromhex(entry))
    assert (found.aid, found.life_cycle, found.activation, found.counter, found.priority) == (SIX, 7, 1, 5, 1)
    assert [one.tag for one in found.others] == [0x87, 0x8C]
    failure = parse_set_status(bytes.fromhex("A0084F06010203040506A1094F0701020304050607"))
    assert failure.conflicting == (SIX,) and failure.failed == (SEVEN,)
    assert parse_crs_counter(bytes.fromhex("6F168409A00000015143525300A5099F0802010080020007")) == 7
    assert parse_crs_counter(bytes.fromhex("A5099F0802010080020007")) == 7


@pytest.mark.parametrize("text", ["61064F0401020304", "610B4F060102030405069F7001"])
def test_status_when_malformed_then_refused(text: str) -> None:
    with pytest.raises(CardError):
        parse_crs_status(bytes.fromhex(text))


def test_ppse_when_read_then_its_entries() -> None:
    fci = "6F28840E325041592E5359532E4444463031A516BF0C1361114F07A0000000041010500342414E870181"
    data = bytes.fromhex(fci)
    (entry,) = parse_ppse(data)
    assert (str(entry.aid), entry.label, entry.priority) == ("A0000000041010", b"BAN", 1)
    with pytest.raises(CardError):
        parse_ppse(bytes.fromhex("6F00"))
