"""Imports: jobs, parts and refused lines, and secure elements by the hundreds in one statement a table."""

from collections.abc import Sequence
from itertools import chain

from msgspec.structs import replace

from opentsm.tsm.adapters.storage.records import document, page_arguments, versioned
from opentsm.tsm.adapters.storage.session import Session
from opentsm.tsm.adapters.storage.sql import load_queries
from opentsm.tsm.domain.imports import ImportJob, ImportPart, ImportRefusal
from opentsm.tsm.domain.secure_element import KeySet, SecureElement
from opentsm.tsm.kernel.documents import to_json
from opentsm.tsm.kernel.errors import StaleVersionError
from opentsm.tsm.kernel.ids import ImportId, SeId, TenantId
from opentsm.tsm.ports.repositories import Page

_SQL = load_queries("imports")


class PostgresImports:
    """Imports, and what they write."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add(self, job: ImportJob) -> None:
        """Add a job."""
        await self._session.change(
            _SQL["add"], job.id, job.owner_id, job.updated_at, document(job), job.version
        )

    async def get(self, job_id: ImportId) -> ImportJob | None:
        """Return the job, or None."""
        row = await self._session.row(_SQL["get"], job_id)
        return None if row is None else versioned(ImportJob, row)

    async def list(self, owner_id: TenantId, page: Page) -> Sequence[ImportJob]:
        """Return a page of an owner's jobs by id."""
        rows = await self._session.rows(_SQL["list"], *page_arguments(page), owner_id)
        return [versioned(ImportJob, row) for row in rows]

    async def save(self, job: ImportJob) -> ImportJob:
        """Store and return it with its new version; raise StaleVersionError when it moved."""
        await self._session.change_one(_SQL["save"], job.id, job.version, job.updated_at, document(job))
        return replace(job, version=job.version + 1)

    async def hold(self, job_id: ImportId) -> ImportJob | None:
        """Return the job, which nobody saves until this transaction ends."""
        row = await self._session.row(_SQL["hold"], job_id)
        return None if row is None else versioned(ImportJob, row)

    async def add_part(self, part: ImportPart) -> None:
        """Add a part; raise ConflictError when there is one of this number."""
        await self._session.change(
            _SQL["add_part"], part.job_id, part.number, part.end, part.digest, part.sealed
        )

    async def part(self, job_id: ImportId, number: int) -> ImportPart | None:
        """Return a part, or None when it is not here yet."""
        row = await self._session.row(_SQL["part"], job_id, number)
        return None if row is None else ImportPart(**dict(row))

    async def last_part(self, job_id: ImportId) -> ImportPart | None:
        """Return the newest part, without what is in it; None when there is none."""
        row = await self._session.row(_SQL["last_part"], job_id)
        return None if row is None else ImportPart(**dict(row))

    async def empty_parts(self, job_id: ImportId, first: int, last: int) -> None:
        """Forget what is in parts; their digests stay."""
        await self._session.change(_SQL["empty_parts"], job_id, first, last)

    async def add_refusals(self, job_id: ImportId, refusals: Sequence[ImportRefusal]) -> None:
        """Add refused lines."""
        await self._session.change(
            _SQL["add_refusals"],
            job_id,
            [one.line for one in refusals],
            [one.code for one in refusals],
            [one.detail for one in refusals],
            [one.field for one in refusals],
        )

    async def refusals(self, job_id: ImportId, after: int, limit: int) -> Sequence[ImportRefusal]:
        """Return refused lines with numbers above `after`, by number."""
        rows = await self._session.rows(_SQL["refusals"], job_id, after, limit)
        return [ImportRefusal(**dict(row)) for row in rows]

    async def named(self, issuer_id: TenantId, values: Sequence[str]) -> Sequence[SecureElement]:
        """Return an issuer's secure elements that go by any of these values."""
        rows = await self._session.rows(_SQL["named"], issuer_id, list(values))
        found = {se.id: se for se in (versioned(SecureElement, row) for row in rows)}
        return list(found.values())

    async def key_sets(
        self, issuer_id: TenantId, se_ids: Sequence[SeId]
    ) -> Sequence[tuple[SeId, str, int, bytes]]:
        """Return an issuer's key sets on these: secure element, domain, version, joined check values."""
        rows = await self._session.rows(_SQL["key_sets"], issuer_id, list(se_ids))
        return [(row["se_id"], row["sd_aid"], row["kvn"], b"".join(row["kcvs"])) for row in rows]

    async def add_elements(self, elements: Sequence[SecureElement], key_sets: Sequence[KeySet]) -> None:
        """Add secure elements of one issuer with their key sets."""
        issuer_id, sandbox = elements[0].issuer_id, elements[0].sandbox
        await self._session.change(
            _SQL["add_elements"],
            issuer_id,
            [se.id for se in elements],
            [to_json((se.issuer_id, se.identifiers)).decode() for se in elements],
            [document(se) for se in elements],
        )
        names = list(chain.from_iterable([(se.id, name) for name in se.identifiers] for se in elements))
        added = await self._session.change(
            _SQL["add_names"],
            issuer_id,
            sandbox,
            [se_id for se_id, _ in names],
            [name.type.value for _, name in names],
            [name.value for _, name in names],
        )
        if added != len(names):
            raise self._session.spoiled(StaleVersionError("A name was taken meanwhile."))
        await self._add_key_sets(issuer_id, key_sets)

    async def _add_key_sets(self, issuer_id: TenantId, key_sets: Sequence[KeySet]) -> None:
        await self._session.change(
            _SQL["add_key_sets"],
            issuer_id,
            [one.se_id for one in key_sets],
            [str(one.sd_aid) for one in key_sets],
            [one.kvn for one in key_sets],
            [one.scp for one in key_sets],
            [one.key_length for one in key_sets],
            [to_json(one.source).decode() for one in key_sets],
            [one.state.value for one in key_sets],
            [one.counter for one in key_sets],
            [b"".join(one.kcvs) for one in key_sets],
        )
