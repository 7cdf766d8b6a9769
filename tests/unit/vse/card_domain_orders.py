"""Orders on the domains of the card beside its model: their keys, what is theirs (GPCS 2.3.1 §7, §9.4)."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from tests.unit.vse.card_beside_model import (
    BAD_DOMAIN_PRIVILEGES,
    BAD_PRIVILEGES,
    DOMAIN_PRIVILEGES,
    DOMAINS,
    EVERYTHING,
    INSTANCES,
    PRIVILEGES,
    VERSIONS,
    Draw,
    keys_of,
)
from tests.unit.vse.card_content_orders import ContentOrders
from tests.unit.vse.card_model import (
    EXTRADITE,
    ISD,
    LOAD,
    PERSONALIZE,
    REFUSED,
    UNKNOWN,
    UPDATE,
    WRONG,
    Reasons,
)
from tests.unit.vse.card_seat import Seat

from opentsm.card.codec.aid import Aid
from opentsm.card.crypto.secret import Secret
from opentsm.card.gp import commands
from opentsm.card.gp.install_params import restrict_parameters
from opentsm.card.gp.instructions import StoreDataStructure
from opentsm.card.gp.keys import KeyType, StaticKeys, put_key_field
from opentsm.card.gp.privileges import Privilege


class DomainOrders(ContentOrders):
    """Key sets, extradition, registry update."""

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
        reasons = ({WRONG} if kvn in entry.keys else set()) | self.key_room(entry)
        if self.order("forward", seat, command, reasons):
            model.put_set(aid, kvn, seed)
            self.keys_came(entry)

    @rule(draw=st.data())
    def put_keys(self, draw: Draw) -> None:
        """Add a set to the actor's own, or replace one (§11.8)."""
        seat = self.actor(draw)
        entry = self.model.entries[seat.aid]
        kvn, seed = self.new_set(draw, entry)
        replaced = draw.draw(st.sampled_from(VERSIONS if self.strays(draw, 5) else [0, *entry.keys]))
        reasons = {WRONG} if kvn in entry.keys and kvn != replaced else set()
        reasons |= {UNKNOWN} if replaced and replaced not in entry.keys else set()
        reasons |= set() if replaced else self.key_room(entry)
        assert seat.dek is not None
        fields = [put_key_field(key, KeyType.AES, seat.dek) for key in key_list(keys_of(seed))]
        command = commands.put_key(kvn, fields, replace_kvn=replaced)
        if self.order("put key", seat, command, reasons):
            self.model.put_set(seat.aid, kvn, seed, replaced=replaced)
            if not replaced:
                self.keys_came(entry)

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
            if not entry.reserved:
                self.free += self.costs.get("keys", self.issuer.free_memory() - self.free)

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

    @precondition(lambda self: self.guest is not None)
    @rule(draw=st.data())
    def take_what_is_anothers(self, draw: Draw) -> None:
        """The guest moves to itself, or sends back, what its own hierarchy does not hold."""
        seat, model = self.guest, self.model
        assert seat is not None
        others = model.of("application", "package", "domain")
        foreign = [aid for aid in others if aid != seat.aid and model.control_reasons(seat.aid, aid)]
        self.hand_over(draw, seat, draw.draw(st.sampled_from(foreign or others)), seat.aid)

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


def key_list(keys: StaticKeys) -> tuple[Secret, Secret, Secret]:
    return keys.enc, keys.mac, keys.dek
