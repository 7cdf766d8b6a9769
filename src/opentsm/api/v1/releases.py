"""Load files: handed in, reviewed, signed, withdrawn; their release is an act of two people (approvals)."""

from typing import Annotated

from litestar import Response, delete, get, post, put
from litestar.params import FromPath, JSONBody, QueryParameter

from opentsm.api.authentication import Caller
from opentsm.api.container import Services
from opentsm.api.idempotency import LOCATED
from opentsm.api.v1 import release_messages as r
from opentsm.api.v1.paging import After, Limit, read_page
from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.release import KnownBad, ReleasePolicy
from opentsm.tsm.kernel.ids import SubmissionId, TenantId
from opentsm.tsm.roles.hub.releases.desk import NewSubmission

_TAG = ["releases"]
_ONE = "/applet-submissions/{submission_id:str}"
ToReview = Annotated[bool, QueryParameter(description="those that the caller is to review")]


@post("/applet-submissions", opt=LOCATED, tags=_TAG, summary="Hand in a load file")
async def submit_applet(
    principal: Caller, container: Services, data: JSONBody[r.SubmissionBody]
) -> Response[r.SubmissionAnswer]:
    """Hand in a load file; the automatic checks are done at once, and their findings are in the answer."""
    made = await container.submissions.submit(
        principal,
        NewSubmission(
            reviewer_id=TenantId(data.reviewer_id),
            file_name=data.file_name,
            data=bytes.fromhex(data.file),
            profiles=tuple(dict.fromkeys(data.profiles)),
            package_aid=None if data.package_aid is None else Aid.from_hex(data.package_aid),
            modules=tuple(Aid.from_hex(one) for one in data.modules),
            privileges=int(data.privileges, 16),
            notes=data.notes,
        ),
    )
    headers = {"Location": f"/v1/applet-submissions/{made.id}"}
    return Response(r.submission_view(made), status_code=201, headers=headers)


@get("/applet-submissions", tags=_TAG, summary="List load files that were handed in")
async def list_submissions(
    principal: Caller,
    container: Services,
    to_review: ToReview = False,
    limit: Limit = 50,
    after: After = None,
) -> r.SubmissionPage:
    """Return what the caller handed in, or what it is to review, by id."""
    items, following = await read_page(
        lambda page: container.submissions.submissions(principal, page, to_review=to_review),
        lambda one: one.id,
        limit,
        after,
    )
    return r.SubmissionPage(items=[r.submission_view(one) for one in items], next=following)


@get(_ONE, tags=_TAG, summary="Show a submission")
async def show_submission(
    principal: Caller, container: Services, submission_id: FromPath[str]
) -> r.SubmissionAnswer:
    """Return a submission that the caller handed in or reviews, with what the checks found."""
    return r.submission_view(await container.submissions.submission(principal, SubmissionId(submission_id)))


@get(_ONE + "/history", tags=_TAG, summary="Show what happened to a submission")
async def show_history(
    principal: Caller, container: Services, submission_id: FromPath[str]
) -> r.HistoryAnswer:
    """Return the history of a submission, which only grows."""
    found = await container.submissions.history(principal, SubmissionId(submission_id))
    return r.HistoryAnswer(items=[r.event_view(one) for one in found])


@post(_ONE + "/reviews", tags=_TAG, status_code=200, summary="Approve or reject a load file (reviewer)")
async def review_submission(
    principal: Caller, container: Services, submission_id: FromPath[str], data: JSONBody[r.ReviewBody]
) -> r.SubmissionAnswer:
    """Decide about a load file; an approved one is released by RELEASE_APPLET at /v1/approvals."""
    done = await container.submissions.review(
        principal, SubmissionId(submission_id), approve=data.decision == "approve", reason=data.reason
    )
    return r.submission_view(done)


@post(_ONE + "/signatures", tags=_TAG, status_code=200, summary="Sign a load file for a domain")
async def sign_submission(
    principal: Caller, container: Services, submission_id: FromPath[str], data: JSONBody[r.SignatureBody]
) -> r.SubmissionAnswer:
    """Add the caller's own DAP signature, made in its keystore, for a domain that holds its key."""
    done = await container.submissions.sign(principal, SubmissionId(submission_id), Aid.from_hex(data.domain))
    return r.submission_view(done)


@post(_ONE + "/withdrawals", tags=_TAG, status_code=200, summary="End a release (reviewer)")
async def withdraw_submission(
    principal: Caller, container: Services, submission_id: FromPath[str], data: JSONBody[r.WithdrawalBody]
) -> r.SubmissionAnswer:
    """End a release: nothing of it is loaded any more; what is on cards stays."""
    done = await container.submissions.withdraw(principal, SubmissionId(submission_id), data.reason)
    return r.submission_view(done)


@post(_ONE + "/cancellations", tags=_TAG, status_code=200, summary="Take a load file back (submitter)")
async def cancel_submission(
    principal: Caller, container: Services, submission_id: FromPath[str]
) -> r.SubmissionAnswer:
    """Take back what was handed in and not released yet."""
    return r.submission_view(await container.submissions.cancel(principal, SubmissionId(submission_id)))


@get("/release-policy", tags=_TAG, summary="Show what the caller demands of load files (issuer, operator)")
async def show_policy(principal: Caller, container: Services) -> r.PolicyAnswer:
    """Return what the caller demands of load files on its cards; the operator's is the central TSM's."""
    return r.policy_view(await container.submissions.policy(principal))


@put("/release-policy", tags=_TAG, summary="Say what load files must be (issuer, operator)")
async def set_policy(principal: Caller, container: Services, data: JSONBody[r.PolicyBody]) -> r.PolicyAnswer:
    """Set what the caller demands of load files on its cards."""
    wanted = ReleasePolicy(
        owner_id=TenantId(""),
        requires_release=data.requires_release,
        separate_people=data.separate_people,
        max_bytes=data.max_bytes,
        privileges=int(data.privileges, 16),
        dap_domains=tuple(Aid.from_hex(one) for one in data.dap_domains),
    )
    return r.policy_view(await container.submissions.set_policy(principal, wanted))


@get("/known-bad", tags=_TAG, summary="List content that must not be loaded (issuer, operator)")
async def list_known_bad(principal: Caller, container: Services) -> r.KnownBadList:
    """Return the caller's list."""
    found = await container.submissions.known_bad(principal)
    return r.KnownBadList(items=[r.known_bad_view(one) for one in found])


@post("/known-bad", tags=_TAG, summary="Refuse content (issuer, operator)")
async def add_known_bad(
    principal: Caller, container: Services, data: JSONBody[r.KnownBadBody]
) -> r.KnownBadAnswer:
    """Refuse a load-file data block, or a package, in all submissions from now on."""
    entry = KnownBad(
        owner_id=TenantId(""),
        id="",
        sha256=(data.sha256 or "").lower(),
        package=None if data.package is None else Aid.from_hex(data.package),
        package_version=data.package_version,
        reason=data.reason,
    )
    return r.known_bad_view(await container.submissions.add_known_bad(principal, entry))


@delete("/known-bad/{entry_id:str}", tags=_TAG, summary="Refuse content no longer (issuer, operator)")
async def remove_known_bad(principal: Caller, container: Services, entry_id: FromPath[str]) -> None:
    """Take an entry from the caller's list."""
    await container.submissions.remove_known_bad(principal, entry_id)


@put("/parties/{party_id:str}/rids", status_code=204, tags=_TAG, summary="Register a party's RIDs (operator)")
async def set_rids(
    principal: Caller, container: Services, party_id: FromPath[str], data: JSONBody[r.RidsBody]
) -> None:
    """Say under which application provider identifiers a party's AIDs must be."""
    await container.submissions.set_rids(principal, TenantId(party_id), data.rids)


HANDLERS = (
    submit_applet,
    list_submissions,
    show_submission,
    show_history,
    review_submission,
    sign_submission,
    withdraw_submission,
    cancel_submission,
    show_policy,
    set_policy,
    list_known_bad,
    add_known_bad,
    remove_known_bad,
    set_rids,
)
