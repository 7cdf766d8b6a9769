"""Requests on condition that nothing has changed since the caller looked: checked in their own transaction.

Source: RFC 9110 §13.1.1. The object's row is held from the check to the commit, so that whoever changes it
meanwhile comes after the request, and whoever was faster makes it fail.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from opentsm.tsm.kernel.errors import PreconditionFailedError
from opentsm.tsm.kernel.ids import InstanceId, OperationId
from opentsm.tsm.ports.unit_of_work import Storage, UnitOfWork


@dataclass(frozen=True, slots=True)
class Unchanged:
    """An instance or an operation, and the version that the caller knows."""

    subject: InstanceId | OperationId
    of_instances: bool
    version: int


def precondition_failed(version: int | None) -> PreconditionFailedError:
    """Return the refusal; `version` is what the object has now."""
    now = "The object is gone." if version is None else f'The object has the ETag "{version}" now.'
    return PreconditionFailedError(now, advice="Look at it, then decide again.", field="If-Match")


class ConditionalStorage:
    """A storage whose transactions begin with the check of a condition."""

    def __init__(self, storage: Storage, condition: Unchanged) -> None:
        self._storage = storage
        self._condition = condition

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[UnitOfWork]:
        """Open a transaction.

        Raises:
            PreconditionFailedError: the object has changed.
        """
        async with self._storage.transaction() as tx:
            await self._check(tx)
            yield tx

    async def _check(self, tx: UnitOfWork) -> None:
        wanted = self._condition
        if wanted.of_instances:
            version = await tx.instances.hold(InstanceId(wanted.subject))
        else:
            version = await tx.operations.hold(OperationId(wanted.subject))
        if version != wanted.version:
            raise precondition_failed(version)
