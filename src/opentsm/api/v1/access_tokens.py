"""Access tokens: what a provider's backend fetches and hands to its app."""

from typing import Annotated

from litestar import post
from litestar.params import JSONBody
from msgspec import Meta

from opentsm.api.authentication import Caller
from opentsm.api.container import Services
from opentsm.api.idempotency import SECRET_ANSWER
from opentsm.api.v1.messages import Answer, Body, Name
from opentsm.tsm.roles.hub.app_access import LIFETIME_S, MAX_LIFETIME_S, MAX_SERVICES
from opentsm.tsm.roles.hub.parties import digest_of


class NewAccessToken(Body, frozen=True, kw_only=True):
    """What an app's access token shall open."""

    services: Annotated[
        list[Name],
        Meta(max_length=MAX_SERVICES, description="ids of the only services; none: all of the provider's"),
    ] = []
    expires_in: Annotated[int, Meta(ge=1, le=MAX_LIFETIME_S, description="seconds")] = LIFETIME_S
    app: Annotated[
        str,
        Meta(
            pattern="^(([0-9A-Fa-f]{40})|([0-9A-Fa-f]{64}))?$",
            description="hash of the app's certificate, which becomes the processes' callerId",
        ),
    ] = ""


class IssuedAccessToken(Answer, frozen=True, kw_only=True):
    """An access token, which is shown only once; `id` names it in /v1/tokens."""

    token: str
    id: str
    expires_in: float

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


@post(
    "/access-tokens",
    opt=SECRET_ANSWER,
    tags=["tokens"],
    summary="Issue an access token for an app (provider)",
)
async def issue_access_token(
    principal: Caller, container: Services, data: JSONBody[NewAccessToken]
) -> IssuedAccessToken:
    """Issue a short-lived token that opens the device API, together with a device's own token, to an app.

    The provider's backend asks for it and hands it to its app. Every other API refuses it.
    """
    issued = await container.onboarding.issue_access_token(
        principal, services=data.services, expires_in_s=data.expires_in, app=data.app
    )
    return IssuedAccessToken(
        token=issued.token, id=digest_of(issued.token).hex(), expires_in=issued.expires_in_s
    )
