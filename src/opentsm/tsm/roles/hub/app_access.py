"""Access tokens: what a provider's backend fetches for its app, so that the app can make device calls.

An access token says whose services; the device's own token says which secure elements. Neither alone opens
anything. Source: BSI TR-03165 §4.2.2 and §4.2.5.9 (custom access token).
"""

from collections.abc import Sequence
from datetime import timedelta

from opentsm.tsm.domain.tenant import FOR_APPS, AccessToken, Principal, Tenant, TenantKind, TokenKind
from opentsm.tsm.kernel.errors import (
    ExpiredTokenError,
    ForbiddenError,
    InvalidInputError,
    UnauthenticatedError,
)
from opentsm.tsm.kernel.ids import DeviceId
from opentsm.tsm.roles.hub.device_reach import DeviceCaller
from opentsm.tsm.roles.hub.devices import IssuedToken
from opentsm.tsm.roles.hub.mandate import across_the_border, require
from opentsm.tsm.roles.hub.parties import Parties, digest_of, new_token
from opentsm.tsm.roles.hub.self_service import caller_of

LIFETIME_S = 900
MAX_LIFETIME_S = 3600
MAX_SERVICES = 100
_MAX_SERVICE_ID = 100
_HASH_BYTES = (20, 32)  # SHA-1 and SHA-256, the two forms of a DeviceAppID


class AppAccess(Parties):
    """Access tokens of service providers."""

    async def issue_access_token(
        self,
        principal: Principal,
        *,
        services: Sequence[str] = (),
        expires_in_s: int = LIFETIME_S,
        app: str = "",
    ) -> IssuedToken:
        """Give a provider a short-lived token for its app.

        Args:
            principal: the provider.
            services: the only ones that the token opens; none for all of the provider's.
            expires_in_s: at most an hour.
            app: hash of the app's certificate in hex (SHA-1 or SHA-256), which callbacks name as callerId.

        Raises:
            ForbiddenError: the caller is no provider.
            InvalidInputError: a value is out of range.
        """
        require(principal, TenantKind.SERVICE_PROVIDER)
        _check(services, expires_in_s, app)
        token = new_token(self._s.world)
        stored = AccessToken(
            digest=digest_of(token),
            tenant_id=principal.tenant_id,
            kind=TokenKind.APP,
            subject=app.upper(),
            expires_at=self._s.world.now() + timedelta(seconds=expires_in_s),
            services=tuple(dict.fromkeys(services)),
        )
        async with self._s.storage.transaction() as tx:
            await tx.tenants.add_token(stored)
            await tx.audit.append(
                principal.tenant_id,
                actor=principal.tenant_id,
                action="access-token.issued",
                subject=stored.digest.hex(),
                details={"services": ",".join(stored.services) or "all", "expires_in_s": expires_in_s},
            )
            await tx.commit()
        return IssuedToken(token=token, expires_in_s=float(expires_in_s))

    async def app_caller(self, access_token: str, device_token: str) -> DeviceCaller:
        """Return the app that both tokens together prove.

        Raises:
            UnauthenticatedError: one of them is unknown, has expired, or was revoked.
            ForbiddenError: one of them is good, and is no access token or no device's token.
            SandboxBorderError: provider and device are on different sides of the sandbox border.
            ForbiddenError: another device fetched the access token.
        """
        app, provider = await self._good(access_token, "access token")
        device, issuer = await self._good(device_token, "device token")
        if app.kind not in FOR_APPS:
            raise ForbiddenError(
                "Authorization holds no access token.",
                advice="Let the provider's backend fetch one (POST /v1/access-tokens).",
            )
        if device.kind is not TokenKind.DEVICE:
            raise ForbiddenError(
                "Device-Authorization holds no device's token.",
                advice="Let the device fetch one (POST /v1/device-tokens).",
            )
        if provider.sandbox is not issuer.sandbox:
            raise across_the_border()
        if app.kind is TokenKind.SELF_SERVICE:
            return await self._self_served(app, provider, DeviceId(device.subject))
        return DeviceCaller(
            provider_id=app.tenant_id,
            device_id=DeviceId(device.subject),
            caller_id=app.subject or app.digest.hex().upper(),
            services=app.services,
            sandbox=provider.sandbox,
        )

    async def _self_served(self, app: AccessToken, provider: Tenant, device_id: DeviceId) -> DeviceCaller:
        """Return the app on the device that fetched the token; the provider's mark must still stand."""
        if app.device_id != device_id:
            raise ForbiddenError("Another device fetched this access token.", advice="Fetch one of its own.")
        terms = await self._s.self_service_of(app.services[0])
        if terms is None or terms.provider_id != app.tenant_id:
            raise ExpiredTokenError("The service is not offered to devices as self-service any more.")
        return caller_of(terms, provider, device_id, app.digest.hex().upper())

    async def _good(self, token: str, name: str) -> tuple[AccessToken, Tenant]:
        async with self._s.storage.transaction() as tx:
            found = await tx.tenants.find_token(digest_of(token))
        if found is None:
            raise UnauthenticatedError(f"The {name} is not known.")
        stored, _ = found
        if stored.expires_at is not None and stored.expires_at <= self._s.world.now():
            raise ExpiredTokenError(f"The {name} has expired.", advice="Fetch a new one.")
        return found


def _check(services: Sequence[str], expires_in_s: int, app: str) -> None:
    if not 1 <= expires_in_s <= MAX_LIFETIME_S:
        raise InvalidInputError(f"expires_in must be 1 to {MAX_LIFETIME_S} seconds.", field="/expires_in")
    if len(services) > MAX_SERVICES:
        raise InvalidInputError(f"services names more than {MAX_SERVICES}.", field="/services")
    for number, service in enumerate(services):
        if not 1 <= len(service) <= _MAX_SERVICE_ID or not service.isprintable():
            raise InvalidInputError("This is no service's id.", field=f"/services/{number}")
    if app and not _is_hash(app):
        raise InvalidInputError(
            "app must be the SHA-1 or SHA-256 of the app's certificate in hex.", field="/app"
        )


def _is_hash(text: str) -> bool:
    return len(text) in (2 * size for size in _HASH_BYTES) and all(
        c in "0123456789abcdefABCDEF" for c in text
    )
