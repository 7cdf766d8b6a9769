"""Authentication, account and secure component profiles (TR-03165 §4.1.6.1 to 4.1.6.3)."""

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath

from opentsm.api.sptsm.exchange import AnyRequest, Catalogue, Provider, refuse_body
from opentsm.tsm.roles.sp.forms import Document


@post("/auth", status_code=200)
async def create_access_token(request: AnyRequest, catalogue: Catalogue) -> Response[bytes]:
    """Exchange the long-term token for a short-term one; the answer is a JSON string."""
    token = await catalogue.access.exchange(request.headers.get("authorization"))
    body = msgspec.json.encode(token)  # a text would be sent without quotation marks
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})


@get(["/service-providers/current", "/serviceproviders/current"])
async def get_account_information(request: AnyRequest, provider: Provider, catalogue: Catalogue) -> Document:
    """Return the account; the guideline and its OpenAPI document write the path differently."""
    await refuse_body(request)
    return await catalogue.access.account(provider)


@get("/secure-component-profiles")
async def list_secure_component_profiles(
    request: AnyRequest, provider: Provider, catalogue: Catalogue
) -> list[Document]:
    """Return all profiles."""
    await refuse_body(request)
    return catalogue.profiles.all()


@get("/secure-component-profiles/{scp_id:str}")
async def get_secure_component_profile(
    request: AnyRequest, provider: Provider, catalogue: Catalogue, scp_id: FromPath[str]
) -> Document:
    """Return one profile."""
    await refuse_body(request)
    return catalogue.profiles.get(scp_id)
