"""Orders about who is there and what is locked, on top of those on content and domains."""

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from tests.unit.vse.card_beside_model import (
    DOMAINS,
    EVERYTHING,
    FATES,
    NOBODY,
    PACKAGES,
    Draw,
)
from tests.unit.vse.card_memory_orders import MemoryOrders
from tests.unit.vse.card_model import (
    INSTALLED,
    ISD,
    LOCKED,
    REFUSED,
    UNKNOWN,
    Reasons,
)
from tests.unit.vse.card_seat import Seat, Transport

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.gp import commands
from opentsm.card.gp.instructions import StatusTarget
from opentsm.card.gp.privileges import Privilege


class CardOrders(MemoryOrders):
    """The issuer sits on the basic channel; a guest may sit on another."""

    @initialize(
        draw=st.data(),
        domains=st.sampled_from([0, 1, 2, 3, 3]),
        loaded=st.booleans(),
        transport=st.sampled_from(Transport),
    )
    def begin(self, draw: Draw, domains: int, loaded: bool, transport: Transport) -> None:
        """Start somewhere on the way, so that the rare things come within few steps."""
        self.issue(transport)
        self.beginning = True
        for _ in range(domains):
            self.create_domain(draw)
            self.forward_keys(draw)
        if loaded:
            self.load(draw)
            self.install(draw)
        if domains:
            self.enter(draw)
        self.beginning = False

    @precondition(lambda self: self.guest is None and self.model.of("domain"))
    @rule(draw=st.data())
    def enter(self, draw: Draw) -> None:
        """Another channel, and there a session with a domain by its own keys or those above it."""
        model = self.model
        domains = [aid for aid in model.of("domain") if model.entries[model.key_owner(aid)].keys]
        open_ = [a for a in domains if not model.is_locked(a) and model.entries[a].state != INSTALLED]
        strangers = [aid for aid in DOMAINS if aid not in model.entries or aid in domains]
        ready = [one for one in open_ if model.is_ready(one)]
        aid = self.choose(draw, ready or open_, strangers or [NOBODY])
        guest = self.guest = self.open_channel(aid)
        if aid in open_:
            self.authenticate(guest)
            self.note("enter", done=True)
        else:
            # §6.4.2.1.2: a name that nobody has goes to what is selected, perhaps by Card Reset.
            passed_on = aid not in model.entries and not model.holds(ISD, Privilege.CARD_RESET)
            assert guest.select(aid).sw in ({0x6A82, 0x6D00} if passed_on else {0x6A82})
            self.note("enter", done=False)
            self.close()

    def open_channel(self, aid: Aid) -> Seat:
        assert self.issuer.raw(CommandApdu(0x00, 0x70, 0x00, 0x01)).sw == 0x9000
        return Seat(self.card, number=1, aid=aid, transport=self.transport)

    @precondition(lambda self: self.guest is not None)
    @rule()
    def close(self) -> None:
        assert self.issuer.raw(CommandApdu(0x00, 0x70, 0x80, 0x01)).sw == 0x9000
        self.guest = None

    @precondition(lambda self: self.model.of("application", "domain"))
    @rule(draw=st.data(), lock=st.booleans(), tree=st.booleans())
    def lock(self, draw: Draw, lock: bool, tree: bool) -> None:
        seat, model = self.actor(draw), self.model
        kinds = ("domain",) if tree else ("domain", "application")
        # A domain that does not see an object may still hold Global Lock, or try.
        lock = lock or not any(model.is_locked(aid) for aid in model.of(*kinds))
        good = [
            aid for aid in model.of(*kinds) if not model.lock_reasons(seat.aid, aid, lock=lock, tree=tree)
        ]
        foreign = [aid for aid in model.of("domain", "application") if aid != seat.aid]
        aid = self.choose(draw, foreign if self.strays(draw, 4) else good, foreign or EVERYTHING)
        reasons = {UNKNOWN} if aid in PACKAGES else model.lock_reasons(seat.aid, aid, lock=lock, tree=tree)
        self.set_lock(seat, aid, reasons, lock=lock, tree=tree)

    def set_lock(self, seat: Seat, aid: Aid, reasons: Reasons, *, lock: bool, tree: bool) -> None:
        target = StatusTarget.SECURITY_DOMAIN_TREE if tree else StatusTarget.APPLICATION
        command = commands.set_status(target, LOCKED if lock else 0x00, aid)
        name = f"{'lock' if lock else 'unlock'} {'tree' if tree else 'one'}"
        if self.order(name, seat, command, reasons):
            self.model.lock(aid, lock=lock, tree=tree)
            self.end_locked_session()

    def end_locked_session(self) -> None:
        """§5.3.2.4: a locked domain refuses everything; so the guest goes."""
        if self.guest is not None and self.model.is_locked(self.guest.aid):
            assert self.guest.raw(commands.get_data(0xE0)).sw == REFUSED
            self.close()

    @rule(fate=st.sampled_from(FATES))
    def prepare_a_fault(self, fate: str) -> None:
        """The next order meets it."""
        self.fate = fate

    @rule(draw=st.data())
    def lock_card(self, draw: Draw) -> None:
        """§5.1.1.4: with Card Lock; nothing changes then until the card is unlocked."""
        seat, isd, self.fate = self.actor(draw), self.model.entries[ISD], ""
        reasons = set() if self.model.holds(seat.aid, Privilege.CARD_LOCK) else {REFUSED}
        if not self.order("lock card", seat, commands.set_status(StatusTarget.CARD, 0x7F), reasons):
            return
        isd.state = 0x7F
        self.registry_is_the_models()
        aid = draw.draw(st.sampled_from(EVERYTHING))
        for command in (
            commands.delete(aid),
            commands.install_for_extradition(aid, DOMAINS[0]),
            commands.install_for_load(PACKAGES[0], None),
            commands.install_for_make_selectable(aid),
            commands.delete_key(None, 0x31),
        ):
            self.order("in locked card", self.actor(draw), command, {REFUSED})
        if self.guest is None:
            assert self.issuer.raw(CommandApdu(0x00, 0x70, 0x00, 0x01)).sw == 0x6A81
        assert self.order("unlock card", self.issuer, commands.set_status(StatusTarget.CARD, 0x0F), set())
        isd.state = 0x0F
