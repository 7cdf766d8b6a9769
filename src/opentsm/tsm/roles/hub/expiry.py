"""Operations whose validity is over are brought to an end, even when no device ever comes."""

from opentsm.tsm.ports.unit_of_work import Storage
from opentsm.tsm.ports.world import World
from opentsm.tsm.roles.hub.services import ADVANCE

_BATCH = 200


async def sweep_expired(storage: Storage, world: World) -> int:
    """Publish a message for every operation whose validity is over; return how many there were."""
    async with storage.transaction() as tx:
        expired = await tx.operations.expired(world.now(), _BATCH)
        for operation in expired:
            await tx.outbox.publish(ADVANCE, operation.id, {"operation": operation.id})
        if expired:
            await tx.commit()
    return len(expired)
