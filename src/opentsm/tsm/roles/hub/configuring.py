"""The request to build an arrangement on a secure element."""

import msgspec

from opentsm.tsm.domain.operation import Operation, OperationType
from opentsm.tsm.domain.secure_element import SecureElement
from opentsm.tsm.domain.service import InstanceState
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.errors import ConflictError, InvalidInputError, NotFoundError
from opentsm.tsm.kernel.ids import ArrangementId, SeId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.arrangements.use import check_arrangement
from opentsm.tsm.roles.hub.mandate import may_see, require
from opentsm.tsm.roles.hub.requesting import Requesting

replace = msgspec.structs.replace


class Configuring(Requesting):
    """Asks for the building of arrangements."""

    async def configure(
        self, principal: Principal, se_id: SeId, arrangement_id: ArrangementId | None = None
    ) -> Operation:
        """Ask for the domains of an arrangement on a card; what is there already stays.

        Args:
            principal: the secure element's issuer.
            se_id: which.
            arrangement_id: the arrangement; None for the one that it refers to.

        Raises:
            NotFoundError: there is no such secure element.
            InvalidInputError: there is no such arrangement, or none is named.
            ConflictError: it refers to another one, or holds services that none arranged.
            QuarantinedError: it did not prove its keys.
        """
        require(principal, TenantKind.SE_ISSUER)
        async with self._s.storage.transaction() as tx:
            se = await tx.secure_elements.get(se_id)
            if se is None or not may_see(principal, se):
                raise NotFoundError("There is no such secure element.")
            se = await self._usable(tx, se_id)
            arranged = await _arranged(tx, se, arrangement_id)
            operation = self._operation(
                principal,
                OperationType.CONFIGURE,
                se_id,
                None,
                parameters={"arrangement": str(arranged.arrangement_id)},
            )
            await _give_away(tx, arranged)
            if arranged is not se:
                await tx.secure_elements.save(arranged)
                await tx.audit.append(
                    principal.tenant_id,
                    actor=principal.tenant_id,
                    action="secure-element.arranged",
                    subject=se_id,
                    details={"arrangement": str(arranged.arrangement_id)},
                )
            await self._request(tx, operation)
            await tx.commit()
        return operation


async def _give_away(tx: UnitOfWork, se: SecureElement) -> None:
    """Let the issuer's first key set be handed over, where another party is to hold its security domain.

    It is the issuer that asks for this; else no key set but a temporary one ever leaves its party.
    """
    arrangement = await tx.arrangements.get(se.arrangement_id) if se.arrangement_id else None
    if arrangement is None or arrangement.top.holder_id == se.issuer_id:
        return
    if se.isd_kvn != arrangement.top.kvn:
        keys = await tx.key_sets.get(se.issuer_id, se.id, se.isd_aid, se.isd_kvn)
        if keys is not None:
            await tx.key_sets.put(replace(keys, temporary=True))


async def _arranged(tx: UnitOfWork, se: SecureElement, arrangement_id: ArrangementId | None) -> SecureElement:
    """Return the secure element as it refers to the arrangement.

    Raises:
        ConflictError: it refers to another, or holds services that none arranged.
        InvalidInputError: there is none.
    """
    if se.arrangement_id is not None:
        if arrangement_id not in (None, se.arrangement_id):
            raise ConflictError("The secure element refers to another arrangement.", field="/arrangement_id")
        return se
    if arrangement_id is None:
        raise InvalidInputError("Name the arrangement to build.", field="/arrangement_id")
    present = await tx.instances.on_secure_element(se.id)
    if any(one.state is not InstanceState.TERMINATED for one in present):
        raise ConflictError(
            "The secure element holds services that no arrangement placed.",
            advice="Terminate them first.",
        )
    arranged = replace(se, arrangement_id=arrangement_id)
    await check_arrangement(tx, arranged)
    return arranged
