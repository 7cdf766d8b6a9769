"""Secure elements: registration, import, look-up, content, audits, mending, retirement."""

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post, put
from litestar.params import FromPath, JSONBody, QueryParameter

from opentsm.api.authentication import Caller
from opentsm.api.container import ApiContainer, Services
from opentsm.api.idempotency import LOCATED, STREAMED
from opentsm.api.json_lines import MAX_REFUSED, REFUSALS, numbered_lines, read_line, refused, refused_length
from opentsm.api.v1 import messages as m
from opentsm.api.v1 import views
from opentsm.api.v1.operations import accepted
from opentsm.api.v1.paging import After, Limit, read_page
from opentsm.api.v1.registry_views import read_se_data
from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.registry import SeData
from opentsm.tsm.domain.secure_element import (
    DiversifiedKeys,
    SeIdentifier,
    SeIdentifierType,
    WrappedKeys,
)
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.errors import ForbiddenError
from opentsm.tsm.kernel.ids import ArrangementId, KeyHandle, SeId
from opentsm.tsm.roles.hub.mandate import require
from opentsm.tsm.roles.hub.registration import NewKeySet, NewSecureElement

_TAG = ["secure elements"]
_LINE = msgspec.json.Decoder(m.NewSecureElementBody)
IdentifierQuery = Annotated[
    str | None, QueryParameter(description="only the secure element that goes by this name, of any type")
]


@post("/secure-elements", opt=LOCATED, tags=_TAG, summary="Register a secure element (issuer)")
async def register_secure_element(
    principal: Caller, container: Services, data: JSONBody[m.NewSecureElementBody]
) -> Response[m.SecureElementAnswer]:
    """Register a secure element; the keystore must be able to use every key set. Its card is not touched."""
    se = await container.onboarding.register_secure_element(principal, _new(data))
    return Response(
        views.secure_element(principal, se),
        status_code=201,
        headers={"Location": f"/v1/secure-elements/{se.id}"},
    )


@post(
    "/secure-elements/import",
    opt=STREAMED,
    tags=_TAG,
    status_code=200,
    summary="Register secure elements from a file (issuer)",
    description="The body is one JSON document a line, each as for POST /v1/secure-elements. Every line has "
    "its own result; a repeated line is refused, because its identifiers are taken. A longer body than the "
    "server's limits.import_bytes is refused (413), by its Content-Length before anything is read.",
    request_max_body_size=None,
)
async def import_secure_elements(
    principal: Caller, container: Services, request: Request[Any, Any, Any]
) -> m.ImportReport:
    """Read the body as it comes, line by line."""
    require(principal, TenantKind.SE_ISSUER)
    report = m.ImportReport(lines=0, registered=[], refused=[])
    number = 0
    limit = container.settings.limits.import_bytes
    async for number, line in numbered_lines(request, limit, "what they registered stays"):
        if len(report.refused) >= MAX_REFUSED:
            break
        if line is not None and not line.strip():
            continue
        result = await _import_line(container, principal, number, line)
        if isinstance(result, m.ImportedLine):
            report.registered.append(result)
        else:
            report.refused.append(result)
    return msgspec.structs.replace(report, lines=number)


@get("/secure-elements", tags=_TAG, summary="List or find secure elements")
async def list_secure_elements(
    principal: Caller,
    container: Services,
    identifier: IdentifierQuery = None,
    limit: Limit = 50,
    after: After = None,
) -> m.SecureElementPage:
    """Return the issuer's secure elements; a service provider finds one by its identifier."""
    if identifier is not None:
        found = await container.onboarding.find_secure_element(principal, identifier)
        items = [] if found is None else [views.secure_element(principal, found)]
        return m.SecureElementPage(items=items, next=None)
    if principal.kind is TenantKind.SERVICE_PROVIDER:
        raise ForbiddenError(
            "A service provider does not see the secure elements of others.",
            advice="Look one up with ?identifier=.",
            field="identifier",
        )
    page, following = await read_page(
        lambda page: container.onboarding.secure_elements(principal, page), lambda se: se.id, limit, after
    )
    return m.SecureElementPage(items=[views.secure_element(principal, se) for se in page], next=following)


@get("/secure-elements/{se_id:str}", tags=_TAG, summary="Show a secure element (issuer)")
async def show_secure_element(
    principal: Caller, container: Services, se_id: FromPath[str]
) -> m.SecureElementAnswer:
    """Return a secure element of the caller."""
    return views.secure_element(principal, await container.onboarding.secure_element(principal, SeId(se_id)))


@get("/secure-elements/{se_id:str}/content", tags=_TAG, summary="Show what is on the card (issuer)")
async def show_content(principal: Caller, container: Services, se_id: FromPath[str]) -> m.CardContentAnswer:
    """Return registry and access rules of the card as last read; ask for an audit to read them again."""
    return views.card_content(*await container.onboarding.card_content(principal, SeId(se_id)))


@post("/secure-elements/{se_id:str}/audits", tags=_TAG, status_code=202, summary="Read the card (issuer)")
async def audit_secure_element(
    principal: Caller, container: Services, se_id: FromPath[str]
) -> Response[m.OperationAnswer]:
    """Ask for a fresh reading of the card's registry."""
    return accepted(await container.requests.audit_secure_element(principal, SeId(se_id)))


@post(
    "/secure-elements/{se_id:str}/clean-ups",
    tags=_TAG,
    status_code=202,
    summary="Remove what nobody holds any more (issuer)",
)
async def clean_up_secure_element(
    principal: Caller, container: Services, se_id: FromPath[str]
) -> Response[m.OperationAnswer]:
    """Ask for the removal of what instances left on the card that are gone with their provider.

    The wipe of a sandbox provider asks for it by itself; this is for when that operation failed.
    """
    return accepted(await container.requests.clean_up(principal, SeId(se_id)))


@post(
    "/secure-elements/{se_id:str}/reinstate",
    tags=_TAG,
    status_code=200,
    summary="End a quarantine (issuer)",
)
async def reinstate_secure_element(
    principal: Caller, container: Services, se_id: FromPath[str]
) -> m.SecureElementAnswer:
    """Let a quarantined secure element prove itself again."""
    se = await container.onboarding.reinstate_secure_element(principal, SeId(se_id))
    return views.secure_element(principal, se)


@put(
    "/secure-elements/{se_id:str}/key-sets",
    tags=_TAG,
    summary="Replace key sets that the card did not prove (issuer)",
)
async def replace_key_sets(
    principal: Caller, container: Services, se_id: FromPath[str], data: JSONBody[m.KeySetsBody]
) -> m.SecureElementAnswer:
    """Replace the key sets of a secure element that is quarantined, or that never proved itself.

    Its card is not touched; a quarantined one is still to be reinstated.
    """
    new = tuple(new_key_set(given) for given in data.key_sets)
    se = await container.onboarding.replace_key_sets(principal, SeId(se_id), new)
    return views.secure_element(principal, se)


@post(
    "/secure-elements/{se_id:str}/retirements",
    tags=_TAG,
    status_code=200,
    summary="Put a secure element out of use for good (issuer)",
)
async def retire_secure_element(
    principal: Caller, container: Services, se_id: FromPath[str]
) -> m.SecureElementAnswer:
    """Retire a secure element for which no operation runs or waits; its identifiers become free."""
    se = await container.onboarding.retire_secure_element(principal, SeId(se_id))
    return views.secure_element(principal, se)


async def _import_line(
    container: ApiContainer, principal: Principal, number: int, line: bytes | None
) -> m.ImportedLine | m.RefusedLine:
    if line is None:
        return refused_length(number)
    try:
        se = await container.onboarding.register_secure_element(principal, _new(read_line(_LINE, line)))
    except REFUSALS as error:
        return refused(number, error)
    return m.ImportedLine(line=number, id=se.id)


def _new(data: m.NewSecureElementBody) -> NewSecureElement:
    return NewSecureElement(
        identifiers=tuple(
            SeIdentifier(type=SeIdentifierType(i.type), value=i.value) for i in data.identifiers
        ),
        profile=data.profile,
        key_sets=tuple(new_key_set(given) for given in data.key_sets),
        isd_aid=None if data.isd_aid is None else Aid.from_hex(data.isd_aid),
        arrangement_id=None if data.arrangement_id is None else ArrangementId(data.arrangement_id),
        data=SeData() if data.data is None else read_se_data(data.data),
    )


def new_key_set(given: m.KeySetBody) -> NewKeySet:
    """Return a key set as its holder describes it."""
    source = given.source
    return NewKeySet(
        kvn=given.kvn,
        source=DiversifiedKeys(
            master=KeyHandle(source.master), method=source.method, kdd=bytes.fromhex(source.kdd)
        )
        if isinstance(source, m.DiversifiedSource)
        else WrappedKeys(transport=KeyHandle(source.transport), blob=bytes.fromhex(source.blob)),
        kcvs=tuple(map(bytes.fromhex, given.kcvs)),
        counter=given.counter,
    )
