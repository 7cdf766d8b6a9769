"""Life cycles of applications and security domains."""

import pytest
from tests.unit.vse.card_host import (
    INSTANCE,
    ISD,
    NO_PRIVILEGES,
    SSD,
    SSD2,
    CardHost,
    host_with_session,
    load_file,
    make_card,
    make_keys,
    privileged_domain,
)

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.gp import commands
from opentsm.card.gp.instructions import StatusTarget
from opentsm.card.gp.privileges import Privilege
from opentsm.vse.lifecycle import CARD_TRANSITIONS, CardState

KEYS = make_keys(0x66)
OTHER = make_keys(0x71)


def installed(selectable: bool = True) -> CardHost:
    host = host_with_session()
    host.load()
    host.install(selectable=selectable)
    return host


def test_case_025_install_variants_reach_their_states() -> None:
    host = installed(selectable=False)
    assert host.states()[INSTANCE] == 0x03
    assert host.sw(commands.install_for_make_selectable(INSTANCE)) == 0x9000
    assert host.states()[INSTANCE] == 0x07
    assert host.sw(commands.install_for_make_selectable(INSTANCE)) == 0x6985


@pytest.mark.parametrize("selectable", [False, True])
def test_case_026_030_lock_remembers_the_state_and_unlock_restores_it(selectable: bool) -> None:
    host = installed(selectable)
    before = host.states()[INSTANCE]
    assert host.sw(commands.lock(INSTANCE)) == 0x9000
    assert host.states()[INSTANCE] == before | 0x80
    assert host.sw(commands.lock(INSTANCE)) == 0x6985
    assert host.sw(commands.unlock(INSTANCE)) == 0x9000
    assert host.states()[INSTANCE] == before
    assert host.sw(commands.unlock(INSTANCE)) == 0x6985


def nested() -> CardHost:
    """SSD2 is below SSD, INSTANCE belongs to SSD2."""
    host = host_with_session()
    privileged_domain(host, SSD, NO_PRIVILEGES, KEYS)
    privileged_domain(host, SSD2, NO_PRIVILEGES, OTHER)
    host.load(sd=SSD2)
    host.install()
    assert host.sw(commands.install_for_extradition(SSD2, SSD)) == 0x9000
    return host


def test_case_027_indirect_ancestor_locks_and_foreign_domain_does_not() -> None:
    host = nested()
    third = Aid.from_hex("A0000001510000AA03")
    privileged_domain(host, third, NO_PRIVILEGES, make_keys(0x78))
    host.select(SSD)
    host.authenticate(KEYS)
    assert host.sw(commands.lock(INSTANCE)) == 0x9000
    host.select(third)
    host.authenticate(make_keys(0x78))
    assert host.sw(commands.unlock(INSTANCE)) == 0x6985


def test_case_028_global_lock_reaches_every_application() -> None:
    host = installed()
    privileged_domain(host, SSD, Privilege.GLOBAL_LOCK, KEYS)
    host.select(SSD)
    host.authenticate(KEYS)
    assert host.sw(commands.lock(INSTANCE)) == 0x9000
    assert host.sw(commands.unlock(INSTANCE)) == 0x9000


def test_case_029_domain_may_lock_itself_but_not_unlock() -> None:
    """For a security domain."""
    host = host_with_session()
    privileged_domain(host, SSD, NO_PRIVILEGES, KEYS)
    host.select(SSD)
    host.authenticate(KEYS)
    assert host.sw(commands.lock(SSD)) == 0x9000
    assert host.raw(commands.get_data(0x42)).sw == 0x6985
    host.select()
    host.authenticate()
    assert host.sw(commands.unlock(SSD)) == 0x9000
    assert host.states()[SSD] == 0x0F


def test_case_031_hierarchy_lock_passes_over_what_is_locked_already() -> None:
    host = nested()
    assert host.sw(commands.lock(INSTANCE)) == 0x9000
    assert host.sw(commands.lock(SSD, with_applications=True)) == 0x9000
    states = host.states()
    assert (states[SSD], states[SSD2], states[INSTANCE]) == (0x8F, 0x8F, 0x87)
    assert host.sw(commands.unlock(SSD, with_applications=True)) == 0x9000
    states = host.states()
    assert (states[SSD], states[SSD2], states[INSTANCE]) == (0x0F, 0x0F, 0x07)


@pytest.mark.parametrize("privilege", [NO_PRIVILEGES, Privilege.GLOBAL_LOCK])
def test_hierarchy_when_its_own_domain_unlocks_it_by_its_name_then_refused(privilege: Privilege) -> None:
    """§9.6.2: nobody unlocks itself; what is below it has names of its own."""
    host = host_with_session()
    privileged_domain(host, SSD, privilege, KEYS)
    host.load(sd=SSD)
    host.install()
    host.select(SSD)
    host.authenticate(KEYS)
    host.ok(commands.lock(INSTANCE))
    assert host.sw(commands.unlock(SSD, with_applications=True)) == 0x6985
    assert host.sw(commands.unlock(INSTANCE)) == 0x9000


def test_case_031_033_hierarchy_lock_passes_over_the_final_application() -> None:
    """§9.6.2: whoever holds Final Application is neither locked nor unlocked."""
    host = host_with_session()
    privileged_domain(host, SSD, NO_PRIVILEGES, KEYS)
    host.load(sd=SSD)
    host.install(privileges=Privilege.FINAL_APPLICATION)
    assert host.field_of(INSTANCE, 0xCC) == SSD
    assert host.sw(commands.lock(SSD, with_applications=True)) == 0x9000
    states = host.states()
    assert (states[SSD], states[INSTANCE]) == (0x8F, 0x07)


def test_case_033_domain_with_final_application_does_not_lock_itself() -> None:
    host = host_with_session()
    privileged_domain(host, SSD, Privilege.FINAL_APPLICATION, KEYS)
    host.select(SSD)
    host.authenticate(KEYS)
    assert host.sw(commands.lock(SSD)) == 0x6985
    assert host.states()[SSD] == 0x0F


def test_case_032_c0_is_not_the_hierarchy() -> None:
    host = installed()
    assert host.sw(CommandApdu(0x80, 0xF0, 0xC0, 0x80, bytes(INSTANCE))) == 0x6A86


def test_case_033_final_application_is_not_locked() -> None:
    host = host_with_session()
    host.load()
    assert host.install(privileges=Privilege.FINAL_APPLICATION) == 0x9000
    assert host.sw(commands.lock(INSTANCE)) == 0x6985


def test_case_034_locked_domain_refuses_everything_and_receives_nothing() -> None:
    host = host_with_session()
    privileged_domain(host, SSD, NO_PRIVILEGES, KEYS)
    host.load()
    host.install()
    assert host.sw(commands.lock(SSD)) == 0x9000
    assert host.sw(commands.install_for_extradition(INSTANCE, SSD)) == 0x6985
    assert host.load(load_file(SSD2, ()), package=SSD2, sd=SSD) == 0x6985
    assert host.select(SSD).sw == 0x6A82


def test_case_037_domain_without_keys_does_not_take_content() -> None:
    """Neither as receiver nor as processor."""
    host = host_with_session()
    host.create_domain(
        SSD, Privilege.SECURITY_DOMAIN | Privilege.AUTHORIZED_MANAGEMENT | Privilege.TRUSTED_PATH
    )
    assert host.load(sd=SSD) == 0x6985
    host.select(SSD)
    host.authenticate()
    assert host.load() == 0x6985


def test_case_037_selectable_domain_may_process_content_when_the_profile_allows() -> None:
    """Switch: the receiver must be PERSONALIZED all the same."""
    host = CardHost(make_card(content_domain_personalized=False))
    host.authenticate()
    host.create_domain(
        SSD, Privilege.SECURITY_DOMAIN | Privilege.AUTHORIZED_MANAGEMENT | Privilege.TRUSTED_PATH
    )
    host.select(SSD)
    host.authenticate()
    assert host.sw(commands.install_for_load(SSD2, None)) == 0x6985
    assert host.sw(commands.install_for_load(SSD2, ISD)) == 0x6985


def test_case_038_unknown_aid_in_set_status_is_6a88() -> None:
    assert host_with_session().sw(commands.lock(Aid.from_hex("A0A0A0A0A0"))) == 0x6A88


def test_case_036_other_domain_looks_only_at_bit_8() -> None:
    """0F from another domain means unlock, and fails on what is not locked."""
    host = host_with_session()
    host.create_domain()
    command = commands.set_status(StatusTarget.APPLICATION, 0x0F, SSD)
    assert host.sw(command) == 0x6985
    host.sw(commands.lock(SSD))
    assert host.sw(command) == 0x9000
    assert host.states()[SSD] == 0x07


def test_case_020_low_bits_of_p1_are_ignored() -> None:
    host = installed()
    assert host.sw(CommandApdu(0x80, 0xF0, 0x5F, 0x80, bytes(INSTANCE))) == 0x9000


@pytest.mark.parametrize("start", list(CardState))
@pytest.mark.parametrize("end", list(CardState))
def test_case_021_022_023_card_moves_are_those_of_the_table(start: CardState, end: CardState) -> None:
    host = CardHost(make_card(isd_state=int(start)))
    if start == CardState.TERMINATED:
        assert host.raw(commands.initialize_update(0, bytes(8))).sw == 0x6985
        return
    host.authenticate()
    expected = 0x9000 if (start, end) in CARD_TRANSITIONS else 0x6985
    assert host.sw(commands.set_status(StatusTarget.CARD, end)) == expected
    assert host.card.image().isd.state == (end if expected == 0x9000 else start)
