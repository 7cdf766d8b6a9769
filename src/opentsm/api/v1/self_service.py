"""Self-service: services whose access tokens enrolled devices fetch themselves, without any backend."""

from typing import Annotated

from litestar import delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, SkipValidation
from msgspec import Meta

from opentsm.api.authentication import DEVICES, Caller
from opentsm.api.container import Services
from opentsm.api.idempotency import SECRET_ANSWER
from opentsm.api.sptsm.exchange import SpContainer
from opentsm.api.v1.access_tokens import IssuedAccessToken
from opentsm.api.v1.messages import Answer, Body, Name
from opentsm.tsm.domain.self_service import (
    MAX_TOKENS_PER_DEVICE,
    MAX_VALIDITY_S,
    MIN_VALIDITY_S,
    TOKENS_PER_DEVICE,
    VALIDITY_S,
    SelfService,
)
from opentsm.tsm.kernel.errors import InvalidInputError
from opentsm.tsm.kernel.ids import InstanceId
from opentsm.tsm.roles.hub.parties import digest_of

_Container = NamedDependency[SkipValidation[SpContainer]]
_TAG = ["self-service"]
TOKENS = "/v1/self-service-tokens"  # apps ask for it too: its errors have the guideline's numbers
_PATH = "/services/{service_id:str}/self-service"


class SelfServiceTerms(Body, frozen=True, kw_only=True):
    """On which terms devices get access tokens for a service."""

    expires_in: Annotated[
        int, Meta(ge=MIN_VALIDITY_S, le=MAX_VALIDITY_S, description="seconds that a token lives")
    ] = VALIDITY_S
    tokens_per_device: Annotated[
        int,
        Meta(ge=1, le=MAX_TOKENS_PER_DEVICE, description="that live at a time, of this service"),
    ] = TOKENS_PER_DEVICE


class SelfServiceAnswer(Answer, frozen=True, kw_only=True):
    """A service that is marked as self-service, and its terms."""

    service_id: str
    expires_in: int
    tokens_per_device: int


class NewSelfServiceToken(Body, frozen=True, kw_only=True):
    """What the device's token shall open: a service, named itself or by an instance of it; one of the two."""

    service_id: Name | None = None
    service_instance_id: Name | None = None


@put(_PATH, tags=_TAG, status_code=200, summary="Mark a service as self-service (provider)")
async def offer_self_service(
    principal: Caller, container: _Container, service_id: FromPath[str], data: JSONBody[SelfServiceTerms]
) -> SelfServiceAnswer:
    """Let enrolled devices fetch access tokens for this service; refused when its form does not suffice."""
    return _shown(
        await container.catalogue.self_services.offer(
            principal,
            service_id,
            expires_in_s=data.expires_in,
            tokens_per_device=data.tokens_per_device,
        )
    )


@get(_PATH, tags=_TAG, summary="Show a service's self-service terms (provider)")
async def show_self_service(
    principal: Caller, container: _Container, service_id: FromPath[str]
) -> SelfServiceAnswer:
    """Return the terms of a marked service."""
    return _shown(await container.catalogue.self_services.terms(principal, service_id))


@delete(_PATH, tags=_TAG, summary="Take a self-service mark back (provider)")
async def withdraw_self_service(principal: Caller, container: _Container, service_id: FromPath[str]) -> None:
    """End self-service: no token is given any more, and those that are out open nothing from now on."""
    await container.catalogue.self_services.withdraw(principal, service_id)


@post(
    "/self-service-tokens",
    opt={**DEVICES, **SECRET_ANSWER},
    tags=_TAG,
    summary="Fetch an access token for a self-service service (device)",
)
async def issue_self_service_token(
    principal: Caller, container: Services, data: JSONBody[NewSelfServiceToken]
) -> IssuedAccessToken:
    """Issue a short-lived token that opens the device API for one service on this device only."""
    if (data.service_id is None) is (data.service_instance_id is None):
        raise InvalidInputError("Give service_id or service_instance_id.", field="/service_id")
    instance = data.service_instance_id
    issued = await container.self_service.issue(
        principal,
        service_id=data.service_id,
        instance_id=None if instance is None else InstanceId(instance),
    )
    return IssuedAccessToken(
        token=issued.token, id=digest_of(issued.token).hex(), expires_in=issued.expires_in_s
    )


HANDLERS = (offer_self_service, show_self_service, withdraw_self_service, issue_self_service_token)


def _shown(terms: SelfService) -> SelfServiceAnswer:
    return SelfServiceAnswer(
        service_id=terms.service_id,
        expires_in=terms.expires_in_s,
        tokens_per_device=terms.tokens_per_device,
    )
