"""How submissions, their history and what their reviewers demand are stored and found again."""

from collections.abc import Collection, Sequence
from typing import Protocol

from opentsm.tsm.domain.release import KnownBad, ReleaseEvent, ReleasePolicy, Submission
from opentsm.tsm.kernel.ids import SubmissionId, TenantId
from opentsm.tsm.ports.repositories import Page


class Releases(Protocol):
    """Load files on their way to cards."""

    async def add(self, submission: Submission) -> None: ...

    async def get(self, submission_id: SubmissionId) -> Submission | None: ...

    async def save(self, submission: Submission) -> Submission:
        """Store a new version; raise StaleVersionError when it moved."""
        ...

    async def submitted_by(self, tenant_id: TenantId, page: Page) -> Sequence[Submission]:
        """Return a page of what a party handed in, by id."""
        ...

    async def for_reviewer(self, tenant_id: TenantId, page: Page) -> Sequence[Submission]:
        """Return a page of what a reviewer was handed, by id."""
        ...

    async def released(
        self, digests: Collection[str], reviewers: Collection[TenantId]
    ) -> Sequence[Submission]:
        """Return the releases of load-file data blocks by some reviewers."""
        ...

    async def note(self, event: ReleaseEvent) -> None:
        """Write a line of a submission's history."""
        ...

    async def history(self, submission_id: SubmissionId) -> Sequence[ReleaseEvent]:
        """Return the history of a submission."""
        ...

    async def policy(self, owner_id: TenantId) -> ReleasePolicy | None: ...

    async def policies(self, owners: Collection[TenantId]) -> Sequence[ReleasePolicy]:
        """Return what some reviewers demand, as far as they said anything."""
        ...

    async def put_policy(self, policy: ReleasePolicy) -> None: ...

    async def known_bad(self, owner_id: TenantId) -> Sequence[KnownBad]: ...

    async def add_known_bad(self, entry: KnownBad) -> None: ...

    async def remove_known_bad(self, owner_id: TenantId, id_: str) -> bool: ...

    async def rids(self, party_id: TenantId) -> tuple[str, ...]:
        """Return the registered application provider identifiers (5 bytes, hex) of a party."""
        ...

    async def put_rids(self, party_id: TenantId, rids: Sequence[str]) -> None: ...
