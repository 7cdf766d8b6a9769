"""Use cases that mend what was registered wrongly, or end it: new factory key sets, retirement."""

import msgspec

from opentsm.tsm.domain.secure_element import SE_STATES, KeySetState, SecureElement, SeEvent, SeState
from opentsm.tsm.domain.service import EndReason
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.errors import ConflictError
from opentsm.tsm.kernel.ids import SeId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.herald import se_event, tell
from opentsm.tsm.roles.hub.mandate import require
from opentsm.tsm.roles.hub.registration import NewKeySet, Registration
from opentsm.tsm.roles.hub.without_card import WithoutCard, with_online_system

replace = msgspec.structs.replace

_UNPROVED = (SeState.REGISTERED, SeState.QUARANTINED)


class Mending(Registration):
    """Secure elements whose record is wrong or of no use any more."""

    async def replace_key_sets(
        self, principal: Principal, se_id: SeId, new: tuple[NewKeySet, ...]
    ) -> SecureElement:
        """Replace the factory key sets of a secure element that has not proved the ones on record.

        The same again leaves the same. A quarantined one stays so until it is reinstated.

        Args:
            principal: its issuer.
            se_id: which.
            new: all key sets of its issuer security domain; sessions open with the first one.

        Raises:
            InvalidInputError: a value is not possible, a key handle is unknown, or check values differ.
            ConflictError: it has proved its keys, or an operation works on it.
        """
        require(principal, TenantKind.SE_ISSUER)
        async with self._s.storage.transaction() as tx:
            se = await self._visible(tx, principal, se_id)
        _check_unproved(se)
        key_sets = await self._key_sets(se, new)
        async with self._s.storage.transaction() as tx:
            se = await self._visible(tx, principal, se_id)
            _check_unproved(se)
            # whoever starts an operation meanwhile moves the version on: one of both repeats
            saved = await tx.secure_elements.save(replace(se, isd_kvn=new[0].kvn))
            await self._retire_key_sets(tx, se)
            for key_set in key_sets:
                await tx.key_sets.put(key_set)
            await self._forget_keys_seen(tx, se)
            await tx.audit.append(
                principal.tenant_id,
                actor=principal.tenant_id,
                action="secure-element.key-sets-replaced",
                subject=se_id,
                details={"key_sets": len(key_sets), "key_version": saved.isd_kvn},
            )
            await tx.commit()
        return saved

    async def retire_secure_element(self, principal: Principal, se_id: SeId) -> SecureElement:
        """Put a secure element out of use for good; its identifiers may be registered again.

        What providers have on it ends with that, and they are told.

        Raises:
            IllegalTransitionError: it is retired already.
            ConflictError: an operation works on it, or waits for it.
        """
        require(principal, TenantKind.SE_ISSUER)
        told = await with_online_system(self._s.storage, self._s.catalogue, [se_id])
        async with self._s.storage.transaction() as tx:
            se = await self._visible(tx, principal, se_id)
            moved = replace(
                se, state=SE_STATES.next(se.state, SeEvent.RETIRE), device_id=None, reserved_for=None
            )
            _check_idle(se)
            waiting = await tx.operations.next_queued(se_id)
            if waiting is not None:
                raise ConflictError(
                    f"Operation {waiting.id} waits for this secure element.", advice="Cancel it first."
                )
            saved = await tx.secure_elements.save(moved)
            await self._retire_key_sets(tx, se)
            await WithoutCard(tx, self._s.world, saved, EndReason.SECURE_ELEMENT_RETIRED, told).end()
            await tx.audit.append(
                principal.tenant_id,
                actor=principal.tenant_id,
                action="secure-element.retired",
                subject=se_id,
                details={"was": se.state.value},
            )
            await tell(tx, self._s.world, [se_event(saved)])
            await tx.commit()
        return saved

    async def _retire_key_sets(self, tx: UnitOfWork, se: SecureElement) -> None:
        for known in await tx.key_sets.list(se.issuer_id, se.id, se.isd_aid):
            await tx.key_sets.put(replace(known, state=KeySetState.RETIRED))

    async def _forget_keys_seen(self, tx: UnitOfWork, se: SecureElement) -> None:
        content = await tx.secure_elements.content(se.id)
        keys = {domain: seen for domain, seen in content.keys.items() if domain != str(se.isd_aid)}
        await tx.secure_elements.save_content(se.id, replace(content, keys=keys, fresh=False))


def _check_unproved(se: SecureElement) -> None:
    if se.state not in _UNPROVED:
        raise ConflictError(
            f"The secure element is {se.state.value}: only the key sets of one that is quarantined, or that"
            " has not proved itself, can be replaced here.",
            advice="Keys that a card has proved are replaced on the card itself.",
        )
    _check_idle(se)


def _check_idle(se: SecureElement) -> None:
    if se.active_operation_id is not None:
        raise ConflictError(
            f"Operation {se.active_operation_id} works on this secure element.",
            advice="Wait for its end, or cancel it first.",
        )
