"""Contactless Self-Activation, by commands: an applet that asks the card for its own state (Amendment C)."""

import pytest
from tests.unit.vse.card_host import CardHost, load_file, make_card

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.gp.privileges import Privilege

PACKAGE, MODULE = Aid.from_hex("F04F54534D7F"), Aid.from_hex("F04F54534D7F01")
NOTE = Aid.from_hex("F04F54534D7F000001")
DEACTIVATED, ACTIVATED, NON_ACTIVATABLE = 0x00, 0x01, 0x80


def note(privileges: Privilege) -> CardHost:
    """A host in a session through a note that is deactivated."""
    host = CardHost(make_card(contactless_activated=False))
    host.authenticate()
    assert host.load(load_file(PACKAGE, (MODULE,)), package=PACKAGE) == 0x9000
    assert host.install(NOTE, module=MODULE, package=PACKAGE, privileges=privileges) == 0x9000
    host.select(NOTE)
    host.authenticate()
    return host


def ask(host: CardHost, state: int) -> int:
    return host.sw(CommandApdu(0x80, 0xF0, 0x00, state))


def state_of(host: CardHost) -> int:
    instance = host.card.image().instance(NOTE)
    assert instance is not None
    return instance.contactless.state if instance.contactless is not None else DEACTIVATED


def test_self_activation_when_held_then_the_application_activates_itself() -> None:
    host = note(Privilege.CONTACTLESS_SELF_ACTIVATION)
    assert ask(host, ACTIVATED) == 0x9000
    assert state_of(host) == ACTIVATED


def test_self_activation_when_absent_then_refused_and_only_activation() -> None:
    host = note(Privilege.NONE)
    assert ask(host, ACTIVATED) == 0x6982
    assert state_of(host) == DEACTIVATED
    assert ask(host, NON_ACTIVATABLE) == 0x9000
    assert state_of(host) == NON_ACTIVATABLE
    assert ask(host, DEACTIVATED) == 0x9000
    assert ask(host, ACTIVATED) == 0x6982


@pytest.mark.parametrize(("state", "expected"), [(0x02, 0x6A80), (0x81, 0x6A80)])
def test_state_when_there_is_no_such_then_refused(state: int, expected: int) -> None:
    assert ask(note(Privilege.CONTACTLESS_SELF_ACTIVATION), state) == expected


def test_state_when_asked_for_without_authentication_then_refused() -> None:
    host = note(Privilege.CONTACTLESS_SELF_ACTIVATION)
    host.select(NOTE)
    assert ask(host, ACTIVATED) == 0x6982
    assert state_of(host) == DEACTIVATED
