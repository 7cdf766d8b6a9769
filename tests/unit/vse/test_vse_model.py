"""The card beside a small model of it: whatever is sent, both say the same and hold the same.

The model knows the specification's rules on the registry, life cycles, associations, counters and memory, and
nothing of the card's code. Long: `pytest -m campaign tests/unit/vse/test_vse_model.py`.
Source: GPCS 2.3.1 §5.3, §9.3 to §9.6; Amendment D §6.2.2.1.
"""

from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from tests.unit.vse.card_host import ISD, CardHost, load_file, make_card, make_keys

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.tlv import encode_tlv
from opentsm.card.gp import commands
from opentsm.card.gp.instructions import StoreDataStructure

INSTALLED, SELECTABLE, PERSONALIZED, LOCKED = 0x03, 0x07, 0x0F, 0x80
UNKNOWN, REFUSED, WRONG = 0x6A88, 0x6985, 0x6A80

PACKAGES = [Aid(bytes.fromhex("F0010203") + bytes([n])) for n in (4, 5)]
INSTANCES = [Aid(bytes.fromhex("F001020309") + bytes([n, n])) for n in range(3)]
DOMAINS = [Aid(bytes.fromhex("A00000015100AA") + bytes([n])) for n in range(3)]
PACKAGE, INSTANCE, DOMAIN = map(st.sampled_from, (PACKAGES, INSTANCES, DOMAINS))
OBJECT = st.sampled_from([*INSTANCES, *DOMAINS])
ANY = st.sampled_from([*PACKAGES, *INSTANCES, *DOMAINS])
PRE_ISSUED = Aid.from_hex("325041592E5359532E4444463031")


def module_of(package: Aid) -> Aid:
    return Aid(bytes(package) + b"\x01")


@dataclass
class Entry:
    """What the model knows of one object."""

    kind: str
    sd: Aid
    state: int = 0x01
    package: Aid | None = None
    keys: bool = False


@dataclass
class Model:
    """The registry as the specification has it, seen by an issuer domain with all its privileges."""

    entries: dict[Aid, Entry] = field(default_factory=dict)
    counter: int = 0

    def is_domain_ready(self, aid: Aid) -> bool:
        """§5.3.2.2, §9.4.1: a receiving domain is PERSONALIZED; the issuer's always is ready."""
        entry = self.entries.get(aid)
        return aid == ISD or (entry is not None and entry.kind == "domain" and entry.state == PERSONALIZED)

    def is_locked(self, aid: Aid) -> bool:
        entry = self.entries.get(aid)
        return entry is not None and bool(entry.state & LOCKED)

    def above(self, aid: Aid) -> list[Aid]:
        """Domains above an object, the nearest first; a domain associated with itself is a root."""
        found: list[Aid] = []
        while aid in self.entries:
            parent = self.entries[aid].sd
            if parent == aid or parent in found:
                break
            found.append(parent)
            aid = parent
        return found

    def is_controlled(self, aid: Aid) -> bool:
        """The issuer's domain acts on it: its own, or of an unlocked domain below (default policy)."""
        owner = self.entries[aid].sd
        return owner == ISD or (ISD in self.above(owner) and not self.is_locked(owner))

    def content_of(self, aid: Aid) -> list[Aid]:
        return [other for other, entry in self.entries.items() if entry.sd == aid and other != aid]

    def instances_of(self, package: Aid) -> list[Aid]:
        return [other for other, entry in self.entries.items() if entry.package == package]


class CardBesideModel(RuleBasedStateMachine):
    """Sends commands of the issuer domain; the model says which status words are right."""

    def __init__(self) -> None:
        super().__init__()
        self.host = CardHost(make_card())
        self.model = Model()
        self.costs: dict[str, int] = {}
        self.open_session()
        self.empty = self.free = self.host.free_memory()

    def open_session(self) -> None:
        self.host.select()
        self.host.authenticate(level=0x01)
        self.model.counter += 1

    def check(self, sw: int, reasons: set[int]) -> bool:
        """A refusal has one of its reasons, a success none."""
        assert sw in (reasons or {0x9000}), f"{sw:04X}, expected {sorted(map(hex, reasons)) or '9000'}"
        return not reasons

    def learn(self, kind: str) -> None:
        """What an object of a kind takes is always the same."""
        free = self.host.free_memory()
        assert self.costs.setdefault(kind, self.free - free) == self.free - free
        self.free = free

    @initialize(domains=st.integers(0, 3), loaded=st.booleans())
    def begin(self, domains: int, loaded: bool) -> None:
        """Start somewhere on the way, so that the rare things come within few steps."""
        for domain in DOMAINS[:domains]:
            self.create_domain(domain=domain)
            self.give_keys(domain=domain)
        if loaded:
            self.load(package=PACKAGES[0], subject=None)
            self.install(package=PACKAGES[0], instance=INSTANCES[0], selectable=True)

    @rule(package=PACKAGE, subject=st.one_of(st.none(), DOMAIN))
    def load(self, package: Aid, subject: Aid | None) -> None:
        reasons = {WRONG} if package in self.model.entries else set()
        if subject is not None:
            reasons |= self.receiver_reasons(subject)
        block = load_file(package, (module_of(package),))
        first = self.host.sw(commands.install_for_load(package, subject))
        if not self.check(first, reasons):
            return
        for command in commands.load_blocks(block, block_size=200):
            assert self.host.sw(command) == 0x9000
        self.model.entries[package] = Entry("package", subject or ISD)
        self.learn("package")

    def receiver_reasons(self, aid: Aid) -> set[int]:
        if aid not in self.model.entries:
            return {UNKNOWN}
        ready = self.model.is_domain_ready(aid) and ISD in self.model.above(aid)
        return set() if ready else {REFUSED}

    @rule(package=PACKAGE, instance=INSTANCE, selectable=st.booleans())
    def install(self, package: Aid, instance: Aid, selectable: bool) -> None:
        model, reasons = self.model, set[int]()
        if package not in model.entries:
            reasons.add(UNKNOWN)
        else:
            owner = model.entries[package].sd
            if not model.is_controlled(package) or not model.is_domain_ready(owner):
                reasons.add(REFUSED)
        if instance in model.entries:
            reasons.add(WRONG)
        sw = self.host.install(instance, module=module_of(package), package=package, selectable=selectable)
        if self.check(sw, reasons):
            state = SELECTABLE if selectable else INSTALLED
            model.entries[instance] = Entry("application", model.entries[package].sd, state, package)
            self.learn("application")

    @rule(instance=INSTANCE)
    def make_selectable(self, instance: Aid) -> None:
        entry, reasons = self.model.entries.get(instance), set[int]()
        if entry is None:
            reasons.add(UNKNOWN)
        elif entry.state != INSTALLED or not self.model.is_controlled(instance):
            reasons.add(REFUSED)
        if self.check(self.host.sw(commands.install_for_make_selectable(instance)), reasons) and entry:
            entry.state = SELECTABLE

    @rule(domain=DOMAIN)
    def create_domain(self, domain: Aid) -> None:
        reasons = {WRONG} if domain in self.model.entries else set()
        if self.check(self.host.create_domain(domain), reasons):
            self.model.entries[domain] = Entry("domain", ISD, SELECTABLE)
            self.learn("domain")

    @rule(domain=DOMAIN)
    def give_keys(self, domain: Aid) -> None:
        entry, reasons = self.model.entries.get(domain), set[int]()
        if entry is None:
            reasons.add(UNKNOWN)
        elif entry.sd != ISD or entry.state & LOCKED:
            reasons.add(REFUSED)
        if not self.check(self.host.sw(commands.install_for_personalization(domain)), reasons) or not entry:
            return
        block = self.host.key_group(make_keys(0x66))
        sw = self.host.sw(commands.store_data(block, 0, last=True, structure=StoreDataStructure.DGI))
        if self.check(sw, {WRONG} if entry.keys else set()):
            entry.keys, entry.state = True, PERSONALIZED
            self.learn("keys")

    @rule(subject=OBJECT, lock=st.booleans())
    def lock(self, subject: Aid, lock: bool) -> None:
        entry, reasons = self.model.entries.get(subject), set[int]()
        if entry is None:
            reasons.add(UNKNOWN)
        elif bool(entry.state & LOCKED) == lock:
            reasons.add(REFUSED)
        command = commands.lock(subject) if lock else commands.unlock(subject)
        if self.check(self.host.sw(command), reasons) and entry:
            entry.state ^= LOCKED

    @rule(subject=DOMAIN, lock=st.booleans())
    def lock_hierarchy(self, subject: Aid, lock: bool) -> None:
        reasons = set() if subject in self.model.entries else {UNKNOWN}
        command = commands.lock(subject, with_applications=True)
        command = command if lock else commands.unlock(subject, with_applications=True)
        if not self.check(self.host.sw(command), reasons):
            return
        for aid, entry in self.model.entries.items():
            if entry.kind != "package" and (aid == subject or subject in self.model.above(aid)):
                entry.state = entry.state | LOCKED if lock else entry.state & ~LOCKED

    @rule(subject=ANY, domain=DOMAIN)
    def extradite(self, subject: Aid, domain: Aid) -> None:
        model, reasons = self.model, set[int]()
        entry = model.entries.get(subject)
        if entry is None or domain not in model.entries:
            reasons.add(UNKNOWN)
        if entry is not None and (not model.is_controlled(subject) or subject in model.above(domain)):
            reasons.add(REFUSED)
        if entry is not None and subject != domain:
            reasons |= self.receiver_reasons(domain)
        elif not model.is_domain_ready(domain) or (entry is not None and ISD not in model.above(domain)):
            reasons.add(REFUSED)
        if self.check(self.host.sw(commands.install_for_extradition(subject, domain)), reasons) and entry:
            entry.sd = domain

    @rule(subject=DOMAIN, domain=DOMAIN)
    def nest(self, subject: Aid, domain: Aid) -> None:
        self.extradite(subject=subject, domain=domain)

    @rule(subject=ANY, related=st.booleans())
    def delete(self, subject: Aid, related: bool) -> None:
        model, reasons = self.model, set[int]()
        entry = model.entries.get(subject)
        if entry is None:
            reasons.add(UNKNOWN)
        users = model.content_of(subject) if entry is not None and entry.kind == "domain" else []
        instances = model.instances_of(subject)
        if users or (instances and not related):
            reasons.add(REFUSED)
        if not self.check(self.host.sw(commands.delete(subject, related=related)), reasons):
            return
        for gone in [subject, *instances]:
            old = model.entries.pop(gone)
            self.free += self.costs[old.kind] + (self.costs["keys"] if old.keys else 0)

    @rule()
    def reset(self) -> None:
        self.host.card.power_off()
        self.host.card.power_on()
        self.open_session()

    @rule()
    def abandon_a_session(self) -> None:
        self.host.select()
        self.host.raw(commands.initialize_update(0, bytes(8)))
        self.model.counter += 1
        self.open_session()

    @rule(ins=st.sampled_from([0xE4, 0xE6, 0xE8, 0xD8, 0xE2, 0xF0]), data=st.binary(max_size=40))
    def nonsense(self, ins: int, data: bytes) -> None:
        """Outside the session's protection nothing happens, and the session is over."""
        assert self.host.raw(CommandApdu(0x80, ins, 0x00, 0x00, data)).sw in {0x6982, 0x6A86}
        self.open_session()

    @invariant()
    def registry_is_the_models(self) -> None:
        seen = {aid: (state, sd) for aid, state, sd in self.listed(0x40)}
        del seen[bytes(PRE_ISSUED)]
        model = self.model.entries.items()
        # §9.6.5: the issuer domain has Global Registry, so it sees other hierarchies too.
        assert seen == {bytes(aid): (e.state, bytes(e.sd)) for aid, e in model if e.kind != "package"}
        packages = {aid: sd for aid, _, sd in self.listed(0x20) if aid in set(map(bytes, PACKAGES))}
        assert packages == {bytes(aid): bytes(e.sd) for aid, e in model if e.kind == "package"}

    def listed(self, scope: int) -> list[tuple[bytes, int, bytes]]:
        rows = ({entry.tag: entry.value for entry in row} for row in self.host.status(scope))
        return [(row[0x4F], row[0x9F70][0], row[0xCC]) for row in rows]

    @invariant()
    def counter_and_memory_are_the_models(self) -> None:
        expected = encode_tlv(0xC1, self.model.counter.to_bytes(3, "big"))
        assert self.host.ok(commands.get_data(0xC1)) == expected
        assert self.host.free_memory() == self.free
        if not self.model.entries:
            assert self.free == self.empty


def run(examples: int, steps: int, *, derandomize: bool) -> None:
    run_state_machine_as_test(
        CardBesideModel,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=derandomize,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_card_when_any_commands_come_is_what_the_model_says() -> None:
    run(120, 40, derandomize=True)


@pytest.mark.campaign
def test_card_when_a_long_campaign_runs_is_what_the_model_says() -> None:
    run(5_000, 80, derandomize=False)
