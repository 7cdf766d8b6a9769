"""Service instances: deploy, look, suspend, resume, terminate, rotate keys, top up."""

import hashlib
from typing import Annotated, Any, Literal

from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery, JSONBody, PathParameter, QueryParameter

from opentsm.api.authentication import Caller
from opentsm.api.container import Services
from opentsm.api.idempotency import HEADER
from opentsm.api.v1 import messages as m
from opentsm.api.v1 import views
from opentsm.api.v1.operations import accepted, deployed
from opentsm.api.v1.paging import After, CreatedAfter, CreatedBefore, Limit, Order, read_page
from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.operation import OperationType
from opentsm.tsm.domain.service import InstanceState
from opentsm.tsm.domain.tenant import Principal
from opentsm.tsm.kernel.errors import NotFoundError
from opentsm.tsm.kernel.ids import InstanceId, SeId
from opentsm.tsm.ports.repositories import InstanceFilter

_TAG = ["instances"]
CHANGES = {
    "suspensions": OperationType.SUSPEND,
    "resumptions": OperationType.RESUME,
    "terminations": OperationType.TERMINATE,
    "key-rotations": OperationType.ROTATE_KEYS,
    "deployments": OperationType.DEPLOY,
}
StateName = Literal[
    "NOT_DEPLOYED",
    "INITIALIZED",
    "INSTALLED",
    "PERSONALIZED",
    "ACTIVATED",
    "OPERATIONAL",
    "SUSPENDED",
    "IN_ERROR",
    "TERMINATED",
]
SeName = Annotated[
    str | None,
    QueryParameter(description="only those on the secure element that goes by this name, of any type"),
]
Version = Annotated[str | None, QueryParameter(description="the tag of a version")]
ApplicationAid = Annotated[
    str | None,
    QueryParameter(
        pattern="^([0-9A-Fa-f]{2}){5,16}$",
        description="only those of which this is the AID of an application, in hex",
    ),
]
ChangeName = Annotated[str, PathParameter(description=f"one of {', '.join(CHANGES)}")]


@post(
    "/instances",
    opt={"with_instance": True},
    tags=_TAG,
    status_code=202,
    summary="Deploy a service (provider)",
)
async def deploy(
    principal: Caller, container: Services, data: JSONBody[m.NewInstance]
) -> Response[m.DeployedInstance]:
    """Create an instance of a service on a secure element and ask for its deployment."""
    instance, operation = await container.requests.deploy(
        principal,
        se_id=SeId(data.se_id),
        service_id=data.service_id,
        version=data.version,
        data=data.data,
        reference=data.reference,
        valid_until=data.valid_until,
    )
    return deployed(instance, operation)


@get("/instances", tags=_TAG, summary="List or search instances (provider)")
async def list_instances(
    principal: Caller,
    container: Services,
    *,
    se_id: FromQuery[str | None] = None,
    se_identifier: SeName = None,
    service_id: FromQuery[str | None] = None,
    version: Version = None,
    flavor_id: FromQuery[str | None] = None,
    state_: Annotated[StateName | None, QueryParameter(name="state")] = None,
    application: ApplicationAid = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
    order: Order = "asc",
    limit: Limit = 50,
    after: After = None,
) -> m.InstancePage:
    """Return the provider's instances that every given filter lets through."""
    wanted = InstanceFilter(
        se_id=None if se_id is None else SeId(se_id),
        service_id=service_id,
        version_tag=version,
        flavor_id=flavor_id,
        state=None if state_ is None else InstanceState[state_],
        application=None if application is None else Aid.from_hex(application),
        created_from=created_after,
        created_before=created_before,
    )
    items, following = await read_page(
        lambda page: container.requests.instances(principal, page, wanted, se_identifier=se_identifier),
        lambda instance: instance.id,
        limit,
        after,
        order,
    )
    return m.InstancePage(items=[views.instance(instance) for instance in items], next=following)


@get("/instances/{instance_id:str}", tags=_TAG, summary="Show an instance")
async def show_instance(
    principal: Caller, container: Services, instance_id: FromPath[str]
) -> Response[m.InstanceAnswer]:
    """Return an instance with its version as ETag."""
    found = await container.requests.instance(principal, InstanceId(instance_id))
    return Response(views.instance(found), headers={"ETag": f'"{found.version}"'})


@post("/instances/{instance_id:str}/top-ups", tags=_TAG, status_code=202, summary="Credit a purse")
async def top_up(
    principal: Caller,
    container: Services,
    request: Request[Any, Any, Any],
    instance_id: FromPath[str],
    data: JSONBody[m.TopUp],
) -> Response[m.OperationAnswer]:
    """Ask for a credit of a purse, exactly once for each transaction id or idempotency key."""
    operation = await container.requests.top_up(
        principal,
        InstanceId(instance_id),
        amount=data.amount,
        application=None if data.application is None else Aid.from_hex(data.application),
        transaction=data.transaction or _transaction(principal, instance_id, request.headers.get(HEADER)),
        valid_until=data.valid_until,
    )
    return accepted(operation)


@post(
    "/instances/{instance_id:str}/updates",
    tags=_TAG,
    status_code=202,
    summary="Update to another version (provider)",
)
async def update(
    principal: Caller, container: Services, instance_id: FromPath[str], data: JSONBody[m.NewVersion]
) -> Response[m.OperationAnswer]:
    """Ask for another version of the service; what is equal in both stays on the card as it is."""
    operation = await container.requests.update(
        principal,
        InstanceId(instance_id),
        version=data.version,
        data=data.data,
        valid_until=data.valid_until,
    )
    return accepted(operation)


@post(
    "/instances/{instance_id:str}/personalizations",
    tags=_TAG,
    status_code=202,
    summary="Personalise anew with other data (provider)",
)
async def personalize(
    principal: Caller, container: Services, instance_id: FromPath[str], data: JSONBody[m.NewPersonalization]
) -> Response[m.OperationAnswer]:
    """Ask for the applications to be made anew with other data; what they held before is gone."""
    operation = await container.requests.personalize(
        principal, InstanceId(instance_id), data=data.data, valid_until=data.valid_until
    )
    return accepted(operation)


@post(
    "/instances/{instance_id:str}/{change:str}",
    tags=_TAG,
    status_code=202,
    summary="Suspend, resume, terminate, rotate keys, or deploy again",
)
async def change_instance(
    principal: Caller,
    container: Services,
    instance_id: FromPath[str],
    change: ChangeName,
    data: JSONBody[m.Change | None] = None,
) -> Response[m.OperationAnswer]:
    """Ask for a change; the issuer of the secure element may also suspend and resume."""
    type_ = CHANGES.get(change)
    if type_ is None:
        raise NotFoundError(f"An instance has no {change}.")
    wanted = data or m.Change()
    return accepted(
        await container.requests.change(
            principal,
            InstanceId(instance_id),
            type_,
            loss=wanted.reason == "LOSS",
            valid_until=wanted.valid_until,
        )
    )


def _transaction(principal: Principal, instance_id: str, key: str | None) -> str | None:
    """Derive the transaction id from the idempotency key: a repeated request can never credit twice."""
    if key is None:
        return None
    return hashlib.sha256(f"{principal.tenant_id}\0{instance_id}\0{key}".encode()).hexdigest()[:16]
