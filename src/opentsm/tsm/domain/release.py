"""Load files on their way to cards: submitted, checked, reviewed, released to card profiles, withdrawn."""

from datetime import datetime
from enum import Enum

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.approval import Signer
from opentsm.tsm.domain.card_content import LoadFileReference
from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.ids import SubmissionId, TenantId
from opentsm.tsm.kernel.transitions import TransitionTable


class SubmissionState(Enum):
    """IN_REVIEW waits for the reviewer, APPROVED for two people who release it. RELEASED may be loaded."""

    SUBMITTED = "SUBMITTED"
    FAILED_CHECKS = "FAILED_CHECKS"
    IN_REVIEW = "IN_REVIEW"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    RELEASED = "RELEASED"
    WITHDRAWN = "WITHDRAWN"
    CANCELLED = "CANCELLED"


class SubmissionEvent(Enum):
    """What moves a submission."""

    PASS = "PASS"  # noqa: S105  # the checks
    FAIL = "FAIL"
    APPROVE = "APPROVE"
    REJECT = "REJECT"
    RELEASE = "RELEASE"
    WITHDRAW = "WITHDRAW"
    CANCEL = "CANCEL"


_S, _E = SubmissionState, SubmissionEvent

SUBMISSION_STATES: TransitionTable[SubmissionState, SubmissionEvent] = TransitionTable(
    "submission",
    {
        (_S.SUBMITTED, _E.PASS): _S.IN_REVIEW,
        (_S.SUBMITTED, _E.FAIL): _S.FAILED_CHECKS,
        (_S.IN_REVIEW, _E.APPROVE): _S.APPROVED,
        (_S.IN_REVIEW, _E.REJECT): _S.REJECTED,
        (_S.IN_REVIEW, _E.CANCEL): _S.CANCELLED,
        (_S.APPROVED, _E.RELEASE): _S.RELEASED,
        (_S.APPROVED, _E.REJECT): _S.REJECTED,
        (_S.APPROVED, _E.CANCEL): _S.CANCELLED,
        # to further profiles, or with another signature
        (_S.RELEASED, _E.RELEASE): _S.RELEASED,
        (_S.RELEASED, _E.WITHDRAW): _S.WITHDRAWN,
    },
)


class Severity(Enum):
    """ERROR stops a submission; a WARNING is for the reviewer; a NOTE is for whoever wants to know."""

    ERROR = "ERROR"
    WARNING = "WARNING"
    NOTE = "NOTE"


class Finding(Record, frozen=True, kw_only=True):
    """What a check found: where, and what to do about it."""

    severity: Severity
    code: str
    place: str
    text: str
    advice: str = ""


class DapSignature(Record, frozen=True, kw_only=True):
    """The signature that a security domain on the card verifies before the load file counts (GPCS §9.2.1)."""

    domain: Aid
    signature: bytes


class Submission(Record, frozen=True, kw_only=True):
    """A load file that a party handed in to a reviewer (an issuer, or `hub`: the central TSM).

    `sha256` names the load-file data block. `profiles` are those that it is meant for, `released` those that
    it was released to.
    """

    id: SubmissionId
    submitter_id: TenantId
    reviewer_id: TenantId
    file_name: str
    package_aid: Aid
    package_version: str
    sha256: str
    size: int
    modules: tuple[Aid, ...]
    imports: tuple[Aid, ...] = ()
    profiles: tuple[str, ...]
    privileges: int = 0
    notes: str = ""
    state: SubmissionState = SubmissionState.SUBMITTED
    findings: tuple[Finding, ...] = ()
    submitted_by: Signer
    reviewed_by: Signer | None = None
    review: str = ""
    released: tuple[str, ...] = ()
    daps: tuple[DapSignature, ...] = ()
    created_at: datetime
    version: int = 0


class ReleaseEvent(Record, frozen=True, kw_only=True):
    """One line of a submission's history, which only grows."""

    submission_id: SubmissionId
    number: int
    event: str
    tenant_id: TenantId
    person: str
    text: str = ""
    at: datetime


class ReleasePolicy(Record, frozen=True, kw_only=True):
    """What a reviewer demands: `requires_release` of everything that is loaded on its cards.

    `separate_people`: nobody who reviewed a load file asks for its release, or approves it. `max_bytes` and
    `privileges` (24 bits) are what load files and their applications may have at most. `dap_domains` are the
    domains of the reviewer's own whose keys sign what it releases.
    """

    owner_id: TenantId
    requires_release: bool = False
    separate_people: bool = True
    max_bytes: int = 0
    privileges: int = 0
    dap_domains: tuple[Aid, ...] = ()


class KnownBad(Record, frozen=True, kw_only=True):
    """Content that must not be loaded: a load-file data block, or a package of a version (empty: of any)."""

    owner_id: TenantId
    id: str
    sha256: str = ""
    package: Aid | None = None
    package_version: str = ""
    reason: str

    def matches(self, sha256: str, package: Aid, version: str) -> bool:
        """Say whether it is this content."""
        if self.sha256:
            return self.sha256 == sha256
        return self.package == package and self.package_version in ("", version)


class Released(Record, frozen=True, kw_only=True):
    """What was released of the load files that an instance needs, as its card's issuer demands it."""

    required: bool = False
    submissions: tuple[Submission, ...] = ()

    def of(self, file: LoadFileReference) -> tuple[Submission, ...]:
        """Return the releases of a load file."""
        digest = file.sha256.lower()
        return tuple(one for one in self.submissions if (one.sha256, one.package_aid) == (digest, file.aid))

    def admits(self, file: LoadFileReference, profile: str) -> bool:
        """Say whether a load file may be loaded on cards of a profile."""
        return not self.required or any(profile in one.released for one in self.of(file))

    def signatures(self, file: LoadFileReference) -> tuple[DapSignature, ...]:
        """Return all signatures over a load file, one a domain."""
        return tuple({dap.domain: dap for one in self.of(file) for dap in one.daps}.values())
