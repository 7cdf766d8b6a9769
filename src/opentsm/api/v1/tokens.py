"""Bearer tokens: which there are, a new one, and the end of one."""

from typing import Annotated

from litestar import delete, get, post
from litestar.params import FromPath, JSONBody, QueryParameter

from opentsm.api.authentication import Caller
from opentsm.api.container import Services
from opentsm.api.idempotency import SECRET_ANSWER
from opentsm.api.v1 import messages as m
from opentsm.api.v1 import views
from opentsm.api.v1.paging import After, Limit, read_page
from opentsm.tsm.kernel.ids import TenantId

_TAG = ["tokens"]
Party = Annotated[str | None, QueryParameter(description="whose tokens; only the operator may name another")]


@get("/tokens", tags=_TAG, summary="List tokens")
async def list_tokens(
    principal: Caller, container: Services, party_id: Party = None, limit: Limit = 50, after: After = None
) -> m.TokenPage:
    """Return tokens by id: the caller's, those of its devices too. The tokens themselves are not known."""
    owner = None if party_id is None else TenantId(party_id)
    items, following = await read_page(
        lambda page: container.onboarding.tokens(principal, page, owner), views.token_id, limit, after
    )
    return m.TokenPage(items=[views.token(token) for token in items], next=following)


@post(
    "/parties/{party_id:str}/tokens",
    opt=SECRET_ANSWER,
    tags=_TAG,
    summary="Issue another long-term token (operator, or the party itself)",
)
async def issue_token(
    principal: Caller,
    container: Services,
    party_id: FromPath[str],
    data: JSONBody[m.NewTokenBody | None] = None,
) -> m.NewToken:
    """Issue a token, which is shown only once; to replace one, revoke the earlier one afterwards."""
    person = "" if data is None else data.person or ""
    return m.NewToken(token=await container.onboarding.issue_token(principal, TenantId(party_id), person))


@delete("/tokens/{token_id:str}", tags=_TAG, summary="Revoke a token (its owner, or the operator)")
async def revoke_token(principal: Caller, container: Services, token_id: FromPath[str]) -> None:
    """End a token at once; every node refuses it from now on."""
    await container.onboarding.revoke_token(principal, token_id)
