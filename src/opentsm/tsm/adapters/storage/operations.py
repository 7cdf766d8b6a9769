"""Operations and their queues, one queue a secure element."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg
from msgspec.structs import replace

from opentsm.tsm.adapters.storage.records import document, range_arguments, versioned
from opentsm.tsm.adapters.storage.session import Session
from opentsm.tsm.adapters.storage.sql import DESCENDING, load_queries
from opentsm.tsm.domain.operation import ENDED, Operation, OperationState, turn_of
from opentsm.tsm.kernel.errors import ConflictError
from opentsm.tsm.kernel.ids import OperationId, SeId
from opentsm.tsm.ports.repositories import OperationFilter, Page

_SQL = load_queries("operations")


class PostgresOperations:
    """Operations; the plan's document has a column of its own."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add(self, operation: Operation) -> None:
        """Add an operation; raise ConflictError when its id is taken."""
        if not await self._session.change(_SQL["add"], *_columns(operation)):
            raise self._session.spoiled(ConflictError(f"Operation {operation.id} exists already."))

    async def get(self, operation_id: OperationId) -> Operation | None:
        """Return the operation, or None."""
        return _optional(await self._session.row(_SQL["get"], operation_id))

    async def hold(self, operation_id: OperationId) -> int | None:
        """Return the version of an operation, which nobody else saves until this transaction ends."""
        row = await self._session.row(_SQL["hold"], operation_id)
        return None if row is None else row["version"]

    async def save(self, operation: Operation) -> Operation:
        """Store and return it with its new version; raise StaleVersionError when it moved."""
        await self._session.change_one(_SQL["save"], *_columns(operation))
        return replace(operation, version=operation.version + 1)

    async def next_queued(self, se_id: SeId) -> Operation | None:
        """Return the QUEUED or REQUESTED operation that has the next turn (`turn_of`), then the oldest."""
        return _optional(await self._session.row(_SQL["next_queued"], se_id))

    async def list(self, page: Page, wanted: OperationFilter) -> Sequence[Operation]:
        """Return a page of operations by id; what narrows most leads the index, the rest is tested."""
        query = _list_query(wanted) + (DESCENDING if page.descending else "")
        arguments = (
            *range_arguments(page, wanted.created_from, wanted.created_before),
            wanted.tenant_id,
            wanted.issuer_id,
            wanted.se_id,
            wanted.instance_id,
            None if wanted.state is None else wanted.state.value,
            None if wanted.type is None else wanted.type.value,
            wanted.created_from,
            wanted.created_before,
        )
        return [_operation(row) for row in await self._session.rows(_SQL[query], *arguments)]

    async def expired(self, now: datetime, limit: int) -> Sequence[Operation]:
        """Return operations not ended whose validity is over."""
        return [_operation(row) for row in await self._session.rows(_SQL["expired"], now, limit)]

    async def count_open(self) -> dict[OperationState, int]:
        """Return how many operations are in each state that is not an end."""
        states = [state.value for state in OperationState if state not in ENDED]
        rows = await self._session.rows(_SQL["count_open"], states)
        found = {row["state"]: row["found"] for row in rows}
        return {OperationState(state): found.get(state, 0) for state in states}


def _columns(operation: Operation) -> tuple[object, ...]:
    return (
        operation.id,
        operation.version,
        operation.tenant_id,
        operation.se_id,
        operation.instance_id,
        operation.state.value,
        operation.priority,
        operation.created_at,
        operation.valid_until,
        document(operation, "plan_document"),
        operation.plan_document,
        operation.type.value,
        turn_of(operation),
    )


def _list_query(wanted: OperationFilter) -> str:
    in_state = wanted.state is not None
    if wanted.instance_id is not None:
        return "list_of_instance"
    if wanted.se_id is not None:
        return "list_on_secure_element"
    if wanted.tenant_id is not None:
        return "list_of_tenant_in_state" if in_state else "list_of_tenant"
    if wanted.issuer_id is not None:
        return "list_of_issuer_in_state" if in_state else "list_of_issuer"
    return "list_in_state" if in_state else "list"


def _operation(row: asyncpg.Record) -> Operation:
    return versioned(Operation, row, "plan_document")


def _optional(row: asyncpg.Record | None) -> Operation | None:
    return None if row is None else _operation(row)
