"""Drives a virtual card and its model side by side, on two logical channels, with power cuts.

Most orders are chosen among what exists, so that most succeed; some are wrong on purpose. After each one
the whole card is read and compared.
"""

from collections import Counter
from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant
from tests.unit.vse.card_host import (
    FACTORY_KEYS,
    SD_PACKAGE,
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
    MAKE_SELECTABLE,
    TIGHT,
    UNKNOWN,
    UPDATE,
    Entry,
    Model,
    Reasons,
)
from tests.unit.vse.card_seat import Seat, Transport

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.tlv import find, parse_tlv, parse_tlvs
from opentsm.card.crypto.secret import Secret
from opentsm.card.crypto.signature import AesMacKey
from opentsm.card.gp import commands
from opentsm.card.gp.keys import KeyType, StaticKeys, put_key_field
from opentsm.card.gp.privileges import Privilege
from opentsm.card.gp.tokens import sign_command
from opentsm.vse.faults import FaultPlan, LostAnswerError, TornError
from opentsm.vse.nvm import MemoryNvm

PACKAGES = [Aid(bytes.fromhex("F0010203") + bytes([n])) for n in (4, 5)]
INSTANCES = [Aid(bytes.fromhex("F001020309") + bytes([n, n])) for n in range(4)]
DOMAINS = [Aid(bytes.fromhex("A00000015100AA") + bytes([n])) for n in range(3)]
NOBODY = Aid(bytes.fromhex("F0010203FF"))
EVERYTHING = [*PACKAGES, *INSTANCES, *DOMAINS, ISD]
FACTORY = {Aid.from_hex("325041592E5359532E4444463031"), Aid.from_hex("F04F54534D00"), SD_PACKAGE}
SD = Privilege.SECURITY_DOMAIN | Privilege.TRUSTED_PATH
DOMAIN_PRIVILEGES = [
    SD | Privilege.AUTHORIZED_MANAGEMENT,
    SD | Privilege.DELEGATED_MANAGEMENT,
    SD | Privilege.AUTHORIZED_MANAGEMENT | Privilege.GLOBAL_DELETE,
    SD | Privilege.AUTHORIZED_MANAGEMENT | Privilege.CARD_LOCK,
    SD | Privilege.GLOBAL_LOCK,
    SD | Privilege.GLOBAL_REGISTRY,
    SD | Privilege.DAP_VERIFICATION,
    SD | Privilege.GLOBAL_DELETE,
    Privilege.SECURITY_DOMAIN | Privilege.AUTHORIZED_MANAGEMENT,
    SD,
]
BAD_DOMAIN_PRIVILEGES = [
    SD | Privilege.AUTHORIZED_MANAGEMENT | Privilege.DELEGATED_MANAGEMENT,
    Privilege.NONE,
    Privilege.TRUSTED_PATH,
]
PRIVILEGES = [
    Privilege.NONE,
    Privilege.NONE,
    Privilege.FINAL_APPLICATION,
    Privilege.CARD_RESET,
    Privilege.GLOBAL_SERVICE,
]
BAD_PRIVILEGES = [Privilege.DELEGATED_MANAGEMENT, Privilege.AUTHORIZED_MANAGEMENT, SD]
TOKEN_KEY, OTHER_KEY, RECEIPT_KEY = (AesMacKey(Secret(bytes([n]) * 16)) for n in (0x71, 0x72, 0x73))
ENDS = ("torn", "aborted", "disordered", "damaged", "big")
FATES = ("cut_before_apdu", "cut_after_apdu", "cut_before_write", "cut_after_write", "lose_answer")
NOTHING_HAPPENED = ("cut_before_apdu", "cut_before_write")
VERSIONS = (0x31, 0x32, 0x33)
OPERATIONS = {
    DELETE: "delete",
    LOAD: "announce",
    INSTALL: "install",
    MAKE_SELECTABLE: "make selectable",
    EXTRADITE: "extradite",
    UPDATE: "update",
}
MEMORY = 12_000
VOLATILE = 1_000

Draw = st.DataObject


def module_of(package: Aid) -> Aid:
    return Aid(bytes(package) + b"\x01")


def keys_of(seed: int) -> StaticKeys:
    return make_keys(seed) if seed else FACTORY_KEYS


class ReadBesideModel(RuleBasedStateMachine):
    """The issuer sits on the basic channel; a guest may sit on another."""

    tally: Counter[tuple[str, bool]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.transport = Transport.WHOLE
        self.guest: Seat | None = None
        self.fate = ""
        self.beginning = False
        self.costs: dict[str, int] = {}

    def issue(self, transport: Transport) -> None:
        """A new card with keys for tokens and receipts, reached by this transport."""
        self.nvm, self.transport = MemoryNvm(), transport
        self.card = make_card(nvm=self.nvm, memory=MEMORY, ram=VOLATILE, protocol=transport.protocol)
        self.model = Model(VOLATILE)
        self.issuer = Seat(self.card, transport=transport)
        self.reset()
        self.wake()
        assert self.issuer.dek is not None
        for kvn, key in ((0x70, TOKEN_KEY), (0x71, RECEIPT_KEY)):
            field = put_key_field(key.key, KeyType.AES, self.issuer.dek)
            assert self.issuer.sw(commands.put_key(kvn, [field])) == 0x9000
        self.free = self.empty = self.issuer.free_memory()

    # Sessions.

    def reset(self) -> None:
        """Power on again: sessions are over, the supplementary channels closed."""
        self.card.power_on()
        self.guest, self.cut, self.asleep = None, True, True

    def wake(self) -> None:
        """Open the issuer's session, by the keys that are the issuer's now."""
        if self.asleep:
            self.asleep = False
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
        self.wake()
        return self.seats()[draw.draw(st.integers(0, len(self.seats()) - 1))]

    def choose(self, draw: Draw, good: Sequence[Aid], every: Sequence[Aid]) -> Aid:
        """Mostly one of the good, now and then any."""
        stray = not good or self.strays(draw, 11)
        return draw.draw(st.sampled_from(every if stray else good))

    def strays(self, draw: Draw, times: int) -> bool:
        """Once in a while something wrong is wanted, but not at the beginning."""
        return not self.beginning and draw.draw(st.integers(0, times)) == times

    def proof(self, draw: Draw, seat: Seat) -> str:
        usual = "right" if self.model.holds(seat.aid, Privilege.DELEGATED_MANAGEMENT) else "none"
        return draw.draw(st.sampled_from(["right", "wrong", "none"])) if self.strays(draw, 9) else usual

    def mine(self, seat: Seat, *kinds: str) -> list[Aid]:
        """Objects that the actor may work on."""
        model = self.model
        return [aid for aid in model.of(*kinds) if not model.control_reasons(seat.aid, aid)]

    def receivers(self, seat: Seat) -> list[Aid]:
        model = self.model
        return [aid for aid in model.of("domain") if not model.receiver_reasons(seat.aid, aid)]

    def unused(self, names: Sequence[Aid]) -> list[Aid]:
        return [aid for aid in names if aid not in self.model.entries]

    def fresh(self, names: Sequence[Aid]) -> list[Aid]:
        return [aid for aid in names if self.model.entries[aid].state == INSTALLED]

    # Orders.

    def order(
        self, name: str, seat: Seat, command: CommandApdu, reasons: Reasons, *, proof: str = "none"
    ) -> bool:
        """Send one command, perhaps into a power cut; tell whether its effect must be there."""
        if proof != "none":
            command = sign_command(command, TOKEN_KEY if proof == "right" else OTHER_KEY)
        self.wake()
        before, fate = self.nvm.load(), self.fate
        self.fate, self.cut, done = "", False, not reasons
        self.card.arm(self.plan(seat, command, fate))
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

    def plan(self, seat: Seat, command: CommandApdu, fate: str) -> FaultPlan:
        """A power cut at the command, or at the last of its parts."""
        at = seat.parts(command) if "write" not in fate else 1
        return FaultPlan(**{fate: at}) if fate else FaultPlan()

    def note(self, name: str, *, done: bool) -> None:
        self.tally[name, done] += 1

    def manage(self, draw: Draw, seat: Seat, command: CommandApdu, operation: int, reasons: Reasons) -> bool:
        """An order of content management; a delegated one is confirmed and counted."""
        name, proof = OPERATIONS[operation], self.proof(draw, seat)
        reasons = reasons | self.model.manager_reasons(seat.aid, operation, proof)
        done = self.order(name, seat, command, reasons, proof=proof)
        if done and operation != LOAD:
            self.confirm(seat)
        return done

    def confirm(self, seat: Seat) -> None:
        self.model.confirmations += self.model.holds(seat.aid, Privilege.DELEGATED_MANAGEMENT)

    def took(self, kind: str, more: int = 0) -> None:
        """What an object of a kind takes is always the same, and what it says itself comes on top."""
        self.wake()
        free = self.issuer.free_memory()
        assert self.costs.setdefault(kind, self.free - free - more) == self.free - free - more
        self.free = free

    def room(self, kind: str, more: int = 0) -> Reasons:
        """§9.7: what does not fit is refused; before the first of a kind there is room enough."""
        return {FULL} if self.costs.get(kind, 0) + more > self.free else set()

    def key_cost(self, entry: Entry) -> int:
        """What one more key set takes of the free memory: nothing where it was reserved."""
        return 0 if entry.reserved else self.costs.get("keys", 0)

    def key_room(self, entry: Entry) -> Reasons:
        """A quota of a domain in these runs is smaller than any key set, or larger than all."""
        tight = entry.quota is not None and entry.quota < TIGHT
        return {FULL} if tight or self.key_cost(entry) > self.free else set()

    def keys_came(self, entry: Entry) -> None:
        if entry.reserved:
            same(self.issuer.free_memory(), self.free)
        else:
            self.took("keys")

    def gave_back(self, entry: Entry) -> None:
        self.free += self.costs[entry.kind] + entry.size + self.key_cost(entry) * len(entry.keys)

    def new_set(self, draw: Draw, entry: Entry) -> tuple[int, int]:
        free = [] if self.strays(draw, 9) else [kvn for kvn in VERSIONS if kvn not in entry.keys]
        return draw.draw(st.sampled_from(free or VERSIONS)), draw.draw(st.integers(0x60, 0x62))

    # What must be so after each step.

    @invariant()
    def registry_is_the_models(self) -> None:
        self.wake()
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
        seen = (
            (aid, self.model.entries[aid]) for aid in self.model.visible(viewer, ("application", "domain"))
        )
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
            bytes(aid): (
                b"\x01",
                bytes(module_of(aid)) if modules else None,
                bytes(self.model.entries[aid].sd),
            )
            for aid in self.model.visible(viewer, ("package",))
        }

    @invariant()
    def keys_and_counters_are_the_models(self) -> None:
        self.wake()
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
        self.wake()
        same(self.issuer.free_memory(), self.free)
        same(self.free_volatile(), self.model.free_volatile())
        if len(self.model.entries) == 1 and len(self.model.entries[ISD].keys) == 1:
            assert self.free == self.empty

    def free_volatile(self) -> int:
        """83 of the extended card resources (FF21)."""
        value = parse_tlv(self.issuer.ok(commands.get_data(0xFF21))).value
        return int.from_bytes(find(parse_tlvs(value), 0x83) or b"", "big")


def same(seen: object, expected: object) -> None:
    """The assertion, with both sides in its message."""
    assert seen == expected, f"card: {seen!r}, model: {expected!r}"
