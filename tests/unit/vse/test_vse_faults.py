"""Power cuts, lost answers and what the memory holds afterwards."""

from collections.abc import Callable

import pytest
from tests.unit.vse.card_host import (
    FACTORY_KEYS,
    INSTANCE,
    PACKAGE,
    SSD,
    CardHost,
    host_with_session,
    load_file,
    make_card,
    make_keys,
    privileged_domain,
    random_bytes,
)

from opentsm.card.gp import commands
from opentsm.card.gp.privileges import Privilege
from opentsm.vse import domain_commands
from opentsm.vse.card import VirtualCard
from opentsm.vse.faults import FaultPlan, LostAnswerError, TornError
from opentsm.vse.nvm import MemoryNvm
from opentsm.vse.state import CardImage

NEW = make_keys(0x51)


def deploy(host: CardHost) -> None:
    """A deployment in one session: domain, keys, load, install, personalize, rotate, clean up."""
    host.select()
    host.authenticate()
    host.create_domain()
    host.forward_keys(SSD, make_keys(0x66))
    assert host.load(load_file(size=700), sd=SSD) == 0x9000
    assert host.install() == 0x9000
    assert host.put_keys(NEW, 0x31).sw == 0x9000
    host.ok(commands.delete(INSTANCE))


def count(run: Callable[[CardHost], None]) -> tuple[int, int]:
    card = make_card()
    plan = FaultPlan()
    card.arm(plan)
    run(CardHost(card))
    return plan.apdus, plan.writes


APDUS, WRITES = count(deploy)


class WatchedCard(VirtualCard):
    """Notes its content after each APDU."""

    seen: list[CardImage]

    def transmit(self, raw: bytes) -> bytes:
        answer = super().transmit(raw)
        self.seen.append(self.image())
        return answer


def images() -> list[CardImage]:
    """The card's content before the first and after each APDU of an undisturbed deployment."""
    nvm = MemoryNvm()
    make_card(nvm=nvm)
    card = WatchedCard(nvm, random=random_bytes)
    card.seen = [card.image()]
    card.power_on()
    deploy(CardHost(card))
    return card.seen


UNDISTURBED = images()


def torn(plan: FaultPlan) -> VirtualCard:
    card = make_card()
    card.arm(plan)
    with pytest.raises(TornError):
        deploy(CardHost(card))
    card.arm(FaultPlan())
    return card


@pytest.mark.parametrize("n", range(1, APDUS + 1))
def test_power_cut_before_an_apdu_leaves_the_state_before_it(n: int) -> None:
    card = torn(FaultPlan(cut_before_apdu=n))
    assert card.image() == UNDISTURBED[n - 1]
    assert_alive(card)


@pytest.mark.parametrize("n", range(1, APDUS + 1))
def test_power_cut_after_an_apdu_leaves_the_state_after_it(n: int) -> None:
    card = torn(FaultPlan(cut_after_apdu=n))
    assert card.image() == UNDISTURBED[n]
    assert_alive(card)


@pytest.mark.parametrize("n", range(1, WRITES + 1))
@pytest.mark.parametrize("kind", ["cut_before_write", "cut_after_write"])
def test_power_cut_around_a_write_leaves_old_or_new_and_never_a_mixture(kind: str, n: int) -> None:
    plan = FaultPlan(**{kind: n})
    card = torn(plan)
    expected = UNDISTURBED[plan.apdus - 1] if kind == "cut_before_write" else UNDISTURBED[plan.apdus]
    assert card.image() == expected
    assert_alive(card)


def assert_alive(card: VirtualCard) -> None:
    assert not card.is_powered
    card.power_on()
    host = CardHost(card)
    assert host.raw(commands.get_status(0x80)).sw == 0x6982
    host.authenticate(FACTORY_KEYS, kvn=0x30)
    assert host.status(0x80)


def test_a_cut_between_load_blocks_loses_the_load_but_nothing_else() -> None:
    host = host_with_session()
    before = host.free_memory()
    host.ok(commands.install_for_load(PACKAGE, None))
    block = commands.load_blocks(load_file(size=900), block_size=200)[0]
    host.card.arm(FaultPlan(cut_after_apdu=1))
    with pytest.raises(TornError):
        host.send(block)
    host.card.arm(FaultPlan())
    host.card.power_on()
    host.select()
    host.authenticate()
    assert host.free_memory() == before
    assert host.sw(block) == 0x6985
    assert host.load() == 0x9000


def test_lost_answer_leaves_the_card_powered_and_the_command_done() -> None:
    host = host_with_session()
    host.load()
    host.card.arm(FaultPlan(lose_answer=1))
    with pytest.raises(LostAnswerError):
        host.install()
    assert host.card.is_powered
    assert host.states()[INSTANCE] == 0x07


def test_a_refused_command_does_not_write() -> None:
    nvm = MemoryNvm()
    host = host_with_session(make_card(nvm=nvm))
    before = nvm.writes
    host.send(commands.delete(INSTANCE))
    host.send(commands.get_status(0x40))
    host.send(commands.get_data(0x66))
    assert nvm.writes == before


def test_each_changing_command_writes_once() -> None:
    nvm = MemoryNvm()
    host = host_with_session(make_card(nvm=nvm))
    privileged_domain(host, SSD, Privilege.NONE, make_keys(0x66))
    before = nvm.writes
    assert host.put_keys(NEW, 0x31).sw == 0x9000
    assert nvm.writes == before + 1


def test_an_internal_fault_is_6f00_and_forgets_what_was_not_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    host = host_with_session()
    before = host.card.image()

    def broken(*_: object) -> bytes:
        raise ZeroDivisionError

    failing = domain_commands.Command(broken, domain_commands.COMMANDS[0xE4].states)
    monkeypatch.setitem(domain_commands.COMMANDS, 0xE4, failing)
    assert host.channel is not None
    assert host.raw(host.channel.wrap(commands.delete(INSTANCE)).apdu).sw == 0x6F00
    assert host.card.image() == before
    assert host.raw(commands.get_status(0x80)).sw == 0x6982
