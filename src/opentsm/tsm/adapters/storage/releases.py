"""Submissions of load files, their history, and what their reviewers demand."""

from collections.abc import Collection, Sequence

from msgspec.structs import replace

from opentsm.tsm.adapters.storage.records import document, optional, page_arguments, versioned
from opentsm.tsm.adapters.storage.session import Session
from opentsm.tsm.adapters.storage.sql import load_queries
from opentsm.tsm.domain.release import KnownBad, ReleaseEvent, ReleasePolicy, Submission
from opentsm.tsm.kernel.documents import from_json
from opentsm.tsm.kernel.ids import SubmissionId, TenantId
from opentsm.tsm.ports.repositories import Page

_SQL = load_queries("releases")


class PostgresReleases:
    """Load files on their way to cards."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add(self, submission: Submission) -> None:
        """Add a submission."""
        await self._session.change(
            _SQL["add"],
            submission.id,
            submission.submitter_id,
            submission.reviewer_id,
            submission.sha256,
            submission.state.value,
            document(submission),
            submission.version,
        )

    async def get(self, submission_id: SubmissionId) -> Submission | None:
        """Return the submission, or None."""
        row = await self._session.row(_SQL["get"], submission_id)
        return None if row is None else versioned(Submission, row)

    async def save(self, submission: Submission) -> Submission:
        """Store a new version; raise StaleVersionError when it moved."""
        await self._session.change_one(
            _SQL["save"], submission.id, submission.version, submission.state.value, document(submission)
        )
        return replace(submission, version=submission.version + 1)

    async def submitted_by(self, tenant_id: TenantId, page: Page) -> Sequence[Submission]:
        """Return a page of what a party handed in, by id."""
        rows = await self._session.rows(_SQL["submitted_by"], *page_arguments(page), tenant_id)
        return [versioned(Submission, row) for row in rows]

    async def for_reviewer(self, tenant_id: TenantId, page: Page) -> Sequence[Submission]:
        """Return a page of what a reviewer was handed, by id."""
        rows = await self._session.rows(_SQL["for_reviewer"], *page_arguments(page), tenant_id)
        return [versioned(Submission, row) for row in rows]

    async def released(
        self, digests: Collection[str], reviewers: Collection[TenantId]
    ) -> Sequence[Submission]:
        """Return the releases of load-file data blocks by some reviewers."""
        chosen = sorted(digests)
        found = [await self._session.rows(_SQL["released"], chosen, one) for one in sorted(set(reviewers))]
        return [versioned(Submission, row) for rows in found for row in rows]

    async def note(self, event: ReleaseEvent) -> None:
        """Write a line of a submission's history."""
        await self._session.change(_SQL["note"], event.submission_id, event.number, document(event))

    async def history(self, submission_id: SubmissionId) -> Sequence[ReleaseEvent]:
        """Return the history of a submission."""
        rows = await self._session.rows(_SQL["history"], submission_id)
        return [from_json(ReleaseEvent, row["document"]) for row in rows]

    async def policy(self, owner_id: TenantId) -> ReleasePolicy | None:
        """Return what a reviewer demands, or None."""
        return optional(ReleasePolicy, await self._session.row(_SQL["policy"], owner_id))

    async def policies(self, owners: Collection[TenantId]) -> Sequence[ReleasePolicy]:
        """Return what some reviewers demand."""
        rows = await self._session.rows(_SQL["policies"], sorted(owners))
        return [from_json(ReleasePolicy, row["document"]) for row in rows]

    async def put_policy(self, policy: ReleasePolicy) -> None:
        """Store what a reviewer demands."""
        await self._session.change(_SQL["put_policy"], policy.owner_id, document(policy))

    async def known_bad(self, owner_id: TenantId) -> Sequence[KnownBad]:
        """Return what a reviewer refuses to see on its cards."""
        rows = await self._session.rows(_SQL["known_bad"], owner_id)
        return [from_json(KnownBad, row["document"]) for row in rows]

    async def add_known_bad(self, entry: KnownBad) -> None:
        """Add an entry."""
        await self._session.change(_SQL["add_known_bad"], entry.owner_id, entry.id, document(entry))

    async def remove_known_bad(self, owner_id: TenantId, id_: str) -> bool:
        """Remove an entry; False when there is none."""
        return await self._session.change(_SQL["remove_known_bad"], owner_id, id_) == 1

    async def rids(self, party_id: TenantId) -> tuple[str, ...]:
        """Return the registered application provider identifiers of a party."""
        row = await self._session.row(_SQL["rids"], party_id)
        return () if row is None else tuple(row["rids"])

    async def put_rids(self, party_id: TenantId, rids: Sequence[str]) -> None:
        """Set them."""
        await self._session.change(_SQL["put_rids"], party_id, list(rids))
