"""Conformance case 80: minimum, quota and reserved memory (GPCS 2.3.1 §9.7, §11.5.2.3.7, FF21)."""

import pytest
from tests.conformance.delegation import (
    SECOND,
    install_command,
    install_fields,
    load_fields,
    selectable_fields,
    update_fields,
)
from tests.unit.vse.card_host import (
    INSTANCE,
    PACKAGE,
    SD_MODULE,
    SD_PACKAGE,
    SSD,
    CardHost,
    host_with_session,
    load_file,
    make_card,
    make_keys,
)

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.gp import commands
from opentsm.card.gp.instructions import StoreDataStructure

INSTANCE_RECORD = 64


def volatile_memory(host: CardHost) -> int:
    """Free volatile memory: 83 in FF21."""
    data = host.ok(commands.get_data(0xFF21))
    at = data.index(b"\x83\x04")
    return int.from_bytes(data[at + 2 : at + 6], "big")


def install(host: CardHost, system: str) -> int:
    """INSTALL [for install and make selectable] with these system parameters."""
    value = bytes.fromhex(system)
    params = b"\xc9\x00\xef" + bytes([len(value)]) + value
    return host.sw(install_command(0x0C, 0x00, install_fields(params=params)))


def install_domain(host: CardHost, system: str) -> int:
    """INSTALL [for install and make selectable] of a security domain with these system parameters."""
    value = bytes.fromhex(system)
    params = b"\xc9\x00\xef" + bytes([len(value)]) + value
    fields = install_fields(
        SSD, package=SD_PACKAGE, module=SD_MODULE, privileges=b"\x80\x80\x00", params=params
    )
    return host.sw(install_command(0x0C, 0x00, fields))


def store_key_set(host: CardHost) -> CommandApdu:
    """STORE DATA of three AES-128 keys."""
    block = host.key_group(make_keys(0x66))
    return commands.store_data(block, 0, last=True, structure=StoreDataStructure.DGI)


def loaded() -> CardHost:
    """A host in the issuer's session, PACKAGE is loaded."""
    host = host_with_session()
    assert host.load() == 0x9000
    return host


def test_case_080_full_card_says_so_and_delete_gives_all_back() -> None:
    host = CardHost(make_card(memory=3000))
    host.authenticate()
    free = host.free_memory()
    assert host.load(load_file(size=6000)) == 0x6A84
    assert host.free_memory() == free
    assert host.load(load_file(size=1000)) == 0x9000
    assert host.free_memory() < free - 1000
    assert host.sw(commands.delete(PACKAGE)) == 0x9000
    assert host.free_memory() == free


def test_case_080_reserved_memory_counts_at_once_and_quota_limits() -> None:
    host = loaded()
    free = host.free_memory()
    assert install(host, "D8020400C8020500") == 0x9000
    assert free - host.free_memory() == 1024 + INSTANCE_RECORD
    host.ok(commands.install_for_personalization(INSTANCE))
    results = [host.sw(commands.store_data(bytes(200), n, last=False)) for n in range(7)]
    assert results[-1] == 0x6A84
    assert results[0] == 0x9000
    assert host.sw(commands.delete(INSTANCE)) == 0x9000
    assert host.free_memory() == free


def test_case_080_quota_alone_reserves_nothing() -> None:
    host = loaded()
    free = host.free_memory()
    assert install(host, "C8024000C7020100") == 0x9000
    assert free - host.free_memory() == INSTANCE_RECORD
    assert volatile_memory(host) == 8192


def test_case_080_reserved_volatile_memory_lowers_ff21_and_comes_back() -> None:
    host = loaded()
    assert volatile_memory(host) == 8192
    assert install(host, "D7020300C7020400") == 0x9000
    assert volatile_memory(host) == 8192 - 0x300
    assert host.sw(commands.delete(INSTANCE)) == 0x9000
    assert volatile_memory(host) == 8192


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ("D8020600C8020500", 0x6A80),
        ("D7020600C7020500", 0x6A80),
        ("C803000500", 0x6A80),
        ("D70100", 0x6A80),
        ("D8047FFFFFFF", 0x6A84),
        ("D7022001", 0x6A84),
        ("D70400002000", 0x9000),
    ],
)
def test_case_080_quota_below_reserved_wrong_length_and_too_much(system: str, expected: int) -> None:
    host = loaded()
    assert install(host, system) == expected
    assert (INSTANCE in host.states()) == (expected == 0x9000)


@pytest.mark.parametrize(("quota", "expected"), [("0047", 0x6A84), ("0048", 0x9000)])
def test_case_080_quota_of_a_security_domain_limits_its_keys(quota: str, expected: int) -> None:
    """Three AES-128 keys take 3 x (8 + 16) = 72 bytes here."""
    host = host_with_session()
    assert install_domain(host, "C802" + quota) == 0x9000
    host.ok(commands.install_for_personalization(SSD))
    free = host.free_memory()
    assert host.sw(store_key_set(host)) == expected
    assert free - host.free_memory() == (72 if expected == 0x9000 else 0)


def test_case_080_keys_of_a_security_domain_go_into_its_reserved_memory_first() -> None:
    host = CardHost(make_card(memory=1000))
    host.authenticate()
    spare = host.free_memory() - INSTANCE_RECORD
    assert install_domain(host, f"D802{spare - 10:04X}") == 0x9000
    assert host.free_memory() == 10
    host.ok(commands.install_for_personalization(SSD))
    assert host.sw(store_key_set(host)) == 0x9000
    assert host.free_memory() == 10


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ("C6047FFFFFFF", 0x6A84),
        ("C8047FFFFFFF", 0x6A84),
        ("C7022001", 0x6A84),
        ("C6020100C7022000C8020100", 0x9000),
        ("C603000100", 0x6A80),
    ],
)
def test_case_080_minimum_of_a_load_must_be_free_and_reserves_nothing(system: str, expected: int) -> None:
    host = host_with_session()
    free = host.free_memory()
    value = bytes.fromhex(system)
    params = b"\xef" + bytes([len(value)]) + value
    assert host.sw(install_command(0x02, 0x00, load_fields(digest=b"", params=params))) == expected
    assert host.free_memory() == free


@pytest.mark.parametrize(
    "params",
    [
        "C900EF08C8020500C8020600",
        "C900EF08D8020100D8020100",
        "C900EF04C8020500EF04C7020100",
        "C900C90101",
    ],
    ids=["quota", "reserved", "system", "application"],
)
def test_install_when_a_parameter_stands_twice_then_refused(params: str) -> None:
    """Of two values neither can be right (section 11.5.2.3.7)."""
    host = loaded()
    before = host.card.image()
    fields = install_fields(params=bytes.fromhex(params))
    assert host.sw(install_command(0x0C, 0x00, fields)) == 0x6A80
    assert host.card.image().instances == before.instances


@pytest.mark.parametrize("p1", [0x02, 0x08, 0x40])
def test_other_installs_when_a_system_parameter_stands_twice_then_refused(p1: int) -> None:
    host = loaded()
    host.ok(install_command(0x04, 0x00, install_fields()))
    twice = bytes.fromhex("EF08C8020500C8020500")
    fields = {
        0x02: load_fields(SECOND, digest=b"", params=twice),
        0x08: selectable_fields(params=twice),
        0x40: update_fields(INSTANCE, b"", params=twice),
    }
    assert host.sw(install_command(p1, 0x00, fields[p1])) == 0x6A80


@pytest.mark.parametrize(("parameters", "expected"), [("820120820100", 0x6A80), ("81020370", 0x9000)])
def test_domain_when_a_policy_stands_twice_then_refused(parameters: str, expected: int) -> None:
    assert host_with_session().create_domain(parameters=bytes.fromhex(parameters)) == expected


def test_install_when_implicit_selection_stands_twice_then_both_count() -> None:
    host = loaded()
    fields = install_fields(params=bytes.fromhex("C900EF06CF0140CF0141"))
    assert host.sw(install_command(0x0C, 0x00, fields)) == 0x9000
    made = host.card.image().instance(INSTANCE)
    assert made is not None and made.implicit == [0x40, 0x41]


def test_store_data_when_the_quota_is_passed_then_the_series_before_is_kept() -> None:
    host = loaded()
    assert install(host, "C8020080") == 0x9000
    for data, expected in ((bytes(40), 0x9000), (bytes(200), 0x6A84)):
        host.ok(commands.install_for_personalization(INSTANCE))
        assert host.sw(commands.store_data(data, 0, last=True)) == expected
    kept = host.card.image().instance(INSTANCE)
    assert kept is not None and list(kept.store.values()) == [b"\x80" + bytes(40)]
