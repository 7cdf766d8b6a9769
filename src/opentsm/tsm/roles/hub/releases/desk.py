"""Use cases of submissions: hand in, look, review, sign, withdraw, and what a reviewer demands."""

import dataclasses

import msgspec

from opentsm.card.codec.aid import Aid
from opentsm.card.errors import CapError
from opentsm.tsm.domain.approval import Signer
from opentsm.tsm.domain.delegation import ProofScheme, ProofUse, proof_key
from opentsm.tsm.domain.release import (
    SUBMISSION_STATES,
    DapSignature,
    ReleaseEvent,
    Severity,
    Submission,
    SubmissionEvent,
    SubmissionState,
)
from opentsm.tsm.domain.tenant import HUB, Principal, TenantKind
from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
)
from opentsm.tsm.kernel.ids import SubmissionId, TenantId
from opentsm.tsm.ports.keystore import Keystore
from opentsm.tsm.ports.repositories import Page
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.ports.world import World
from opentsm.tsm.roles.hub.approvals.persons import signer_of
from opentsm.tsm.roles.hub.mandate import require
from opentsm.tsm.roles.hub.once import Claim, ClaimingStorage
from opentsm.tsm.roles.hub.releases.checks import Declared, Examined, Facts, examine
from opentsm.tsm.roles.hub.releases.demands import (
    Demands,
    acting_party,
    check_text,
    policy_of,
)

replace = msgspec.structs.replace

_PRESENT = (SubmissionState.APPROVED, SubmissionState.RELEASED)


class NewSubmission(Record, frozen=True, kw_only=True):
    """A load file as it is handed in; `reviewer_id` is an issuer, or `hub`."""

    reviewer_id: TenantId
    file_name: str
    data: bytes
    profiles: tuple[str, ...]
    package_aid: Aid | None = None
    modules: tuple[Aid, ...] = ()
    privileges: int = 0
    notes: str = ""


class Submissions(Demands):
    """The hub's door for load files on their way to cards."""

    def once(self, claim: Claim) -> "Submissions":
        """Return the same use cases for one request that has an idempotency key."""
        return Submissions(dataclasses.replace(self._s, storage=ClaimingStorage(self._s.storage, claim)))

    async def submit(self, principal: Principal, new: NewSubmission) -> Submission:
        """Hand in a load file; it is checked at once, and goes to the reviewer when no check failed.

        Raises:
            InvalidInputError: it is no load file, or a value is not possible.
            NotFoundError: there is no such reviewer.
        """
        require(principal, *TenantKind)
        unknown = sorted(set(new.profiles) - set(self._s.profiles))
        if unknown or not new.profiles:
            raise InvalidInputError(f"Name card profiles; unknown: {unknown}.", field="/profiles")
        facts = await self._facts(principal, new)
        examined = _examined(new, facts)
        failed = any(one.severity is Severity.ERROR for one in examined.findings)
        event = SubmissionEvent.FAIL if failed else SubmissionEvent.PASS
        made = Submission(
            id=SubmissionId(self._s.world.new_id()),
            submitter_id=principal.tenant_id,
            reviewer_id=new.reviewer_id,
            file_name=new.file_name,
            package_aid=examined.file.package_aid,
            package_version=str(examined.file.version),
            sha256=examined.sha256,
            size=len(examined.block),
            modules=examined.file.applets,
            imports=tuple(one.aid for one in examined.file.imports),
            profiles=new.profiles,
            privileges=new.privileges,
            notes=new.notes,
            state=SUBMISSION_STATES.next(SubmissionState.SUBMITTED, event),
            findings=examined.findings,
            submitted_by=Signer(person=principal.person, token=principal.token),
            created_at=self._s.world.now(),
        )
        async with self._s.storage.transaction() as tx:
            owner = None if failed else principal.tenant_id
            if not failed:
                await tx.load_files.put_block(made.sha256, examined.block, owner_id=owner)
            await tx.releases.add(made)
            await self._note(tx, principal, made, "submitted", new.notes)
            await tx.commit()
        return made

    async def review(
        self, principal: Principal, submission_id: SubmissionId, *, approve: bool, reason: str
    ) -> Submission:
        """Approve or reject a submission; nothing is released by that.

        Raises:
            NotFoundError: the caller is not its reviewer.
            ForbiddenError: the token names nobody, or it is who handed it in.
        """
        signer = signer_of(principal)
        check_text(reason)
        async with self._s.storage.transaction() as tx:
            found = await self._reviewed(tx, principal, submission_id)
            policy = await policy_of(tx, found.reviewer_id)
            if policy.separate_people and signer.is_also(found.submitted_by):
                raise ForbiddenError("Whoever handed a load file in does not review it.")
            event = SubmissionEvent.APPROVE if approve else SubmissionEvent.REJECT
            moved = replace(_moved(found, event), reviewed_by=signer, review=reason)
            saved = await tx.releases.save(moved)
            await self._note(tx, principal, saved, saved.state.value.lower(), reason)
            await tx.commit()
        return saved

    async def withdraw(self, principal: Principal, submission_id: SubmissionId, reason: str) -> Submission:
        """End a release: it is not loaded any more; what is on cards stays until a campaign changes it.

        Raises:
            NotFoundError: the caller is not its reviewer.
        """
        check_text(reason)
        async with self._s.storage.transaction() as tx:
            found = await self._reviewed(tx, principal, submission_id)
            saved = await tx.releases.save(_moved(found, SubmissionEvent.WITHDRAW))
            await self._note(tx, principal, saved, "withdrawn", reason)
            await tx.commit()
        return saved

    async def cancel(self, principal: Principal, submission_id: SubmissionId) -> Submission:
        """Take back what was handed in and not released yet.

        Raises:
            NotFoundError: the caller did not hand it in.
        """
        require(principal, *TenantKind)
        async with self._s.storage.transaction() as tx:
            found = await tx.releases.get(submission_id)
            if found is None or found.submitter_id != principal.tenant_id:
                raise _none()
            saved = await tx.releases.save(_moved(found, SubmissionEvent.CANCEL))
            await self._note(tx, principal, saved, "cancelled", "")
            await tx.commit()
        return saved

    async def sign(self, principal: Principal, submission_id: SubmissionId, domain: Aid) -> Submission:
        """Add the caller's own DAP signature for a domain of its own, with the key in its keystore.

        Raises:
            NotFoundError: the caller neither handed it in nor reviews it.
            ConflictError: it was not approved.
        """
        require(principal, *TenantKind)
        async with self._s.storage.transaction() as tx:
            found = await self._visible(tx, principal, submission_id)
        if found.state not in _PRESENT:
            raise ConflictError(f"The submission is {found.state.value}; sign it when it is approved.")
        made = await signature(
            self._s.keystore_of(acting_party(principal)), acting_party(principal), found, domain
        )
        async with self._s.storage.transaction() as tx:
            daps = (*(one for one in found.daps if one.domain != domain), made)
            saved = await tx.releases.save(replace(found, daps=daps))
            await self._note(tx, principal, saved, "signed", str(domain))
            await tx.commit()
        return saved

    # --- looking ---------------------------------------------------------------------------------------

    async def submission(self, principal: Principal, submission_id: SubmissionId) -> Submission:
        """Return a submission that the caller handed in or reviews."""
        require(principal, *TenantKind)
        async with self._s.storage.transaction() as tx:
            return await self._visible(tx, principal, submission_id)

    async def history(self, principal: Principal, submission_id: SubmissionId) -> list[ReleaseEvent]:
        """Return the history of such a submission, oldest first."""
        require(principal, *TenantKind)
        async with self._s.storage.transaction() as tx:
            await self._visible(tx, principal, submission_id)
            return list(await tx.releases.history(submission_id))

    async def submissions(self, principal: Principal, page: Page, *, to_review: bool) -> list[Submission]:
        """Return a page of what the caller handed in, or is to review."""
        require(principal, *TenantKind)
        async with self._s.storage.transaction() as tx:
            if to_review:
                return list(await tx.releases.for_reviewer(acting_party(principal), page))
            return list(await tx.releases.submitted_by(principal.tenant_id, page))

    # --- small things ----------------------------------------------------------------------------------

    async def _facts(self, principal: Principal, new: NewSubmission) -> Facts:
        async with self._s.storage.transaction() as tx:
            await _require_reviewer(tx, principal, new.reviewer_id)
            released = await tx.releases.for_reviewer(new.reviewer_id, Page(limit=200, descending=False))
            return Facts(
                rids=await tx.releases.rids(principal.tenant_id),
                profiles={name: self._s.profiles[name] for name in new.profiles},
                policy=await policy_of(tx, new.reviewer_id),
                known_bad=(
                    *await tx.releases.known_bad(new.reviewer_id),
                    *(await tx.releases.known_bad(HUB) if new.reviewer_id != HUB else ()),
                ),
                present={one.package_aid for one in released if one.state is SubmissionState.RELEASED},
            )

    async def _visible(self, tx: UnitOfWork, principal: Principal, submission_id: SubmissionId) -> Submission:
        found = await tx.releases.get(submission_id)
        if found is None or (
            found.submitter_id != principal.tenant_id and found.reviewer_id != acting_party(principal)
        ):
            raise _none()
        return found

    async def _reviewed(
        self, tx: UnitOfWork, principal: Principal, submission_id: SubmissionId
    ) -> Submission:
        require(principal, *TenantKind)
        return await reviewed(tx, principal, submission_id)

    async def _note(
        self, tx: UnitOfWork, principal: Principal, submission: Submission, event: str, text: str
    ) -> None:
        await note(tx, self._s.world, principal, submission, event=event, text=text)


async def reviewed(tx: UnitOfWork, principal: Principal, submission_id: SubmissionId) -> Submission:
    """Return a submission that the caller is the reviewer of.

    Raises:
        NotFoundError: it is not, or there is none.
    """
    found = await tx.releases.get(submission_id)
    if found is None or found.reviewer_id != acting_party(principal):
        raise _none()
    return found


async def signature(keystore: Keystore, holder: TenantId, found: Submission, domain: Aid) -> DapSignature:
    """Return the holder's DAP signature: over the hash as INSTALL [for load] carries it (GPCS §C.3)."""
    key = proof_key(holder, ProofUse.DAP, ProofScheme.EC_P256, b"")
    if not await keystore.has(key.handle):
        await keystore.make_proof_key(key)
    return DapSignature(domain=domain, signature=await keystore.sign_proof(key, bytes.fromhex(found.sha256)))


async def note(
    tx: UnitOfWork, world: World, principal: Principal, submission: Submission, *, event: str, text: str
) -> None:
    """Write what happened to a submission into its history, and into the audit of both parties."""
    number = len(await tx.releases.history(submission.id)) + 1
    await tx.releases.note(
        ReleaseEvent(
            submission_id=submission.id,
            number=number,
            event=event,
            tenant_id=principal.tenant_id,
            person=principal.person,
            text=text,
            at=world.now(),
        )
    )
    details: dict[str, str | int] = {"package": str(submission.package_aid), "sha256": submission.sha256}
    others = {submission.submitter_id} - {principal.tenant_id}
    for chain in (*sorted(others), principal.tenant_id):
        await tx.audit.append(
            chain,
            actor=principal.person or principal.tenant_id,
            action=f"submission.{event}",
            subject=submission.id,
            details=details,
        )


async def _require_reviewer(tx: UnitOfWork, principal: Principal, reviewer_id: TenantId) -> None:
    if reviewer_id == HUB:
        return
    found = await tx.tenants.get(reviewer_id)
    if found is None or found.kind is not TenantKind.SE_ISSUER or found.sandbox is not principal.sandbox:
        raise NotFoundError("There is no such reviewer: name an issuer, or `hub`.", field="/reviewer_id")


def _examined(new: NewSubmission, facts: Facts) -> Examined:
    declared = Declared(new.package_aid, new.modules, new.privileges)
    try:
        return examine(new.data, declared, facts)
    except CapError as error:
        raise InvalidInputError(f"This is no load file: {error}.", field="/file") from error


def _moved(found: Submission, event: SubmissionEvent) -> Submission:
    return replace(found, state=SUBMISSION_STATES.next(found.state, event))


def _none() -> NotFoundError:
    return NotFoundError("There is no such submission.")
