"""Orders about memory, and the combined process, on top of those on content and domains.

Source: GPCS 2.3.1 §9.3.8 (load, install and make selectable in one), §9.7 (memory), §11.5.2.3.
"""

import hashlib

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from tests.unit.vse.card_beside_model import (
    BAD_PRIVILEGES,
    INSTANCES,
    OTHER_KEY,
    PACKAGES,
    PRIVILEGES,
    SD,
    TOKEN_KEY,
    Draw,
    module_of,
    same,
)
from tests.unit.vse.card_content_orders import system_of
from tests.unit.vse.card_domain_orders import DomainOrders
from tests.unit.vse.card_host import SD_MODULE, SD_PACKAGE, load_file
from tests.unit.vse.card_model import (
    FULL,
    INSTALL,
    ISD,
    LOAD,
    MAKE_SELECTABLE,
    PERSONALIZE,
    REFUSED,
    SELECTABLE,
    UNKNOWN,
    WRONG,
    Entry,
    Memory,
    Reasons,
)
from tests.unit.vse.card_seat import Seat

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.gp import commands
from opentsm.card.gp.install_params import application_parameters, load_parameters
from opentsm.card.gp.privileges import Privilege
from opentsm.card.gp.tokens import sign_combined

# What the card takes for a block of data beside its bytes: reporting is its own affair (§9.7).
BLOCK_OVERHEAD = 9
COMBINED = LOAD | INSTALL | MAKE_SELECTABLE
LAST_ENDS = ("", "wrong name first", "another install", "wrong privileges", "torn")


class MemoryOrders(DomainOrders):
    """Data of applications, a card without a byte left, the combined process."""

    @precondition(lambda self: self.model.of("application"))
    @rule(draw=st.data(), length=st.sampled_from([1, 20, 60, 200]))
    def store(self, draw: Draw, length: int) -> None:
        """§7.3.2: data for an application through its domain; a new series takes the place of the old."""
        model, providers = self.model, {entry.sd for entry in self.model.entries.values() if entry.package}
        fitting = [one for one in self.seats() if one.aid in providers]
        seat = self.actor(draw) if not fitting or self.strays(draw, 5) else fitting[0]
        mine = [aid for aid in model.of("application") if model.entries[aid].sd == seat.aid]
        aid = self.choose(draw, [one for one in mine if not model.is_locked(one)], INSTANCES)
        reasons = model.actor_reasons(seat.aid, PERSONALIZE)
        reasons |= set() if model.holds(seat.aid, Privilege.TRUSTED_PATH) else {REFUSED}
        if aid not in model.entries:
            reasons |= {UNKNOWN}
        elif aid not in mine or model.is_locked(aid):
            reasons |= {REFUSED}
        if not self.order("direct", seat, commands.install_for_personalization(aid), reasons) or self.cut:
            return
        held, entry = BLOCK_OVERHEAD + length, model.entries[aid]
        reasons = model.data_reasons(aid, held, self.free)
        before = entry.size
        if self.order("store", seat, commands.store_data(bytes(length), 0, last=True), reasons):
            entry.data = held
            self.free += before - entry.size

    @precondition(lambda self: self.can_fill())
    @rule()
    def fill_the_card(self) -> None:
        """With not a byte left nothing comes in; whatever goes gives back what it took."""
        model, self.fate = self.model, ""
        package, aid = self.fillers()[0], self.unused(INSTANCES)[0]
        rest = Memory(reserved=self.free - self.costs["application"])
        self.put_instance(package, aid, rest)
        same(self.issuer.free_memory(), 0)
        domain = Aid(bytes.fromhex("A00000015100AAFF"))
        command = commands.install_for_install(
            SD_PACKAGE, SD_MODULE, domain, SD, application_parameters(), make_selectable=True
        )
        assert not self.order("into a full card", self.issuer, command, {FULL})
        # §9.7: what is reserved is there for its owner, and only for it.
        direct = commands.install_for_personalization(aid)
        if self.order("direct", self.issuer, direct, model.actor_reasons(ISD, PERSONALIZE)):
            self.order("store", self.issuer, commands.store_data(bytes(20), 0, last=True), set())
            model.entries[aid].data = BLOCK_OVERHEAD + 20
        command = commands.delete(aid)
        reasons = model.manager_reasons(ISD, 1, "none")
        if self.order("make room", self.issuer, command, reasons):
            self.gave_back(model.remove(aid))

    def can_fill(self) -> bool:
        """The measures are known, and the issuer may install."""
        known = {"application", "domain"} <= self.costs.keys() and self.free > self.costs["application"] + 100
        return bool(
            known and not self.model.restricted & INSTALL and self.unused(INSTANCES) and self.fillers()
        )

    def fillers(self) -> list[Aid]:
        """Load files of the issuer's own."""
        return [one for one in self.model.of("package") if self.model.entries[one].sd == ISD]

    @precondition(lambda self: self.unused(PACKAGES) and not self.model.restricted & LOAD)
    @rule(draw=st.data())
    def announce_more_than_there_is(self, draw: Draw) -> None:
        """§9.7: each of the sizes, one byte above what is free; nothing is reserved by one that fits."""
        self.fate = ""
        package = draw.draw(st.sampled_from(self.unused(PACKAGES)))
        free, volatile = self.free, self.model.free_volatile()
        fits = load_parameters(code=free - free // 2, nonvolatile=free // 2, volatile=volatile)
        for parameters in (*self.too_much(), fits):
            command = commands.install_for_load(package, None, hash=bytes(32), parameters=parameters)
            self.order("minimum", self.issuer, command, {FULL} if parameters != fits else set())

    def put_instance(self, package: Aid, aid: Aid, memory: Memory) -> None:
        """The issuer installs an application; nothing is in the way."""
        command = commands.install_for_install(
            package,
            module_of(package),
            aid,
            Privilege.NONE,
            application_parameters(system=system_of(memory)),
            make_selectable=True,
        )
        assert self.order("install", self.issuer, command, set())
        owner = self.model.entries[package].sd
        self.model.entries[aid] = Entry("application", owner, SELECTABLE, package=package, memory=memory)
        self.took("application", memory.reserved)

    @precondition(lambda self: self.unused(PACKAGES) and self.unused(INSTANCES) and "package" in self.costs)
    @rule(draw=st.data())
    def combine(self, draw: Draw) -> None:
        """§9.3.8: the load file and its application come to be together, or neither does."""
        seat, model = self.actor(draw), self.model
        package = draw.draw(st.sampled_from(self.unused(PACKAGES)))
        unsigned = [a for a in self.receivers(seat) if not model.holds(a, Privilege.DAP_VERIFICATION)]
        receiver = self.choose(draw, [*unsigned, seat.aid], [ISD, *model.of("domain")])
        block = load_file(package, (module_of(package),), size=300)
        first = commands.install_for_combined_load(package, receiver, hash=hashlib.sha256(block).digest())
        # §11.5.2.3.1: the token comes with the last command.
        delegated = model.holds(seat.aid, Privilege.DELEGATED_MANAGEMENT)
        usual = "right" if delegated else "none"
        reasons = model.receiver_reasons(seat.aid, receiver)
        reasons |= model.actor_reasons(seat.aid, COMBINED)
        managers = Privilege.DELEGATED_MANAGEMENT | Privilege.AUTHORIZED_MANAGEMENT
        reasons |= set() if model.entries[seat.aid].privileges & managers else {REFUSED}
        if not self.order("combine", seat, first, reasons) or self.cut:
            return
        if self.send_all(seat, receiver, block):
            proof = draw.draw(st.sampled_from(["right", "wrong", "none"])) if self.strays(draw, 4) else usual
            end = draw.draw(st.sampled_from(LAST_ENDS))
            self.finish(draw, seat, (first, package, receiver, len(block)), proof, end)

    def send_all(self, seat: Seat, receiver: Aid, block: bytes) -> bool:
        """All blocks; the last one is not the end, but its checks are made."""
        self.fate = ""
        *others, last = commands.load_blocks(block, block_size=200)
        for command in others:
            assert self.order("block", seat, command, set())
        unsigned = self.model.holds(receiver, Privilege.DAP_VERIFICATION)
        reasons = {REFUSED} if unsigned else set[int]()
        return self.order("last block", seat, last, reasons | self.room("package", len(block)))

    def finish(
        self, draw: Draw, seat: Seat, loaded: tuple[CommandApdu, Aid, Aid, int], proof: str, end: str
    ) -> None:
        """The last command, after what may come in between."""
        first, package, receiver, size = loaded
        model, aid = self.model, draw.draw(st.sampled_from(self.unused(INSTANCES)))
        privileges = draw.draw(st.sampled_from(BAD_PRIVILEGES if end == "wrong privileges" else PRIVILEGES))
        last = commands.install_for_combined_install(
            package, module_of(package), aid, privileges, application_parameters()
        )
        if end == "wrong name first":
            other = next(one for one in PACKAGES if one != package)
            wrong = commands.install_for_combined_install(
                other, module_of(other), aid, privileges, application_parameters()
            )
            assert not self.order("wrong name", seat, wrong, {WRONG})
        if end == "another install":
            self.order("in between", seat, commands.install_for_make_selectable(aid), {UNKNOWN, REFUSED})
        if end == "torn":
            self.reset()
            self.wake()
            if seat not in self.seats():
                return
        reasons = self.last_reasons(seat, privileges, proof, size)
        if end in {"another install", "torn"}:
            reasons = {REFUSED}
        if proof != "none":
            last = sign_combined(first, last, TOKEN_KEY if proof == "right" else OTHER_KEY)
        if self.order("combined install", seat, last, reasons):
            model.entries[package] = Entry("package", receiver, code=size)
            model.entries[aid] = Entry("application", receiver, SELECTABLE, package=package)
            model.grant(aid, privileges)
            self.took_together(size)
            self.confirm(seat)
        elif not self.cut:
            gone = commands.install_for_combined_install(
                None, module_of(package), aid, Privilege.NONE, application_parameters()
            )
            self.order("after the end", seat, gone, {REFUSED})

    def last_reasons(self, seat: Seat, privileges: Privilege, proof: str, size: int) -> Reasons:
        model = self.model
        reasons = model.manager_reasons(seat.aid, COMBINED, proof)
        reasons |= model.privilege_reasons("application", privileges)
        both = self.costs.get("application", 0) + size
        return reasons | self.room("package", both)

    def took_together(self, size: int) -> None:
        """A load file and its application; where neither was measured before, they stay together."""
        self.wake()
        free = self.issuer.free_memory()
        more = self.free - free - size
        if "package" in self.costs:
            self.costs.setdefault("application", more - self.costs["package"])
        elif "application" in self.costs:
            self.costs["package"] = more - self.costs["application"]
        else:
            raise AssertionError("combine is preceded by a measure")
        same(more, self.costs["package"] + self.costs["application"])
        self.free = free
