"""A fleet of virtual cards: what is measured, and what cards of one kind share."""

import json

import pytest
from tests.unit.vse.card_host import FACTORY_KEYS, CardHost, make_card
from typer.testing import CliRunner

from opentsm.bench import fleet
from opentsm.cli.bench import bench_app
from opentsm.vse.card import VirtualCard
from opentsm.vse.nvm import MemoryNvm


def test_fleet_when_measured_then_every_figure_is_there() -> None:
    result = CliRunner().invoke(bench_app, ["fleet", "--cards", "3", "--json"])
    figures = json.loads(result.stdout)
    assert figures["cards"] == 3 and figures["profile"] == "scp03-i70" and figures["image_bytes"] > 500
    assert all(figures[name] > 0 for name in figures if name.endswith("_per_s"))


def test_fleet_when_cards_cannot_do_it_then_an_error_and_no_figures() -> None:
    with pytest.raises(fleet.FleetError):
        fleet.measure(cards=1, profile="scp03-s16-i71")


def test_cards_when_of_one_kind_then_they_share_its_profile() -> None:
    one, two, other = make_card(), make_card(), make_card("scp03-i60")
    assert one.profile is two.profile and one.profile is not other.profile
    assert one.image().profile is two.image().profile and one.image() is not one.image()


class CountingNvm(MemoryNvm):
    """Counts how often the image is read."""

    reads = 0

    def load(self) -> bytes | None:
        self.reads += 1
        return super().load()


def test_image_when_card_is_powered_on_then_read_at_the_first_command_only() -> None:
    nvm = CountingNvm()
    card = make_card(nvm=nvm)
    nvm.reads = 0
    assert card.power_on() and card.is_powered and nvm.reads == 0
    host = CardHost(card)
    host.select()
    host.authenticate(FACTORY_KEYS)
    assert nvm.reads == 1
    card.power_off()
    assert card.transmit(bytes.fromhex("00A4040000")) == bytes.fromhex("6F00")


def test_power_when_it_comes_back_then_what_was_saved_is_there_and_the_session_is_not() -> None:
    card = make_card()
    host = CardHost(card)
    host.select()
    host.authenticate(FACTORY_KEYS)
    card.power_on()
    assert host.channel is not None
    assert VirtualCard.open(MemoryNvm(card._nvm.load())).image() == card.image()
    assert card.transmit(bytes.fromhex("80F28002024F0000")) == bytes.fromhex("6982")
