"""The plain commands, byte for byte against GPCS 2.3.1 §11."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.tlv import parse_tlv
from opentsm.card.errors import ApduError
from opentsm.card.gp import commands as gp
from opentsm.card.gp.instructions import StatusScope, StatusTarget, StoreDataEncryption, StoreDataStructure
from opentsm.card.gp.privileges import Privilege

ELF = Aid(bytes.fromhex("F04F54534D01"))
MODULE = Aid(bytes.fromhex("F04F54534D0101"))
APP = Aid(bytes.fromhex("A0000000031010"))
SD = Aid(bytes.fromhex("A000000151000000"))
SSD = Privilege.SECURITY_DOMAIN | Privilege.TRUSTED_PATH


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (gp.select(), "00A4040000"),
        (gp.select(APP), "00A4040007A000000003101000"),
        (gp.select(APP, next_occurrence=True), "00A4040207A000000003101000"),
        (gp.initialize_update(0x30, bytes(8)), "8050300008000000000000000000"),
        (gp.get_data(0x66), "80CA006600"),
        (gp.get_data(0xFF21), "80CAFF2100"),
        (gp.get_associated_applications(), "80CA2F00025C0000"),
        (gp.get_status(StatusScope.ISD), "80F28002024F0000"),
        (gp.get_status(0x40, aid_prefix=bytes(SD)[:5], next=True), "80F24003074F05A00000015100"),
        (
            gp.get_status(0x20, aid_prefix=b"\x12\x34", tag_list=bytes.fromhex("4F9F70C5")),
            "80F220020A4F0212345C044F9F70C500",
        ),
        (gp.set_status(StatusTarget.CARD, 0x7F), "80F0807F"),
        (gp.lock(APP), "80F0408007A0000000031010"),
        (gp.unlock(APP), "80F0400007A0000000031010"),
        (gp.lock(SD, with_applications=True), "80F0608008A000000151000000"),
        (gp.delete(APP), "80E40000094F07A000000003101000"),
        (gp.delete(ELF, related=True), "80E40080084F06F04F54534D0100"),
        (gp.delete(APP, token=b"\xaa\xbb"), "80E400000D4F07A00000000310109E02AABB00"),
        (gp.delete(APP, crt=bytes.fromhex("420101")), "80E400000E4F07A0000000031010B60342010100"),
        (gp.delete_key(1, 0x30), "80E4000006D00101D2013000"),
        (gp.delete_key(None, 0x30), "80E4000003D2013000"),
        (gp.delete_key(2, None), "80E4000003D0010200"),
        (gp.put_key(0x30, [b"\x01", b"\x02"], replace_kvn=0x20), "80D8208103300102" + "00"),
        (gp.put_key(0x73, [b"\xa1"], first_kid=1), "80D800010273A100"),
    ],
)
def test_builder_when_called_then_the_standards_bytes(command: CommandApdu, expected: str) -> None:
    assert command.to_bytes().hex().upper() == expected


@pytest.mark.parametrize(
    ("command", "header", "data"),
    [
        (gp.install_for_load(ELF, SD), "80E60200", "06F04F54534D01 08A000000151000000 00 00 00"),
        (
            gp.install_for_load(ELF, None, hash=b"\x11" * 20),
            "80E60200",
            "06F04F54534D01 00 14" + "11" * 20 + "0000",
        ),
        (
            gp.install_for_load(ELF, None, parameters=bytes.fromhex("EF00"), token=b"\x55" * 128),
            "80E60200",
            "06F04F54534D01 00 00 02EF00 8180" + "55" * 128,
        ),
        (gp.install_for_combined_load(ELF, None), "80E60E01", "06F04F54534D01 00 00 00 00"),
        (
            gp.install_for_install(ELF, MODULE, APP, SSD, b"\xc9\x00", make_selectable=False),
            "80E60400",
            "06F04F54534D01 07F04F54534D0101 07A0000000031010 03808000 02C900 00",
        ),
        (
            gp.install_for_install(ELF, MODULE, APP, Privilege.NONE, b"\xc9\x00", make_selectable=True),
            "80E60C00",
            "06F04F54534D01 07F04F54534D0101 07A0000000031010 03000000 02C900 00",
        ),
        (
            gp.install_for_combined_install(None, MODULE, APP, Privilege.NONE, b"\xc9\x00"),
            "80E60E03",
            "00 07F04F54534D0101 07A0000000031010 03000000 02C900 00",
        ),
        (gp.install_for_make_selectable(APP), "80E60800", "00 00 07A0000000031010 03000000 00 00"),
        (gp.install_for_extradition(APP, SD), "80E61000", "08A000000151000000 00 07A0000000031010 00 00 00"),
        (gp.install_for_registry_update(APP), "80E64000", "00 00 07A0000000031010 00 00 00"),
        (
            gp.install_for_registry_update(None, parameters=bytes.fromhex("EF03D90102")),
            "80E64000",
            "00 00 00 00 05EF03D90102 00",
        ),
        (
            gp.install_for_registry_update(APP, new_sd=SD, privileges=Privilege.CARD_RESET),
            "80E64000",
            "08A000000151000000 00 07A0000000031010 03040000 00 00",
        ),
        (gp.install_for_personalization(APP), "80E62000", "00 00 07A0000000031010 00 00 00"),
    ],
)
def test_install_when_variant_then_its_fields(command: CommandApdu, header: str, data: str) -> None:
    raw = command.to_bytes()
    assert raw[:4].hex().upper() == header
    assert command.data == bytes.fromhex(data)
    assert command.ne == 256


def test_install_when_parameters_above_127_bytes_then_ber_length() -> None:
    command = gp.install_for_install(ELF, MODULE, APP, Privilege.NONE, bytes(130), make_selectable=True)
    assert bytes.fromhex("8182") + bytes(130) + b"\x00" == command.data[-133:]


def test_load_blocks_when_cut_then_numbered_and_last_marked() -> None:
    blocks = gp.load_blocks(bytes(500), block_size=200)
    assert [(b.p1, b.p2, len(b.data)) for b in blocks] == [(0x00, 0, 200), (0x00, 1, 200), (0x80, 2, 104)]
    assert blocks[0].data.startswith(bytes.fromhex("C48201F4"))


def test_load_blocks_when_dap_then_it_goes_first() -> None:
    (block,) = gp.load_blocks(b"\x01", block_size=200, dap_blocks=[b"\xe2\x00"])
    assert block.data == bytes.fromhex("E200C40101")


def test_load_blocks_when_over_255_bytes_then_extended_length() -> None:
    blocks = gp.load_blocks(bytes(3000), block_size=2048)
    assert blocks[0].to_bytes()[4] == 0 and len(blocks) == 2


def test_load_blocks_when_more_than_256_then_number_wraps() -> None:
    blocks = gp.load_blocks(bytes(300), block_size=1)
    assert blocks[255].p2 == 0xFF and blocks[256].p2 == 0x00


@given(st.binary(min_size=1, max_size=2000), st.integers(1, 255))
def test_load_blocks_when_joined_then_the_load_file(data: bytes, size: int) -> None:
    blocks = gp.load_blocks(data, block_size=size)
    assert parse_tlv(b"".join(b.data for b in blocks)).value == data
    assert all(len(b.data) <= size for b in blocks)


def test_store_data_when_dgi_encrypted_then_p1() -> None:
    command = gp.store_data(
        b"\x01",
        3,
        last=True,
        encryption=StoreDataEncryption.ENCRYPTED,
        structure=StoreDataStructure.DGI,
    )
    assert command.to_bytes().hex().upper() == "80E2E8030101"


def test_store_data_when_response_expected_then_case_4() -> None:
    command = gp.store_data(b"\x01", 0, last=False, response_expected=True)
    assert command.to_bytes().hex().upper() == "80E20100010100"


def test_store_data_blocks_when_packed_then_groupings_stay_whole() -> None:
    blocks = gp.store_data_blocks([(0x0101, bytes(5)), (0x0102, bytes(5)), (0x0103, bytes(5))], block_size=16)
    assert [len(b.data) for b in blocks] == [16, 8]
    assert [(b.p1, b.p2) for b in blocks] == [(0x08, 0), (0x88, 1)]


def test_store_data_blocks_when_one_is_large_then_it_runs_on() -> None:
    blocks = gp.store_data_blocks(
        [(0x0101, bytes(2)), (0x9000, bytes(40)), (0x0102, bytes(3))], block_size=20
    )
    assert [len(b.data) for b in blocks] == [5, 20, 20, 9]


@given(
    st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=300)), min_size=1, max_size=8),
    st.integers(4, 255),
)
def test_store_data_blocks_when_joined_then_nothing_is_lost(dgis: list[tuple[int, bytes]], size: int) -> None:
    blocks = gp.store_data_blocks(dgis, block_size=size)
    assert sum(len(b.data) for b in blocks) == sum(len(v) + (3 if len(v) < 255 else 5) for _, v in dgis)
    assert all(0 < len(b.data) <= size for b in blocks)
    assert [bool(b.p1 & 0x80) for b in blocks] == [False] * (len(blocks) - 1) + [True]


def test_builder_when_impossible_then_refused() -> None:
    with pytest.raises(ApduError, match="challenge"):
        gp.initialize_update(0, bytes(7))
    with pytest.raises(ApduError, match="AID"):
        gp.set_status(StatusTarget.APPLICATION, 0x80)
    with pytest.raises(ApduError, match="at least one key"):
        gp.put_key(0x30, [])
    with pytest.raises(ApduError, match="01 to 7F"):
        gp.put_key(0xFF, [b"\x00"])
    with pytest.raises(ApduError, match="key identifier or"):
        gp.delete_key(None, None)
    with pytest.raises(ApduError, match="empty"):
        gp.load_blocks(b"", block_size=100)
    with pytest.raises(ApduError, match="impossible"):
        gp.load_blocks(b"\x00", block_size=0)
    with pytest.raises(ApduError, match="at least one data grouping"):
        gp.store_data_blocks([], block_size=100)
