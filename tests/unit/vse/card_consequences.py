"""Orders whose whole effect must be there: what goes back, what goes along, what ends.

Each rule first sees to it, as the issuer and without faults, that there is something to see.
Source: GPCS 2.3.1 §5.3.1.3, §6.6.2, §9.3.5, §9.6.2, §11.6.1, §11.6.2.2, §11.10.2.1.
"""

import hashlib

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from tests.unit.vse.card_beside_model import DOMAINS, INSTANCES, PACKAGES, Draw, module_of, same
from tests.unit.vse.card_host import load_file
from tests.unit.vse.card_model import ISD, LOAD, PERSONALIZED, REFUSED, UNIQUE, UNKNOWN
from tests.unit.vse.card_trespasses import Trespasses

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.gp import commands
from opentsm.card.gp.privileges import Privilege


class CardBesideModel(Trespasses):
    """Every order: what mostly succeeds, what must not, and what an order leaves behind."""

    @precondition(lambda self: self.lockable())
    @rule(draw=st.data(), privilege=st.sampled_from(UNIQUE), deleted=st.booleans())
    def give_a_unique_privilege_back(self, draw: Draw, privilege: Privilege, deleted: bool) -> None:
        """§6.6.2, §9.5.1: when its holder goes or loses it, it is the issuer's again, who gives it anew."""
        model = self.model
        others = Privilege.FINAL_APPLICATION | Privilege.CARD_RESET
        holders = [aid for aid in self.lockable() if model.holds(aid, privilege)]
        aid = self.holder(draw, holders or self.lockable(), privilege, others)
        if not model.holds(aid, privilege):
            return
        if deleted:
            self.remove(draw, self.issuer, aid, related=False)
        else:
            self.give(aid, Privilege.NONE)
        self.registry_is_the_models()
        heirs = [one for one in self.lockable() if one != aid]
        if heirs:
            self.give(draw.draw(st.sampled_from(heirs)), privilege)

    @precondition(lambda self: len(self.ready()) > 1 or self.trees())
    @rule(draw=st.data())
    def lock_a_tree_and_unlock_it(self, draw: Draw) -> None:
        """§11.10.2.1: the domain and all below it, whatever is locked already; then all of it back."""
        model, self.fate = self.model, ""
        if not self.trees():
            upper, lower = self.ready()[:2]
            self.hand_over(draw, self.issuer, lower, upper)
        if not self.trees():
            return
        domain = draw.draw(st.sampled_from(self.trees()))
        for lock in (True, False):
            reasons = model.lock_reasons(ISD, domain, lock=lock, tree=True)
            self.set_lock(self.issuer, domain, reasons, lock=lock, tree=True)
            self.registry_is_the_models()

    def trees(self) -> list[Aid]:
        """Domains in the issuer's reach with an application or a domain below them that is not locked."""
        model = self.model
        return [
            aid
            for aid in self.owners()
            if any(
                model.entries[one].kind != "package" and not model.is_locked(one)
                for one in model.content_of(aid)
            )
        ]

    @precondition(lambda self: self.model.of("application", "domain"))
    @rule()
    def lock_each_and_unlock_it(self) -> None:
        """§5.3.1.3: back to exactly the state before, whichever it was."""
        model, self.fate = self.model, ""
        for aid in model.of("application", "domain"):
            guest = self.guest.aid if self.guest is not None else None
            if model.is_locked(aid) or aid == guest or not model.within(ISD, aid):
                continue
            for lock in (True, False):
                reasons = model.lock_reasons(ISD, aid, lock=lock, tree=False)
                self.set_lock(self.issuer, aid, reasons, lock=lock, tree=False)
            self.registry_is_the_models()

    def begin_load(self, package: Aid) -> list[CommandApdu]:
        """INSTALL [for load] and block 0; the others."""
        self.fate = ""
        block = load_file(package, (module_of(package),), size=700)
        command = commands.install_for_load(package, None, hash=hashlib.sha256(block).digest())
        assert self.order("announce", self.issuer, command, set())
        first, *rest = commands.load_blocks(block, block_size=200)
        assert self.order("block", self.issuer, first, set())
        return rest

    def can_load(self) -> bool:
        return bool(self.unused(PACKAGES)) and not self.model.restricted & LOAD and self.is_issuers_turn()

    def is_issuers_turn(self) -> bool:
        return self.model.entries[ISD].state == PERSONALIZED

    @precondition(lambda self: self.can_load())
    @rule(draw=st.data(), which=st.integers(0, 4))
    def end_a_load_by_another_install(self, draw: Draw, which: int) -> None:
        """§9.3.5: any other INSTALL, carried out or refused, is the end of a load."""
        package, model = draw.draw(st.sampled_from(self.unused(PACKAGES))), self.model
        rest = self.begin_load(package)
        nobody = draw.draw(st.sampled_from(self.unused(INSTANCES + DOMAINS) or [package]))
        refused = [
            commands.install_for_make_selectable(nobody),
            commands.install_for_personalization(nobody),
            commands.install_for_extradition(nobody, ISD),
            commands.install_for_registry_update(nobody, privileges=Privilege.NONE),
        ]
        if which < len(refused):
            self.order("in between", self.issuer, refused[which], {UNKNOWN, REFUSED})
        else:
            again = commands.install_for_load(package, None, hash=bytes(32))
            self.order("announce", self.issuer, again, model.manager_reasons(ISD, LOAD, "none"))
        self.order("late block", self.issuer, rest[0], {REFUSED})

    @precondition(lambda self: self.can_load())
    @rule(draw=st.data(), wrong=st.sampled_from([0, 2, 255]))
    def go_on_after_a_block_out_of_order(self, draw: Draw, wrong: int) -> None:
        """§11.6.2.2: block 1 comes after block 0; after any other not even block 1 does."""
        package = draw.draw(st.sampled_from(self.unused(PACKAGES)))
        rest = self.begin_load(package)
        disorder = CommandApdu(0x80, 0xE8, 0x00, wrong, rest[0].data, 256)
        assert not self.order("disorder", self.issuer, disorder, {REFUSED})
        for command in rest:
            assert not self.order("late block", self.issuer, command, {REFUSED})
        same(package in self.issuer.states(0x20), False)
