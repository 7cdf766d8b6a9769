"""How approvals are stored and found again; saves are optimistic, as in `ports.repositories`."""

from collections.abc import Sequence
from typing import Protocol

from opentsm.tsm.domain.approval import Approval, ApprovalState
from opentsm.tsm.kernel.ids import ApprovalId, TenantId
from opentsm.tsm.ports.repositories import Page


class Approvals(Protocol):
    """Dangerous acts that wait for a second person, and what became of them."""

    async def add(self, approval: Approval) -> None: ...

    async def get(self, approval_id: ApprovalId) -> Approval | None: ...

    async def list(
        self, tenant_id: TenantId, page: Page, *, state: ApprovalState | None = None
    ) -> Sequence[Approval]:
        """Return a page of a party's by id; `state` is the stored one: an expired one is still PENDING."""
        ...

    async def save(self, approval: Approval) -> Approval:
        """Store a new version; raise StaleVersionError when it moved."""
        ...
