"""Where imports are stored, and how many secure elements are written at once."""

from collections.abc import Sequence
from typing import Protocol

from opentsm.tsm.domain.imports import ImportJob, ImportPart, ImportRefusal
from opentsm.tsm.domain.secure_element import KeySet, SecureElement
from opentsm.tsm.kernel.ids import ImportId, SeId, TenantId
from opentsm.tsm.ports.repositories import Page


class Imports(Protocol):
    async def add(self, job: ImportJob) -> None: ...
    async def get(self, job_id: ImportId) -> ImportJob | None: ...
    async def list(self, owner_id: TenantId, page: Page) -> Sequence[ImportJob]: ...
    async def save(self, job: ImportJob) -> ImportJob:
        """Store and return it with its new version; raise StaleVersionError when it moved."""
        ...

    async def hold(self, job_id: ImportId) -> ImportJob | None:
        """Return the job, which nobody saves until this transaction ends."""
        ...

    async def add_part(self, part: ImportPart) -> None:
        """Raise ConflictError when there is one of this number."""
        ...

    async def part(self, job_id: ImportId, number: int) -> ImportPart | None: ...
    async def last_part(self, job_id: ImportId) -> ImportPart | None:
        """Return the newest part, without what is in it."""
        ...

    async def empty_parts(self, job_id: ImportId, first: int, last: int) -> None:
        """Forget what is in parts; their digests stay."""
        ...

    async def add_refusals(self, job_id: ImportId, refusals: Sequence[ImportRefusal]) -> None: ...
    async def refusals(self, job_id: ImportId, after: int, limit: int) -> Sequence[ImportRefusal]:
        """Return refused lines with numbers above `after`, by number."""
        ...

    async def named(self, issuer_id: TenantId, values: Sequence[str]) -> Sequence[SecureElement]:
        """Return an issuer's secure elements that go by any of these values."""
        ...

    async def key_sets(
        self, issuer_id: TenantId, se_ids: Sequence[SeId]
    ) -> Sequence[tuple[SeId, str, int, bytes]]:
        """Return an issuer's key sets on these: secure element, domain, version, joined check values."""
        ...

    async def add_elements(self, elements: Sequence[SecureElement], key_sets: Sequence[KeySet]) -> None:
        """Add secure elements of one issuer with their key sets.

        Raise StaleVersionError when one of their names was taken meanwhile.
        """
        ...
