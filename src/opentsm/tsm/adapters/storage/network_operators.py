"""Network operators and their bearers."""

from collections.abc import Sequence

from msgspec.structs import replace

from opentsm.tsm.adapters.storage.records import document, page_arguments, versioned
from opentsm.tsm.adapters.storage.session import Session
from opentsm.tsm.adapters.storage.sql import load_queries
from opentsm.tsm.domain.registry import NetworkOperator
from opentsm.tsm.kernel.errors import ConflictError
from opentsm.tsm.kernel.ids import NetworkOperatorId
from opentsm.tsm.ports.repositories import Page

_SQL = load_queries("network_operators")


class PostgresNetworkOperators:
    """Network operators of the hub."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add(self, operator: NetworkOperator) -> None:
        """Add one; raise ConflictError when there is another of this name."""
        added = await self._session.change(
            _SQL["add"], operator.id, operator.name, document(operator), operator.version
        )
        if not added:
            error = ConflictError("There is a network operator of this name already.", field="/name")
            raise self._session.spoiled(error)

    async def get(self, operator_id: NetworkOperatorId) -> NetworkOperator | None:
        """Return the network operator, or None."""
        row = await self._session.row(_SQL["get"], operator_id)
        return None if row is None else versioned(NetworkOperator, row)

    async def list(self, page: Page) -> Sequence[NetworkOperator]:
        """Return a page of network operators by id."""
        rows = await self._session.rows(_SQL["list"], *page_arguments(page))
        return [versioned(NetworkOperator, row) for row in rows]

    async def save(self, operator: NetworkOperator) -> NetworkOperator:
        """Store and return it with its new version; raise StaleVersionError when it moved."""
        await self._session.change_one(
            _SQL["save"], operator.id, operator.version, operator.name, document(operator)
        )
        return replace(operator, version=operator.version + 1)
