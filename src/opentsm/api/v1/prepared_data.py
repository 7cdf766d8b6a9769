"""Prepared data: personalisation data for many future instances in one upload, sealed until they are used."""

from typing import Any

import msgspec
from litestar import Request, delete, get, post
from litestar.params import FromPath, FromQuery

from opentsm.api.authentication import Caller
from opentsm.api.container import ApiContainer, Services
from opentsm.api.idempotency import STREAMED
from opentsm.api.json_lines import MAX_REFUSED, REFUSALS, numbered_lines, read_line, refused, refused_length
from opentsm.api.v1 import messages as m
from opentsm.api.v1.paging import After, Limit, read_page
from opentsm.tsm.domain.prepared import PreparedData
from opentsm.tsm.domain.secure_element import SeIdentifier, SeIdentifierType
from opentsm.tsm.domain.tenant import Principal
from opentsm.tsm.kernel.errors import CallerError, InvalidInputError
from opentsm.tsm.kernel.ids import SeId
from opentsm.tsm.roles.hub.prepared import KEPT, UNCHANGED, NewPreparedData, Taken, Upload

MAX_DEPLOYED = 10_000
_TAG = ["prepared data"]
_LINE = msgspec.json.Decoder(m.PreparedLine)


@post(
    "/prepared-data/import",
    opt=STREAMED,
    tags=_TAG,
    status_code=200,
    summary="Hand over personalisation data for many instances (provider)",
    description="The body is one JSON document a line, each a PreparedLine: for whom (exactly one of "
    "`se_id`, `identifier`, `reference`), the service, and the data. Every line has its own result; the same "
    "line again changes nothing. `deploy` asks for a deployment at once, at most 10,000 in one upload.",
    request_max_body_size=None,
)
async def import_prepared_data(
    principal: Caller, container: Services, request: Request[Any, Any, Any]
) -> m.PreparedReport:
    """Read the body as it comes, line by line."""
    upload = container.prepared_data.upload(principal)
    report = m.PreparedReport(lines=0, kept=0, unchanged=0, deployed=[], refused=[])
    number, counts = 0, {KEPT: 0, UNCHANGED: 0}
    kept = "what they brought was kept"
    async for number, line in numbered_lines(request, container.settings.limits.import_bytes, kept):
        if len(report.refused) >= MAX_REFUSED:
            break
        if line is None:
            report.refused.append(refused_length(number))
        elif line.strip():
            try:
                result = await _take(container, principal, upload, report, line)
            except REFUSALS as error:
                report.refused.append(refused(number, error))
            else:
                if result.operation_id is not None:
                    report.deployed.append(
                        m.PreparedDeployment(line=number, operation_id=result.operation_id)
                    )
                counts[result.outcome] += 1
    return msgspec.structs.replace(report, lines=number, kept=counts[KEPT], unchanged=counts[UNCHANGED])


@get("/prepared-data", tags=_TAG, summary="List prepared data, never their values (provider)")
async def list_prepared_data(
    principal: Caller,
    container: Services,
    service_id: FromQuery[str | None] = None,
    limit: Limit = 50,
    after: After = None,
) -> m.PreparedPage:
    """Return the provider's prepared data by id: for whom they are, and whether they were used."""
    items, following = await read_page(
        lambda page: container.prepared_data.list(principal, page, service_id),
        lambda data: data.id,
        limit,
        after,
    )
    return m.PreparedPage(items=[_shown(one) for one in items], next=following)


@delete("/prepared-data/{prepared_id:str}", tags=_TAG, summary="Remove prepared data (provider)")
async def remove_prepared_data(principal: Caller, container: Services, prepared_id: FromPath[str]) -> None:
    """Remove data; what was deployed of them stays."""
    await container.prepared_data.remove(principal, prepared_id)


async def _take(
    container: ApiContainer, principal: Principal, upload: Upload, report: m.PreparedReport, line: bytes
) -> Taken:
    found = read_line(_LINE, line)
    if found.deploy and len(report.deployed) >= MAX_DEPLOYED:
        raise InvalidInputError(
            f"One upload asks for {MAX_DEPLOYED} deployments at most.",
            advice="Send the rest in another upload.",
            field="/deploy",
        )
    new = _new(found)
    se_id = await upload.deployable(new) if found.deploy else None
    taken = await upload.take(new)
    if se_id is None or taken.operation_id is not None:
        return taken
    try:
        _, operation = await container.requests.deploy(
            principal,
            se_id=se_id,
            service_id=new.service_id,
            version=new.version,
            reference=new.reference,
            prepared_id=taken.id,
            valid_until=found.valid_until,
        )
    except CallerError:
        await upload.forget(taken)
        raise
    return msgspec.structs.replace(taken, operation_id=operation.id)


def _new(line: m.PreparedLine) -> NewPreparedData:
    name = line.identifier
    return NewPreparedData(
        service_id=line.service_id,
        version=line.version,
        se_id=None if line.se_id is None else SeId(line.se_id),
        identifier=None if name is None else SeIdentifier(type=SeIdentifierType(name.type), value=name.value),
        reference=line.reference,
        profile=line.profile,
        data=line.data,
    )


def _shown(data: PreparedData) -> m.PreparedAnswer:
    kind, _, rest = data.name.partition(":")
    type_, _, value = rest.partition(":")
    return m.PreparedAnswer(
        id=data.id,
        service_id=data.service_id,
        version=data.version_tag,
        se_id=rest if kind == "secure-element" else None,
        identifier=m.Identifier(type=type_, value=value) if kind == "identifier" else None,  # type: ignore[arg-type]  # it was one when it came
        reference=rest if kind == "reference" else None,
        instance_id=data.instance_id,
        operation_id=data.operation_id,
        created_at=data.created_at,
        expires_at=data.expires_at,
    )
