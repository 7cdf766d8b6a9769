"""STORE DATA: to the security domain, forwarded to an application, and its block numbers."""

import pytest
from tests.conformance.delegation import second_host
from tests.unit.vse.card_host import (
    INSTANCE,
    ISD,
    SSD,
    CardHost,
    host_with_session,
    load_file,
    make_card,
    make_keys,
    privileged_domain,
)

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import ResponseApdu
from opentsm.card.codec.dgi import encode_dgi
from opentsm.card.codec.tlv import encode_tlv
from opentsm.card.gp import commands
from opentsm.card.gp.instructions import StoreDataStructure
from opentsm.card.gp.privileges import Privilege

DGI = StoreDataStructure.DGI
TLV = StoreDataStructure.BER_TLV


def stored(host: CardHost, aid: Aid = INSTANCE) -> dict[str, bytes]:
    instance = host.card.image().instance(aid)
    assert instance is not None
    return instance.store


def personalizing() -> CardHost:
    host = host_with_session()
    host.load()
    host.install()
    assert host.ok(commands.install_for_personalization(INSTANCE)) == b"\x00"
    return host


def test_case_119_issuer_domain_answers_to_its_new_aid() -> None:
    host = host_with_session()
    host.load()
    new = Aid.from_hex("A0000001510000FF")
    assert host.sw(commands.store_data(encode_tlv(0x4F, new), 0, last=True, structure=TLV)) == 0x9000
    assert host.select(new).sw == 0x9000
    assert host.raw(commands.select(ISD)).sw == 0x6A82
    host.authenticate()
    assert set(host.states(0x20)) >= {bytes.fromhex("F001020304")}
    assert host.free_memory() > 0


@pytest.mark.parametrize("tag", [0x42, 0x45, 0x66])
def test_case_119_objects_are_stored_and_read_back(tag: int) -> None:
    host = host_with_session()
    value = encode_tlv(0x73, b"\x01\x02") if tag == 0x66 else b"\x01\x02\x03"
    data = encode_tlv(tag, value)
    assert host.sw(commands.store_data(data, 0, last=True, structure=TLV)) == 0x9000
    assert host.ok(commands.get_data(tag)) == data


@pytest.mark.parametrize("tag", [0xC1, 0xC2, 0xD3, 0xFF21, 0x2F, 0x4E])
def test_case_120_objects_of_the_card_itself_are_refused(tag: int) -> None:
    host = host_with_session()
    data = encode_tlv(tag, b"\x01")
    assert host.sw(commands.store_data(data, 0, last=True, structure=TLV)) == 0x6A80


def test_case_121_wrapped_objects_and_values_over_several_blocks() -> None:
    host = host_with_session()
    value = bytes(range(200))
    group = encode_dgi(0x0070, encode_tlv(0x45, value))
    assert host.sw(commands.store_data(group[:90], 0, last=False, structure=DGI)) == 0x9000
    assert host.sw(commands.store_data(group[90:], 1, last=True, structure=DGI)) == 0x9000
    assert host.ok(commands.get_data(0x45)) == encode_tlv(0x45, value)


def test_case_121_wrong_block_number_starts_over() -> None:
    host = host_with_session()
    data = encode_tlv(0x45, b"\x07")
    assert host.sw(commands.store_data(data, 0, last=False)) == 0x9000
    assert host.sw(commands.store_data(data, 2, last=True)) == 0x6985
    assert host.sw(commands.store_data(data, 1, last=True)) == 0x6985
    assert host.sw(commands.store_data(data, 0, last=True)) == 0x9000


def test_case_123_personalization_reaches_the_application_until_the_last_block() -> None:
    host = personalizing()
    assert host.sw(commands.store_data(b"\x01\x02", 0, last=False, structure=DGI)) == 0x9000
    assert host.sw(commands.store_data(b"\x03", 1, last=True, structure=DGI)) == 0x9000
    assert stored(host) == {"block.00": b"\x08\x01\x02", "block.01": b"\x88\x03"}
    assert host.sw(commands.store_data(encode_tlv(0x45, b"\x07"), 0, last=True)) == 0x9000
    assert host.ok(commands.get_data(0x45)) == bytes.fromhex("450107")


@pytest.mark.parametrize("end", ["select", "authenticate", "power"])
def test_case_124_personalization_ends_with_its_session(end: str) -> None:
    host = personalizing()
    if end == "power":
        host.card.power_off()
        host.card.power_on()
    if end != "authenticate":
        host.select()
    host.authenticate()
    assert host.sw(commands.store_data(encode_tlv(0x45, b"\x07"), 0, last=True)) == 0x9000
    assert stored(host) == {}


@pytest.mark.parametrize("change", ["extradited", "locked"])
def test_case_124_personalization_ends_when_another_channel_takes_the_target_away(change: str) -> None:
    """§7.3.2: the target is directly associated with the domain, and not locked."""
    host = personalizing()
    privileged_domain(host, SSD, Privilege.NONE, make_keys(0x66))
    host.ok(commands.install_for_personalization(INSTANCE))
    other = second_host(host)
    other.ok(
        commands.install_for_extradition(INSTANCE, SSD) if change == "extradited" else commands.lock(INSTANCE)
    )
    assert host.sw(commands.store_data(b"\x01\x02", 0, last=True, structure=DGI)) == 0x6985
    assert stored(host) == {}


def test_case_124_personalization_ends_when_another_channel_deletes_the_target() -> None:
    """What comes then is the security domain's own."""
    host = personalizing()
    second_host(host).ok(commands.delete(INSTANCE))
    assert host.ok(commands.store_data(encode_tlv(0x45, b"\x07"), 0, last=True)) == b""
    assert host.ok(commands.get_data(0x45)) == bytes.fromhex("450107")


def test_case_123_keys_go_to_the_domain_that_is_personalized() -> None:
    """With a security domain as target."""
    host = host_with_session()
    host.create_domain()
    host.forward_keys(SSD, make_keys(0x66))
    instance = host.card.image().instance(SSD)
    assert instance is not None
    assert instance.domain is not None
    assert instance.domain.versions() == (0x31,)


def test_oversized_series_is_refused_and_forgotten() -> None:
    host = CardHost(make_card(store_data_limit=300))
    host.authenticate()
    results = [host.sw(commands.store_data(bytes(200), n, last=False)) for n in range(2)]
    assert results == [0x9000, 0x6A84]
    assert host.sw(commands.store_data(encode_tlv(0x45, b"\x07"), 0, last=True)) == 0x9000


@pytest.mark.parametrize(
    "data",
    [
        "0070",
        "00700442",
        "00B900",
        "00B903B90100",
        "81130400000000",
        "12340101",
        "00B912B91095013880018881011082010183013184031122",
    ],
)
def test_malformed_groups_are_6a80_and_store_nothing(data: str) -> None:
    host = host_with_session()
    before = host.card.image()
    sw = host.sw(commands.store_data(bytes.fromhex(data), 0, last=True, structure=DGI))
    assert sw == (0x9000 if data == "00B900" else 0x6A80)
    assert host.card.image() == before


def test_case_125_response_data_needs_case_4() -> None:
    """§11.11.2.1: P1 b1; what is refused leaves no trace in the application."""
    package, module = Aid.from_hex("F04F54534D7F"), Aid.from_hex("F04F54534D7F01")
    host = host_with_session(level=0x00)
    assert host.load(load_file(package, (module,)), package=package) == 0x9000
    assert host.install(INSTANCE, module=module, package=package) == 0x9000

    def personalized(p1: str, note: str) -> ResponseApdu:
        assert host.raw(commands.install_for_personalization(INSTANCE)).sw == 0x9000
        return host.raw(f"80E2{p1}00{len(note) // 2:02X}{note}")

    assert personalized("80", "AA") == ResponseApdu(b"", 0x9000)
    assert personalized("80", "BB") == ResponseApdu(b"", 0x6A86)
    assert stored(host)["note"] == b"\xaa"
    assert personalized("81", "CC") == ResponseApdu(b"\xaa", 0x9000)
    assert stored(host)["note"] == b"\xcc"
