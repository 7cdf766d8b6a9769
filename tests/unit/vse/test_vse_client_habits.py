"""What clients written elsewhere send against the specification: refused, unless the profile says otherwise.

The commands are spelled as those clients send them (docs/reference/interop.md).
"""

import pytest
from tests.unit.vse.card_host import SSD, CardHost, make_card

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.gp.responses import parse_status

# GPShell 3: INSTALL [for install and make selectable] of a security domain with privileges 80C0.
TWO_BYTES = bytes.fromhex(
    "80E60C00 31 07A0000001515350 08A000000151535041 09A0000001510000AA01 0280C0 11"
    "C90F 81020370 82022020 830120 87022020 00 00"
)


@pytest.mark.parametrize(("taken", "sw"), [(False, 0x6A80), (True, 0x9000)])
def test_install_when_privileges_have_two_bytes_then_the_profile_decides(taken: bool, sw: int) -> None:
    """§11.5.2.3.2: the length of the privileges is 01 or 03."""
    host = CardHost(make_card(two_byte_privileges=taken))
    host.authenticate()
    assert host.sw(CommandApdu.parse(TWO_BYTES)) == sw
    if taken:
        answer = host.send(CommandApdu(0x80, 0xF2, 0x40, 0x02, b"\x4f\x09" + SSD, 256))
        (entry,) = parse_status(answer.data, 0x40)
        assert entry.privileges.to_bytes3() == bytes.fromhex("80C000")


def test_select_when_the_card_has_a_master_file_then_its_parameters_come_behind_61xx() -> None:
    """ETSI TS 102 221 11.1.1.3.1; pySim takes no card without it for a UICC."""
    host = CardHost(make_card(protocol="T=0", atr="3B00", master_file=True))
    assert host.raw("00A40004023F00").sw == 0x6112
    assert host.raw("00C0000012") == ResponseApdu(
        bytes.fromhex("6210 82027821 83023F00 8A0105 C603900100"), 0x9000
    )
    assert host.raw("00A4000C023F00") == ResponseApdu(b"", 0x9000)


@pytest.mark.parametrize(
    ("master_file", "command", "sw"),
    [
        (True, "00A40004022F00", 0x6A82),
        (True, "00A40000023F00", 0x6A86),
        (True, "04A40004023F00", 0x6882),
        (False, "00A40004023F00", 0x6A82),
    ],
)
def test_select_when_there_is_no_such_file_then_it_is_refused(
    master_file: bool, command: str, sw: int
) -> None:
    assert CardHost(make_card(master_file=master_file)).raw(command).sw == sw
