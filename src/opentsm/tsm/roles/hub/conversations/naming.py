"""How providers' own TSMs name services on secure elements: references that they declare, and look up again.

Source: GlobalPlatform Messaging, LookupServiceInstanceReference, DeclareServiceInstanceReference.
"""

import dataclasses

import msgspec

from opentsm.tsm.domain.secure_element import SecureElement
from opentsm.tsm.domain.service import InstanceState, ServiceInstance
from opentsm.tsm.domain.service_reference import ServiceReference
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.errors import ConflictError, NotFoundError, StaleVersionError
from opentsm.tsm.kernel.ids import InstanceId, SeId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.arrangements.use import check_place
from opentsm.tsm.roles.hub.conversations.reach import own_instances
from opentsm.tsm.roles.hub.mandate import check_border, check_domain_free, may_see, require
from opentsm.tsm.roles.hub.once import Claim, ClaimingStorage
from opentsm.tsm.roles.hub.requesting import Requesting
from opentsm.tsm.roles.hub.topology import first_key_version

replace = msgspec.structs.replace

DECLARED = "instance.reference-declared"
_TRIES = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Declaration:
    """What a provider calls an instance, and what it is an instance of."""

    owner: str
    reference: str
    service_id: str
    se_id: SeId
    version: str | None = None
    qualifier: str = ""


class Naming(Requesting):
    """Secure elements and instances by the names of a provider's own TSM."""

    def once(self, claim: Claim) -> "Naming":
        """Return the same use cases for one request that has an identifier of its own."""
        return Naming(dataclasses.replace(self._s, storage=ClaimingStorage(self._s.storage, claim)))

    async def element(self, principal: Principal, se_id: SeId) -> SecureElement:
        """Return a secure element that the caller may know of.

        Raises:
            NotFoundError: there is none.
        """
        async with self._s.storage.transaction() as tx:
            se = await tx.secure_elements.get(se_id)
        provider = principal.kind is TenantKind.SERVICE_PROVIDER and principal.device_id is None
        if se is None or not (may_see(principal, se) or (provider and se.sandbox is principal.sandbox)):
            raise _no_element()
        return se

    async def instance(self, principal: Principal, owner: str, reference: str, own: str) -> ServiceInstance:
        """Return the caller's instance of a reference.

        Args:
            principal: the service provider.
            owner: whose name the reference is.
            reference: a name that the caller declared, or the instance's id where `owner` is `own`.
            own: the owner of the ids that we gave.

        Raises:
            NotFoundError: the caller has no such instance.
        """
        require(principal, TenantKind.SERVICE_PROVIDER)
        async with self._s.storage.transaction() as tx:
            if owner == own:
                instance_id = InstanceId(reference)
            else:
                named = await tx.service_references.get(principal.tenant_id, owner, reference)
                if named is None:
                    raise _no_instance()
                instance_id = named.instance_id
            found = await tx.instances.get(instance_id)
        if found is None or found.provider_id != principal.tenant_id:
            raise _no_instance()
        return found

    async def find_instance(
        self, principal: Principal, service_id: str, qualifier: str | None, se_id: SeId
    ) -> tuple[ServiceInstance, ServiceReference | None]:
        """Return the caller's instance of a service on a secure element, with the name it gave.

        Raises:
            NotFoundError: there is none.
        """
        require(principal, TenantKind.SERVICE_PROVIDER)
        async with self._s.storage.transaction() as tx:
            own = await own_instances(tx, principal.tenant_id, se_id)
            own = [one for one in own if one.description.service_id == service_id]
            named = await tx.service_references.of_instances([one.id for one in own])
        if qualifier is not None:
            named = [one for one in named if one.qualifier == qualifier]
            own = [one for one in own if any(name.instance_id == one.id for name in named)]
        if not own:
            raise _no_instance()
        names = sorted((one for one in named if one.instance_id == own[0].id), key=lambda n: n.reference)
        return own[0], names[0] if names else None

    async def declare(self, principal: Principal, wanted: Declaration) -> ServiceInstance:
        """Name an instance of a service; it is made, not deployed, where there is none yet.

        Args:
            principal: the service provider.
            wanted: the name, and what it is to name.

        Raises:
            NotFoundError: there is no such secure element or service for the caller.
            ConflictError: the name is in use, or the instance that is there has another version.
        """
        require(principal, TenantKind.SERVICE_PROVIDER)
        for attempt in range(_TRIES):
            try:
                return await self._declare(principal, wanted)
            except StaleVersionError:
                if attempt == _TRIES - 1:
                    raise
        raise AssertionError  # never reached

    async def _declare(self, principal: Principal, wanted: Declaration) -> ServiceInstance:
        async with self._s.storage.transaction() as tx:
            se = await self._usable(tx, wanted.se_id)
        if se.sandbox is not principal.sandbox:
            raise _no_element()
        check_border(principal, se)
        made = await self._new_instance(principal, wanted, se)
        async with self._s.storage.transaction() as tx:
            se = await tx.secure_elements.save(await self._usable(tx, wanted.se_id))
            await check_place(tx, se, principal.tenant_id)
            instance = await self._added(tx, made)
            await tx.service_references.add(
                ServiceReference(
                    provider_id=principal.tenant_id,
                    owner=wanted.owner,
                    reference=wanted.reference,
                    instance_id=instance.id,
                    qualifier=wanted.qualifier,
                )
            )
            await tx.audit.append(
                principal.tenant_id,
                actor=principal.tenant_id,
                action=DECLARED,
                subject=instance.id,
                details={"secure_element": se.id, "service": wanted.service_id, "owner": wanted.owner},
            )
            await tx.commit()
        return instance

    async def _new_instance(
        self, principal: Principal, wanted: Declaration, se: SecureElement
    ) -> ServiceInstance:
        description = await self._s.peers.catalogue().describe(
            principal.tenant_id, wanted.service_id, wanted.version, se.profile
        )
        return ServiceInstance(
            id=InstanceId(self._s.world.new_id()),
            provider_id=principal.tenant_id,
            se_id=se.id,
            description=description,
            stages=(),
            key_version=first_key_version(self._s.profiles[se.profile]),
            created_at=self._s.world.now(),
        )

    async def _added(self, tx: UnitOfWork, made: ServiceInstance) -> ServiceInstance:
        """Return the instance of this service that is there, or add the new one."""
        present = await tx.instances.on_secure_element(made.se_id)
        for one in present:
            same = one.description.service_id == made.description.service_id
            if not same or one.provider_id != made.provider_id or one.state is InstanceState.TERMINATED:
                continue
            if one.description.version_tag != made.description.version_tag:
                raise ConflictError(
                    f"The service is there in version {one.description.version_tag}.",
                    advice="Declare that version, then upgrade it.",
                )
            return one
        check_domain_free(made, present)
        await tx.instances.add(made)
        return made


def _no_element() -> NotFoundError:
    return NotFoundError("There is no such secure element.", field="/SecureElement")


def _no_instance() -> NotFoundError:
    return NotFoundError("There is no such service instance.")
