"""What a plan is made of: sessions of the parties, in order, and who manages the card."""

from collections.abc import Iterable
from enum import Enum

from opentsm.card.codec.aid import Aid
from opentsm.card.profiles import Contactless, FirstKeys, HandOver
from opentsm.tsm.domain.arrangement import ContentMode, HandOverGrade
from opentsm.tsm.domain.card_content import MemoryNeeds
from opentsm.tsm.engine import steps as s
from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.ids import TenantId


class Keeper(Record, frozen=True, kw_only=True):
    """Who may change the card's access rules: the holder of the domain that the ARA-M lies under."""

    owner_id: TenantId
    domain: Aid
    kvn: int


class Topology(Record, frozen=True, kw_only=True):
    """Who manages content on this card, as data of the SE's configuration.

    `manager_sd` is the domain with Authorised Management that creates domains, loads and installs.
    `domain_privileges` (24 bits) and `domain_parameters` (value of C9) are those of a new domain.
    In mode DELEGATED the provider loads and installs itself, with tokens of `tokens_by`; in AUTHORIZED it is
    the manager. `quota_bytes` is what the provider's load files may take of the card (None: all there is).
    `handover` is the grade in which new domains change hands, `handover_way` how that is done confidentially
    on this card, with its `casd`.
    `domain_memory` are the limits that the card is told for a new domain.
    `contactless` says how applications are activated on the contactless interface, `access_rules` whether the
    card keeps access rules; `keeper` changes them where the manager cannot.
    """

    manager_id: TenantId
    manager_sd: Aid
    manager_kvn: int
    provider_id: TenantId
    domain_load_file: Aid
    domain_module: Aid
    domain_privileges: int
    domain_parameters: bytes
    temporary_kvn: int
    first_keys: FirstKeys
    contactless: Contactless = Contactless.NONE
    access_rules: bool = False
    mode: ContentMode = ContentMode.CENTRALISED
    tokens_by: TenantId | None = None
    quota_bytes: int | None = None
    handover: HandOverGrade = HandOverGrade.RELAY_TRUSTED
    keeper: Keeper | None = None
    handover_way: HandOver = HandOver.NONE
    casd: Aid | None = None
    domain_memory: MemoryNeeds = MemoryNeeds()


class SessionKind(Enum):
    """How a session talks to the card.

    SECURE_CHANNEL opens with INITIALIZE UPDATE. CONTINUED goes on in the secure channel of the session
    before it. CARRIED travels in those two, which are another party's: it stands in no plan of its own. PLAIN
    talks to whatever it selects, unprotected.
    """

    SECURE_CHANNEL = "SECURE_CHANNEL"
    CONTINUED = "CONTINUED"
    CARRIED = "CARRIED"
    PLAIN = "PLAIN"


class PlannedSession(Record, frozen=True, kw_only=True):
    """Steps that one party takes in one session with one security domain (or application).

    `key_sd` is the domain whose key set opens the session: an ancestor's when keys are inherited. In a
    session with Delegated Management `tokens_by` is the party whose tokens its content commands carry.
    `keys_from` is the party that hands the key set over, where it is not the owner's yet.
    """

    kind: SessionKind
    owner_id: TenantId
    selected: Aid
    key_sd: Aid
    kvn: int
    steps: tuple[s.Step, ...]
    tokens_by: TenantId | None = None
    keys_from: TenantId | None = None


def managed(topology: Topology, steps: Iterable[s.Step]) -> PlannedSession:
    """Return a session of the card's manager with its own domain."""
    return PlannedSession(
        kind=SessionKind.SECURE_CHANNEL,
        owner_id=topology.manager_id,
        selected=topology.manager_sd,
        key_sd=topology.manager_sd,
        kvn=topology.manager_kvn,
        steps=tuple(steps),
    )


class Plan(Record, frozen=True, kw_only=True):
    """Sessions in order; empty when the card is as it should be."""

    sessions: tuple[PlannedSession, ...] = ()

    @property
    def empty(self) -> bool:
        """Say whether nothing is to be done."""
        return not self.sessions

    def lines(self) -> tuple[str, ...]:
        """Return the plan for people: one line a step."""
        return tuple(
            f"{session.selected} · {step.describe()}{_by_token(session, step)}"
            for session in self.sessions
            for step in session.steps
        )

    def changes_card(self) -> bool:
        """Say whether any step changes the card."""
        return any(step.changes for session in self.sessions for step in session.steps)


def _by_token(session: PlannedSession, step: s.Step) -> str:
    with_token = session.tokens_by is not None and isinstance(step, s.DELEGATED)
    return " (with a token)" if with_token else ""
