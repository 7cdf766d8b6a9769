"""Access tokens that an enrolled device fetches itself, for services that their providers marked for it.

Such a token is good for one service on one device, for what a recipe's form asks for and no more: what only
a provider may decide (data that the form does not ask for, prepared data by their reference) stays with it.
BSI TR-03165 §4.2.5.9 has access tokens come from the provider's backend; that one is not needed here is ours.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from opentsm.tsm.domain.card_content import ServiceDescription
from opentsm.tsm.domain.device_call import InvalidArgumentError, NotAllowedError
from opentsm.tsm.domain.self_service import SelfService
from opentsm.tsm.domain.tenant import AccessToken, Principal, Tenant, TokenKind
from opentsm.tsm.kernel.errors import (
    ConflictError,
    ForbiddenError,
    NotFoundError,
    TooManyError,
    UnauthenticatedError,
)
from opentsm.tsm.kernel.ids import DeviceId, InstanceId
from opentsm.tsm.ports.peer import ServiceCatalogue
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.device_checks import GONE, DeviceChecks
from opentsm.tsm.roles.hub.device_reach import DeviceCaller
from opentsm.tsm.roles.hub.devices import IssuedToken
from opentsm.tsm.roles.hub.once import Claim, ClaimingStorage
from opentsm.tsm.roles.hub.parties import digest_of, new_token

_EVERY_VERSION = "x.x.x"


class TooManyTokensError(TooManyError):
    """The device has as many access tokens of this service as its provider allows."""

    code = "too_many_tokens"


class SelfServiceTokens(DeviceChecks):
    """The door for devices whose apps have no backend of a provider behind them."""

    def once(self, claim: Claim) -> "SelfServiceTokens":
        """Return the same use cases for one request that has an idempotency key."""
        return SelfServiceTokens(replace(self._s, storage=ClaimingStorage(self._s.storage, claim)))

    async def issue(
        self, principal: Principal, *, service_id: str | None = None, instance_id: InstanceId | None = None
    ) -> IssuedToken:
        """Give a device an access token for one service.

        Args:
            principal: the device.
            service_id: the service; or
            instance_id: one of the service's instances on the device.

        Raises:
            ForbiddenError: the caller is no device.
            NotFoundError: no such service is offered to devices as self-service, or there is no instance.
            ConflictError: the device can have no version of it, and has none.
            TooManyTokensError: as many as its provider allows are out.
        """
        if principal.device_id is None:
            raise ForbiddenError("This needs a device's token.")
        device_id = DeviceId(principal.device_id)
        if instance_id is not None:
            service_id = await self._service_of(device_id, instance_id, sandbox=principal.sandbox)
        terms, caller = await self._offered(principal, device_id, service_id or "")
        await self._require_use(caller, terms)
        return await self._issued(terms, device_id)

    async def _service_of(self, device_id: DeviceId, instance_id: InstanceId, *, sandbox: bool) -> str:
        async with self._s.storage.transaction() as tx:
            found = await tx.instances.get(instance_id)
        if found is None:
            raise _no_instance()
        caller = DeviceCaller(found.provider_id, device_id, sandbox=sandbox)
        return (await self.instance(caller, instance_id)).description.service_id

    async def _offered(
        self, principal: Principal, device_id: DeviceId, service_id: str
    ) -> tuple[SelfService, DeviceCaller]:
        terms = await self._s.peers.catalogue().self_service(service_id)
        async with self._s.storage.transaction() as tx:
            provider = None if terms is None else await tx.tenants.get(terms.provider_id)
        if terms is None or provider is None or provider.sandbox is not principal.sandbox:
            raise not_offered()
        caller = caller_of(terms, provider, device_id)
        return terms, caller

    async def _require_use(self, caller: DeviceCaller, terms: SelfService) -> None:
        """Refuse a token with which nothing could be done: nothing is there, and nothing to be had."""
        if await self.instances(caller, terms.service_id):
            return
        if (await self.check_deployment(caller, terms.service_id, _EVERY_VERSION)).available:
            return
        usable = any(se.state not in GONE for se in await self._reachable(caller))
        raise ConflictError(
            "No version of this service that needs nothing but its form is published for this device's"
            " secure element."
            if usable
            else "No secure element is known to belong to this device.",
            advice="Its provider must publish one whose allowedDeployments name the card's profile."
            if usable
            else "Let the device's agent open a session with its secure element first.",
        )

    async def _issued(self, terms: SelfService, device_id: DeviceId) -> IssuedToken:
        token, now = new_token(self._s.world), self._s.world.now()
        stored = AccessToken(
            digest=digest_of(token),
            tenant_id=terms.provider_id,
            kind=TokenKind.SELF_SERVICE,
            subject=f"{terms.service_id}/{device_id}",
            expires_at=now + timedelta(seconds=terms.expires_in_s),
            services=(terms.service_id,),
            device_id=device_id,
        )
        async with self._s.storage.transaction() as tx:
            await self._require_room(tx, terms, stored)
            await tx.tenants.add_token(stored)
            await tx.audit.append(
                terms.provider_id,
                actor=device_id,
                action="access-token.self-issued",
                subject=stored.digest.hex(),
                details={"services": terms.service_id, "expires_in_s": terms.expires_in_s},
            )
            await tx.commit()
        return IssuedToken(token=token, expires_in_s=float(terms.expires_in_s))

    async def _require_room(self, tx: UnitOfWork, terms: SelfService, wanted: AccessToken) -> None:
        """Count in the transaction that adds: of two who ask at once the second waits for the first."""
        device = await tx.devices.lock(DeviceId(wanted.device_id))
        if device is None or device.revoked_at is not None:
            raise UnauthenticatedError("The device is not enrolled, or was revoked.")
        now = self._s.world.now()
        count, first = await tx.tenants.live_tokens(terms.provider_id, wanted.subject, now)
        if count < terms.tokens_per_device:
            return
        wait_s = max(1, int((first - now).total_seconds()) + 1) if first else 1
        raise TooManyTokensError(
            advice=f"Use a token until it expires; the next can be had in {wait_s} s.", retry_after_s=wait_s
        )


def caller_of(terms: SelfService, provider: Tenant, device_id: DeviceId, caller_id: str = "") -> DeviceCaller:
    """Return who calls with a token of a device's own."""
    return DeviceCaller(
        provider_id=terms.provider_id,
        device_id=device_id,
        caller_id=caller_id,
        services=(terms.service_id,),
        sandbox=provider.sandbox,
        self_service=True,
    )


def not_offered() -> NotFoundError:
    """Return the refusal: whether the service exists, and whose it is, stays unsaid."""
    return NotFoundError(
        "No such service is offered to devices as self-service.",
        advice="Its provider can mark it (PUT /v1/services/{service_id}/self-service), or its backend"
        " fetches an access token for the app.",
    )


async def require_form_only(
    catalogue: ServiceCatalogue,
    caller: DeviceCaller,
    description: ServiceDescription,
    data: Mapping[str, str] | None,
) -> None:
    """Refuse to a self-service caller what only the provider's side may decide.

    Args:
        catalogue: knows the forms.
        caller: the app; nothing is refused to one whose token its provider fetched.
        description: what would get on the card.
        data: what the app gives for it.

    Raises:
        NotAllowedError: it needs data that its form does not ask for.
        InvalidArgumentError: the app gives data that the form does not ask for.
    """
    if not caller.self_service:
        return
    form = await catalogue.user_form(caller.provider_id, description)
    if not form.complete:
        raise NotAllowedError(
            f"Version {description.version_tag} of the service needs data that only its provider can supply.",
            advice="Choose another version, or let the provider's backend fetch the access token.",
        )
    others = sorted(set(data or ()) - {field.name for field in form.fields})
    if others:
        raise InvalidArgumentError(
            f"The service's form does not ask for {', '.join(others)}.",
            advice="Give what GET /v1/device-api/services/{service_id}/form lists.",
            field="/data",
        )


def _no_instance() -> NotFoundError:
    return NotFoundError("There is no such service instance on this device.", field="/service_instance_id")
