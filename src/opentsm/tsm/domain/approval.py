"""Four eyes: a dangerous act that one person of a party asks for, and another one decides about.

An approval holds the act as data. Whoever approves it carries it out: in the same transaction, and once.
"""

import unicodedata
from datetime import datetime
from enum import Enum

from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.errors import ForbiddenError
from opentsm.tsm.kernel.ids import ApprovalId, TenantId
from opentsm.tsm.kernel.transitions import TransitionTable


class Act(Enum):
    """What two people are needed for; the subject is a secure element, or of a release its submission."""

    LOCK_CARD = "LOCK_CARD"
    UNLOCK_CARD = "UNLOCK_CARD"
    TERMINATE_CARD = "TERMINATE_CARD"
    ROTATE_MANAGER_KEYS = "ROTATE_MANAGER_KEYS"
    RELEASE_APPLET = "RELEASE_APPLET"


class ApprovalState(Enum):
    """PENDING waits for another person; EXPIRED waited too long. APPROVED: the act was carried out."""

    PENDING = "PENDING"
    APPROVED = "APPROVED"
    REFUSED = "REFUSED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"


class ApprovalEvent(Enum):
    """What moves an approval."""

    APPROVE = "APPROVE"
    REFUSE = "REFUSE"
    CANCEL = "CANCEL"
    EXPIRE = "EXPIRE"


_S, _E = ApprovalState, ApprovalEvent

APPROVAL_STATES: TransitionTable[ApprovalState, ApprovalEvent] = TransitionTable(
    "approval",
    {
        (_S.PENDING, _E.APPROVE): _S.APPROVED,
        (_S.PENDING, _E.REFUSE): _S.REFUSED,
        (_S.PENDING, _E.CANCEL): _S.CANCELLED,
        (_S.PENDING, _E.EXPIRE): _S.EXPIRED,
    },
)


class Signer(Record, frozen=True, kw_only=True):
    """A person at work, and the token (its digest in hex) that said so."""

    person: str
    token: str

    def is_also(self, other: "Signer") -> bool:
        """Say whether two signers are one: the same person, or the same token."""
        return self.token == other.token or same_person(self.person, other.person)


class Approval(Record, frozen=True, kw_only=True):
    """A dangerous act in waiting, or what became of it.

    `outcome` names what came of the act (the id of an operation, for one).
    """

    id: ApprovalId
    tenant_id: TenantId
    act: Act
    subject: str
    parameters: dict[str, str | int] = {}
    reason: str
    asked_by: Signer
    state: ApprovalState = ApprovalState.PENDING
    decided_by: Signer | None = None
    decision: str = ""
    outcome: dict[str, str] = {}
    created_at: datetime
    expires_at: datetime
    decided_at: datetime | None = None
    version: int = 0

    def state_at(self, now: datetime) -> ApprovalState:
        """Return the state at a moment: what nobody decided in time has expired."""
        if self.state is ApprovalState.PENDING and now >= self.expires_at:
            return APPROVAL_STATES.next(self.state, ApprovalEvent.EXPIRE)
        return self.state

    def check_decider(self, signer: Signer) -> None:
        """Refuse a decision by whoever asked.

        Raises:
            ForbiddenError: it is the same person, or the same token.
        """
        if signer.is_also(self.asked_by):
            raise ForbiddenError(
                "Whoever asked for this cannot decide about it.",
                advice="Let another person of the party decide, with a token of that person.",
            )


def canonical_person(name: str) -> str:
    """Return a person's name as it is kept: composed, without needless spaces."""
    return " ".join(unicodedata.normalize("NFKC", name).split())


def same_person(one: str, other: str) -> bool:
    """Say whether two names are one person's, however they are written."""
    return canonical_person(one).casefold() == canonical_person(other).casefold()
