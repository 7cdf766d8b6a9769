"""The hub's door for questions about memory: quotas, what is free, and a fresh reading of the card."""

import dataclasses

from opentsm.tsm.domain.operation import Operation, OperationType
from opentsm.tsm.domain.secure_element import SecureElement
from opentsm.tsm.domain.service import InstanceState
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.errors import NotFoundError
from opentsm.tsm.kernel.ids import SeId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.mandate import may_see, require
from opentsm.tsm.roles.hub.once import Claim, ClaimingStorage
from opentsm.tsm.roles.hub.space.quotas import Quotas
from opentsm.tsm.roles.hub.space.room import Room, managers_room, providers_room, site_of

_NO_ELEMENT = "There is no such secure element."


class SpaceDesk(Quotas):
    """Quotas, free memory, readings."""

    def once(self, claim: Claim) -> "SpaceDesk":
        """Return the same use cases for one request that has an idempotency key."""
        return SpaceDesk(dataclasses.replace(self._s, storage=ClaimingStorage(self._s.storage, claim)))

    async def room(self, principal: Principal, se_id: SeId) -> Room:
        """Return the memory that the caller may use of a secure element, as the card showed it last.

        Raises:
            NotFoundError: there is no such secure element for the caller.
            PlanRefusedError: by the arrangement the provider may have nothing there.
        """
        require(principal, TenantKind.SE_ISSUER, TenantKind.OPERATOR, TenantKind.SERVICE_PROVIDER)
        async with self._s.storage.transaction() as tx:
            se = await tx.secure_elements.get(se_id)
            if se is None:
                raise NotFoundError(_NO_ELEMENT)
            if may_see(principal, se):
                return await managers_room(tx, await tx.secure_elements.content(se_id), se)
            site = None
            if principal.kind is TenantKind.SERVICE_PROVIDER and se.sandbox is principal.sandbox:
                site = await site_of(tx, self._s.profiles, se, principal.tenant_id)
            if site is None:
                raise NotFoundError(_NO_ELEMENT)
            return await providers_room(tx, site)

    async def read(self, principal: Principal, se_id: SeId) -> Operation:
        """Ask for a fresh reading of a card's free memory; one that waits already is returned again.

        Args:
            principal: the card's issuer, the operator, or a provider that has a service there.
            se_id: which.

        Raises:
            NotFoundError: there is no such secure element, or the provider has nothing there.
        """
        require(principal, TenantKind.SE_ISSUER, TenantKind.OPERATOR, TenantKind.SERVICE_PROVIDER)
        async with self._s.storage.transaction() as tx:
            se = await tx.secure_elements.hold(se_id)
            if se is None or not await self._may_read(tx, principal, se):
                raise NotFoundError(_NO_ELEMENT)
            for waiting in await tx.belongings.open_on(se_id):
                if (waiting.type, waiting.tenant_id) == (OperationType.AUDIT, principal.tenant_id):
                    return waiting
            operation = self._operation(principal, OperationType.AUDIT, se_id, None)
            await self._request(tx, operation)
            await tx.commit()
        return operation

    async def _may_read(self, tx: UnitOfWork, principal: Principal, se: SecureElement) -> bool:
        if may_see(principal, se):
            return True
        return any(
            one.provider_id == principal.tenant_id and one.state is not InstanceState.TERMINATED
            for one in await tx.instances.on_secure_element(se.id)
        )
