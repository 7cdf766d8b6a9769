"""Use cases about imports: an issuer sends a file in parts, sees how far it is, reads what was refused."""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from opentsm.tsm.domain.imports import (
    OVER,
    ImportFormat,
    ImportJob,
    ImportPart,
    ImportRefusal,
    ImportState,
    part_context,
)
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.errors import ConflictError, InvalidInputError, NotFoundError, StaleVersionError
from opentsm.tsm.kernel.ids import ImportId
from opentsm.tsm.ports.keystore import Keystore
from opentsm.tsm.ports.repositories import Page
from opentsm.tsm.ports.unit_of_work import Storage, UnitOfWork
from opentsm.tsm.ports.world import World
from opentsm.tsm.roles.hub.mandate import require
from opentsm.tsm.roles.hub.once import Claim, ClaimingStorage
from opentsm.tsm.roles.hub.registration import Registration
from opentsm.tsm.roles.hub.registry.import_lines import read_defaults, read_header

IMPORT = "hub.import"
MAX_PART_BYTES = 1024 * 1024
MAX_BACKLOG = 64
MAX_STOP_AFTER = 100_000
_TRIES = 10


class ImportBacklogError(ConflictError):
    """Too many parts wait to be worked off."""

    code = "import_backlog"


@dataclass(frozen=True, slots=True)
class ImportServices:
    """What imports work with: `keystore` is the hub's, `registration` checks secure elements."""

    storage: Storage
    keystore: Keystore
    world: World
    registration: Registration


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """A job, and how many parts and bytes of its file are here."""

    job: ImportJob
    parts: int
    received_bytes: int


class Imports:
    """The door of imports.

    Args:
        services: what they work with.
    """

    def __init__(self, services: ImportServices) -> None:
        self._s = services

    def once(self, claim: Claim) -> "Imports":
        """Return the same use cases for one request that has an idempotency key."""
        return Imports(dataclasses.replace(self._s, storage=ClaimingStorage(self._s.storage, claim)))

    async def begin(
        self, principal: Principal, format_: ImportFormat, defaults: Mapping[str, str], stop_after: int
    ) -> ImportProgress:
        """Begin an import.

        Args:
            principal: the issuer.
            format_: of the file.
            defaults: columns that a line may leave out.
            stop_after: how many refused lines end it.

        Raises:
            ForbiddenError: the caller is no issuer.
            InvalidInputError: a default is no column, or stop_after is out of range.
        """
        require(principal, TenantKind.SE_ISSUER)
        shared = read_defaults(defaults)
        if not 1 <= stop_after <= MAX_STOP_AFTER:
            raise InvalidInputError(f"stop_after is 1 to {MAX_STOP_AFTER}.", field="/stop_after")
        handles = (shared.master, shared.transport)
        await self._s.registration.check_shared(principal, shared.profile, handles)
        now = self._s.world.now()
        job = ImportJob(
            id=ImportId(self._s.world.new_id()),
            owner_id=principal.tenant_id,
            sandbox=principal.sandbox,
            format=format_,
            defaults={name: value for name, value in defaults.items() if value},
            stop_after=stop_after,
            created_at=now,
            updated_at=now,
        )
        async with self._s.storage.transaction() as tx:
            await tx.imports.add(job)
            await note_import(tx, job, principal.tenant_id, "begun")
            await tx.commit()
        return ImportProgress(job, 0, 0)

    async def put_part(
        self, principal: Principal, job_id: ImportId, number: int, data: bytes
    ) -> ImportProgress:
        """Take a part; the same part again changes nothing.

        Args:
            principal: whose job it is.
            job_id: which.
            number: from 0, in order.
            data: whole lines, at most 1 MiB.

        Raises:
            NotFoundError: the caller has no such job.
            InvalidInputError: it does not end with a line, or the CSV header is wrong.
            ImportBacklogError: what was sent before is not worked off; send it again later.
            ConflictError: another part has this number, one before it is missing, or the job is over.
        """
        if not data.endswith(b"\n") or len(data) > MAX_PART_BYTES:
            raise InvalidInputError(f"A part is whole lines, at most {MAX_PART_BYTES} bytes.")
        digest = hashlib.sha256(data).digest()
        sealed = await self._s.keystore.seal(data, context=part_context(job_id, number))
        async with self._s.storage.transaction() as tx:
            job = _own(principal, await tx.imports.hold(job_id))
            last = await tx.imports.last_part(job_id)
            received, end = (0, 0) if last is None else (last.number + 1, last.end)
            if number < received:
                known = await tx.imports.part(job_id, number)
                if known is None or known.digest != digest:
                    raise ConflictError(f"Another part {number} was sent before.")
                return ImportProgress(job, received, end)
            if job.state is not ImportState.RECEIVING:
                raise ConflictError(f"The import is {job.state.value}.")
            if number > received:
                raise ConflictError(f"Part {received} comes next.", advice="Parts are sent in order.")
            if number - job.part >= MAX_BACKLOG:
                raise ImportBacklogError(advice="Send this part again in a moment.")
            if number == 0 and job.format is ImportFormat.CSV:
                read_header(data.partition(b"\n")[0].rstrip(b"\r"))
            part = ImportPart(job_id=job_id, number=number, end=end + len(data), digest=digest, sealed=sealed)
            await tx.imports.add_part(part)
            if not job.busy:
                await ask_for_work(tx, job)
            await tx.commit()
        return ImportProgress(job, number + 1, part.end)

    async def complete(self, principal: Principal, job_id: ImportId, parts: int) -> ImportProgress:
        """Say that all parts were sent.

        Raises:
            ConflictError: another number of parts is here, or the job is over.
        """
        for attempt in range(_TRIES):
            try:
                return await self._completed(principal, job_id, parts)
            except StaleVersionError:  # the worker stored a batch meanwhile
                if attempt == _TRIES - 1:
                    raise
        raise AssertionError("not reached")

    async def _completed(self, principal: Principal, job_id: ImportId, parts: int) -> ImportProgress:
        async with self._s.storage.transaction() as tx:
            progress = await _progress(tx, _own(principal, await tx.imports.get(job_id)))
            job = progress.job
            if job.parts == parts:
                return progress
            if job.state is not ImportState.RECEIVING:
                raise ConflictError(f"The import is {job.state.value}.")
            if progress.parts != parts:
                raise ConflictError(f"{progress.parts} parts are here.", field="/parts")
            now = self._s.world.now()
            saved = await tx.imports.save(
                replace(job, state=ImportState.PROCESSING, parts=parts, updated_at=now)
            )
            await note_import(tx, saved, principal.tenant_id, "received")
            await ask_for_work(tx, saved)
            await tx.commit()
        return dataclasses.replace(progress, job=saved)

    async def cancel(self, principal: Principal, job_id: ImportId) -> ImportProgress:
        """End an import; what it stored stays.

        Raises:
            ConflictError: it is over.
        """
        for attempt in range(_TRIES):
            try:
                return await self._cancelled(principal, job_id)
            except StaleVersionError:
                if attempt == _TRIES - 1:
                    raise
        raise AssertionError("not reached")

    async def _cancelled(self, principal: Principal, job_id: ImportId) -> ImportProgress:
        async with self._s.storage.transaction() as tx:
            progress = await _progress(tx, _own(principal, await tx.imports.get(job_id)))
            if progress.job.state in OVER:
                raise ConflictError(f"The import is {progress.job.state.value}.")
            now = self._s.world.now()
            over = replace(progress.job, state=ImportState.CANCELLED, busy=False, updated_at=now)
            saved = await tx.imports.save(over)
            await tx.imports.empty_parts(job_id, saved.part, progress.parts)
            await note_import(tx, saved, principal.tenant_id, "cancelled")
            await tx.commit()
        return dataclasses.replace(progress, job=saved)

    async def job(self, principal: Principal, job_id: ImportId) -> ImportProgress:
        """Return a job of the caller."""
        async with self._s.storage.transaction() as tx:
            return await _progress(tx, _own(principal, await tx.imports.get(job_id)))

    async def jobs(self, principal: Principal, page: Page) -> list[ImportProgress]:
        """Return a page of the caller's jobs."""
        require(principal, TenantKind.SE_ISSUER)
        async with self._s.storage.transaction() as tx:
            return [await _progress(tx, job) for job in await tx.imports.list(principal.tenant_id, page)]

    async def refusals(
        self, principal: Principal, job_id: ImportId, after: int, limit: int
    ) -> list[ImportRefusal]:
        """Return refused lines of a job with numbers above `after`, by number."""
        async with self._s.storage.transaction() as tx:
            _own(principal, await tx.imports.get(job_id))
            return list(await tx.imports.refusals(job_id, after, limit))


async def ask_for_work(tx: UnitOfWork, job: ImportJob) -> None:
    """Publish the message that works off a job's next batch.

    It names the batch, so that a second one for the same batch ends there and starts no chain of its own.
    """
    body = {"import": job.id, "batch": str(job.batches)}
    await tx.outbox.publish(IMPORT, f"{job.id}/{job.batches}", body)


async def note_import(tx: UnitOfWork, job: ImportJob, actor: str, happened: str) -> None:
    """Write down what happened to a job, with what it has done so far."""
    await tx.audit.append(
        job.owner_id,
        actor=actor,
        action=f"import.{happened}",
        subject=job.id,
        details={
            "lines": job.lines,
            "accepted": job.accepted,
            "unchanged": job.unchanged,
            "refused": job.refused,
        },
    )


async def _progress(tx: UnitOfWork, job: ImportJob) -> ImportProgress:
    last = await tx.imports.last_part(job.id)
    return ImportProgress(job, 0, 0) if last is None else ImportProgress(job, last.number + 1, last.end)


def _own(principal: Principal, job: ImportJob | None) -> ImportJob:
    require(principal, TenantKind.SE_ISSUER)
    if job is None or job.owner_id != principal.tenant_id:
        raise NotFoundError("There is no such import.")
    return job
