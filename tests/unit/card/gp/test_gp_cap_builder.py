"""Built CAP files: valid, of the size asked for, always the same; the demo's files come from their specs."""

import io
import json
import zipfile
from importlib import resources
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opentsm.card.errors import CapError
from opentsm.card.gp.cap import read_load_file
from opentsm.card.gp.cap_builder import CapSpec, build_cap, build_raw
from opentsm.card.gp.cap_components import ComponentTag, directory_sizes, parse_applets

CAPS = resources.files("opentsm.demo").joinpath("caps")
DEMOS = {"bank": "bank.cap", "transit": "transit.ijc", "badge": "badge.cap", "ppse": "ppse.cap"}


def spec(**changes: Any) -> CapSpec:
    return CapSpec.from_dict(
        {
            "package": {"aid": "F04F54534D09", "name": "org/opentsm/test", "version": "1.0"},
            "applets": [{"aid": "F04F54534D0901", "name": "Test"}],
            **changes,
        }
    )


@pytest.mark.parametrize("name", sorted(DEMOS))
def test_demo_file_when_built_again_then_the_same_bytes(name: str) -> None:
    description = CapSpec.from_dict(json.loads(CAPS.joinpath(f"{name}.json").read_text()))
    stored = CAPS.joinpath(DEMOS[name]).read_bytes()
    build = build_raw if DEMOS[name].endswith(".ijc") else build_cap
    assert build(description) == stored


@pytest.mark.parametrize(
    ("name", "package", "module"),
    [
        ("bank", "F04F54534D01", "F04F54534D0101"),
        ("transit", "F04F54534D02", "F04F54534D0201"),
        ("badge", "F04F54534D03", "F04F54534D0301"),
        ("ppse", "F04F54534D00", "F04F54534D0001"),
    ],
)
def test_demo_file_when_read_then_its_package_and_module(name: str, package: str, module: str) -> None:
    load_file = read_load_file(CAPS.joinpath(DEMOS[name]).read_bytes())
    assert str(load_file.package_aid) == package
    assert [str(aid) for aid in load_file.applets] == [module]
    assert 1000 < load_file.code_bytes < 8000


@pytest.mark.parametrize("cap_format", ["2.1", "2.2"])
@pytest.mark.parametrize("count", [1, 2, 8])
def test_build_when_several_applets_then_every_install_method_is_found(cap_format: str, count: int) -> None:
    applets = [{"aid": f"F04F54534D09{n:02X}", "name": f"A{n}"} for n in range(count)]
    load_file = read_load_file(build_raw(spec(applets=applets, format=cap_format, code_bytes=1500)))
    components = {component.tag: component for component in load_file.components}
    methods = components[ComponentTag.Method].body
    for applet in parse_applets(components[ComponentTag.Applet]):
        # install(byte[], short, byte): stack 2, three arguments, then the instruction `new`.
        assert methods[applet.install_method_offset :][:3] == bytes.fromhex("02308F")
    sizes = directory_sizes(components[ComponentTag.Directory], load_file.cap_format)
    assert {tag: len(component.body) for tag, component in components.items()}.items() <= sizes.items()


@settings(max_examples=60)
@given(st.integers(0, 60_000))
def test_build_when_size_asked_for_then_at_least_that_and_hardly_more(size: int) -> None:
    load_file = read_load_file(build_raw(spec(code_bytes=size)))
    (method,) = (one for one in load_file.components if one.tag is ComponentTag.Method)
    smallest = 39
    assert size <= len(method.body) <= max(size + 2, smallest)


def test_build_when_zip_then_manifest_and_fixed_dates() -> None:
    with zipfile.ZipFile(io.BytesIO(build_cap(spec()))) as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        manifest = archive.read("META-INF/MANIFEST.MF").decode()
    assert "Java-Card-Package-AID: 0xf0:0x4f:0x54:0x53:0x4d:0x09" in manifest
    assert all(len(line) <= 72 for line in manifest.split("\r\n"))


FRAMEWORK = {"aid": "A0000000620101", "version": "1.0"}


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"colour": 1}, "unknown entries: colour"),
        ({"package": 1}, "package is missing"),
        ({"package": {"aid": "F04F54534D09", "version": "1.0"}}, "name is missing"),
        ({"package": {"aid": "F0", "name": "x", "version": "1.0"}}, "5 to 16 bytes"),
        ({"package": {"aid": "F04F54534D09", "name": "x", "version": "1"}}, "major.minor"),
        ({"package": {"aid": "F04F54534D09", "name": "x", "version": "1.300"}}, "major.minor"),
        ({"applets": []}, "1 to 8 applets"),
        ({"applets": ["A"]}, "list of objects"),
        ({"applets": [{"aid": "F04F54534D09", "name": "A"}]}, "all differ"),
        ({"applets": [{"aid": "A000000000000001", "name": "A"}]}, "RID"),
        ({"imports": []}, "javacard.framework"),
        ({"imports": [{"aid": "A0000000620101", "version": "x.y"}]}, "major.minor"),
        ({"format": "3.1"}, "format is 2.1 or 2.2"),
        ({"code_bytes": "9"}, "code_bytes is a number"),
        ({"code_bytes": 100_000}, "code_bytes goes"),
    ],
)
def test_spec_when_wrong_then_said_what(changes: dict[str, object], word: str) -> None:
    with pytest.raises(CapError, match=word):
        spec(**changes)


def test_spec_when_own_imports_then_in_that_order() -> None:
    imports = [{"aid": "A0000000620001", "version": "1.0"}, FRAMEWORK]
    load_file = read_load_file(build_cap(spec(imports=imports)))
    assert [str(one.version) for one in load_file.imports] == ["1.0", "1.0"]
