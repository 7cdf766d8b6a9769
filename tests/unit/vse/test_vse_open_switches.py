"""Where the specification is silent: each switch of the profile in both positions.

Those of secure channels are with their cases in `tests/conformance`.
"""

import pytest
from tests.unit.vse.card_host import (
    PACKAGE,
    SSD,
    CardHost,
    host_with_session,
    load_file,
    make_card,
    make_keys,
    privileged_domain,
)

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.gp import commands
from opentsm.card.gp.instructions import StatusTarget
from opentsm.card.gp.privileges import Privilege

KEYS = make_keys(0x66)


@pytest.mark.parametrize(("by", "sw"), [("issuer", 0x6985), ("authorized", 0x9000)])
def test_initialization_when_asked_by_an_authorized_domain(by: str, sw: int) -> None:
    host = CardHost(make_card(isd_state=0x01, initialization_by=by))
    host.authenticate()
    privileged_domain(host, SSD, Privilege.AUTHORIZED_MANAGEMENT, KEYS)
    host.select(SSD)
    host.authenticate(KEYS)
    assert host.sw(commands.set_status(StatusTarget.CARD, 0x07)) == sw
    host.select()
    host.authenticate()
    assert host.sw(commands.set_status(StatusTarget.CARD, 0x0F if sw == 0x9000 else 0x07)) == 0x9000


@pytest.mark.parametrize("by", ["issuer", "authorized"])
def test_initialization_when_asked_by_a_domain_without_privilege(by: str) -> None:
    host = CardHost(make_card(isd_state=0x01, initialization_by=by))
    host.authenticate()
    privileged_domain(host, SSD, Privilege.NONE, KEYS)
    host.select(SSD)
    host.authenticate(KEYS)
    assert host.sw(commands.set_status(StatusTarget.CARD, 0x07)) == 0x6985


@pytest.mark.parametrize(("code", "sw"), [("6985", 0x6985), ("6A86", 0x6A86)])
@pytest.mark.parametrize("aborts", [True, False])
def test_load_block_when_out_of_order(code: str, sw: int, aborts: bool) -> None:
    host = CardHost(make_card(load_order=code, load_order_aborts=aborts))
    host.authenticate()
    assert host.sw(commands.install_for_load(PACKAGE, None)) == 0x9000
    first, second, *rest = commands.load_blocks(load_file(size=500), block_size=200)
    assert host.sw(first) == 0x9000
    assert host.sw(first) == sw
    expected = 0x6985 if aborts else 0x9000
    assert [host.sw(block) for block in (second, *rest)] == [expected] * (1 + len(rest))


@pytest.mark.parametrize(("wraps", "sw"), [(True, 0x9000), (False, 0x6985)])
def test_load_block_when_more_than_256(wraps: bool, sw: int) -> None:
    host = CardHost(make_card(load_blocks_wrap=wraps))
    host.authenticate(level=0x00)
    assert host.sw(commands.install_for_load(PACKAGE, None)) == 0x9000
    blocks = commands.load_blocks(load_file(size=600), block_size=2)
    assert len(blocks) > 256
    results = [host.sw(block) for block in blocks[:256]]
    assert set(results) == {0x9000}
    assert host.sw(blocks[256]) == sw


@pytest.mark.parametrize(("code", "sw"), [("6A80", 0x6A80), ("6985", 0x6985)])
def test_key_when_it_exists(code: str, sw: int) -> None:
    host = CardHost(make_card(key_exists=code))
    host.authenticate()
    assert host.put_keys(make_keys(0x51), 0x30).sw == sw
    twice = host_with_session()
    assert twice.put_keys(make_keys(0x51), 0x31).sw == 0x9000


@pytest.mark.parametrize(("removed", "sw"), [(True, 0x6A88), (False, 0x9000)])
def test_factory_keys_when_the_first_own_set_comes(removed: bool, sw: int) -> None:
    host = CardHost(make_card(initial_kvn=0xFF, factory_keys_removed=removed))
    host.authenticate()
    assert host.put_keys(make_keys(0x51), 0x31).sw == 0x9000
    assert host.raw(CommandApdu(0x80, 0x50, 0xFF, 0x00, bytes(8), 256)).sw == sw


@pytest.mark.parametrize("by_keys", [True, False])
@pytest.mark.parametrize("parameters", ["", "8400"])
def test_domain_when_its_first_keys_come_waits_for_set_status_if_it_or_the_profile_says_so(
    by_keys: bool, parameters: str
) -> None:
    """Tag 84 of a domain's C9 (UICC Configuration): the change to PERSONALIZED is asked for."""
    host = host_with_session(make_card(personalized_by_keys=by_keys))
    assert host.create_domain(SSD, parameters=bytes.fromhex(parameters)) == 0x9000
    host.forward_keys(SSD, KEYS)
    automatic = by_keys and not parameters
    assert host.states()[SSD] == (0x0F if automatic else 0x07)
    host.select(SSD)
    host.authenticate(KEYS)
    asked = host.sw(commands.set_status(StatusTarget.APPLICATION, 0x0F, SSD))
    assert asked == (0x6985 if automatic else 0x9000)
    assert host.states()[SSD] == 0x0F
