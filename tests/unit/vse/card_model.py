"""A small card made of plain dictionaries: what the specification's rules say about one order after another.

Written from the specification, without a look at the card's code. Each function that ends in `_reasons`
returns the status words with which the card may refuse, nothing when it must obey.
Source: GPCS 2.3.1 §5.3, §6.6.2, §7.2, §9.1.3, §9.2 to §9.7; Amendment D §6.2.2.1; what the texts leave open
is decided as in `docs/reference/divergences.md`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from opentsm.card.codec.aid import Aid
from opentsm.card.gp.privileges import Privilege

INSTALLED, SELECTABLE, PERSONALIZED, LOCKED = 0x03, 0x07, 0x0F, 0x80
UNKNOWN, REFUSED, WRONG, FULL, INSECURE = 0x6A88, 0x6985, 0x6A80, 0x6A84, 0x6982
ISD = Aid.from_hex("A000000151000000")
UNIQUE = (Privilege.CARD_RESET, Privilege.FINAL_APPLICATION)
TOGETHER_NEVER = (
    Privilege.AUTHORIZED_MANAGEMENT | Privilege.DELEGATED_MANAGEMENT,
    Privilege.TOKEN_VERIFICATION | Privilege.DELEGATED_MANAGEMENT,
    Privilege.RECEIPT_GENERATION | Privilege.DELEGATED_MANAGEMENT,
)
DOMAINS_ONLY = Privilege.DAP_VERIFICATION | Privilege.DELEGATED_MANAGEMENT | Privilege.AUTHORIZED_MANAGEMENT
# A quota below it has no room for keys.
TIGHT = 40
DELETE, LOAD, INSTALL, MAKE_SELECTABLE, EXTRADITE, PERSONALIZE, UPDATE = (1 << n for n in range(7))

Reasons = set[int]


@dataclass(frozen=True, slots=True)
class Memory:
    """What INSTALL says of memory (§9.7): limits, and what is taken at once."""

    quota: int | None = None
    reserved: int = 0
    volatile_quota: int | None = None
    volatile: int = 0

    @property
    def is_wrong(self) -> bool:
        """§9.7: a limit below what is reserved."""
        pairs = ((self.quota, self.reserved), (self.volatile_quota, self.volatile))
        return any(limit is not None and limit < taken for limit, taken in pairs)


NO_MEMORY = Memory()


@dataclass
class Entry:
    """One object of the registry; key sets are in the order in which they came, each with its counter."""

    kind: str
    sd: Aid
    state: int = 0x01
    privileges: Privilege = Privilege.NONE
    package: Aid | None = None
    code: int = 0
    data: int = 0
    memory: Memory = NO_MEMORY
    restricted: int = 0
    keys: dict[int, int] = field(default_factory=dict)
    counters: dict[int, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """What it says itself that it takes: code, and data, which go into reserved memory first."""
        return self.code + max(self.memory.reserved, self.data)

    @property
    def quota(self) -> int | None:
        return self.memory.quota

    @property
    def reserved(self) -> int:
        return self.memory.reserved


class Model:
    """The registry, and the rules on it."""

    def __init__(self, volatile: int) -> None:
        self.volatile = volatile
        issuer = Privilege(0x9EFE80)
        self.entries = {ISD: Entry("domain", ISD, PERSONALIZED, issuer, keys={0x30: 0}, counters={0x30: 0})}
        self.restricted = 0
        self.confirmations = 0

    def of(self, *kinds: str) -> list[Aid]:
        """AIDs of the objects of some kinds, without the issuer's domain."""
        return [aid for aid, entry in self.entries.items() if entry.kind in kinds and aid != ISD]

    def holds(self, aid: Aid, privilege: Privilege) -> bool:
        return bool(self.entries[aid].privileges & privilege)

    def is_locked(self, aid: Aid) -> bool:
        return aid != ISD and bool(self.entries[aid].state & LOCKED)

    def above(self, aid: Aid) -> list[Aid]:
        """Domains above an object, the nearest first; a domain associated with itself is a root (§7.2)."""
        found: list[Aid] = []
        while self.entries[aid].sd not in {aid, *found}:
            aid = self.entries[aid].sd
            found.append(aid)
        return found

    def within(self, root: Aid, aid: Aid) -> bool:
        return root == aid or root in self.above(aid)

    def content_of(self, aid: Aid) -> list[Aid]:
        return [other for other, entry in self.entries.items() if entry.sd == aid and other != aid]

    def instances_of(self, package: Aid) -> list[Aid]:
        return [other for other, entry in self.entries.items() if entry.package == package]

    def visible(self, viewer: Aid, kinds: Iterable[str]) -> list[Aid]:
        """§9.6.5: itself, what is below it, everything with Global Registry."""
        every = self.holds(viewer, Privilege.GLOBAL_REGISTRY)
        return [aid for aid in self.of(*kinds) if every or self.within(viewer, aid)]

    def free_volatile(self) -> int:
        """§9.7: what nobody has reserved."""
        return self.volatile - sum(entry.memory.volatile for entry in self.entries.values())

    def memory_reasons(self, wanted: Memory) -> Reasons:
        """§9.7, but for the non-volatile memory, whose measure is the card's own."""
        reasons = {WRONG} if wanted.is_wrong else set[int]()
        return reasons | ({FULL} if wanted.volatile > self.free_volatile() else set())

    def data_reasons(self, aid: Aid, held: int, free: int) -> Reasons:
        """§9.7: data within the quota; what was reserved is the application's already."""
        entry = self.entries[aid]
        more = max(entry.reserved, held) - max(entry.reserved, entry.data)
        over = entry.quota is not None and held > entry.quota
        return {FULL} if over or more > free else set()

    def key_owner(self, aid: Aid) -> Aid:
        """A domain without keys of its own uses those of the nearest one above that has some."""
        return next((one for one in (aid, *self.above(aid)) if self.entries[one].keys), aid)

    # Who may do what.

    def manager_reasons(self, actor: Aid, operation: int, proof: str) -> Reasons:
        """Section 2.4: state, restrictions, privilege, token."""
        entry, reasons = self.entries[actor], self.actor_reasons(actor, operation)
        if entry.privileges & Privilege.DELEGATED_MANAGEMENT:
            # §9.1.3.1: whoever verifies tokens is found through the authorised domains above.
            verified = ISD in self.above(actor)
            if proof == "right" and verified:
                return reasons
            return reasons | ({INSECURE} if proof == "wrong" and verified else {REFUSED})
        authorized = entry.privileges & Privilege.AUTHORIZED_MANAGEMENT and proof == "none"
        return reasons if authorized else reasons | {REFUSED}

    def actor_reasons(self, actor: Aid, operation: int) -> Reasons:
        restricted = (self.restricted | self.entries[actor].restricted) & operation
        return {REFUSED} if restricted or not self.is_ready(actor) else set()

    def is_ready(self, aid: Aid) -> bool:
        return aid == ISD or self.entries[aid].state == PERSONALIZED

    def control_reasons(self, actor: Aid, aid: Aid) -> Reasons:
        """The object's own domain accepts orders from itself and from those above it, unless it is locked."""
        owner = self.entries[aid].sd
        accepts = owner == actor or (actor in self.above(owner) and not self.is_locked(owner))
        return set() if accepts else {REFUSED}

    def receiver_reasons(self, actor: Aid, aid: Aid) -> Reasons:
        """§5.3.2.2, §9.4.1: a receiver is a PERSONALIZED domain, which accepts those above it."""
        entry = self.entries.get(aid)
        if entry is None or entry.kind == "package":
            return {UNKNOWN}
        ready = entry.kind == "domain" and self.is_ready(aid)
        return set() if ready and self.within(actor, aid) else {REFUSED}

    def transfer_reasons(self, actor: Aid, aid: Aid, receiver: Aid) -> Reasons:
        """§9.4.1: nor in a circle, nor a load file past the signature check of its new domain."""
        entry, reasons = self.entries[aid], self.control_reasons(actor, aid)
        reasons |= self.receiver_reasons(actor, receiver) | ({REFUSED} if aid == ISD else set())
        if receiver in self.entries:
            circle = aid != receiver and aid in self.above(receiver)
            dodges = entry.kind == "package" and self.holds(receiver, Privilege.DAP_VERIFICATION)
            reasons |= {REFUSED} if circle or dodges else set()
        return reasons

    def privilege_reasons(
        self, kind: str, privileges: Privilege, holder: Privilege = Privilege.NONE
    ) -> Reasons:
        """§6.6.2: exclusive pairs, what only domains hold, what only one entity holds."""
        wrong = any(privileges & pair == pair for pair in TOGETHER_NEVER)
        wrong |= bool(privileges & Privilege.SECURITY_DOMAIN) != (kind == "domain")
        wrong |= kind != "domain" and bool(privileges & DOMAINS_ONLY)
        issuers = self.entries[ISD].privileges | holder
        wrong |= any(privileges & one and not issuers & one for one in UNIQUE)
        return {WRONG} if wrong else set()

    def final_reasons(self, state: int, privileges: Privilege, holder: Privilege = Privilege.NONE) -> Reasons:
        """What cannot be selected does not become the only thing that a locked card selects."""
        gains = privileges & ~holder & Privilege.FINAL_APPLICATION
        return {REFUSED} if gains and (state & LOCKED or state == INSTALLED) else set()

    def lock_reasons(self, actor: Aid, aid: Aid, *, lock: bool, tree: bool) -> Reasons:
        """§9.6.2: those above it and Global Lock; itself only to lock; never the Final Application."""
        entry = self.entries.get(aid)
        if entry is None:
            return {UNKNOWN}
        if aid == ISD:
            return {UNKNOWN, REFUSED}
        above = (
            actor in self.above(aid) or self.holds(actor, Privilege.GLOBAL_LOCK) or (aid == actor and lock)
        )
        # §9.6.2: nobody unlocks itself, whatever its privileges, nor its hierarchy by its own name.
        above &= lock or aid != actor
        reasons = set() if above and not entry.privileges & Privilege.FINAL_APPLICATION else {REFUSED}
        if tree:
            return reasons | ({WRONG} if entry.kind != "domain" else set())
        return reasons | ({REFUSED} if self.is_locked(aid) == lock else set())

    def delete_reasons(self, actor: Aid, aid: Aid, selected: Iterable[Aid], *, related: bool) -> Reasons:
        """§9.5: nothing that is selected, has content or instances; each object's domain must accept."""
        if aid not in self.entries:
            return {UNKNOWN}
        doomed = self.doomed(aid, related=related)
        reasons = {REFUSED} if aid == ISD or any(one in selected for one in doomed) else set[int]()
        for one in doomed:
            if not self.holds(actor, Privilege.GLOBAL_DELETE):
                reasons |= self.control_reasons(actor, one)
            users = [*self.content_of(one), *self.instances_of(one)]
            reasons |= {REFUSED} if any(user not in doomed for user in users) else set()
        return reasons

    def doomed(self, aid: Aid, *, related: bool) -> list[Aid]:
        is_package = self.entries[aid].kind == "package"
        return [*(self.instances_of(aid) if related and is_package else []), aid]

    # What changes.

    def grant(self, aid: Aid, privileges: Privilege) -> None:
        """Replace privileges; unique ones are the issuer's when nobody else has them."""
        entry, issuer = self.entries[aid], self.entries[ISD]
        for one in UNIQUE:
            if privileges & one:
                issuer.privileges &= ~one
            elif entry.privileges & one:
                issuer.privileges |= one
        entry.privileges = privileges

    def remove(self, aid: Aid) -> Entry:
        self.grant(aid, Privilege.NONE)
        return self.entries.pop(aid)

    def lock(self, aid: Aid, *, lock: bool, tree: bool) -> None:
        for one in self.of("domain", "application") if tree else [aid]:
            entry = self.entries[one]
            if self.within(aid, one) and not entry.privileges & Privilege.FINAL_APPLICATION:
                entry.state = entry.state | LOCKED if lock else entry.state & ~LOCKED

    def put_set(self, aid: Aid, kvn: int, seed: int, *, replaced: int = 0) -> None:
        """Add a set, or put one in the place of another; its counter begins anew (Amendment D §6.2.2.1)."""
        entry = self.entries[aid]
        sets = [(kvn, seed) if version == replaced else (version, old) for version, old in entry.keys.items()]
        entry.keys = dict(sets if replaced else [*sets, (kvn, seed)])
        entry.counters.pop(replaced, None)
        entry.counters[kvn] = 0
        self.personalize(aid)

    def personalize(self, aid: Aid) -> None:
        """§5.3.2.3: a SELECTABLE domain that has keys is PERSONALIZED."""
        entry = self.entries[aid]
        if entry.keys and entry.state == SELECTABLE and entry.kind == "domain":
            entry.state = PERSONALIZED
