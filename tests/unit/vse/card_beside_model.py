"""Drives a virtual card and its model side by side, on two logical channels, with power cuts.

Most orders are chosen among what exists, so that most succeed; some are wrong on purpose. After each one
the whole card is read and compared.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.unit.vse.card_host import (
    FACTORY_KEYS,
    SD_MODULE,
    SD_PACKAGE,
    CardHost,
    load_file,
    make_card,
    make_keys,
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
    Model,
    Reasons,
)

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.codec.tlv import find, parse_tlv, parse_tlvs
from opentsm.card.crypto.secret import Secret
from opentsm.card.crypto.signature import AesMacKey
from opentsm.card.gp import commands
from opentsm.card.gp.install_params import SystemParameters, application_parameters, restrict_parameters
from opentsm.card.gp.instructions import StatusTarget, StoreDataStructure
from opentsm.card.gp.keys import KeyType, StaticKeys, put_key_field
from opentsm.card.gp.privileges import Privilege as P
from opentsm.card.gp.tokens import sign_command
from opentsm.vse.faults import FaultPlan, LostAnswerError, TornError
from opentsm.vse.nvm import MemoryNvm

PACKAGES = [Aid(bytes.fromhex("F0010203") + bytes([n])) for n in (4, 5)]
INSTANCES = [Aid(bytes.fromhex("F001020309") + bytes([n, n])) for n in range(4)]
DOMAINS = [Aid(bytes.fromhex("A00000015100AA") + bytes([n])) for n in range(3)]
NOBODY = Aid(bytes.fromhex("F0010203FF"))
EVERYTHING = [*PACKAGES, *INSTANCES, *DOMAINS, ISD]
FACTORY = {Aid.from_hex("325041592E5359532E4444463031"), Aid.from_hex("F04F54534D00"), SD_PACKAGE}
SD = P.SECURITY_DOMAIN | P.TRUSTED_PATH
DOMAIN_PRIVILEGES = [
    SD | P.AUTHORIZED_MANAGEMENT,
    SD | P.DELEGATED_MANAGEMENT,
    SD | P.AUTHORIZED_MANAGEMENT | P.GLOBAL_DELETE,
    SD | P.AUTHORIZED_MANAGEMENT | P.CARD_LOCK,
    SD | P.GLOBAL_LOCK,
    SD | P.GLOBAL_REGISTRY,
    SD | P.DAP_VERIFICATION,
    SD | P.GLOBAL_DELETE,
    P.SECURITY_DOMAIN | P.AUTHORIZED_MANAGEMENT,
    SD,
]
BAD_DOMAIN_PRIVILEGES = [SD | P.AUTHORIZED_MANAGEMENT | P.DELEGATED_MANAGEMENT, P.NONE, P.TRUSTED_PATH]
PRIVILEGES = [P.NONE, P.NONE, P.FINAL_APPLICATION, P.CARD_RESET, P.GLOBAL_SERVICE]
BAD_PRIVILEGES = [P.DELEGATED_MANAGEMENT, P.AUTHORIZED_MANAGEMENT, SD]
TOKEN_KEY, OTHER_KEY, RECEIPT_KEY = (AesMacKey(Secret(bytes([n]) * 16)) for n in (0x71, 0x72, 0x73))
FATES = ("cut_before_apdu", "cut_after_apdu", "cut_before_write", "cut_after_write", "lose_answer")
NOTHING_HAPPENED = ("cut_before_apdu", "cut_before_write")
VERSIONS = (0x31, 0x32, 0x33)
MEMORY = 12_000

Draw = st.DataObject


def module_of(package: Aid) -> Aid:
    return Aid(bytes(package) + b"\x01")


def keys_of(seed: int) -> StaticKeys:
    return make_keys(seed) if seed else FACTORY_KEYS


@dataclass(eq=False, repr=False)
class Seat(CardHost):
    """One logical channel, with a session of the domain that is selected there."""

    number: int = 0
    aid: Aid = ISD

    def raw(self, apdu: CommandApdu | bytes | str) -> ResponseApdu:
        data = apdu.to_bytes() if isinstance(apdu, CommandApdu) else apdu
        data = bytes.fromhex(data) if isinstance(data, str) else data
        return super().raw(bytes([data[0] | self.number]) + data[1:])


class CardBesideModel(RuleBasedStateMachine):
    """The issuer sits on the basic channel; a guest may sit on another."""

    tally: Counter[tuple[str, bool]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.nvm = MemoryNvm()
        self.card = make_card(nvm=self.nvm, memory=MEMORY)
        self.model = Model()
        self.issuer = Seat(self.card)
        self.guest: Seat | None = None
        self.fate = ""
        self.costs: dict[str, int] = {}
        self.reset()
        assert self.issuer.dek is not None
        for kvn, key in ((0x70, TOKEN_KEY), (0x71, RECEIPT_KEY)):
            field = put_key_field(key.key, KeyType.AES, self.issuer.dek)
            assert self.issuer.sw(commands.put_key(kvn, [field])) == 0x9000
        self.free = self.empty = self.issuer.free_memory()

    # Sessions.

    def reset(self) -> None:
        """Power on again: sessions are over, the supplementary channels closed."""
        self.card.power_on()
        self.guest, self.cut = None, True
        self.authenticate(self.issuer)

    def authenticate(self, seat: Seat) -> None:
        assert seat.select(seat.aid).sw == 0x9000
        owner = self.model.entries[self.model.key_owner(seat.aid)]
        kvn, seed = next(iter(owner.keys.items()))
        seat.authenticate(keys_of(seed), level=0x01, kvn=kvn)
        owner.counters[kvn] += 1

    def seats(self) -> list[Seat]:
        return [self.issuer] if self.guest is None else [self.guest, self.issuer]

    # Choosing.

    def actor(self, draw: Draw) -> Seat:
        return self.seats()[draw.draw(st.integers(0, len(self.seats()) - 1))]

    def choose(self, draw: Draw, good: Sequence[Aid], every: Sequence[Aid]) -> Aid:
        """Mostly one of the good, now and then any."""
        stray = not good or draw.draw(st.integers(0, 11)) == 11
        return draw.draw(st.sampled_from(every if stray else good))

    def proof(self, draw: Draw, seat: Seat) -> str:
        usual = "right" if self.model.holds(seat.aid, P.DELEGATED_MANAGEMENT) else "none"
        return draw.draw(st.sampled_from([usual] * 8 + ["right", "wrong", "none"]))

    def mine(self, seat: Seat, *kinds: str) -> list[Aid]:
        """Objects that the actor may work on."""
        model = self.model
        return [aid for aid in model.of(*kinds) if not model.control_reasons(seat.aid, aid)]

    def receivers(self, seat: Seat) -> list[Aid]:
        model = self.model
        return [aid for aid in model.of("domain") if not model.receiver_reasons(seat.aid, aid)]

    def unused(self, names: Sequence[Aid]) -> list[Aid]:
        return [aid for aid in names if aid not in self.model.entries]

    # Orders.

    def order(self, name: str, seat: Seat, command: CommandApdu, reasons: Reasons, proof: str = "none") -> bool:
        """Send one command, perhaps into a power cut; tell whether its effect must be there."""
        if proof != "none":
            command = sign_command(command, TOKEN_KEY if proof == "right" else OTHER_KEY)
        before, fate = self.nvm.load(), self.fate
        self.fate, self.cut, done = "", False, not reasons
        self.card.arm(FaultPlan(**{fate: 1}) if fate else FaultPlan())
        try:
            sw = seat.sw(command)
            assert sw in (reasons or {0x9000}), f"{name}: {sw:04X}, not {sorted(map(hex, reasons))}"
        except LostAnswerError:
            pass
        except TornError:
            done = done and fate not in NOTHING_HAPPENED
            self.card.arm(FaultPlan())
            self.reset()
            if not done:
                self.note(name, done=False)
                return False
        finally:
            self.card.arm(FaultPlan())
        assert done or self.nvm.load() is before, f"{name}: refused, and the memory was written"
        self.note(name, done=done)
        return done

    def note(self, name: str, *, done: bool) -> None:
        self.tally[name, done] += 1

    def manage(
        self, name: str, seat: Seat, command: CommandApdu, operation: int, proof: str, reasons: Reasons
    ) -> bool:
        """An order of content management; a delegated one is confirmed and counted."""
        reasons = reasons | self.model.manager_reasons(seat.aid, operation, proof)
        done = self.order(name, seat, command, reasons, proof)
        if done and operation != LOAD:
            self.confirm(seat)
        return done

    def confirm(self, seat: Seat) -> None:
        self.model.confirmations += self.model.holds(seat.aid, P.DELEGATED_MANAGEMENT)

    def took(self, kind: str, more: int = 0) -> None:
        """What an object of a kind takes is always the same, and what it says itself comes on top."""
        free = self.issuer.free_memory()
        assert self.costs.setdefault(kind, self.free - free - more) == self.free - free - more
        self.free = free

    def gave_back(self, entry: Entry) -> None:
        self.free += self.costs[entry.kind] + entry.size + self.costs.get("keys", 0) * len(entry.keys)

    # Rules.

    @initialize(draw=st.data(), domains=st.integers(0, 3), loaded=st.booleans())
    def begin(self, draw: Draw, domains: int, loaded: bool) -> None:
        """Start somewhere on the way, so that the rare things come within few steps."""
        for _ in range(domains):
            self.create_domain(draw)
            self.forward_keys(draw)
        if loaded:
            self.load(draw)
            self.install(draw)

    @rule(draw=st.data())
    def create_domain(self, draw: Draw) -> None:
        seat, model = self.actor(draw), self.model
        aid = self.choose(draw, self.unused(DOMAINS), [*self.model.entries])
        bad = draw.draw(st.integers(0, 11)) == 11
        privileges = draw.draw(st.sampled_from(BAD_DOMAIN_PRIVILEGES if bad else DOMAIN_PRIVILEGES))
        selectable = draw.draw(st.integers(0, 3)) > 0
        command = commands.install_for_install(
            SD_PACKAGE, SD_MODULE, aid, privileges, application_parameters(), make_selectable=selectable
        )
        reasons = model.privilege_reasons("domain", privileges)
        reasons |= {WRONG} if aid in model.entries else set()
        if self.manage("create", seat, command, INSTALL, self.proof(draw, seat), reasons):
            state = SELECTABLE if selectable else INSTALLED
            model.entries[aid] = Entry("domain", seat.aid, state, privileges, SD_PACKAGE)
            self.took("domain")

    @rule(draw=st.data())
    def load(self, draw: Draw) -> None:
        seat, model = self.actor(draw), self.model
        package = self.choose(draw, self.unused(PACKAGES), [*self.model.entries])
        named = draw.draw(st.booleans())
        receiver = self.choose(draw, self.receivers(seat) or [ISD], EVERYTHING) if named else None
        end = draw.draw(st.sampled_from(["whole"] * 4 + ["torn", "aborted", "disordered", "damaged", "big"]))
        reasons = model.receiver_reasons(seat.aid, receiver or seat.aid)
        reasons |= {WRONG} if package in model.entries else set()
        reasons |= {FULL} if end == "big" else set()
        inside = PACKAGES[package == PACKAGES[0]] if end == "damaged" else package
        block = load_file(inside, (module_of(package),), size=draw.draw(st.sampled_from([300, 500])))
        need = bytes.fromhex("EF06C604") + (self.free + 1).to_bytes(4, "big") if end == "big" else b""
        digest = hashlib.sha256(block).digest()
        command = commands.install_for_load(package, receiver, hash=digest, parameters=need)
        if self.manage("announce", seat, command, LOAD, self.proof(draw, seat), reasons) and not self.cut:
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
            if seat in self.seats():
                same(seat.sw(rest[0]), REFUSED)
            return
        for command in rest[:-1]:
            assert seat.sw(command) == 0x9000
        # §9.2.1: the domain wants a signature, and there is none.
        unsigned = self.model.holds(owner, P.DAP_VERIFICATION)
        reasons = {REFUSED} if end == "damaged" or unsigned else set()
        if self.order("load", seat, rest[-1], reasons):
            self.model.entries[package] = Entry("package", owner, size=len(block))
            self.took("package", len(block))
            self.confirm(seat)

    @rule(draw=st.data())
    def install(self, draw: Draw) -> None:
        seat, model = self.actor(draw), self.model
        package = self.choose(draw, self.mine(seat, "package"), PACKAGES)
        aid = self.choose(draw, self.unused(INSTANCES), [*self.model.entries])
        bad = draw.draw(st.integers(0, 11)) == 11
        privileges = draw.draw(st.sampled_from(BAD_PRIVILEGES if bad else PRIVILEGES))
        selectable = draw.draw(st.booleans())
        reserved = draw.draw(st.sampled_from([0, 0, 400, self.free + 1]))
        system = SystemParameters(nonvolatile_reserved=reserved or None)
        reasons = model.privilege_reasons("application", privileges)
        reasons |= {WRONG} if aid in model.entries or (privileges & P.CARD_RESET and not selectable) else set()
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
        if self.manage("install", seat, command, INSTALL, self.proof(draw, seat), reasons):
            state, owner = SELECTABLE if selectable else INSTALLED, model.entries[package].sd
            model.entries[aid] = Entry("application", owner, state, P.NONE, package, reserved)
            model.grant(aid, privileges)
            self.took("application", reserved)

    @rule(draw=st.data())
    def make_selectable(self, draw: Draw) -> None:
        seat, model = self.actor(draw), self.model
        fresh = [
            one for one in self.mine(seat, "application", "domain") if model.entries[one].state == INSTALLED
        ]
        aid = self.choose(draw, fresh, INSTANCES + DOMAINS)
        entry, reasons = model.entries.get(aid), set[int]()
        if entry is None:
            reasons = {UNKNOWN}
        elif entry.state != INSTALLED:
            reasons = {REFUSED}
        if entry is not None:
            reasons |= model.control_reasons(seat.aid, aid)
        command = commands.install_for_make_selectable(aid)
        done = self.manage("select", seat, command, MAKE_SELECTABLE, self.proof(draw, seat), reasons)
        if done and entry:
            entry.state = SELECTABLE
            model.personalize(aid)

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
        reasons |= set() if model.holds(seat.aid, P.TRUSTED_PATH) else {REFUSED}
        done = self.order("direct", seat, commands.install_for_personalization(aid), reasons)
        if not done or entry is None or self.cut:
            return
        kvn, seed = draw.draw(st.sampled_from(VERSIONS)), draw.draw(st.integers(0x60, 0x62))
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
        kvn, seed = draw.draw(st.sampled_from(VERSIONS)), draw.draw(st.integers(0x60, 0x62))
        replaced = draw.draw(st.sampled_from([0, *VERSIONS, *entry.keys, *entry.keys]))
        reasons = {WRONG} if kvn in entry.keys and kvn != replaced else set()
        reasons |= {UNKNOWN} if replaced and replaced not in entry.keys else set()
        assert seat.dek is not None
        fields = [put_key_field(key, KeyType.AES, seat.dek) for key in key_list(keys_of(seed))]
        command = commands.put_key(kvn, fields, replace_kvn=replaced)
        if self.order("put key", seat, command, reasons):
            self.model.put_set(seat.aid, kvn, seed, replaced=replaced)
            if not replaced:
                self.took("keys")

    @rule(draw=st.data())
    def delete_keys(self, draw: Draw) -> None:
        seat = self.actor(draw)
        entry = self.model.entries[seat.aid]
        kvn = draw.draw(st.sampled_from([*VERSIONS, *entry.keys]))
        reasons = {REFUSED} if seat.aid == ISD and set(entry.keys) == {kvn} else set()
        reasons |= set() if kvn in entry.keys else {UNKNOWN}
        if self.order("delete key", seat, commands.delete_key(None, kvn), reasons):
            del entry.keys[kvn], entry.counters[kvn]
            self.free += self.costs.get("keys", self.issuer.free_memory() - self.free)

    @rule(draw=st.data(), lock=st.booleans(), tree=st.booleans())
    def lock(self, draw: Draw, lock: bool, tree: bool) -> None:
        seat, model = self.actor(draw), self.model
        kinds = ("domain",) if tree else ("domain", "application")
        # A domain that does not see an object may still hold Global Lock, or try.
        good = [aid for aid in model.of(*kinds) if not model.lock_reasons(seat.aid, aid, lock=lock, tree=tree)]
        foreign = [aid for aid in model.of("domain", "application") if aid != seat.aid]
        aid = self.choose(draw, good, foreign or EVERYTHING)
        aid = self.choose(draw, [aid], EVERYTHING)
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

    @rule(draw=st.data())
    def extradite(self, draw: Draw) -> None:
        seat, model = self.actor(draw), self.model
        aid = self.choose(draw, self.mine(seat, "application", "package", "domain"), EVERYTHING)
        receivers = [one for one in self.receivers(seat) if one != aid]
        receiver = self.choose(draw, receivers, DOMAINS)
        self.hand_over(draw, seat, aid, receiver)

    @precondition(lambda self: len(self.model.of("domain")) > 1)
    @rule(draw=st.data())
    def nest(self, draw: Draw) -> None:
        """Domains below domains, sometimes in a circle, seldom to itself."""
        seat, model = self.actor(draw), self.model
        aid = self.choose(draw, self.mine(seat, "domain"), DOMAINS)
        others = [one for one in model.of("domain") if one != aid]
        below = [one for one in others if aid in model.entries and aid in model.above(one)]
        self.hand_over(draw, seat, aid, self.choose(draw, below or others, [aid]))

    def hand_over(self, draw: Draw, seat: Seat, aid: Aid, receiver: Aid) -> None:
        model = self.model
        known = aid in model.entries and receiver in model.entries
        reasons = model.transfer_reasons(seat.aid, aid, receiver) if aid in model.entries else {UNKNOWN}
        reasons |= set() if known else {UNKNOWN}
        command = commands.install_for_extradition(aid, receiver)
        if self.manage("extradite", seat, command, EXTRADITE, self.proof(draw, seat), reasons):
            model.entries[aid].sd = receiver

    @rule(draw=st.data())
    def update(self, draw: Draw) -> None:
        """Registry update: other privileges, another domain, restrictions; all or nothing."""
        seat, model = self.actor(draw), self.model
        aid = self.choose(draw, self.mine(seat, "application", "domain"), INSTANCES + DOMAINS)
        entry = model.entries.get(aid)
        is_domain = entry is not None and entry.kind == "domain"
        bad = draw.draw(st.integers(0, 7)) == 7
        good = DOMAIN_PRIVILEGES if is_domain else PRIVILEGES
        privileges = draw.draw(
            st.sampled_from([None, *((BAD_DOMAIN_PRIVILEGES + BAD_PRIVILEGES) if bad else good)])
        )
        moves = draw.draw(st.integers(0, 3)) == 3
        receiver = self.choose(draw, self.receivers(seat) or [ISD], DOMAINS) if moves else None
        functions = draw.draw(st.sampled_from([0] * 7 + [LOAD, PERSONALIZE])) if is_domain else 0
        reasons: Reasons = {UNKNOWN} if entry is None else model.control_reasons(seat.aid, aid)
        if entry is not None and privileges is not None:
            reasons |= model.privilege_reasons(entry.kind, privileges, entry.privileges)
        if entry is not None and receiver is not None:
            reasons |= model.transfer_reasons(seat.aid, aid, receiver)
        command = commands.install_for_registry_update(
            aid,
            new_sd=receiver,
            privileges=privileges,
            parameters=restrict_parameters(functions) if functions else b"",
        )
        done = self.manage("update", seat, command, UPDATE, self.proof(draw, seat), reasons)
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
        reasons = set() if self.model.holds(seat.aid, P.GLOBAL_LOCK) else {REFUSED}
        command = commands.install_for_registry_update(None, parameters=restrict_parameters(functions))
        if self.manage("restrict", seat, command, UPDATE, self.proof(draw, seat), reasons):
            self.model.restricted |= functions

    @rule(draw=st.data(), related=st.booleans())
    def delete(self, draw: Draw, related: bool) -> None:
        seat, model = self.actor(draw), self.model
        selected = [one.aid for one in self.seats()]
        everything = model.of("application", "package", "domain")
        good = [a for a in everything if not model.delete_reasons(seat.aid, a, selected, related=related)]
        tempting = draw.draw(st.integers(0, 2)) == 2
        aid = self.choose(draw, everything if tempting else good, EVERYTHING)
        reasons = model.delete_reasons(seat.aid, aid, selected, related=related)
        command = commands.delete(aid, related=related)
        if self.manage("delete", seat, command, DELETE, self.proof(draw, seat), reasons):
            for gone in model.doomed(aid, related=related):
                self.gave_back(model.remove(gone))

    @precondition(lambda self: self.guest is None)
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
        reasons = set() if self.model.holds(seat.aid, P.CARD_LOCK) else {REFUSED}
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

    # What must be so after each step.

    @invariant()
    def registry_is_the_models(self) -> None:
        for seat in self.seats():
            same(self.instances(seat), self.expected_instances(seat.aid))
            same(self.packages(seat, 0x20), self.expected_packages(seat.aid, modules=False))
        same(self.packages(self.issuer, 0x10), self.expected_packages(ISD, modules=True))
        (row,) = self.issuer.status(0x80)
        isd = self.model.entries[ISD]
        same((find(row, 0x9F70), find(row, 0xC5)), (bytes([isd.state]), isd.privileges.to_bytes3()))

    def instances(self, seat: Seat) -> dict[bytes, tuple[bytes | None, ...]]:
        rows = {find(row, 0x4F) or b"": row for row in seat.status(0x40)}
        return {
            aid: tuple(find(row, tag) for tag in (0x9F70, 0xC5, 0xC4, 0xCC))
            for aid, row in rows.items()
            if aid not in FACTORY
        }

    def expected_instances(self, viewer: Aid) -> dict[bytes, tuple[bytes | None, ...]]:
        seen = ((aid, self.model.entries[aid]) for aid in self.model.visible(viewer, ("application", "domain")))
        return {
            bytes(aid): (bytes([e.state]), e.privileges.to_bytes3(), bytes(e.package or b""), bytes(e.sd))
            for aid, e in seen
        }

    def packages(self, seat: Seat, scope: int) -> dict[bytes, tuple[bytes | None, ...]]:
        rows = {find(row, 0x4F) or b"": row for row in seat.status(scope)}
        return {
            aid: tuple(find(row, tag) for tag in (0x9F70, 0x84, 0xCC))
            for aid, row in rows.items()
            if aid not in FACTORY
        }

    def expected_packages(self, viewer: Aid, *, modules: bool) -> dict[bytes, tuple[bytes | None, ...]]:
        return {
            bytes(aid): (b"\x01", bytes(module_of(aid)) if modules else None, bytes(self.model.entries[aid].sd))
            for aid in self.model.visible(viewer, ("package",))
        }

    @invariant()
    def keys_and_counters_are_the_models(self) -> None:
        for seat in self.seats():
            aid = self.model.key_owner(seat.aid)
            owner = self.model.entries[aid]
            rows = [one.value for one in parse_tlvs(parse_tlv(seat.ok(commands.get_data(0xE0))).value)]
            own = {bytes([kid, kvn, 0x88, 16]) for kvn in owner.keys for kid in (1, 2, 3)}
            roles = {bytes.fromhex("01708810"), bytes.fromhex("01718810")} if aid == ISD else set()
            same(set(rows), own | roles)
            if not owner.keys:
                same(seat.sw(commands.get_data(0xC1)), UNKNOWN)
                continue
            counter = owner.counters[next(iter(owner.keys))]
            same(seat.ok(commands.get_data(0xC1)), b"\xc1\x03" + counter.to_bytes(3, "big"))
        confirmations = self.model.confirmations.to_bytes(2, "big")
        same(self.issuer.ok(commands.get_data(0xC2)), b"\xc2\x02" + confirmations)

    @invariant()
    def memory_is_the_models(self) -> None:
        same(self.issuer.free_memory(), self.free)
        if len(self.model.entries) == 1 and len(self.model.entries[ISD].keys) == 1:
            assert self.free == self.empty


def same(seen: object, expected: object) -> None:
    """The assertion, with both sides in its message."""
    assert seen == expected, f"card: {seen!r}, model: {expected!r}"


def key_list(keys: StaticKeys) -> tuple[Secret, Secret, Secret]:
    return keys.enc, keys.mac, keys.dek
