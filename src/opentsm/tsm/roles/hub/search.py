"""Lists of operations and instances, by what is wanted of them and by who is asking."""

from datetime import datetime

from msgspec.structs import replace

from opentsm.tsm.domain.operation import Operation
from opentsm.tsm.domain.service import ServiceInstance
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.errors import InvalidInputError
from opentsm.tsm.ports.repositories import InstanceFilter, OperationFilter, Page
from opentsm.tsm.ports.unit_of_work import Storage
from opentsm.tsm.roles.hub.mandate import require


async def find_operations(
    storage: Storage, principal: Principal, page: Page, wanted: OperationFilter
) -> list[Operation]:
    """Return a page of the operations that the caller may see.

    Args:
        storage: where they are.
        principal: a provider sees its own, an issuer those on its secure elements, the operator all.
        page: how many, from where, in which order.
        wanted: which; whose they are is decided here.

    Raises:
        ForbiddenError: a device is asking.
        InvalidInputError: a time has no offset from UTC.
    """
    require(principal, *TenantKind)
    _check_times(wanted.created_from, wanted.created_before)
    kind = principal.kind
    mine = replace(
        wanted,
        tenant_id=principal.tenant_id if kind is TenantKind.SERVICE_PROVIDER else None,
        issuer_id=principal.tenant_id if kind is TenantKind.SE_ISSUER else None,
    )
    async with storage.transaction() as tx:
        return list(await tx.operations.list(page, mine))


async def find_instances(
    storage: Storage, principal: Principal, page: Page, wanted: InstanceFilter, se_identifier: str | None
) -> list[ServiceInstance]:
    """Return a page of a provider's instances.

    Args:
        storage: where they are.
        principal: the provider.
        page: how many, from where, in which order.
        wanted: which; whose they are is decided here.
        se_identifier: only those on the secure element that goes by this name, of any type.

    Raises:
        ForbiddenError: the caller is no provider.
        ConflictError: more than one secure element goes by this name.
        InvalidInputError: a time has no offset from UTC.
    """
    require(principal, TenantKind.SERVICE_PROVIDER)
    _check_times(wanted.created_from, wanted.created_before)
    mine = replace(wanted, provider_id=principal.tenant_id)
    async with storage.transaction() as tx:
        if se_identifier is not None:
            se = await tx.secure_elements.find(None, se_identifier, sandbox=principal.sandbox)
            if se is None or wanted.se_id not in (None, se.id):
                return []
            mine = replace(mine, se_id=se.id)
        return list(await tx.instances.list(page, mine))


def _check_times(created_from: datetime | None, created_before: datetime | None) -> None:
    for name, moment in (("created_after", created_from), ("created_before", created_before)):
        if moment is not None and moment.utcoffset() is None:
            raise InvalidInputError(
                f"{name} has no offset from UTC.",
                advice="Write it as RFC 3339 has it: 2026-12-31T12:00:00Z.",
                field=name,
            )
