"""Parties and their bearer tokens."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from opentsm.tsm.adapters.storage.records import document, optional, page_arguments
from opentsm.tsm.adapters.storage.session import Session
from opentsm.tsm.adapters.storage.sql import load_queries
from opentsm.tsm.domain.tenant import AccessToken, Tenant, TenantKind
from opentsm.tsm.kernel.documents import from_json
from opentsm.tsm.kernel.errors import ConflictError, InvalidInputError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.kernel.wording import quoted
from opentsm.tsm.ports.repositories import Page
from opentsm.tsm.ports.world import World

_SQL = load_queries("tenants")
# How long an expired token stays, so that its use can be told from the use of an invented one.
_GRACE = timedelta(days=1)


class PostgresTenants:
    """Tenants and access tokens."""

    def __init__(self, session: Session, world: World) -> None:
        self._session = session
        self._world = world

    async def add(self, tenant: Tenant) -> None:
        """Add a tenant; raise ConflictError when its id or its (kind, name) is taken."""
        added = await self._session.change(
            _SQL["add"], tenant.id, tenant.kind.value, tenant.name, document(tenant)
        )
        if not added:
            raise self._session.spoiled(
                ConflictError(
                    f"A {tenant.kind.value} named {quoted(tenant.name)} exists already.", field="/name"
                )
            )

    async def get(self, tenant_id: TenantId) -> Tenant | None:
        """Return the tenant, or None."""
        return optional(Tenant, await self._session.row(_SQL["get"], tenant_id))

    async def by_name(self, kind: TenantKind, name: str) -> Tenant | None:
        """Return the tenant of this kind and name, or None."""
        return optional(Tenant, await self._session.row(_SQL["by_name"], kind.value, name))

    async def list(self, page: Page) -> Sequence[Tenant]:
        """Return a page of tenants by id."""
        rows = await self._session.rows(_SQL["list"], *page_arguments(page))
        return [from_json(Tenant, row["document"]) for row in rows]

    async def add_token(self, token: AccessToken) -> None:
        """Add a token, and drop long expired ones of the same subject."""
        await self._session.change(
            _SQL["add_token"],
            token.digest,
            token.tenant_id,
            token.subject,
            token.expires_at,
            document(token),
            self._world.now() - _GRACE,
            token.person,
        )

    async def find_token(self, digest: bytes) -> tuple[AccessToken, Tenant] | None:
        """Return the token and its tenant; whether it has expired is for the caller to judge."""
        row = await self._session.row(_SQL["find_token"], digest)
        if row is None:
            return None
        return from_json(AccessToken, row["token"]), from_json(Tenant, row["tenant"])

    async def tokens(self, tenant_id: TenantId, page: Page) -> Sequence[AccessToken]:
        """Return a page of a tenant's tokens by digest; the cursor is the digest in hex.

        Raises:
            InvalidInputError: the cursor is not one.
        """
        cursor, limit = page_arguments(page)
        try:
            after = bytes.fromhex(cursor)
        except ValueError as error:
            raise InvalidInputError("The cursor of a token is its id.", field="after") from error
        rows = await self._session.rows(_SQL["tokens"], tenant_id, after, limit)
        return [from_json(AccessToken, row["document"]) for row in rows]

    async def persons(self, tenant_id: TenantId, limit: int) -> Sequence[str]:
        """Return the names of the persons that hold tokens of a tenant."""
        rows = await self._session.rows(_SQL["persons"], tenant_id, limit)
        return [str(row["person"]) for row in rows]

    async def remove_token(self, digest: bytes) -> bool:
        """Remove a token; False when there is none."""
        return await self._session.change(_SQL["remove_token"], digest) == 1

    async def live_tokens(
        self, tenant_id: TenantId, subject: str, now: datetime
    ) -> tuple[int, datetime | None]:
        """Return how many tokens of a subject have not expired, and when the first of them does."""
        row = await self._session.row(_SQL["live_tokens"], tenant_id, subject, now)
        return (0, None) if row is None else (int(row["count"]), row["first"])

    async def revoke_tokens(self, tenant_id: TenantId, subject: str) -> int:
        """Remove all tokens of one subject and return how many there were."""
        return await self._session.change(_SQL["revoke_tokens"], tenant_id, subject)
