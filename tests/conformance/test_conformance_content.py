"""Card content: load, install, extradite, delete, and the memory that comes back."""

import pytest
from tests.conformance.delegation import install_command, install_fields, load_fields, second_host
from tests.unit.vse.card_host import (
    INSTANCE,
    ISD,
    MODULE,
    NO_PRIVILEGES,
    PACKAGE,
    SD_MODULE,
    SD_PACKAGE,
    SSD,
    SSD2,
    SSD_PRIVILEGES,
    CardHost,
    host_with_session,
    load_file,
    make_card,
    make_keys,
    privileged_domain,
)

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.tlv import encode_tlv
from opentsm.card.gp import commands
from opentsm.card.gp.privileges import Privilege
from opentsm.vse.nvm import MemoryNvm

AM = Privilege.AUTHORIZED_MANAGEMENT
KEYS = make_keys(0x66)
OTHER_INSTANCE = Aid.from_hex("F0010203040102")


def host_with_domain(aid: Aid = SSD, privileges: Privilege = NO_PRIVILEGES) -> CardHost:
    host = host_with_session()
    privileged_domain(host, aid, privileges, KEYS)
    return host


def test_case_052_existing_load_file_or_instance_aid_is_refused() -> None:
    host = host_with_session()
    assert host.load() == 0x9000
    assert host.install() == 0x9000
    assert host.sw(commands.install_for_load(PACKAGE, None)) == 0x6A80
    assert host.sw(commands.install_for_load(INSTANCE, None)) == 0x6A80


def test_case_053_load_to_another_domain() -> None:
    host = host_with_domain()
    assert host.load(sd=Aid.from_hex("A0A0A0A0A0")) == 0x6A88
    assert host.load(sd=SSD) == 0x9000
    assert host.field_of(PACKAGE, 0xCC, 0x20) == SSD
    assert host.install() == 0x9000
    assert host.field_of(INSTANCE, 0xCC) == SSD
    assert host.load(load_file(SSD2), package=SSD2, sd=INSTANCE) == 0x6985


@pytest.mark.parametrize("numbers", [[0, 2], [0, 0], [1]])
def test_case_054_load_block_out_of_order_aborts_the_load(numbers: list[int]) -> None:
    host = host_with_session()
    assert host.sw(commands.install_for_load(PACKAGE, None)) == 0x9000
    blocks = commands.load_blocks(load_file(size=900), block_size=200)
    results = [host.sw(blocks[number]) for number in numbers]
    assert results[-1] == 0x6985
    assert host.sw(blocks[0]) == 0x6985
    assert host.states(0x20).keys() == {bytes(SD_PACKAGE), bytes.fromhex("F04F54534D00")}


def test_case_055_056_only_the_last_block_registers_the_load_file() -> None:
    host = host_with_session()
    assert host.ok(commands.install_for_load(PACKAGE, None)) == b"\x00"
    for command in commands.load_blocks(load_file(size=900), block_size=200):
        assert PACKAGE not in host.states(0x20)
        assert host.ok(command) == b"\x00"
    assert host.field_of(PACKAGE, 0x84, 0x10) == MODULE
    assert host.field_of(PACKAGE, 0xCE, 0x10) == bytes([1, 3])


def test_case_059_load_without_install_is_refused() -> None:
    host = host_with_session()
    assert host.sw(commands.load_blocks(load_file(), block_size=200)[0]) == 0x6985


def test_case_060_install_needs_a_known_module_and_a_free_aid() -> None:
    host = host_with_session()
    host.load()
    assert host.install(module=Aid.from_hex("F00102030499")) == 0x6A88
    assert host.install(MODULE) == 0x9000
    assert host.install(MODULE) == 0x6A80
    assert host.install(PACKAGE) == 0x6A80
    assert host.install(ISD) == 0x6A80


def test_case_061_new_domain_belongs_to_its_installer_and_new_application_to_its_load_files() -> None:
    host = host_with_domain(privileges=AM)
    host.select(SSD)
    host.authenticate(KEYS)
    assert host.create_domain(SSD2) == 0x9000
    assert host.field_of(SSD2, 0xCC) == SSD
    host.select()
    host.authenticate()
    assert host.field_of(SSD, 0xCC) == ISD
    assert host.load(sd=SSD) == 0x9000
    assert host.install() == 0x9000
    assert host.field_of(INSTANCE, 0xCC) == SSD


def test_case_053_061_authorized_domain_loads_and_installs_for_itself() -> None:
    """Card-clients.md, the flow that the traced clients use."""
    host = host_with_domain(privileges=AM)
    host.select(SSD)
    host.authenticate(KEYS)
    assert host.load() == 0x9000
    assert host.install() == 0x9000
    assert host.field_of(INSTANCE, 0xCC) == SSD
    assert host.sw(commands.delete(PACKAGE, related=True)) == 0x9000


def test_domain_package_of_the_issuer_is_closed_to_others_by_profile() -> None:
    host = CardHost(make_card(domain_package_open=False))
    host.authenticate()
    privileged_domain(host, SSD, AM, KEYS)
    host.select(SSD)
    host.authenticate(KEYS)
    assert host.create_domain(SSD2) == 0x6985


def test_case_062_install_parameters_need_c9() -> None:
    host = host_with_session()
    host.load()
    without = commands.install_for_install(
        PACKAGE, MODULE, INSTANCE, NO_PRIVILEGES, b"", make_selectable=True
    )
    assert host.sw(without) == 0x6A80
    with_empty = commands.install_for_install(
        PACKAGE, MODULE, INSTANCE, NO_PRIVILEGES, b"\xc9\x00", make_selectable=True
    )
    assert host.sw(with_empty) == 0x9000


def test_case_064_combined_load_install_make_selectable() -> None:
    host = host_with_session()
    assert host.sw(commands.install_for_combined_load(PACKAGE, None)) == 0x9000
    for command in commands.load_blocks(load_file(), block_size=200):
        assert host.sw(command) == 0x9000
    wrong = commands.install_for_combined_install(SD_PACKAGE, MODULE, INSTANCE, NO_PRIVILEGES, b"\xc9\x00")
    assert host.sw(wrong) == 0x6A80
    right = commands.install_for_combined_install(None, MODULE, INSTANCE, NO_PRIVILEGES, b"\xc9\x00")
    assert host.sw(right) == 0x9000
    assert host.states()[INSTANCE] == 0x07
    assert host.sw(right) == 0x6985


def test_combined_process_when_its_last_install_fails_then_nothing_is_written() -> None:
    nvm = MemoryNvm()
    host = CardHost(make_card(nvm=nvm))
    host.authenticate()
    host.ok(commands.install_for_combined_load(PACKAGE, None))
    for command in commands.load_blocks(load_file(), block_size=200):
        host.ok(command)
    writes, free = nvm.writes, host.free_memory()
    wrong = commands.install_for_combined_install(
        PACKAGE, MODULE, INSTANCE, Privilege.DELEGATED_MANAGEMENT, b"\xc9\x00"
    )
    assert host.sw(wrong) == 0x6A80
    assert (nvm.writes, host.free_memory()) == (writes, free)
    assert host.states(0x20).keys().isdisjoint({PACKAGE})


def test_case_065_extradition_moves_the_application_and_leaves_the_load_file() -> None:
    host = host_with_domain()
    host.load()
    host.install()
    assert host.ok(commands.install_for_extradition(INSTANCE, SSD)) == b"\x00"
    assert host.field_of(INSTANCE, 0xCC) == SSD
    assert host.field_of(PACKAGE, 0xCC, 0x20) == ISD


def test_case_066_load_file_does_not_go_to_a_domain_that_verifies_signatures() -> None:
    host = host_with_domain(privileges=Privilege.DAP_VERIFICATION)
    host.load()
    host.install()
    assert host.sw(commands.install_for_extradition(PACKAGE, SSD)) == 0x6985
    assert host.sw(commands.install_for_extradition(INSTANCE, SSD)) == 0x9000


def test_case_067_extradition_targets_that_are_refused() -> None:
    """No domain, unknown, locked, not personalized."""
    host = host_with_domain()
    host.load()
    host.install()
    host.create_domain(SSD2)
    assert host.sw(commands.install_for_extradition(INSTANCE, PACKAGE)) == 0x6A88
    assert host.sw(commands.install_for_extradition(INSTANCE, INSTANCE)) == 0x6985
    assert host.sw(commands.install_for_extradition(INSTANCE, SSD2)) == 0x6985
    assert host.sw(commands.lock(SSD)) == 0x9000
    assert host.sw(commands.install_for_extradition(INSTANCE, SSD)) == 0x6985


def test_case_068_domain_extradited_to_itself_is_a_root_of_its_own() -> None:
    without = Privilege(0x9EFE80) & ~Privilege.GLOBAL_REGISTRY
    host = CardHost(make_card(isd_privileges=without.to_bytes3().hex()))
    host.authenticate()
    # Tag 82 in the domain's parameters: accept extradition here, from anybody.
    host.create_domain(SSD, parameters=bytes.fromhex("820120"))
    host.forward_keys(SSD, KEYS)
    assert SSD in host.states()
    assert host.sw(commands.install_for_extradition(SSD, SSD)) == 0x9000
    assert SSD not in host.states()


def test_case_069_issuer_domain_is_not_extradited_and_no_cycle_arises() -> None:
    host = host_with_domain()
    assert host.sw(commands.install_for_extradition(ISD, SSD)) == 0x6985
    host.create_domain(SSD2)
    host.forward_keys(SSD2, KEYS)
    assert host.sw(commands.install_for_extradition(SSD2, SSD)) == 0x9000
    assert host.sw(commands.install_for_extradition(SSD, SSD2)) == 0x6985


def test_case_070_076_delete_of_load_file_and_instances() -> None:
    host = host_with_session()
    free = host.free_memory()
    host.load()
    host.install()
    host.install(OTHER_INSTANCE)
    assert host.sw(commands.delete(PACKAGE)) == 0x6985
    assert host.ok(commands.delete(INSTANCE)) == b"\x00"
    assert host.ok(commands.delete(PACKAGE, related=True)) == b"\x00"
    assert not {bytes(PACKAGE), bytes(OTHER_INSTANCE)} & (host.states(0x40) | host.states(0x20)).keys()
    assert host.free_memory() == free


def test_case_071_delete_of_domain_with_content_is_refused() -> None:
    host = host_with_domain()
    free = host.free_memory()
    host.load(sd=SSD)
    assert host.sw(commands.delete(SSD)) == 0x6985
    assert host.sw(commands.delete(PACKAGE)) == 0x9000
    assert host.free_memory() == free
    assert host.sw(commands.delete(SSD)) == 0x9000


def test_case_073_074_delete_of_foreign_object_needs_global_delete_or_acceptance() -> None:
    keys2 = make_keys(0x71)
    host = host_with_domain(privileges=AM)
    privileged_domain(host, SSD2, AM, keys2)
    host.load(sd=SSD)
    host.install()
    host.select(SSD2)
    host.authenticate(keys2)
    assert host.sw(commands.delete(INSTANCE)) == 0x6985
    assert host.sw(commands.delete(PACKAGE, related=True)) == 0x6985
    host.select()
    host.authenticate()
    granted = AM | SSD_PRIVILEGES | Privilege.GLOBAL_DELETE
    assert host.sw(commands.install_for_registry_update(SSD2, privileges=granted)) == 0x9000
    host.select(SSD2)
    host.authenticate(keys2)
    assert host.sw(commands.delete(PACKAGE, related=True)) == 0x9000


def test_case_075_delete_of_an_imported_load_file_is_refused() -> None:
    host = host_with_session()
    library, user = Aid.from_hex("F0010203AA"), Aid.from_hex("F0010203BB")
    assert host.load(load_file(library, ()), package=library) == 0x9000
    assert host.load(load_file(user, imports=(library,)), package=user) == 0x9000
    assert host.sw(commands.delete(library)) == 0x6985
    assert host.sw(commands.delete(user)) == 0x9000
    assert host.sw(commands.delete(library)) == 0x9000


def test_unknown_delete_and_unknown_targets_are_6a88() -> None:
    host = host_with_session()
    unknown = Aid.from_hex("A0A0A0A0A0")
    assert host.sw(commands.delete(unknown)) == 0x6A88
    assert host.sw(commands.install_for_make_selectable(unknown)) == 0x6A88
    assert host.sw(commands.install_for_extradition(unknown, ISD)) == 0x6A88
    assert host.sw(commands.install_for_personalization(unknown)) == 0x6A88


def test_issuer_domain_is_not_deleted() -> None:
    assert host_with_session().sw(commands.delete(ISD)) == 0x6985


def implicit_install(host: CardHost, aid: Aid) -> int:
    system = encode_tlv(0xEF, encode_tlv(0xCF, b"\x40"))
    command = commands.install_for_install(
        PACKAGE, MODULE, aid, NO_PRIVILEGES, b"\xc9\x00" + system, make_selectable=True
    )
    return host.sw(command)


def test_case_077_078_implicit_selection_has_one_holder_and_goes_back() -> None:
    host = host_with_session()
    host.load()
    assert implicit_install(host, INSTANCE) == 0x9000
    assert implicit_install(host, OTHER_INSTANCE) == 0x6985
    assert host.field_of(INSTANCE, 0xCF) == b"\x40"
    host.card.power_off()
    host.card.power_on()
    assert host.raw("80CA004200").sw == 0x6D00
    host.select()
    host.authenticate()
    assert host.sw(commands.delete(INSTANCE)) == 0x9000
    host.card.power_off()
    host.card.power_on()
    assert host.raw("80CA004200").sw == 0x9000


def test_damaged_load_files_are_refused_and_leave_nothing() -> None:
    host = host_with_session()
    good = load_file()
    free = host.free_memory()
    damaged = {
        "cut": good[:-1],
        "magic": good[:3] + b"\x00" + good[4:],
        "other package": load_file(SSD2),
        "no header": good[3 + good[2] :],
        "component twice": good + good,
        "one byte": b"\x01",
    }
    for name, block in damaged.items():
        assert host.load(block) == 0x6985, name
    assert host.free_memory() == free
    assert host.load(good) == 0x9000


def test_module_of_another_load_file_is_not_taken_twice() -> None:
    host = host_with_session()
    host.load()
    assert host.load(load_file(SSD2), package=SSD2) == 0x6985


def test_imports_are_checked_by_profile() -> None:
    host = CardHost(make_card(check_imports=True))
    host.authenticate()
    platform = bytes.fromhex("A0000000620101")
    assert host.load(load_file(imports=(platform, bytes.fromhex("F0F0F0F0F0")))) == 0x6985
    assert host.load(load_file(imports=(platform,))) == 0x9000


def test_domain_module_and_privilege_go_together() -> None:
    host = host_with_session()
    host.load()
    assert host.install(privileges=SSD_PRIVILEGES) == 0x6A80
    assert host.install(SSD, module=SD_MODULE, package=SD_PACKAGE) == 0x6A80


def test_domain_parameters_name_a_supported_protocol() -> None:
    host = host_with_session()
    assert host.create_domain(SSD, parameters=bytes.fromhex("81020215")) == 0x6A80
    assert host.create_domain(SSD, parameters=bytes.fromhex("81020370")) == 0x9000


@pytest.mark.parametrize("data", ["", "05F001020304", "05F00102030400000000FF", "0100000000", "80"])
@pytest.mark.parametrize("p1", [0x02, 0x04, 0x08, 0x0C, 0x10, 0x20, 0x40])
def test_malformed_install_is_refused_and_changes_nothing(p1: int, data: str) -> None:
    host = host_with_session()
    before = host.card.image()
    assert host.sw(CommandApdu(0x80, 0xE6, p1, 0, bytes.fromhex(data))) in {0x6A80, 0x6985}
    assert host.card.image() == before


NOTE_PACKAGE, NOTE_MODULE = Aid.from_hex("F04F54534D7F"), Aid.from_hex("F04F54534D7F01")


@pytest.mark.parametrize("privileges", ["0100", "03000000"])
def test_case_063_applet_sees_aid_privileges_and_parameters(privileges: str) -> None:
    """§A.1: as they stand in the command."""
    host = host_with_session()
    assert host.load(load_file(NOTE_PACKAGE, (NOTE_MODULE,)), package=NOTE_PACKAGE) == 0x9000
    names = bytes.fromhex("06F04F54534D7F07F04F54534D7F0107F0010203040101")
    fields = names + bytes.fromhex(privileges) + bytes.fromhex("05C90301020300")
    assert host.sw(CommandApdu(0x80, 0xE6, 0x0C, 0x00, fields, 256)) == 0x9000
    host.select(INSTANCE)
    expected = bytes.fromhex("07F0010203040101" + privileges + "03010203")
    assert host.raw("80B0000100").data == expected


def test_case_072_application_that_is_selected_on_another_channel_is_not_deleted() -> None:
    host = host_with_session()
    assert host.load() == 0x9000
    assert host.install() == 0x9000
    assert host.raw("0070000001").data == b"\x01"
    assert host.raw("01A4040007F0010203040101").sw == 0x9000
    assert host.sw(commands.delete(INSTANCE)) == 0x6985
    assert host.sw(commands.delete(PACKAGE, related=True)) == 0x6985
    assert host.raw("01A4040000").sw == 0x9000
    assert host.sw(commands.delete(PACKAGE, related=True)) == 0x9000


def chained_install(host: CardHost, cut: int = 10) -> list[int]:
    """INSTALL [for install] in two parts; the status words."""
    fields = bytes.fromhex("05F00102030406F0010203040107F0010203040101010002C90000")
    parts = [
        CommandApdu(0x80, 0xE6, 0x8C, 0, fields[:cut]),
        CommandApdu(0x80, 0xE6, 0x0C, 0, fields[cut:], 256),
    ]
    return [host.raw(part).sw for part in parts]


@pytest.mark.parametrize("cut", [0, 1, 10, 33])
def test_case_079_install_in_parts_is_the_same_as_one(cut: int) -> None:
    host = host_with_session(level=0x00)
    assert host.load() == 0x9000
    assert chained_install(host, cut) == [0x9000, 0x9000]
    assert host.states()[bytes(INSTANCE)] == 0x07


@pytest.mark.parametrize(
    "between",
    [
        "80CA004200",
        "80E60C0000",
        "80E6840001FF",
        "80E68C0101FF",
        "80E48000024F00",
        "8050000008" + "00" * 8 + "00",
    ],
)
def test_case_079_another_command_between_is_refused_and_drops_the_series(between: str) -> None:
    """The part behind it stands alone then."""
    host = host_with_session(level=0x00)
    assert host.load() == 0x9000
    fields = bytes.fromhex("05F001020304")
    assert host.raw(CommandApdu(0x80, 0xE6, 0x8C, 0, fields)).sw == 0x9000
    if between == "80E60C0000":  # of the same header: the last part, with nothing in it
        assert host.raw(between).sw == 0x6A80
        return
    assert host.raw(between).sw == 0x6985
    assert host.raw("80CA004200").sw == 0x9000
    assert chained_install(host) == [0x9000, 0x9000]


def test_case_079_delete_in_parts_and_what_select_forgets() -> None:
    host = host_with_session(level=0x00)
    assert host.load() == 0x9000
    assert host.raw("80E48000034F05F0").sw == 0x9000
    assert host.raw("80E400000401020304").sw == 0x9000
    assert host.raw("80E48000034F05F0").sw == 0x9000
    host.select()
    host.authenticate(level=0x00)
    assert host.raw("80E400000401020304").sw == 0x6A80


@pytest.mark.parametrize("between", ["0070000001", "00700000FF", "00A4040005F0F0F0F0F000"])
def test_case_079_commands_of_the_card_itself_drop_the_series(between: str) -> None:
    """§11.1.5.1: the parts directly follow each other; MANAGE CHANNEL and a SELECT in vain are no parts."""
    host = host_with_session(level=0x00)
    assert host.raw("80E48000034F05F0").sw == 0x9000
    host.raw(between)
    assert host.raw("80E400000401020304").sw == 0x6A80


def test_case_079_a_card_without_chaining_or_without_room_says_6a86() -> None:
    host = CardHost(make_card(command_chaining=False))
    host.authenticate(level=0x00)
    for command in ("80E68C0001FF", "80E48000024F00", "80D8808101FF"):
        assert host.raw(command).sw == 0x6A86
    host = CardHost(make_card(chain_limit=300))
    host.authenticate(level=0x00)
    part = CommandApdu(0x80, 0xE6, 0x8C, 0, bytes(200))
    assert host.raw(part).sw == 0x9000
    assert host.raw(part).sw == 0x6A86
    assert host.raw("80CA004200").sw == 0x9000


def test_case_081_provider_of_load_file_and_application_is_kept() -> None:
    """§11.5.2.3.7: 5F20 in B6."""
    host = host_with_session()
    control = bytes.fromhex("B6075F2004AABBCCDD")
    assert host.sw(commands.install_for_load(PACKAGE, None, parameters=control)) == 0x9000
    for command in commands.load_blocks(load_file(), block_size=200):
        assert host.sw(command) == 0x9000
    command = commands.install_for_install(
        PACKAGE, MODULE, INSTANCE, NO_PRIVILEGES, b"\xc9\x00" + control, make_selectable=True
    )
    assert host.sw(command) == 0x9000
    image = host.card.image()
    package, instance = image.load_file(PACKAGE), image.instance(INSTANCE)
    assert package is not None and instance is not None
    assert package.provider == instance.provider == bytes.fromhex("AABBCCDD")


def test_case_059_load_does_not_go_on_in_another_session() -> None:
    """Whoever opens the next session may be somebody else, and INSTALL [for load] was not theirs."""
    host = host_with_session()
    host.ok(commands.install_for_load(PACKAGE, None))
    first, *_ = commands.load_blocks(load_file(), block_size=200)
    host.authenticate()
    assert host.sw(first) == 0x6985
    assert PACKAGE not in host.states(0x20)


@pytest.mark.parametrize(("p1", "expected"), [(0x04, 0x6A80), (0x0C, 0x9000)])
def test_case_077_implicit_selection_goes_with_make_selectable_only(p1: int, expected: int) -> None:
    """§11.5.2.3.7: an application that is only installed cannot be selected."""
    host = host_with_session()
    host.load()
    parameters = encode_tlv(0xC9, b"") + encode_tlv(0xEF, encode_tlv(0xCF, b"\x40"))
    fields = install_fields(params=parameters)
    assert host.sw(install_command(p1, 0x00, fields)) == expected
    assert (host.field_of(INSTANCE, 0xCF) == b"\x40") is (expected == 0x9000)


def test_case_064_load_file_that_another_channel_loaded_meanwhile_is_refused() -> None:
    """§6.5.1.1: its name was free when the combined process began."""
    host = host_with_session()
    host.ok(install_command(0x0E, 0x01, load_fields(digest=b"")))
    for command in commands.load_blocks(load_file(), block_size=200):
        host.ok(command)
    assert second_host(host).load() == 0x9000
    assert host.sw(install_command(0x0E, 0x03, install_fields())) == 0x6985
    assert INSTANCE not in host.states()
    assert [entry.aid for entry in host.card.image().load_files].count(bytes(PACKAGE)) == 1


def test_case_053_domain_that_is_locked_during_the_load_gets_nothing() -> None:
    """§5.3.2.4: it accepted when INSTALL [for load] came."""
    host = host_with_session()
    privileged_domain(host, SSD, NO_PRIVILEGES, make_keys(0x66))
    host.ok(commands.install_for_load(PACKAGE, SSD))
    *blocks, last = commands.load_blocks(load_file(), block_size=200)
    for block in blocks:
        host.ok(block)
    free = host.free_memory()
    other = second_host(host)
    other.ok(commands.lock(SSD))
    assert host.sw(last) == 0x6985
    assert PACKAGE not in host.states(0x20)
    assert host.free_memory() == free
    other.ok(commands.unlock(SSD))
    assert host.load(sd=SSD) == 0x9000
