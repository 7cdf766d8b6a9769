"""Bodies about load files on their way to cards."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from opentsm.api.v1 import messages as m
from opentsm.card.gp.privileges import Privilege
from opentsm.tsm.domain.release import KnownBad, ReleaseEvent, ReleasePolicy, Submission
from opentsm.tsm.roles.hub.releases.demands import MAX_TEXT

Text = Annotated[str, Meta(min_length=1, max_length=MAX_TEXT)]
Rid = Annotated[str, Meta(pattern="^[0-9A-Fa-f]{10}$", description="5 bytes in hex (ISO/IEC 7816-5)")]
Sha256 = Annotated[str, Meta(pattern="^[0-9A-Fa-f]{64}$")]
Privileges = Annotated[str, Meta(pattern="^[0-9A-Fa-f]{6}$", description="privileges, 3 bytes in hex")]


class SubmissionBody(m.Body, frozen=True, kw_only=True):
    """A load file (CAP or IJC, in hex) for a reviewer: an issuer, or `hub`.

    `package_aid`, `modules` and `privileges` are what the submitter says about it.
    """

    reviewer_id: Annotated[str, Meta(min_length=1, max_length=64)]
    file_name: m.Name
    file: m.Hex
    profiles: Annotated[list[str], Meta(min_length=1, max_length=50)]
    package_aid: m.AidHex | None = None
    modules: list[m.AidHex] = []
    privileges: Privileges = "000000"
    notes: Annotated[str, Meta(max_length=MAX_TEXT)] = ""


class ReviewBody(m.Body, frozen=True, kw_only=True):
    """What the reviewer decides, and why."""

    decision: Literal["approve", "reject"]
    reason: Text


class WithdrawalBody(m.Body, frozen=True, kw_only=True):
    """Why a release ends."""

    reason: Text


class SignatureBody(m.Body, frozen=True, kw_only=True):
    """The domain on the cards that is to verify the caller's signature."""

    domain: m.AidHex


class PolicyBody(m.Body, frozen=True, kw_only=True):
    """What a reviewer demands of load files; `max_bytes` 0 sets no limit."""

    requires_release: bool = False
    separate_people: bool = True
    max_bytes: Annotated[int, Meta(ge=0, le=16_777_216)] = 0
    privileges: Privileges = "000000"
    dap_domains: Annotated[list[m.AidHex], Meta(max_length=8)] = []


class KnownBadBody(m.Body, frozen=True, kw_only=True):
    """Content that must not be loaded: a load-file data block, or a package of one version or any."""

    sha256: Sha256 | None = None
    package: m.AidHex | None = None
    package_version: Annotated[str, Meta(max_length=7)] = ""
    reason: Text


class RidsBody(m.Body, frozen=True, kw_only=True):
    """The application provider identifiers that are registered for a party."""

    rids: Annotated[list[Rid], Meta(max_length=50)]


class FindingAnswer(m.Answer, frozen=True, kw_only=True):
    """What a check found, where, and what to do about it."""

    severity: str
    code: str
    place: str
    text: str
    advice: str


class SignatureAnswer(m.Answer, frozen=True, kw_only=True):
    """A signature over the load file, and the domain that verifies it."""

    domain: str
    signature: str


class SubmissionAnswer(m.Answer, frozen=True, kw_only=True):
    """A load file on its way to cards; its bytes are shown to nobody."""

    id: str
    submitter_id: str
    reviewer_id: str
    file_name: str
    package_aid: str
    package_version: str
    sha256: str
    size: int
    modules: list[str]
    imports: list[str]
    profiles: list[str]
    privileges: list[str]
    notes: str
    state: str
    findings: list[FindingAnswer]
    submitted_by: str
    reviewed_by: str | None
    review: str
    released: list[str]
    signatures: list[SignatureAnswer]
    created_at: datetime


class SubmissionPage(m.Answer, frozen=True, kw_only=True):
    """A page; `next` is the cursor for `after`, null on the last page."""

    items: list[SubmissionAnswer]
    next: str | None


class ReleaseEventAnswer(m.Answer, frozen=True, kw_only=True):
    """One line of a submission's history."""

    number: int
    event: str
    party_id: str
    person: str
    text: str
    at: datetime


class HistoryAnswer(m.Answer, frozen=True, kw_only=True):
    """The history of a submission, oldest first."""

    items: list[ReleaseEventAnswer]


class PolicyAnswer(m.Answer, frozen=True, kw_only=True):
    """What a reviewer demands."""

    requires_release: bool
    separate_people: bool
    max_bytes: int
    privileges: list[str]
    dap_domains: list[str]


class KnownBadAnswer(m.Answer, frozen=True, kw_only=True):
    """Content that must not be loaded."""

    id: str
    sha256: str | None
    package: str | None
    package_version: str
    reason: str


class KnownBadList(m.Answer, frozen=True, kw_only=True):
    """All of the caller's."""

    items: list[KnownBadAnswer]


def privilege_names(privileges: int) -> list[str]:
    """Return the standard's names of privileges."""
    return [str(one) for one in Privilege if one & privileges == one and one]


def submission_view(found: Submission) -> SubmissionAnswer:
    """Show a submission."""
    return SubmissionAnswer(
        id=found.id,
        submitter_id=found.submitter_id,
        reviewer_id=found.reviewer_id,
        file_name=found.file_name,
        package_aid=str(found.package_aid),
        package_version=found.package_version,
        sha256=found.sha256,
        size=found.size,
        modules=[str(one) for one in found.modules],
        imports=[str(one) for one in found.imports],
        profiles=list(found.profiles),
        privileges=privilege_names(found.privileges),
        notes=found.notes,
        state=found.state.value,
        findings=[
            FindingAnswer(
                severity=one.severity.value,
                code=one.code,
                place=one.place,
                text=one.text,
                advice=one.advice,
            )
            for one in found.findings
        ],
        submitted_by=found.submitted_by.person,
        reviewed_by=None if found.reviewed_by is None else found.reviewed_by.person,
        review=found.review,
        released=list(found.released),
        signatures=[
            SignatureAnswer(domain=str(one.domain), signature=one.signature.hex().upper())
            for one in found.daps
        ],
        created_at=found.created_at,
    )


def event_view(event: ReleaseEvent) -> ReleaseEventAnswer:
    """Show a line of a history."""
    return ReleaseEventAnswer(
        number=event.number,
        event=event.event,
        party_id=event.tenant_id,
        person=event.person,
        text=event.text,
        at=event.at,
    )


def policy_view(policy: ReleasePolicy) -> PolicyAnswer:
    """Show what a reviewer demands."""
    return PolicyAnswer(
        requires_release=policy.requires_release,
        separate_people=policy.separate_people,
        max_bytes=policy.max_bytes,
        privileges=privilege_names(policy.privileges),
        dap_domains=[str(one) for one in policy.dap_domains],
    )


def known_bad_view(entry: KnownBad) -> KnownBadAnswer:
    """Show content that must not be loaded."""
    return KnownBadAnswer(
        id=entry.id,
        sha256=entry.sha256 or None,
        package=None if entry.package is None else str(entry.package),
        package_version=entry.package_version,
        reason=entry.reason,
    )
