"""The thin path: a level-33 session, a load file, an opaque instance, the registry shows both."""

from tests.unit.vse.card_host import INSTANCE, ISD, MODULE, PACKAGE, CardHost, host_with_session, make_card

from opentsm.card.codec.tlv import find
from opentsm.card.gp import commands


def test_load_and_install_at_level_33_then_registry_shows_them() -> None:
    host = host_with_session()
    assert host.load() == 0x9000
    assert host.install() == 0x9000
    assert host.states(0x40)[INSTANCE] == 0x07
    assert find(host.status(0x10, PACKAGE)[0], 0x84) == MODULE
    assert host.states(0x80) == {ISD: 0x0F}


def test_content_survives_a_power_cycle() -> None:
    host = host_with_session()
    host.load()
    host.install()
    host.card.power_off()
    host.card.power_on()
    again = CardHost(host.card)
    assert again.select(INSTANCE).sw == 0x9000


def test_transmit_without_power_answers_6f00() -> None:
    card = make_card()
    card.power_off()
    assert card.transmit(commands.select().to_bytes()) == bytes.fromhex("6F00")
