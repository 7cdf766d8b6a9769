"""Use cases of approvals: ask for a dangerous act, decide about it, take it back, and see what there is."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import msgspec

from opentsm.tsm.domain.approval import (
    APPROVAL_STATES,
    Act,
    Approval,
    ApprovalEvent,
    ApprovalState,
    Signer,
)
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.errors import ConflictError, InvalidInputError, NotFoundError
from opentsm.tsm.kernel.ids import ApprovalId
from opentsm.tsm.ports.repositories import Page
from opentsm.tsm.ports.unit_of_work import Storage, UnitOfWork
from opentsm.tsm.ports.world import World
from opentsm.tsm.roles.hub.approvals.acts import NOTHING, Asked, Performer
from opentsm.tsm.roles.hub.approvals.persons import require_another, signer_of
from opentsm.tsm.roles.hub.mandate import require
from opentsm.tsm.roles.hub.once import Claim, ClaimingStorage

replace = msgspec.structs.replace

MAX_REASON = 500
DEFAULT_LIFE_S = 24 * 3600
SHORTEST_LIFE_S, LONGEST_LIFE_S = 60, 30 * 24 * 3600


@dataclass(frozen=True, slots=True)
class ApprovalServices:
    """What these use cases work with; `performers` carry out the acts."""

    storage: Storage
    world: World
    performers: Mapping[Act, Performer]


class Approvals:
    """The hub's door for acts that need two people."""

    def __init__(self, services: ApprovalServices) -> None:
        self._s = services

    def once(self, claim: Claim) -> "Approvals":
        """Return the same use cases for one request that has an idempotency key."""
        return Approvals(dataclasses.replace(self._s, storage=ClaimingStorage(self._s.storage, claim)))

    async def ask(
        self, principal: Principal, asked: Asked, reason: str, *, life_s: int = DEFAULT_LIFE_S
    ) -> Approval:
        """Ask for a dangerous act; nothing is done before another person approves it.

        Args:
            principal: a named person of the party.
            asked: the act.
            reason: why, for whoever decides and for the audit.
            life_s: how long the decision may take.

        Raises:
            ForbiddenError: the token names nobody, or the party may not have the act.
            NoSecondPersonError: the party has nobody else who could decide.
            InvalidInputError: a value is out of range.
        """
        require(principal, *TenantKind)
        signer = signer_of(principal)
        _check_reason(reason)
        if not SHORTEST_LIFE_S <= life_s <= LONGEST_LIFE_S:
            raise InvalidInputError(
                f"A decision may take {SHORTEST_LIFE_S} to {LONGEST_LIFE_S} seconds.", field="/life_s"
            )
        now = self._s.world.now()
        async with self._s.storage.transaction() as tx:
            await require_another(tx, principal)
            whole = await self._performer(asked.act).check(tx, principal, asked)
            approval = Approval(
                id=ApprovalId(self._s.world.new_id()),
                tenant_id=principal.tenant_id,
                act=whole.act,
                subject=whole.subject,
                parameters=whole.parameters,
                reason=reason,
                asked_by=signer,
                created_at=now,
                expires_at=now + timedelta(seconds=life_s),
            )
            await tx.approvals.add(approval)
            await self._audit(tx, approval, "approval.asked", signer)
            await tx.commit()
        return approval

    async def decide(
        self, principal: Principal, approval_id: ApprovalId, *, approve: bool, reason: str
    ) -> Approval:
        """Approve an act, which carries it out at once, or refuse it.

        Args:
            principal: another named person of the same party.
            approval_id: which.
            approve: whether it is to be done.
            reason: why, for the audit.

        Raises:
            NotFoundError: the party has no such approval.
            ForbiddenError: the token names nobody, or it is who asked.
            ConflictError: it was decided, taken back or is too late, or the act is not possible any more.
        """
        require(principal, *TenantKind)
        signer = signer_of(principal)
        _check_reason(reason)
        async with self._s.storage.transaction() as tx:
            seen = await self._open(tx, principal, approval_id)
            seen.check_decider(signer)
        prepared = await self._performer(seen.act).prepare(seen) if approve else NOTHING
        async with self._s.storage.transaction() as tx:
            approval = await self._open(tx, principal, approval_id)
            event = ApprovalEvent.APPROVE if approve else ApprovalEvent.REFUSE
            decided = self._moved(approval, event, signer, reason)
            if approve:
                outcome = await self._performer(approval.act).carry_out(tx, principal, approval, prepared)
                decided = replace(decided, outcome=outcome)
            saved = await tx.approvals.save(decided)
            await self._audit(tx, saved, f"approval.{saved.state.value.lower()}", signer)
            await tx.commit()
        return saved

    async def cancel(self, principal: Principal, approval_id: ApprovalId) -> Approval:
        """Take back what was asked for: by anybody of the party, for it only leaves things as they are.

        Raises:
            NotFoundError: the party has no such approval.
            ConflictError: it was decided, or taken back, or is too late.
        """
        require(principal, *TenantKind)
        signer = Signer(person=principal.person, token=principal.token)
        async with self._s.storage.transaction() as tx:
            approval = await self._open(tx, principal, approval_id)
            saved = await tx.approvals.save(self._moved(approval, ApprovalEvent.CANCEL, signer, ""))
            await self._audit(tx, saved, "approval.cancelled", signer)
            await tx.commit()
        return saved

    async def approval(self, principal: Principal, approval_id: ApprovalId) -> Approval:
        """Return an approval of the caller's party, in the state that it has now.

        Raises:
            NotFoundError: there is none of this id.
        """
        require(principal, *TenantKind)
        async with self._s.storage.transaction() as tx:
            return self._now(await _own(tx, principal, approval_id))

    async def approvals(self, principal: Principal, page: Page, *, waiting: bool = False) -> list[Approval]:
        """Return a page of the party's approvals by id: all, or those that were not decided."""
        require(principal, *TenantKind)
        state = ApprovalState.PENDING if waiting else None
        async with self._s.storage.transaction() as tx:
            found = await tx.approvals.list(principal.tenant_id, page, state=state)
        return [self._now(one) for one in found]

    # --- small things ----------------------------------------------------------------------------------

    def _performer(self, act: Act) -> Performer:
        found = self._s.performers.get(act)
        if found is None:
            raise ConflictError(f"Nobody here carries out {act.value}.")
        return found

    def _now(self, approval: Approval) -> Approval:
        return replace(approval, state=approval.state_at(self._s.world.now()))

    async def _open(self, tx: UnitOfWork, principal: Principal, approval_id: ApprovalId) -> Approval:
        approval = await _own(tx, principal, approval_id)
        state = approval.state_at(self._s.world.now())
        if state is not ApprovalState.PENDING:
            raise ConflictError(f"This is {state.value} already.", advice="Ask for the act anew if need be.")
        return approval

    def _moved(self, approval: Approval, event: ApprovalEvent, signer: Signer, reason: str) -> Approval:
        return replace(
            approval,
            state=APPROVAL_STATES.next(approval.state, event),
            decided_by=signer,
            decision=reason,
            decided_at=self._s.world.now(),
        )

    async def _audit(self, tx: UnitOfWork, approval: Approval, action: str, signer: Signer) -> None:
        """Name both people, for the party and for whose property is acted upon."""
        details: dict[str, str | int] = {
            "act": approval.act.value,
            "subject": approval.subject,
            "asked_by": approval.asked_by.person,
            "reason": approval.decision or approval.reason,
            **({} if approval.decided_by is None else {"decided_by": approval.decided_by.person}),
            **approval.outcome,
        }
        other = await self._performer(approval.act).concerned(tx, approval.subject)
        chains = {approval.tenant_id} if other is None else {other, approval.tenant_id}
        for chain in sorted(chains, key=lambda one: one == approval.tenant_id):
            await tx.audit.append(
                chain,
                actor=signer.person or approval.tenant_id,
                action=action,
                subject=approval.id,
                details=details,
            )


async def _own(tx: UnitOfWork, principal: Principal, approval_id: ApprovalId) -> Approval:
    found = await tx.approvals.get(approval_id)
    if found is None or found.tenant_id != principal.tenant_id:
        raise NotFoundError("There is no such approval.")
    return found


def _check_reason(reason: str) -> None:
    if not 1 <= len(reason.strip()) <= MAX_REASON:
        raise InvalidInputError(f"A reason has 1 to {MAX_REASON} characters.", field="/reason")
