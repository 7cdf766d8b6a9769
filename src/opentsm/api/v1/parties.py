"""Parties and their audit trail."""

from typing import Annotated

from litestar import get, post
from litestar.params import FromPath, JSONBody, QueryParameter

from opentsm.api.authentication import Caller
from opentsm.api.container import Services
from opentsm.api.idempotency import SECRET_ANSWER, STREAMED
from opentsm.api.v1 import messages as m
from opentsm.api.v1 import views
from opentsm.api.v1.paging import After, Limit, read_page
from opentsm.tsm.domain.tenant import TenantKind
from opentsm.tsm.kernel.ids import TenantId

Subject = Annotated[str | None, QueryParameter(description="only entries about this object")]


@post("/parties", opt=SECRET_ANSWER, tags=["parties"], summary="Register a party (operator)")
async def register_party(
    principal: Caller, container: Services, data: JSONBody[m.NewParty]
) -> m.RegisteredParty:
    """Register an issuer or a service provider. The long-term token is shown only in this answer."""
    tenant, token = await container.onboarding.register_party(
        principal, TenantKind(data.kind), data.name, sandbox=data.sandbox, known_as=data.id
    )
    return views.registered_party(tenant, token)


@get("/parties", tags=["parties"], summary="List the parties (operator)")
async def list_parties(
    principal: Caller, container: Services, limit: Limit = 50, after: After = None
) -> m.PartyPage:
    """Return a page of parties by id."""
    items, following = await read_page(
        lambda page: container.onboarding.parties(principal, page), lambda tenant: tenant.id, limit, after
    )
    return m.PartyPage(items=[views.party(tenant) for tenant in items], next=following)


@post(
    "/parties/{party_id:str}/wipe",
    opt=STREAMED,
    status_code=200,
    tags=["parties"],
    summary="Remove all that a sandbox party owns (operator)",
)
async def wipe_party(principal: Caller, container: Services, party_id: FromPath[str]) -> m.WipedParty:
    """Empty a sandbox party. It stays itself, with its long-term tokens and its audit.

    Whatever stopped it, it is good to be repeated, and goes on where it was.
    """
    removed = await container.onboarding.wipe_party(principal, TenantId(party_id))
    return m.WipedParty(id=party_id, removed=dict(removed))


@get("/audit", tags=["audit"], summary="Read the caller's audit trail")
async def read_audit(
    principal: Caller,
    container: Services,
    subject: Subject = None,
    limit: Limit = 50,
    after: After = None,
) -> m.AuditPage:
    """Return a page of the caller's own entries, chained by hash within each shard."""
    items, following = await read_page(
        lambda page: container.onboarding.audit_trail(principal, page, subject),
        views.audit_cursor,
        limit,
        after,
    )
    return m.AuditPage(items=[views.audit_entry(entry) for entry in items], next=following)
