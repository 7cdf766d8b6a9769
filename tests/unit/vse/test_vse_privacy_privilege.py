"""Privacy Trusted, a privilege that only some cards know; the card records it (Privacy Framework)."""

from tests.unit.vse.card_host import INSTANCE, CardHost, make_card

from opentsm.card.gp.privileges import Privilege


def recorded(*, privacy_framework: bool) -> bytes | None:
    """What GET STATUS shows of an application that asked for it."""
    host = CardHost(make_card(privacy_framework=privacy_framework, assignable_application="1EBFB8"))
    host.authenticate()
    host.load()
    assert host.install(privileges=Privilege.PRIVACY_TRUSTED) == 0x9000
    return host.field_of(INSTANCE, 0xC5)


def test_privacy_trusted_when_the_card_knows_it_then_recorded() -> None:
    assert recorded(privacy_framework=True) == bytes.fromhex("000008")


def test_privacy_trusted_when_the_card_does_not_know_it_then_its_bit_means_nothing() -> None:
    assert recorded(privacy_framework=False) == bytes(3)
