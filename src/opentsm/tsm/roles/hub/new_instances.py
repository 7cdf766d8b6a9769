"""How an instance of a service is made, whoever asks: data sealed, prepared ones spent, stored once."""

from dataclasses import dataclass

import msgspec

from opentsm.tsm.domain.card_content import ALL_STAGES, ServiceDescription, Stage
from opentsm.tsm.domain.prepared import PreparedData
from opentsm.tsm.domain.secure_element import SecureElement
from opentsm.tsm.domain.service import ServiceInstance
from opentsm.tsm.kernel.errors import TsmError
from opentsm.tsm.kernel.ids import InstanceId, OperationId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.arrangements.use import check_place
from opentsm.tsm.roles.hub.mandate import check_domain_free
from opentsm.tsm.roles.hub.prepared import spent
from opentsm.tsm.roles.hub.services import HubServices
from opentsm.tsm.roles.hub.topology import first_key_version

replace = msgspec.structs.replace


@dataclass(frozen=True, slots=True)
class NewInstance:
    """An instance that is not stored yet, and the prepared data that it uses up."""

    instance: ServiceInstance
    used: PreparedData | None = None

    def deployed_by(self, operation_id: OperationId) -> "NewInstance":
        """Return the same with its deployment, which is asked for at once, written to the prepared data."""
        used = None if self.used is None else replace(self.used, operation_id=operation_id)
        return NewInstance(self.instance, used)


async def new_instance(
    services: HubServices,
    se: SecureElement,
    description: ServiceDescription,
    data: dict[str, str] | None,
    prepared: PreparedData | None,
    *,
    stages: tuple[Stage, ...] = ALL_STAGES,
) -> NewInstance:
    """Make an instance, before the transaction that stores it: no peer is called inside one.

    Args:
        services: the hub's ports.
        se: where it will be.
        description: what is made.
        data: its personalisation data, which are checked and sealed; None for those of a later call.
        prepared: the prepared data from which they come.
        stages: those that are wanted at once; none where an app asks for them later.

    Raises:
        InvalidInputError: personalisation data are missing or malformed.
    """
    catalogue = services.peers.catalogue()
    instance = ServiceInstance(
        id=InstanceId(services.world.new_id()),
        provider_id=description.provider_id,
        se_id=se.id,
        description=description,
        stages=stages,
        key_version=first_key_version(services.profiles[se.profile]),
        created_at=services.world.now(),
    )
    if data is not None:
        sealed = await catalogue.seal_personalization_data(
            instance.provider_id, description, instance.id, data
        )
        instance = replace(instance, sealed_data=sealed)
    if prepared is None:
        return NewInstance(instance)
    return NewInstance(instance, await spent(catalogue, prepared, data or {}, instance.id))


async def add_instance(tx: UnitOfWork, se: SecureElement, made: NewInstance, taken: TsmError) -> None:
    """Store a new instance; of two who ask at once one moves the card's version on, the other looks again.

    Args:
        tx: the caller's transaction.
        se: the secure element as this transaction reads it.
        made: the instance.
        taken: raised when the service has an instance there.

    Raises:
        ConflictError: the AID of its security domain is in use there.
        PlanRefusedError: its provider has no place in the secure element's arrangement.
        StaleVersionError: another was faster.
    """
    await check_place(tx, se, made.instance.provider_id)
    present = await tx.instances.on_secure_element(se.id)
    if any(_same_service(one, made.instance) for one in present):
        raise taken
    check_domain_free(made.instance, present)
    await tx.secure_elements.save(se)
    await tx.instances.add(made.instance)
    if made.used is not None:
        await tx.prepared_data.use(made.used)


def _same_service(one: ServiceInstance, other: ServiceInstance) -> bool:
    return one.provider_id == other.provider_id and one.description.service_id == other.description.service_id
