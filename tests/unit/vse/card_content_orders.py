"""Orders that bring content to the card beside its model, and take it away (GPCS 2.3.1 §9.2, §9.3, §9.5)."""

import hashlib

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from tests.unit.vse.card_beside_model import (
    BAD_DOMAIN_PRIVILEGES,
    BAD_PRIVILEGES,
    DOMAIN_PRIVILEGES,
    DOMAINS,
    ENDS,
    EVERYTHING,
    INSTANCES,
    NOBODY,
    PACKAGES,
    PRIVILEGES,
    Draw,
    ReadBesideModel,
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
    FULL,
    INSTALL,
    INSTALLED,
    ISD,
    LOAD,
    MAKE_SELECTABLE,
    NO_MEMORY,
    REFUSED,
    SELECTABLE,
    TIGHT,
    UNKNOWN,
    WRONG,
    Entry,
    Memory,
)
from tests.unit.vse.card_seat import Seat

from opentsm.card.codec.aid import Aid
from opentsm.card.gp import commands
from opentsm.card.gp.install_params import SystemParameters, application_parameters, load_parameters
from opentsm.card.gp.privileges import Privilege

# Limits and reservations (C8, D8, C7, D7); the last two are wrong.
MEMORIES = [
    *[NO_MEMORY] * 3,
    Memory(reserved=400),
    Memory(quota=500, reserved=400),
    Memory(quota=60, volatile=200),
    Memory(volatile_quota=300, volatile=300),
    Memory(quota=100, reserved=400),
    Memory(volatile_quota=100, volatile=200),
]
DOMAIN_MEMORY = [*[NO_MEMORY] * 4, Memory(reserved=500), Memory(quota=4000), Memory(quota=TIGHT - 1)]
MINIMA = [b"", b"", load_parameters(code=600, volatile=0, nonvolatile=100)]


def system_of(memory: Memory) -> SystemParameters:
    return SystemParameters(
        nonvolatile_quota=memory.quota,
        volatile_quota=memory.volatile_quota,
        volatile_reserved=memory.volatile or None,
        nonvolatile_reserved=memory.reserved or None,
    )


class ContentOrders(ReadBesideModel):
    """Load, install, make selectable, delete."""

    @precondition(lambda self: self.unused(DOMAINS))
    @rule(draw=st.data())
    def create_domain(self, draw: Draw) -> None:
        seat, model = self.actor(draw), self.model
        aid = self.choose(draw, self.unused(DOMAINS), [*self.model.entries])
        bad = self.strays(draw, 11)
        privileges = draw.draw(st.sampled_from(BAD_DOMAIN_PRIVILEGES if bad else DOMAIN_PRIVILEGES))
        selectable = not self.strays(draw, 5)
        memory = draw.draw(st.sampled_from(DOMAIN_MEMORY))
        parameters = application_parameters(system=system_of(memory))
        command = commands.install_for_install(
            SD_PACKAGE, SD_MODULE, aid, privileges, parameters, make_selectable=selectable
        )
        reasons = model.privilege_reasons("domain", privileges) | model.memory_reasons(memory)
        reasons |= ({WRONG} if aid in model.entries else set()) | self.room("domain", memory.reserved)
        if self.manage(draw, seat, command, INSTALL, reasons):
            state = SELECTABLE if selectable else INSTALLED
            entry = Entry("domain", seat.aid, state, privileges, SD_PACKAGE, memory=memory)
            model.entries[aid] = entry
            self.took("domain", entry.size)

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
        need = draw.draw(st.sampled_from(self.too_much() if end == "big" else MINIMA))
        digest = hashlib.sha256(block).digest()
        command = commands.install_for_load(package, receiver, hash=digest, parameters=need)
        if self.manage(draw, seat, command, LOAD, reasons) and not self.cut:
            self.send_blocks(seat, package, receiver or seat.aid, block, end)

    def too_much(self) -> list[bytes]:
        """§9.7: code (C6), data (C8) or volatile data (C7) that is not there; C6 and C8 add up."""
        beyond = self.free + 1
        return [
            load_parameters(code=beyond),
            load_parameters(nonvolatile=beyond),
            load_parameters(code=beyond // 2, nonvolatile=beyond - beyond // 2),
            load_parameters(volatile=self.model.free_volatile() + 1),
        ]

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
        reasons |= self.room("package", len(block))
        if self.order("load", seat, rest[-1], reasons):
            self.model.entries[package] = Entry("package", owner, code=len(block))
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
        memory = self.wanted_memory(draw)
        reasons = model.privilege_reasons("application", privileges)
        reasons |= model.final_reasons(SELECTABLE if selectable else INSTALLED, privileges)
        reasons |= (
            {WRONG}
            if aid in model.entries or (privileges & Privilege.CARD_RESET and not selectable)
            else set()
        )
        reasons |= model.memory_reasons(memory) | self.room("application", memory.reserved)
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
            application_parameters(system=system_of(memory)),
            make_selectable=selectable,
        )
        if self.manage(draw, seat, command, INSTALL, reasons):
            state, owner = SELECTABLE if selectable else INSTALLED, model.entries[package].sd
            model.entries[aid] = Entry("application", owner, state, package=package, memory=memory)
            model.grant(aid, privileges)
            self.took("application", memory.reserved)

    def wanted_memory(self, draw: Draw) -> Memory:
        """Often nothing, now and then more than there is."""
        if not self.strays(draw, 11):
            return draw.draw(st.sampled_from(MEMORIES))
        return draw.draw(
            st.sampled_from([Memory(reserved=self.free + 1), Memory(volatile=self.model.free_volatile() + 1)])
        )

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
