"""The work of an import: one batch of lines a message, stored together with the cursor behind it.

Whoever dies before the commit has stored nothing of the batch, whoever dies after it has stored all: the next
worker goes on at the cursor. Of two that work on one batch the second finds the job's version moved on.

Each batch leaves one audit entry, not one a secure element: it names the lines, the first and last id, and
the digest of all that was stored, so that what was imported can be proved at a hundredth of the cost.
"""

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from opentsm.tsm.domain.imports import OVER, ImportJob, ImportRefusal, ImportState, part_context
from opentsm.tsm.domain.registry import SeData
from opentsm.tsm.domain.secure_element import KeySet, SecureElement, SeIdentifier
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.documents import to_json
from opentsm.tsm.kernel.errors import CallerError, ConflictError
from opentsm.tsm.kernel.ids import ImportId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.arrangements.use import check_arrangement
from opentsm.tsm.roles.hub.registry.import_jobs import ImportServices, ask_for_work, note_import
from opentsm.tsm.roles.hub.registry.import_lines import REFUSALS, read_header, read_line, refusal
from opentsm.tsm.roles.hub.registry.operators import known_operator

BATCH = 500
_BREATH = 25  # lines between which others have their turn
WORKER = "tsm"


@dataclass(frozen=True, slots=True)
class Draft:
    """A line as what would be stored."""

    line: int
    se: SecureElement
    key_sets: Sequence[KeySet]
    data: SeData


@dataclass(slots=True)
class Batch:
    """What becomes of a batch of lines."""

    first: int
    last: int
    drafts: list[Draft] = field(default_factory=list)
    refused: list[ImportRefusal] = field(default_factory=list)
    accepted: list[Draft] = field(default_factory=list)
    unchanged: int = 0


class ImportWork:
    """Works imports off.

    Args:
        services: what it works with.
    """

    def __init__(self, services: ImportServices) -> None:
        self._s = services

    async def advance(self, job_id: ImportId, batch_number: int) -> None:
        """Store a batch of an import, and ask for the one after it; come to rest when there is none yet.

        Args:
            job_id: which import.
            batch_number: how many batches are stored before this one; nothing is done when it is stored.

        Raises:
            StaleVersionError: another worker, or its sender, was faster; nothing was stored.
        """
        async with self._s.storage.transaction() as tx:
            job = await tx.imports.get(job_id)
            if job is None or job.state in OVER or job.batches != batch_number:
                return
            part = await tx.imports.part(job_id, job.part)
        if part is None:
            await self._rest(job_id)
            return
        text = await self._s.keystore.open(part.sealed, context=part_context(job_id, job.part))
        lines, offset = cut(text, job.offset)
        if job.part == 0 and job.offset == 0 and job.format.value == "csv":
            job = replace(job, columns=read_header(lines[0].rstrip(b"\r")), lines=1)
            lines = lines[1:]
        batch = await self._drafted(job, lines)
        emptied = offset == len(text)
        moved = replace(job, part=job.part + emptied, offset=0 if emptied else offset)
        await self._store(moved, batch, emptied=emptied)

    async def _rest(self, job_id: ImportId) -> None:
        """Finish, or wait for the next part, if none came meanwhile."""
        async with self._s.storage.transaction() as tx:
            job = await tx.imports.hold(job_id)
            if job is None or job.state in OVER:
                return
            if await tx.imports.part(job_id, job.part) is not None:
                await ask_for_work(tx, job)
            else:
                done = job.state is ImportState.PROCESSING
                state = ImportState.FINISHED if done else job.state
                saved = await tx.imports.save(
                    replace(job, busy=False, state=state, updated_at=self._s.world.now())
                )
                if done:
                    await note_import(tx, saved, WORKER, "finished")
            await tx.commit()

    async def _drafted(self, job: ImportJob, lines: Sequence[bytes]) -> Batch:
        """Read and check lines; the issuer's keystore tries every key set."""
        issuer = Principal(tenant_id=job.owner_id, kind=TenantKind.SE_ISSUER, sandbox=job.sandbox)
        batch = Batch(first=job.lines + 1, last=job.lines + len(lines))
        for number, line in enumerate(lines, batch.first):
            if number % _BREATH == 0:
                await asyncio.sleep(0)
            if not line.strip():
                continue
            try:
                new = read_line(line.rstrip(b"\r"), job.format, job.columns, job.defaults)
                se, key_sets = await self._s.registration.drafted(issuer, new)
            except REFUSALS as error:
                batch.refused.append(refusal(number, error))
            else:
                batch.drafts.append(Draft(number, se, key_sets, new.data))
        return batch

    async def _store(self, job: ImportJob, batch: Batch, *, emptied: bool) -> None:
        async with self._s.storage.transaction() as tx:
            await _check_references(tx, batch)
            await _sort_out(tx, job, batch)
            if batch.accepted:
                if data := _distinct(batch.accepted):
                    await tx.se_registry.put_data(job.owner_id, data)
                key_sets = [one for draft in batch.accepted for one in draft.key_sets]
                await tx.imports.add_elements([draft.se for draft in batch.accepted], key_sets)
                await _note_batch(tx, job, batch)
            if batch.refused:
                await tx.imports.add_refusals(job.id, batch.refused)
            if emptied:
                await tx.imports.empty_parts(job.id, job.part - 1, job.part - 1)
            saved = await tx.imports.save(self._counted(job, batch))
            if saved.state is ImportState.STOPPED:
                last = await tx.imports.last_part(job.id)
                await tx.imports.empty_parts(job.id, saved.part, 0 if last is None else last.number)
                await note_import(tx, saved, WORKER, "stopped")
            else:
                await ask_for_work(tx, saved)
            await tx.commit()

    def _counted(self, job: ImportJob, batch: Batch) -> ImportJob:
        refused = job.refused + len(batch.refused)
        stopped = refused >= job.stop_after
        return replace(
            job,
            batches=job.batches + 1,
            lines=batch.last,
            accepted=job.accepted + len(batch.accepted),
            unchanged=job.unchanged + batch.unchanged,
            refused=refused,
            busy=not stopped,
            state=ImportState.STOPPED if stopped else job.state,
            updated_at=self._s.world.now(),
        )


def cut(text: bytes, offset: int) -> tuple[list[bytes], int]:
    """Return at most BATCH lines of a part from an offset, and the offset behind them."""
    lines: list[bytes] = []
    while len(lines) < BATCH and offset < len(text):
        end = text.index(b"\n", offset)
        lines.append(text[offset:end])
        offset = end + 1
    return lines, offset


def batch_digest(drafts: Iterable[Draft]) -> str:
    """Return the SHA-256 in hex over what of secure elements never changes, one JSON array each."""
    digest = hashlib.sha256()
    for draft in drafts:
        se = draft.se
        key_sets = [[str(one.sd_aid), one.kvn, *(kcv.hex() for kcv in one.kcvs)] for one in draft.key_sets]
        digest.update(to_json((se.id, se.identifiers, se.profile, str(se.isd_aid), key_sets)) + b"\n")
    return digest.hexdigest()


async def _note_batch(tx: UnitOfWork, job: ImportJob, batch: Batch) -> None:
    await tx.audit.append(
        job.owner_id,
        actor=WORKER,
        action="secure-elements.imported",
        subject=job.id,
        details={
            "lines": f"{batch.first}-{batch.last}",
            "count": len(batch.accepted),
            "first": batch.accepted[0].se.id,
            "last": batch.accepted[-1].se.id,
            "sha256": batch_digest(batch.accepted),
        },
    )


async def _check_references(tx: UnitOfWork, batch: Batch) -> None:
    """Refuse lines that name an arrangement or a network operator that is none; each is asked for once."""
    verdicts: dict[tuple[object, ...], CallerError | None] = {}
    kept = []
    for draft in batch.drafts:
        operator_id = draft.data.network_operator_id
        about = (draft.se.arrangement_id, draft.se.isd_aid, operator_id)
        if about not in verdicts:
            try:
                await check_arrangement(tx, draft.se)
                if operator_id is not None:
                    await known_operator(tx, operator_id)
                verdicts[about] = None
            except CallerError as error:
                verdicts[about] = error
        verdict = verdicts[about]
        if verdict is None:
            kept.append(draft)
        else:
            batch.refused.append(refusal(draft.line, verdict))
    batch.drafts = kept


async def _sort_out(tx: UnitOfWork, job: ImportJob, batch: Batch) -> None:
    """Tell new lines from those that were imported before, and from those whose names are taken."""
    if not batch.drafts:
        return
    values = [name.value for draft in batch.drafts for name in draft.se.identifiers]
    present = await tx.imports.named(job.owner_id, values)
    stored = await tx.imports.key_sets(job.owner_id, [se.id for se in present]) if present else []
    kcvs = {(se_id, sd_aid, kvn): joined for se_id, sd_aid, kvn, joined in stored}
    taken: dict[SeIdentifier, SecureElement] = {name: se for se in present for name in se.identifiers}
    for draft in batch.drafts:
        others = [taken[name] for name in draft.se.identifiers if name in taken]
        if not others:
            batch.accepted.append(draft)
            taken |= dict.fromkeys(draft.se.identifiers, draft.se)
            kcvs |= {(draft.se.id, str(k.sd_aid), k.kvn): b"".join(k.kcvs) for k in draft.key_sets}
        elif _same(draft, others[0]) and all(
            kcvs.get((others[0].id, str(k.sd_aid), k.kvn)) == b"".join(k.kcvs) for k in draft.key_sets
        ):
            batch.unchanged += 1
        else:
            error = ConflictError("An identifier is taken by another secure element, or one that differs.")
            batch.refused.append(refusal(draft.line, error))


def _same(draft: Draft, present: SecureElement) -> bool:
    given = draft.se
    return (
        set(given.identifiers) == set(present.identifiers)
        and (given.profile, given.isd_aid, given.data) == (present.profile, present.isd_aid, present.data)
        and given.arrangement_id == present.arrangement_id
    )


def _distinct(drafts: Iterable[Draft]) -> list[SeData]:
    found = {draft.se.data: draft.data for draft in drafts if draft.se.data}
    return list(found.values())
