"""The orders that the card beside its model gets."""

import hashlib

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from tests.unit.vse.card_beside_model import (
    BAD_DOMAIN_PRIVILEGES,
    BAD_PRIVILEGES,
    DOMAIN_PRIVILEGES,
    DOMAINS,
    ENDS,
    EVERYTHING,
    FATES,
    INSTANCES,
    NOBODY,
    PACKAGES,
    PRIVILEGES,
    VERSIONS,
    Draw,
    ReadBesideModel,
    Seat,
    keys_of,
    module_of,
    same,
)
from tests.unit.vse.card_host import (
    SD_MODULE,
    SD_PACKAGE,
    load_file,
)
from tests.unit.vse.card_model import (
    DELETE,
    EXTRADITE,
    FULL,
    INSTALL,
    INSTALLED,
    ISD,
    LOAD,
    LOCKED,
    MAKE_SELECTABLE,
    PERSONALIZE,
    REFUSED,
    SELECTABLE,
    UNKNOWN,
    UPDATE,
    WRONG,
    Entry,
    Reasons,
)

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.crypto.secret import Secret
from opentsm.card.gp import commands
from opentsm.card.gp.install_params import SystemParameters, application_parameters, restrict_parameters
from opentsm.card.gp.instructions import StatusTarget, StoreDataStructure
from opentsm.card.gp.keys import KeyType, StaticKeys, put_key_field
from opentsm.card.gp.privileges import Privilege


class CardBesideModel(ReadBesideModel):
    """The issuer sits on the basic channel; a guest may sit on another."""

    @initialize(draw=st.data(), domains=st.sampled_from([0, 1, 2, 3, 3]), loaded=st.booleans())
    def begin(self, draw: Draw, domains: int, loaded: bool) -> None:
        """Start somewhere on the way, so that the rare things come within few steps."""
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

    @precondition(lambda self: self.unused(DOMAINS))
    @rule(draw=st.data())
    def create_domain(self, draw: Draw) -> None:
        seat, model = self.actor(draw), self.model
        aid = self.choose(draw, self.unused(DOMAINS), [*self.model.entries])
        bad = self.strays(draw, 11)
        privileges = draw.draw(st.sampled_from(BAD_DOMAIN_PRIVILEGES if bad else DOMAIN_PRIVILEGES))
        selectable = not self.strays(draw, 5)
        command = commands.install_for_install(
            SD_PACKAGE, SD_MODULE, aid, privileges, application_parameters(), make_selectable=selectable
        )
        reasons = model.privilege_reasons("domain", privileges)
        reasons |= {WRONG} if aid in model.entries else set()
        if self.manage(draw, seat, command, INSTALL, reasons):
            state = SELECTABLE if selectable else INSTALLED
            model.entries[aid] = Entry("domain", seat.aid, state, privileges, SD_PACKAGE)
            self.took("domain")

    @precondition(lambda self: self.unused(PACKAGES))
    @rule(draw=st.data())
    def load(self, draw: Draw) -> None:
        seat, model = self.actor(draw), self.model
        package = self.choose(draw, self.unused(PACKAGES), [*self.model.entries])
        named = draw.draw(st.booleans())
        receiver = self.choose(draw, self.receivers(seat) or [ISD], EVERYTHING) if named else None
        end = draw.draw(st.sampled_from(ENDS)) if self.strays(draw, 2) else "whole"
        reasons = model.receiver_reasons(seat.aid, receiver or seat.aid)
        reasons |= {WRONG} if package in model.entries else set()
        reasons |= {FULL} if end == "big" else set()
        inside = PACKAGES[package == PACKAGES[0]] if end == "damaged" else package
        block = load_file(inside, (module_of(package),), size=draw.draw(st.sampled_from([300, 500])))
        need = bytes.fromhex("EF06C604") + (self.free + 1).to_bytes(4, "big") if end == "big" else b""
        digest = hashlib.sha256(block).digest()
        command = commands.install_for_load(package, receiver, hash=digest, parameters=need)
        if self.manage(draw, seat, command, LOAD, reasons) and not self.cut:
            self.send_blocks(seat, package, receiver or seat.aid, block, end)

    def send_blocks(self, seat: Seat, package: Aid, owner: Aid, block: bytes, end: str) -> None:
        first, *rest = commands.load_blocks(block, block_size=200)
        if not self.order("block", seat, first, set()) or self.cut:
            return
        if end == "torn":
            self.reset()
        elif end == "aborted":
            self.order("abort", seat, commands.install_for_make_selectable(NOBODY), {UNKNOWN, REFUSED})
        elif end == "disordered":
            assert seat.sw(first) == REFUSED
        if end in {"torn", "aborted", "disordered"}:
            self.wake()
            if seat in self.seats():
                same(seat.sw(rest[0]), REFUSED)
            return
        for command in rest[:-1]:
            assert seat.sw(command) == 0x9000
        # §9.2.1: the domain wants a signature, and there is none.
        unsigned = self.model.holds(owner, Privilege.DAP_VERIFICATION)
        reasons = {REFUSED} if end == "damaged" or unsigned else set()
        if self.order("load", seat, rest[-1], reasons):
            self.model.entries[package] = Entry("package", owner, size=len(block))
            self.took("package", len(block))
            self.confirm(seat)

    @precondition(lambda self: self.model.of("package") and self.unused(INSTANCES))
    @rule(draw=st.data())
    def install(self, draw: Draw) -> None:
        seat, model = self.actor(draw), self.model
        package = self.choose(draw, self.mine(seat, "package"), PACKAGES)
        aid = self.choose(draw, self.unused(INSTANCES), [*self.model.entries])
        bad = self.strays(draw, 11)
        privileges = draw.draw(st.sampled_from(BAD_PRIVILEGES if bad else PRIVILEGES))
        selectable = draw.draw(st.booleans())
        reserved = draw.draw(st.sampled_from([0, 400]))
        reserved = self.free + 1 if self.strays(draw, 11) else reserved
        system = SystemParameters(nonvolatile_reserved=reserved or None)
        reasons = model.privilege_reasons("application", privileges)
        reasons |= model.final_reasons(SELECTABLE if selectable else INSTALLED, privileges)
        reasons |= (
            {WRONG}
            if aid in model.entries or (privileges & Privilege.CARD_RESET and not selectable)
            else set()
        )
        reasons |= {FULL} if reserved > self.free else set()
        if package not in model.entries:
            reasons |= {UNKNOWN}
        else:
            owner = model.entries[package].sd
            reasons |= model.control_reasons(seat.aid, package)
            reasons |= set() if model.is_ready(owner) else {REFUSED}
        command = commands.install_for_install(
            package,
            module_of(package),
            aid,
            privileges,
            application_parameters(system=system),
            make_selectable=selectable,
        )
        if self.manage(draw, seat, command, INSTALL, reasons):
            state, owner = SELECTABLE if selectable else INSTALLED, model.entries[package].sd
            model.entries[aid] = Entry("application", owner, state, Privilege.NONE, package, reserved)
            model.grant(aid, privileges)
            self.took("application", reserved)

    @precondition(lambda self: self.fresh(self.model.of("application", "domain")))
    @rule(draw=st.data())
    def make_selectable(self, draw: Draw) -> None:
        seat, model = self.actor(draw), self.model
        fresh = self.fresh(self.mine(seat, "application", "domain"))
        aid = self.choose(draw, fresh, INSTANCES + DOMAINS)
        entry, reasons = model.entries.get(aid), set[int]()
        if entry is None:
            reasons = {UNKNOWN}
        elif entry.state != INSTALLED:
            reasons = {REFUSED}
        if entry is not None:
            reasons |= model.control_reasons(seat.aid, aid)
        command = commands.install_for_make_selectable(aid)
        done = self.manage(draw, seat, command, MAKE_SELECTABLE, reasons)
        if done and entry:
            entry.state = SELECTABLE
            model.personalize(aid)

    @precondition(lambda self: self.model.of("domain"))
    @rule(draw=st.data())
    def forward_keys(self, draw: Draw) -> None:
        """§7.3.2: through the domain directly above, which has Trusted Path."""
        seat, model = self.actor(draw), self.model
        below = [aid for aid in model.of("domain") if model.entries[aid].sd == seat.aid != aid]
        bare = [aid for aid in below if not model.entries[aid].keys]
        aid = self.choose(draw, bare or below, DOMAINS)
        entry, reasons = model.entries.get(aid), model.actor_reasons(seat.aid, PERSONALIZE)
        if entry is None:
            reasons |= {UNKNOWN}
        elif entry.sd != seat.aid or aid == seat.aid or model.is_locked(aid):
            reasons |= {REFUSED}
        reasons |= set() if model.holds(seat.aid, Privilege.TRUSTED_PATH) else {REFUSED}
        done = self.order("direct", seat, commands.install_for_personalization(aid), reasons)
        if not done or entry is None or self.cut:
            return
        kvn, seed = self.new_set(draw, entry)
        block = seat.key_group(keys_of(seed), kvn)
        command = commands.store_data(block, 0, last=True, structure=StoreDataStructure.DGI)
        if self.order("forward", seat, command, {WRONG} if kvn in entry.keys else set()):
            model.put_set(aid, kvn, seed)
            self.took("keys")

    @rule(draw=st.data())
    def put_keys(self, draw: Draw) -> None:
        """Add a set to the actor's own, or replace one (§11.8)."""
        seat = self.actor(draw)
        entry = self.model.entries[seat.aid]
        kvn, seed = self.new_set(draw, entry)
        replaced = draw.draw(st.sampled_from(VERSIONS if self.strays(draw, 5) else [0, *entry.keys]))
        reasons = {WRONG} if kvn in entry.keys and kvn != replaced else set()
        reasons |= {UNKNOWN} if replaced and replaced not in entry.keys else set()
        assert seat.dek is not None
        fields = [put_key_field(key, KeyType.AES, seat.dek) for key in key_list(keys_of(seed))]
        command = commands.put_key(kvn, fields, replace_kvn=replaced)
        if self.order("put key", seat, command, reasons):
            self.model.put_set(seat.aid, kvn, seed, replaced=replaced)
            if not replaced:
                self.took("keys")

    @precondition(lambda self: any(len(self.model.entries[one.aid].keys) > 1 for one in self.seats()))
    @rule(draw=st.data())
    def delete_keys(self, draw: Draw) -> None:
        seat = self.actor(draw)
        entry = self.model.entries[seat.aid]
        more = [] if self.strays(draw, 5) else list(entry.keys)[seat.aid == ISD :]
        kvn = draw.draw(st.sampled_from(more or VERSIONS))
        reasons = {REFUSED} if seat.aid == ISD and set(entry.keys) == {kvn} else set()
        reasons |= set() if kvn in entry.keys else {UNKNOWN}
        if self.order("delete key", seat, commands.delete_key(None, kvn), reasons):
            del entry.keys[kvn], entry.counters[kvn]
            self.wake()
            self.free += self.costs.get("keys", self.issuer.free_memory() - self.free)

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
        target = StatusTarget.SECURITY_DOMAIN_TREE if tree else StatusTarget.APPLICATION
        reasons = {UNKNOWN} if aid in PACKAGES else model.lock_reasons(seat.aid, aid, lock=lock, tree=tree)
        command = commands.set_status(target, LOCKED if lock else 0x00, aid)
        name = f"{'lock' if lock else 'unlock'} {'tree' if tree else 'one'}"
        if self.order(name, seat, command, reasons):
            model.lock(aid, lock=lock, tree=tree)
            self.end_locked_session()

    def end_locked_session(self) -> None:
        """§5.3.2.4: a locked domain refuses everything; so the guest goes."""
        if self.guest is not None and self.model.is_locked(self.guest.aid):
            assert self.guest.raw(commands.get_data(0xE0)).sw == REFUSED
            self.close()

    @precondition(lambda self: self.model.of("domain"))
    @rule(draw=st.data())
    def extradite(self, draw: Draw) -> None:
        seat, model = self.actor(draw), self.model
        mine = self.mine(seat, "application", "package", "domain")
        pairs = [
            (aid, one)
            for aid in mine
            for one in self.receivers(seat)
            if one not in {aid, model.entries[aid].sd} and not model.transfer_reasons(seat.aid, aid, one)
        ]
        aid = self.choose(draw, [aid for aid, _ in pairs], EVERYTHING)
        receiver = self.choose(draw, [one for other, one in pairs if other == aid], DOMAINS)
        self.hand_over(draw, seat, aid, receiver)

    @precondition(lambda self: len(self.model.of("domain")) > 1)
    @rule(draw=st.data())
    def nest(self, draw: Draw) -> None:
        """Domains below domains, sometimes in a circle, seldom to itself."""
        seat, model = self.actor(draw), self.model
        aid = self.choose(draw, self.mine(seat, "domain"), DOMAINS)
        others = [one for one in model.of("domain") if one != aid]
        below = [one for one in others if aid in model.entries and aid in model.above(one)]
        self.hand_over(
            draw, seat, aid, self.choose(draw, below if below and self.strays(draw, 2) else others, [aid])
        )

    def hand_over(self, draw: Draw, seat: Seat, aid: Aid, receiver: Aid) -> None:
        model = self.model
        known = aid in model.entries and receiver in model.entries
        reasons = model.transfer_reasons(seat.aid, aid, receiver) if aid in model.entries else {UNKNOWN}
        reasons |= set() if known else {UNKNOWN}
        command = commands.install_for_extradition(aid, receiver)
        if self.manage(draw, seat, command, EXTRADITE, reasons):
            model.entries[aid].sd = receiver

    @precondition(lambda self: self.model.of("application", "domain"))
    @rule(draw=st.data())
    def update(self, draw: Draw) -> None:
        """Registry update: other privileges, another domain, restrictions; all or nothing."""
        seat, model = self.actor(draw), self.model
        aid = self.choose(draw, self.mine(seat, "application", "domain"), INSTANCES + DOMAINS)
        entry = model.entries.get(aid)
        is_domain = entry is not None and entry.kind == "domain"
        bad = self.strays(draw, 7)
        good = DOMAIN_PRIVILEGES if is_domain else PRIVILEGES
        privileges = draw.draw(
            st.sampled_from([None, *((BAD_DOMAIN_PRIVILEGES + BAD_PRIVILEGES) if bad else good)])
        )
        moves = self.strays(draw, 3)
        receiver = self.choose(draw, self.receivers(seat) or [ISD], DOMAINS) if moves else None
        functions = draw.draw(st.sampled_from([0] * 7 + [LOAD, PERSONALIZE])) if is_domain else 0
        reasons: Reasons = {UNKNOWN} if entry is None else model.control_reasons(seat.aid, aid)
        if entry is not None and privileges is not None:
            reasons |= model.privilege_reasons(entry.kind, privileges, entry.privileges)
            reasons |= model.final_reasons(entry.state, privileges, entry.privileges)
        if entry is not None and receiver is not None:
            reasons |= model.transfer_reasons(seat.aid, aid, receiver)
        command = commands.install_for_registry_update(
            aid,
            new_sd=receiver,
            privileges=privileges,
            parameters=restrict_parameters(functions) if functions else b"",
        )
        done = self.manage(draw, seat, command, UPDATE, reasons)
        if done and entry is not None:
            entry.restricted |= functions
            entry.sd = receiver or entry.sd
            if privileges is not None:
                model.grant(aid, privileges)

    @precondition(lambda self: self.guest is not None)
    @rule(draw=st.data(), functions=st.sampled_from([0x10, 0x40, 0x20]))
    def restrict_card(self, draw: Draw, functions: int) -> None:
        """§9.4.2.1: for good, and with Global Lock only; so mostly by one who may not."""
        seat = self.guest
        assert seat is not None
        reasons = set() if self.model.holds(seat.aid, Privilege.GLOBAL_LOCK) else {REFUSED}
        command = commands.install_for_registry_update(None, parameters=restrict_parameters(functions))
        if self.manage(draw, seat, command, UPDATE, reasons):
            self.model.restricted |= functions

    @precondition(lambda self: len(self.model.entries) > 3)
    @rule(draw=st.data(), related=st.booleans())
    def delete(self, draw: Draw, related: bool) -> None:
        seat, model = self.actor(draw), self.model
        selected = [one.aid for one in self.seats()]
        everything = model.of("application", "package", "domain")
        good = [a for a in everything if not model.delete_reasons(seat.aid, a, selected, related=related)]
        self.remove(draw, seat, self.choose(draw, good, EVERYTHING), related=related)

    @rule(draw=st.data(), related=st.booleans())
    def delete_what_must_stay(self, draw: Draw, related: bool) -> None:
        """What is selected, has content or instances, or is somebody else's."""
        seat, model = self.actor(draw), self.model
        selected = [one.aid for one in self.seats()]
        kept = [a for a in model.entries if model.delete_reasons(seat.aid, a, selected, related=related)]
        self.remove(
            draw,
            seat,
            draw.draw(st.sampled_from([one for one in kept if one != ISD] or [ISD])),
            related=related,
        )

    def remove(self, draw: Draw, seat: Seat, aid: Aid, *, related: bool) -> None:
        model = self.model
        reasons = model.delete_reasons(seat.aid, aid, [one.aid for one in self.seats()], related=related)
        command = commands.delete(aid, related=related)
        if self.manage(draw, seat, command, DELETE, reasons):
            for gone in model.doomed(aid, related=related):
                self.gave_back(model.remove(gone))

    @precondition(lambda self: self.guest is not None)
    @rule(draw=st.data())
    def take_what_is_anothers(self, draw: Draw) -> None:
        """The guest moves to itself, or sends back, what its own hierarchy does not hold."""
        seat, model = self.guest, self.model
        assert seat is not None
        others = model.of("application", "package", "domain")
        foreign = [aid for aid in others if aid != seat.aid and model.control_reasons(seat.aid, aid)]
        self.hand_over(draw, seat, draw.draw(st.sampled_from(foreign or others)), seat.aid)

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
        guest = Seat(self.card, number=1, aid=aid)
        assert self.issuer.raw(CommandApdu(0x00, 0x70, 0x00, 0x01)).sw == 0x9000
        self.guest = guest
        if aid in open_:
            self.authenticate(guest)
            self.note("enter", done=True)
        else:
            assert guest.select(aid).sw == 0x6A82
            self.note("enter", done=False)
            self.close()

    @precondition(lambda self: self.guest is not None)
    @rule()
    def close(self) -> None:
        assert self.issuer.raw(CommandApdu(0x00, 0x70, 0x80, 0x01)).sw == 0x9000
        self.guest = None

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


def key_list(keys: StaticKeys) -> tuple[Secret, Secret, Secret]:
    return keys.enc, keys.mac, keys.dek
