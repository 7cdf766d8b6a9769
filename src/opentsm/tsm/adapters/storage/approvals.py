"""Approvals: dangerous acts that wait for a second person."""

from collections.abc import Sequence

from msgspec.structs import replace

from opentsm.tsm.adapters.storage.records import document, page_arguments, versioned
from opentsm.tsm.adapters.storage.session import Session
from opentsm.tsm.adapters.storage.sql import load_queries
from opentsm.tsm.domain.approval import Approval, ApprovalState
from opentsm.tsm.kernel.ids import ApprovalId, TenantId
from opentsm.tsm.ports.repositories import Page

_SQL = load_queries("approvals")


class PostgresApprovals:
    """Approvals of all parties."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add(self, approval: Approval) -> None:
        """Add an approval."""
        await self._session.change(
            _SQL["add"],
            approval.id,
            approval.tenant_id,
            approval.state.value,
            document(approval),
            approval.version,
        )

    async def get(self, approval_id: ApprovalId) -> Approval | None:
        """Return the approval, or None."""
        row = await self._session.row(_SQL["get"], approval_id)
        return None if row is None else versioned(Approval, row)

    async def list(
        self, tenant_id: TenantId, page: Page, *, state: ApprovalState | None = None
    ) -> Sequence[Approval]:
        """Return a page of a party's by id, in one stored state or in all."""
        arguments = (*page_arguments(page), tenant_id)
        if state is None:
            rows = await self._session.rows(_SQL["list"], *arguments)
        else:
            rows = await self._session.rows(_SQL["list_in_state"], *arguments, state.value)
        return [versioned(Approval, row) for row in rows]

    async def save(self, approval: Approval) -> Approval:
        """Store a new version; raise StaleVersionError when it moved."""
        await self._session.change_one(
            _SQL["save"], approval.id, approval.version, approval.state.value, document(approval)
        )
        return replace(approval, version=approval.version + 1)
