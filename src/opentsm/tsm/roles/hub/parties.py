"""Use cases about parties and their bearer tokens.

A token has 256 random bits; only its SHA-256 digest is stored, and it is found by that digest, so that no
secret is ever compared byte by byte.
"""

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from msgspec.structs import replace

from opentsm.card.profiles import SeProfile
from opentsm.tsm.domain.audit import AuditEntry
from opentsm.tsm.domain.self_service import SelfService
from opentsm.tsm.domain.tenant import FOR_APPS, AccessToken, Principal, Tenant, TenantKind, TokenKind
from opentsm.tsm.kernel.errors import (
    ConflictError,
    ExpiredTokenError,
    ForbiddenError,
    InvalidInputError,
    UnauthenticatedError,
)
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.kernel.wording import quoted
from opentsm.tsm.ports.keystore import Keystore
from opentsm.tsm.ports.peer import ServiceCatalogue
from opentsm.tsm.ports.repositories import Page
from opentsm.tsm.ports.unit_of_work import Storage, UnitOfWork
from opentsm.tsm.ports.world import World
from opentsm.tsm.roles.hub.approvals.persons import checked_person
from opentsm.tsm.roles.hub.mandate import require

MAX_NAME = 100
_TOKEN_PREFIX = "otsm_"  # noqa: S105  # lets scanners of leaked secrets find it
_TOKEN_BYTES = 32
_OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long what is given to devices is good for, in seconds."""

    token_s: float = 300.0
    session_s: float = 900.0
    enrolment_s: float = 3600.0


async def nothing_offered(service_id: str) -> SelfService | None:
    """Offer no service to devices."""
    return None


@dataclass(frozen=True, slots=True)
class OnboardingServices:
    """What the onboarding use cases work with.

    `keystore_of` finds a party's keystore, `catalogue` knows who hears what became of the instances of a
    service, `self_service_of` the terms on which devices get tokens.
    """

    storage: Storage
    world: World
    profiles: Mapping[str, SeProfile]
    keystore_of: Callable[[TenantId], Keystore]
    catalogue: ServiceCatalogue
    lifetimes: Lifetimes = Lifetimes()
    self_service_of: Callable[[str], Awaitable[SelfService | None]] = nothing_offered


def digest_of(secret: str) -> bytes:
    """Return the digest under which a token, code or session id is stored."""
    return hashlib.sha256(secret.encode()).digest()


def new_token(world: World) -> str:
    """Make a bearer token."""
    return _TOKEN_PREFIX + urlsafe_b64encode(world.random(_TOKEN_BYTES)).rstrip(b"=").decode()


class Parties:
    """Parties and their tokens."""

    def __init__(self, services: OnboardingServices) -> None:
        self._s = services

    async def issue_operator_token(self, name: str = _OPERATOR, person: str = "") -> str:
        """Give the operator a new long-term token, creating the operator first; for a local administrator.

        Args:
            name: the operator.
            person: whose token it is to be; empty: nobody's in particular.

        No caller is checked: whoever can call this already runs the server.
        """
        async with self._s.storage.transaction() as tx:
            operator = await tx.tenants.by_name(TenantKind.OPERATOR, name)
            if operator is None:
                operator = self._tenant(TenantKind.OPERATOR, name)
                await tx.tenants.add(operator)
            named = checked_person(person) if person else ""
            token = await self._issue(tx, operator, actor="local administrator", person=named)
            await tx.commit()
        return token

    async def register_party(
        self,
        principal: Principal,
        kind: TenantKind,
        name: str,
        *,
        sandbox: bool = False,
        known_as: str | None = None,
    ) -> tuple[Tenant, str]:
        """Register an issuer or a service provider.

        Args:
            principal: the operator.
            kind: which of the two.
            name: its name, the only one of this kind.
            sandbox: it meets only other sandbox parties, and can be wiped; fixed for ever.
            known_as: the id that it has at another TSM; None for a new one.

        Returns:
            The party and its long-term token, which is shown only here.

        Raises:
            ForbiddenError: the caller is not the operator.
            InvalidInputError: the name is empty, too long or not printable.
            ConflictError: the name is taken.
        """
        require(principal, TenantKind.OPERATOR)
        tenant = self._tenant(kind, _checked_name(name), sandbox=sandbox)
        if known_as is not None:
            tenant = replace(tenant, id=TenantId(known_as))
        async with self._s.storage.transaction() as tx:
            if await tx.tenants.by_name(kind, tenant.name) is not None:
                raise ConflictError(
                    f"A {kind.value} named {quoted(tenant.name)} exists already.", field="/name"
                )
            if await tx.tenants.get(tenant.id) is not None:
                raise ConflictError("A party with this id exists already.", field="/id")
            await tx.tenants.add(tenant)
            token = await self._issue(tx, tenant, actor=principal.tenant_id)
            await tx.audit.append(
                principal.tenant_id,
                actor=principal.tenant_id,
                action="party.registered",
                subject=tenant.id,
                details={"kind": kind.value, "name": tenant.name, **({"sandbox": 1} if sandbox else {})},
            )
            await tx.commit()
        return tenant, token

    async def parties(self, principal: Principal, page: Page) -> list[Tenant]:
        """Return the parties; only the operator may see them all."""
        require(principal, TenantKind.OPERATOR)
        async with self._s.storage.transaction() as tx:
            return list(await tx.tenants.list(page))

    async def authenticate(self, token: str) -> Principal:
        """Return who holds a token.

        Raises:
            UnauthenticatedError: the token is unknown or has expired.
            ForbiddenError: it is an app's access token, which opens the device API only.
        """
        async with self._s.storage.transaction() as tx:
            found = await tx.tenants.find_token(digest_of(token))
        if found is None:
            raise UnauthenticatedError("The bearer token is not known.")
        stored, tenant = found
        if stored.expires_at is not None and stored.expires_at <= self._s.world.now():
            raise ExpiredTokenError(advice="Fetch a new one.")
        if stored.kind in FOR_APPS:
            raise ForbiddenError("An access token opens the device API only.")
        device = stored.subject if stored.kind is TokenKind.DEVICE else None
        return Principal(
            tenant_id=tenant.id,
            kind=tenant.kind,
            device_id=device,
            sandbox=tenant.sandbox,
            person=stored.person if stored.kind is TokenKind.LONG_TERM else "",
            token=stored.digest.hex(),
        )

    async def audit_trail(
        self, principal: Principal, page: Page, subject: str | None = None
    ) -> list[AuditEntry]:
        """Return a page of the caller's own audit entries."""
        require(principal, *TenantKind)
        async with self._s.storage.transaction() as tx:
            return list(await tx.audit.list(principal.tenant_id, page, subject=subject))

    # --- for the use cases of this room ----------------------------------------------------------------

    async def _add_token(
        self,
        tx: UnitOfWork,
        tenant_id: TenantId,
        kind: TokenKind,
        subject: str,
        lifetime_s: float | None,
        *,
        person: str = "",
    ) -> str:
        token = new_token(self._s.world)
        expires = None if lifetime_s is None else self._s.world.now() + timedelta(seconds=lifetime_s)
        await tx.tenants.add_token(
            AccessToken(
                digest=digest_of(token),
                tenant_id=tenant_id,
                kind=kind,
                subject=subject,
                expires_at=expires,
                person=person,
            )
        )
        return token

    async def _issue(self, tx: UnitOfWork, tenant: Tenant, *, actor: str, person: str = "") -> str:
        token = await self._add_token(tx, tenant.id, TokenKind.LONG_TERM, "", None, person=person)
        details: dict[str, str | int] = {"person": person} if person else {}
        await tx.audit.append(
            tenant.id, actor=actor, action="token.issued", subject=tenant.id, details=details
        )
        return token

    def _tenant(self, kind: TenantKind, name: str, *, sandbox: bool = False) -> Tenant:
        id_, now = TenantId(self._s.world.new_id()), self._s.world.now()
        return Tenant(id=id_, kind=kind, name=name, sandbox=sandbox, created_at=now)


def _checked_name(name: str) -> str:
    name = name.strip()
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise InvalidInputError(f"name must have 1 to {MAX_NAME} printable characters.", field="/name")
    return name
