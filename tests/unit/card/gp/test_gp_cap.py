"""Reading load files, whole and damaged in every way."""

import hashlib
import io
import zipfile
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opentsm.card.codec.tlv import encode_tlv
from opentsm.card.errors import CapError
from opentsm.card.gp.cap import MAX_FILE_BYTES, read_load_file
from opentsm.card.gp.cap_builder import CapSpec, build_cap, build_raw
from opentsm.card.gp.cap_components import CapFlag, ComponentTag, Version

SPEC = CapSpec.from_dict(
    {
        "package": {"aid": "F04F54534D01", "name": "org/opentsm/x", "version": "1.2"},
        "applets": [{"aid": "F04F54534D0101", "name": "X"}],
        "code_bytes": 700,
    }
)
ZIP = build_cap(SPEC)
RAW = build_raw(SPEC)
FOLDER = "org/opentsm/x/javacard/"
Entries = dict[str, bytes]


def entries() -> Entries:
    with zipfile.ZipFile(io.BytesIO(ZIP)) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def zipped(content: Entries, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def with_component(name: str, change: Callable[[bytes], bytes]) -> bytes:
    """Return the zip with one component's body changed and its size put right."""
    content = entries()
    old = content[f"{FOLDER}{name}.cap"]
    body = change(old[3:])
    content[f"{FOLDER}{name}.cap"] = old[:1] + len(body).to_bytes(2, "big") + body
    return zipped(content)


def test_read_when_zip_then_everything_found() -> None:
    load_file = read_load_file(ZIP)
    assert str(load_file.package_aid) == "F04F54534D01"
    assert load_file.package_name == "org.opentsm.x"
    assert load_file.version == Version(1, 2) and str(load_file.version) == "1.2"
    assert [str(aid) for aid in load_file.applets] == ["F04F54534D0101"]
    assert [(str(one.aid), str(one.version)) for one in load_file.imports] == [
        ("A0000000620101", "1.3"),
        ("A0000000620001", "1.0"),
    ]
    assert load_file.flags == CapFlag.APPLET and load_file.static_bytes == 0
    assert load_file.has_descriptor


def test_read_when_raw_or_wrapped_then_same_as_zip() -> None:
    for data in (RAW, encode_tlv(0xC4, RAW), encode_tlv(0xE2, b"\x4f\x00") + encode_tlv(0xC4, RAW)):
        assert read_load_file(data) == read_load_file(ZIP)


def test_load_file_data_block_when_without_descriptor_then_shorter_and_other_hash() -> None:
    load_file = read_load_file(ZIP)
    assert load_file.load_file_data_block() == RAW
    without = load_file.load_file_data_block(descriptor=False)
    assert RAW.startswith(without) and RAW[len(without)] == ComponentTag.Descriptor
    assert load_file.hash("sha256") == hashlib.sha256(RAW).digest()
    assert load_file.hash("sha1", descriptor=False) == hashlib.sha1(without).digest()  # noqa: S324
    assert [len(load_file.hash(a)) for a in ("sha1", "sha256", "sha384", "sha512")] == [20, 32, 48, 64]
    assert load_file.code_bytes == len(without)


def test_hash_when_unknown_algorithm_then_refused() -> None:
    with pytest.raises(CapError, match="md5"):
        read_load_file(ZIP).hash("md5")


def test_read_when_descriptor_left_out_then_accepted() -> None:
    content = entries()
    del content[FOLDER + "Descriptor.cap"]
    load_file = read_load_file(zipped(content))
    assert not load_file.has_descriptor
    assert load_file.load_file_data_block() == load_file.load_file_data_block(descriptor=False)


def test_read_when_debug_is_there_then_not_loaded() -> None:
    content = entries()
    content[FOLDER + "Debug.cap"] = b"\x0c\x00\x01\xff"
    assert read_load_file(zipped(content)).load_file_data_block() == RAW


def test_read_when_components_in_any_zip_order_then_load_order() -> None:
    reversed_entries = dict(reversed(entries().items()))
    assert read_load_file(zipped(reversed_entries)).load_file_data_block() == RAW


def test_read_when_format_2_1_then_name_from_the_zip_only() -> None:
    spec = CapSpec.from_dict(
        {
            "package": {"aid": "F04F54534D01", "name": "org/opentsm/old", "version": "1.0"},
            "applets": [{"aid": "F04F54534D0101", "name": "X"}],
            "format": "2.1",
        }
    )
    assert read_load_file(build_cap(spec)).package_name == "org.opentsm.old"
    raw = read_load_file(build_raw(spec))
    assert raw.package_name is None and raw.cap_format == (2, 1)


def with_resources(content: Entries) -> Entries:
    """Make the package one of format 2.3, with a StaticResources component (size in four bytes)."""
    resources = b"\x0d\x00\x00\x00\x04\x00\x01\x00\x01"
    header = content[FOLDER + "Header.cap"]
    directory = content[FOLDER + "Directory.cap"]
    body = directory[3:27] + b"\x00\x00\x00\x04" + directory[27:]
    size = len(body).to_bytes(2, "big")
    body = body[:2] + size + body[4:]
    content[FOLDER + "Header.cap"] = header[:7] + b"\x03\x02" + header[9:]
    content[FOLDER + "Directory.cap"] = b"\x02" + size + body
    content[FOLDER + "StaticResources.capx"] = resources
    return content


def test_read_when_static_resources_then_loaded_before_the_descriptor() -> None:
    load_file = read_load_file(zipped(with_resources(entries())))
    assert load_file.cap_format == (2, 3)
    assert [one.tag.name for one in load_file.components][-2:] == ["StaticResources", "Descriptor"]
    assert load_file.components[-2].body == b"\x00\x01\x00\x01"
    assert read_load_file(load_file.load_file_data_block()).components == load_file.components


def test_read_when_static_resources_are_missing_or_cut_then_said() -> None:
    content = with_resources(entries())
    resources = content.pop(FOLDER + "StaticResources.capx")
    with pytest.raises(CapError, match="StaticResources component is missing"):
        read_load_file(zipped(content))
    with pytest.raises(CapError, match="says 4 bytes but has 3"):
        read_load_file(zipped({**content, FOLDER + "StaticResources.capx": resources[:-1]}))


def damaged_zip(change: Callable[[Entries], object]) -> bytes:
    content = entries()
    change(content)
    return zipped(content)


def set_entry(name: str, data: bytes) -> Callable[[Entries], object]:
    return lambda content: content.__setitem__(name, data)


@pytest.mark.parametrize("component", ["Header", "Directory", "Import", "Class", "Method", "StaticField"])
def test_read_when_a_component_is_missing_then_named(component: str) -> None:
    with pytest.raises(CapError, match=f"the {component} component is missing"):
        read_load_file(damaged_zip(lambda content: content.pop(f"{FOLDER}{component}.cap")))


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"),
        (b"hello", "neither a zip nor a raw load file"),
        (bytes(MAX_FILE_BYTES + 1), "more than"),
        (b"PK\x03\x04 and nothing else", "damaged"),
        (ZIP[: len(ZIP) // 2], "damaged"),
        (zipped({"readme.txt": b"x"}), "not a CAP file"),
        (zipped({f"{n}.txt": b"" for n in range(4097)}), "4097 entries"),
        (damaged_zip(set_entry("a/javacard/Method.cap", b"\x07\x00\x00")), "two Method components"),
        (damaged_zip(set_entry(FOLDER + "Method.cap", bytes(200_000))), "larger than any"),
        (damaged_zip(set_entry(FOLDER + "Method.cap", b"\x07")), "cut off"),
        (damaged_zip(set_entry(FOLDER + "Method.capx", b"\x07")), "extended format"),
        (damaged_zip(set_entry(FOLDER + "Method.cap", b"\x06\x00\x00")), "tag 06 instead of 07"),
        (damaged_zip(set_entry(FOLDER + "Method.cap", b"\x07\x00\x09\x00")), "says 9 bytes but has 1"),
        (with_component("Method", lambda body: body + b"\x00"), "the Directory expects"),
        (with_component("Directory", lambda body: body[:20]), "Directory component ends"),
        (with_component("Header", lambda body: b"\xde\xca\xff\xee" + body[4:]), "magic"),
        (with_component("Header", lambda body: body[:4] + b"\x00\x03" + body[6:]), "format 3.0"),
        (with_component("Header", lambda body: body[:6] + b"\x0c" + body[7:]), "extended format"),
        (with_component("Header", lambda body: body + b"\x00"), "1 bytes too many"),
        (with_component("Header", lambda body: body[:9] + b"\x04" + body[10:]), "AID of 4 bytes"),
        (with_component("Header", lambda body: body[:9] + b"\x20" + body[10:]), "Header component ends"),
        (with_component("Import", lambda body: b"\x09" + body[1:]), "Import component ends"),
        (with_component("Import", lambda body: b"\x01" + body[1:]), "Import component has"),
        (with_component("Applet", lambda body: b"\x02" + 2 * body[1:]), "same AID"),
        (damaged_zip(lambda content: content.pop(FOLDER + "Applet.cap")), "announces applets"),
        (RAW[:-1], "Descriptor component is cut off"),
        (RAW + b"\x0c", "Debug component is cut off"),
        (RAW + b"\x7f\x00\x00", "should be a component's tag but is 7F"),
        (RAW + RAW, "two Header components"),
        (encode_tlv(0xC4, RAW)[:-1], "C4 says"),
        (b"\xc4\x85", "outer structure"),
        (b"\xc4", "outer structure"),
        (encode_tlv(0xD4, RAW), "ciphered"),
        (b"\x01\x00\x00\x00\x10\xde\xca\xff\xed\x03\x02\x0c", "extended format"),
    ],
)
def test_read_when_damaged_then_said_what(data: bytes, word: str) -> None:
    with pytest.raises(CapError, match=word):
        read_load_file(data)


def test_read_when_a_zipped_byte_is_flipped_then_refused() -> None:
    at = ZIP.index(b"\xde\xca\xff\xed") + 9
    with pytest.raises(CapError, match="damaged"):
        read_load_file(ZIP[:at] + bytes((ZIP[at] ^ 1,)) + ZIP[at + 1 :])


def test_read_when_zip_bomb_then_read_no_further_than_a_component() -> None:
    bomb = zipped({FOLDER + "Method.cap": bytes(64 * 1024 * 1024)})
    assert len(bomb) < MAX_FILE_BYTES
    with pytest.raises(CapError, match="larger than any"):
        read_load_file(bomb)


@given(st.binary(max_size=400))
def test_read_when_any_bytes_then_only_cap_error(data: bytes) -> None:
    for candidate in (data, b"PK" + data, b"\xc4" + data, b"\x01" + data):
        with pytest.raises(CapError):
            read_load_file(candidate)


@given(st.integers(0, len(RAW) - 1), st.integers(1, 255))
def test_read_when_a_raw_byte_changes_then_read_or_cap_error(at: int, change: int) -> None:
    try:
        read_load_file(RAW[:at] + bytes((RAW[at] ^ change,)) + RAW[at + 1 :])
    except CapError as error:
        assert str(error)


@given(st.integers(0, len(ZIP) - 1), st.integers(1, 255), st.sampled_from([0, 1, 51]))
@settings(max_examples=1000)
def test_read_when_a_zips_bytes_change_then_read_or_cap_error(at: int, change: int, lost: int) -> None:
    damaged = ZIP[:at] + bytes((ZIP[at] ^ change,)) + ZIP[at + 1 + lost :]
    try:
        read_load_file(damaged)
    except CapError as error:
        assert str(error)


def test_read_when_a_zipped_name_is_no_utf_8_then_said_what() -> None:
    # Flag 0800 of an entry says that its name is UTF-8; the name follows the 46 bytes of the entry.
    at = ZIP.rindex(b"PK\x01\x02")
    broken = bytearray(ZIP)
    broken[at + 8 : at + 10] = (0x0800).to_bytes(2, "little")
    broken[at + 46] = 0xBE
    with pytest.raises(CapError, match="the zip is damaged"):
        read_load_file(bytes(broken))


def test_read_when_a_zips_offset_lies_before_the_file_then_said_what() -> None:
    second = ZIP.index(b"PK\x03\x04", 4)
    with pytest.raises(CapError, match="the zip is damaged"):
        read_load_file(ZIP[:4] + ZIP[second + 100 :])
