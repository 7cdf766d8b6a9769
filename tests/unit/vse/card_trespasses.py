"""Orders with exactly one thing wrong: by chance they would come too seldom.

Each rule first sees to it, as the issuer and without faults, that nothing else stands in the way.
"""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from tests.unit.vse.card_beside_model import DOMAINS, PACKAGES, SD, Draw
from tests.unit.vse.card_host import SD_MODULE, SD_PACKAGE
from tests.unit.vse.card_model import INSTALL, ISD, LOAD, UPDATE
from tests.unit.vse.card_orders import CardOrders

from opentsm.card.codec.aid import Aid
from opentsm.card.gp import commands
from opentsm.card.gp.install_params import application_parameters
from opentsm.card.gp.privileges import Privilege


class Trespasses(CardOrders):
    """What mostly succeeds, and what must not."""

    def ready(self) -> list[Aid]:
        """Domains in the issuer's reach that could work, and with which a session can be opened."""
        model = self.model
        domains = [aid for aid in self.mine(self.issuer, "domain") if model.is_ready(aid)]
        return [aid for aid in domains if model.within(ISD, aid) and model.entries[model.key_owner(aid)].keys]

    def give(self, aid: Aid, privileges: Privilege) -> None:
        """The issuer replaces the privileges of an object."""
        model, entry = self.model, self.model.entries[aid]
        reasons = model.control_reasons(ISD, aid) | model.manager_reasons(ISD, UPDATE, "none")
        reasons |= model.privilege_reasons(entry.kind, privileges, entry.privileges)
        reasons |= model.final_reasons(entry.state, privileges, entry.privileges)
        command = commands.install_for_registry_update(aid, privileges=privileges)
        self.fate = ""
        if self.order("give", self.issuer, command, reasons):
            model.grant(aid, privileges)

    def holder(self, draw: Draw, candidates: list[Aid], more: Privilege, instead: Privilege) -> Aid:
        """One that has a privilege already, or gets it now in the place of another."""
        model = self.model
        holders = [aid for aid in candidates if model.holds(aid, more)]
        aid = draw.draw(st.sampled_from(holders or candidates))
        if not holders:
            self.give(aid, model.entries[aid].privileges & ~instead | more)
        return aid

    @precondition(lambda self: self.ready() and self.unused(PACKAGES + DOMAINS))
    @rule(draw=st.data())
    def present_a_wrong_token(self, draw: Draw) -> None:
        """§9.1.3.1: a delegated order, legal but for the key that signed it."""
        model, without = self.model, Privilege.AUTHORIZED_MANAGEMENT
        actor = self.holder(draw, self.ready(), Privilege.DELEGATED_MANAGEMENT, without)
        self.wake()
        if self.guest is not None:
            self.close()
        self.guest = self.open_channel(actor)
        self.authenticate(self.guest)
        self.fate, operation = "", LOAD
        name = draw.draw(st.sampled_from(self.unused(PACKAGES + DOMAINS)))
        command = commands.install_for_load(name, None, hash=bytes(32))
        if name in DOMAINS:
            operation = INSTALL
            command = commands.install_for_install(
                SD_PACKAGE, SD_MODULE, name, SD, application_parameters(), make_selectable=True
            )
        reasons = model.manager_reasons(actor, operation, "wrong")
        assert not self.order("wrong token", self.guest, command, reasons, proof="wrong")

    @precondition(lambda self: self.lockable())
    @rule(draw=st.data())
    def lock_the_final_application(self, draw: Draw) -> None:
        """§9.6.2: nobody locks it, not the issuer either; nor unlocks what was locked before."""
        model = self.model
        holders = [aid for aid in model.of("application") if model.holds(aid, Privilege.FINAL_APPLICATION)]
        aid = self.holder(draw, holders or self.lockable(), Privilege.FINAL_APPLICATION, Privilege.CARD_RESET)
        lock, self.fate = not model.is_locked(aid), ""
        reasons = model.lock_reasons(ISD, aid, lock=lock, tree=False)
        self.set_lock(self.issuer, aid, reasons, lock=lock, tree=False)

    def lockable(self) -> list[Aid]:
        mine = self.mine(self.issuer, "application")
        privilege = Privilege.FINAL_APPLICATION
        return [aid for aid in mine if not self.model.final_reasons(self.model.entries[aid].state, privilege)]

    @precondition(lambda self: self.owners())
    @rule(draw=st.data())
    def act_below_a_locked_domain(self, draw: Draw) -> None:
        """A locked domain accepts orders on its content from nobody, not from those above it either."""
        model, issuer = self.model, self.issuer
        owner = draw.draw(st.sampled_from(self.owners()))
        self.fate, locked = "", model.is_locked(owner)
        if not locked:
            reasons = model.lock_reasons(ISD, owner, lock=True, tree=False)
            self.set_lock(issuer, owner, reasons, lock=True, tree=False)
        self.hand_over(draw, issuer, draw.draw(st.sampled_from(model.content_of(owner))), ISD)
        if not locked:
            reasons = model.lock_reasons(ISD, owner, lock=False, tree=False)
            self.set_lock(issuer, owner, reasons, lock=False, tree=False)

    def owners(self) -> list[Aid]:
        domains = self.model.of("domain")
        return [aid for aid in domains if self.model.within(ISD, aid) and self.model.content_of(aid)]

    @precondition(lambda self: self.ready() and self.mine(self.issuer, "package"))
    @rule(draw=st.data())
    def dodge_the_signature_check(self, draw: Draw) -> None:
        """§9.4.1: a load file does not move to a domain that would have wanted its signature."""
        self.fate = ""
        package = draw.draw(st.sampled_from(self.mine(self.issuer, "package")))
        before = {aid: self.model.entries[aid].privileges for aid in self.ready()}
        receiver = self.holder(draw, self.ready(), Privilege.DAP_VERIFICATION, Privilege.NONE)
        self.hand_over(draw, self.issuer, package, receiver)
        if self.model.entries[receiver].privileges != before[receiver]:
            self.give(receiver, before[receiver])

    @precondition(lambda self: len(self.ready()) > 1)
    @rule(draw=st.data())
    def close_a_circle(self, draw: Draw) -> None:
        """§9.4.1: a domain does not come below one that is below itself already."""
        ready, above = self.ready(), self.model.above
        pairs = [(upper, lower) for upper in ready for lower in ready if upper in above(lower)]
        pairs = pairs or [(upper, lower) for upper in ready for lower in ready if upper != lower]
        upper, lower = draw.draw(st.sampled_from(pairs))
        self.fate = ""
        if upper not in above(lower):
            self.hand_over(draw, self.issuer, lower, upper)
        self.hand_over(draw, self.issuer, upper, lower)
