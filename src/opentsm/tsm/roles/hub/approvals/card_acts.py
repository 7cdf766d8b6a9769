"""The dangerous acts on a card: lock, unlock, terminate, and other keys for a domain that manages it.

Each is an operation like all others once it was approved. A lock because of loss needs no second person: it
takes nothing away that an unlocking, which needs two, does not give back, and there every minute counts.
"""

import dataclasses

import msgspec

from opentsm.card.codec.aid import Aid
from opentsm.card.errors import AidError
from opentsm.tsm.domain.approval import Act, Approval
from opentsm.tsm.domain.arrangement import Arrangement
from opentsm.tsm.domain.operation import LOSS_PRIORITY, Operation, OperationType
from opentsm.tsm.domain.secure_element import DiversifiedKeys, SecureElement, SeState
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.engine.card_acts import DomainHolder
from opentsm.tsm.kernel.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from opentsm.tsm.kernel.ids import SeId, TenantId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.approvals.acts import NOTHING, Asked, Prepared
from opentsm.tsm.roles.hub.approvals.card_policy import (
    acts_for,
    check_card_act,
    key_holder,
)
from opentsm.tsm.roles.hub.mandate import may_see, require
from opentsm.tsm.roles.hub.once import Claim, ClaimingStorage
from opentsm.tsm.roles.hub.requesting import Requesting
from opentsm.tsm.roles.hub.topology import managers_key_version

replace = msgspec.structs.replace

_NAMES = {"security_domain", "master"}
_MAX_HANDLE = 200


class CardActs(Requesting):
    """Implements `acts.Performer` for secure elements."""

    def once(self, claim: Claim) -> "CardActs":
        """Return the same use cases for one request that has an idempotency key."""
        return CardActs(dataclasses.replace(self._s, storage=ClaimingStorage(self._s.storage, claim)))

    async def check(self, tx: UnitOfWork, principal: Principal, asked: Asked) -> Asked:
        """Return the act with its parameters in full; see `Performer.check`."""
        type_ = OperationType(asked.act.value)
        se, arrangement = await self._card(tx, principal, SeId(asked.subject))
        if asked.act is Act.ROTATE_MANAGER_KEYS:
            return replace(asked, parameters=await self._rotation(tx, principal, se, arrangement, asked))
        if asked.parameters:
            raise InvalidInputError(f"{asked.act.value} takes no parameters.", field="/parameters")
        check_card_act(principal, se, arrangement, type_, self._s.rights)
        return asked

    async def prepare(self, approval: Approval) -> Prepared:
        """Return nothing: the operation asks its keystores itself."""
        return NOTHING

    async def carry_out(
        self, tx: UnitOfWork, principal: Principal, approval: Approval, prepared: Prepared
    ) -> dict[str, str]:
        """Ask for the operation in the transaction of the decision; see `Performer.carry_out`."""
        asked = Asked(act=approval.act, subject=approval.subject, parameters=approval.parameters)
        if approval.act is Act.ROTATE_MANAGER_KEYS:
            kept = {name: value for name, value in asked.parameters.items() if name in _NAMES}
            asked = replace(asked, parameters=kept)
        whole = await self.check(tx, principal, asked)
        operation = self._operation(
            principal,
            OperationType(whole.act.value),
            SeId(whole.subject),
            None,
            parameters={**whole.parameters, "approval": approval.id},
        )
        await self._request(tx, operation)
        return {"operation": operation.id}

    async def concerned(self, tx: UnitOfWork, subject: str) -> TenantId | None:
        """Return the issuer of the card."""
        se = await tx.secure_elements.get(SeId(subject))
        return None if se is None else se.issuer_id

    async def lock_for_loss(self, principal: Principal, se_id: SeId) -> Operation:
        """Lock a card that was lost or stolen: at once, before everything that waits for it.

        Raises:
            NotFoundError: there is no such secure element for this caller.
            ForbiddenError: the party may not have the card locked.
            ConflictError: nobody reported its loss.
        """
        require(principal, TenantKind.SE_ISSUER, TenantKind.OPERATOR)
        async with self._s.storage.transaction() as tx:
            se, arrangement = await self._card(tx, principal, se_id)
            check_card_act(principal, se, arrangement, OperationType.LOCK_CARD, self._s.rights)
            if se.loss is None:
                raise ConflictError(
                    "Nobody reported that this secure element was lost or stolen.",
                    advice="Report it first, or ask for LOCK_CARD at /v1/approvals, with two people.",
                )
            operation = self._operation(
                principal, OperationType.LOCK_CARD, se_id, None, priority=LOSS_PRIORITY
            )
            await self._request(tx, operation)
            await tx.commit()
        return operation

    # --- small things ----------------------------------------------------------------------------------

    async def _card(
        self, tx: UnitOfWork, principal: Principal, se_id: SeId
    ) -> tuple[SecureElement, Arrangement | None]:
        """Return a card that the caller may see; one that was lost may still be locked or terminated."""
        se = await tx.secure_elements.get(se_id)
        if se is None or se.state is SeState.RETIRED or not may_see(principal, se):
            raise NotFoundError("There is no such secure element.")
        found = await tx.arrangements.get(se.arrangement_id) if se.arrangement_id else None
        return se, None if found is None else found.on(se.key_versions)

    async def _rotation(
        self,
        tx: UnitOfWork,
        principal: Principal,
        se: SecureElement,
        arrangement: Arrangement | None,
        asked: Asked,
    ) -> dict[str, str | int]:
        unknown = sorted(set(asked.parameters) - _NAMES)
        if unknown:
            raise InvalidInputError(f"Unknown parameters: {', '.join(unknown)}.", field="/parameters")
        aid = _domain(asked.parameters.get("security_domain"), se)
        holder = key_holder(se, arrangement, aid)
        if not acts_for(principal, holder.owner_id):
            raise ForbiddenError("Only whoever holds the domain may replace its keys.")
        master = asked.parameters.get("master", "")
        if not isinstance(master, str) or len(master) > _MAX_HANDLE:
            raise InvalidInputError("master names a master key.", field="/parameters/master")
        if master:
            await _check_derivable(tx, se, holder)
        version = managers_key_version(self._s.profiles[se.profile], arrangement, holder.kvn)
        return {"security_domain": str(aid), "key_version": version, **({"master": master} if master else {})}


def _domain(named: str | int | None, se: SecureElement) -> Aid:
    if named is None:
        return se.isd_aid
    try:
        return Aid.from_hex(str(named))
    except AidError as error:
        raise InvalidInputError(
            "security_domain is an AID in hex.", field="/parameters/security_domain"
        ) from error


async def _check_derivable(tx: UnitOfWork, se: SecureElement, holder: DomainHolder) -> None:
    """A new set is derived from another master as the present one was: with the same method and data."""
    present = await tx.key_sets.get(holder.owner_id, se.id, holder.aid, holder.kvn)
    if present is None or not isinstance(present.source, DiversifiedKeys):
        raise ConflictError(
            "The present key set was not derived from a master key: how to derive another is not known.",
            advice="Leave `master` out; the new keys are then random.",
        )
