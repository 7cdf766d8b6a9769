"""Authentication of TR-03165 §4.1.6.1: a long-term token buys a short-term one, which opens the rest."""

import base64
import hashlib
from dataclasses import dataclass
from datetime import timedelta

from opentsm.tsm.domain.tenant import AccessToken, Tenant, TenantKind, TokenKind
from opentsm.tsm.kernel.errors import InvariantError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.unit_of_work import Storage
from opentsm.tsm.ports.world import World
from opentsm.tsm.roles.sp import errors
from opentsm.tsm.roles.sp.forms import Document

LIFETIME = timedelta(hours=1)
_TOKEN_BYTES = 32
_SUBJECT = "sptsm"
_BEARER = "bearer "


@dataclass(frozen=True, slots=True)
class Access:
    """Who calls the TSM backend."""

    storage: Storage
    world: World

    async def exchange(self, authorization: str | None) -> str:
        """Return a short-term token for a long-term one.

        Args:
            authorization: the header's value; the guideline sends the bare token, the OpenAPI document puts
                `Bearer` before it.

        Raises:
            CatalogueError: 1001.
        """
        tenant = await self._tenant(_bare(authorization), TokenKind.LONG_TERM)
        if tenant is None:
            raise errors.authentication_failed()
        token = base64.urlsafe_b64encode(self.world.random(_TOKEN_BYTES)).rstrip(b"=").decode()
        async with self.storage.transaction() as tx:
            await tx.tenants.add_token(
                AccessToken(
                    digest=_digest(token),
                    tenant_id=tenant.id,
                    kind=TokenKind.SHORT_TERM,
                    subject=_SUBJECT,
                    expires_at=self.world.now() + LIFETIME,
                )
            )
            await tx.audit.append(
                tenant.id,
                actor=tenant.id,
                action="token.issued",
                subject=tenant.id,
                details={"for": _SUBJECT},
            )
            await tx.commit()
        return token

    async def provider(self, authorization: str | None) -> TenantId:
        """Return the provider that a short-term token belongs to.

        Raises:
            CatalogueError: 1000.
        """
        tenant = await self._tenant(_bare(authorization), TokenKind.SHORT_TERM)
        if tenant is None:
            raise errors.not_authenticated()
        return tenant.id

    async def account(self, provider_id: TenantId) -> Document:
        """Return the ServiceProvider document."""
        async with self.storage.transaction() as tx:
            tenant = await tx.tenants.get(provider_id)
        if tenant is None:
            raise InvariantError("A token belongs to a party that does not exist.")
        return {"id": tenant.id, "name": tenant.name}

    async def _tenant(self, token: str, kind: TokenKind) -> Tenant | None:
        async with self.storage.transaction() as tx:
            found = await tx.tenants.find_token(_digest(token))
        if found is None:
            return None
        known, tenant = found
        expired = known.expires_at is not None and known.expires_at <= self.world.now()
        fits = known.kind is kind and tenant.kind is TenantKind.SERVICE_PROVIDER
        return tenant if fits and not expired else None


def _bare(authorization: str | None) -> str:
    value = (authorization or "").strip()
    return value[len(_BEARER) :].strip() if value.lower().startswith(_BEARER) else value


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
