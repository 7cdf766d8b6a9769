"""Service instances: create, look, check, deploy, update, suspend or resume, terminate."""

from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

from litestar import Response, get, post
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.types import HTTPScope

from opentsm.api.container import ApiContainer, Services
from opentsm.api.device_api import messages as m
from opentsm.api.device_api import views
from opentsm.api.device_api.door import CALLER, App
from opentsm.api.device_api.processes import begun
from opentsm.tsm.domain.card_content import Stage
from opentsm.tsm.domain.service import ServiceInstance
from opentsm.tsm.kernel.ids import InstanceId, OperationId
from opentsm.tsm.roles.hub.device_reach import DeviceCaller
from opentsm.tsm.roles.hub.once import Deed

_TAG = ["device API"]
_STAGES = {m.Install: Stage.INSTALL, m.Personalize: Stage.PERSONALIZE, m.Activate: Stage.ACTIVATE}
_PATTERN = "1.3.0, 1.3.x, 1.x.x or x.x.x"
Service = Annotated[str, QueryParameter(name="serviceId", description="the service's id", max_length=100)]
Version = Annotated[str, QueryParameter(name="version", description=_PATTERN, max_length=20)]
NewVersion = Annotated[str, QueryParameter(name="newVersion", description=_PATTERN, max_length=20)]


@post(
    "/service-instances",
    operation_id="createServiceInstance",
    tags=_TAG,
    summary="Create a service instance (TR-03165: createServiceInstance)",
)
async def create_service_instance(
    app: App, container: Services, data: JSONBody[m.NewServiceInstance]
) -> m.ServiceInstance:
    """Choose a secure component of the device and create the service's instance there, NOT_DEPLOYED.

    The same instance is answered again until it is terminated. It takes the personalisation data that its
    provider prepared for the secure component, or under the reference.
    """
    found = await container.device_calls.create_instance(
        app, service_id=data.service_id, version_pattern_or_tag=data.version, reference=data.reference
    )
    return await _shown(container, app, found)


@get(
    "/service-instances",
    operation_id="getServiceInstances",
    tags=_TAG,
    summary="List a service's instances on this device (TR-03165: getServiceInstances)",
)
async def get_service_instances(app: App, container: Services, service_id: Service) -> m.ServiceInstances:
    """Return the instances on all secure components of the device."""
    found = await container.device_calls.instances(app, service_id)
    return m.ServiceInstances(service_instances=[await _shown(container, app, one) for one in found])


@post(
    "/service-instances/{service_instance_id:str}/deployments",
    operation_id="deployService",
    tags=_TAG,
    status_code=202,
    summary="Deploy a service (TR-03165: deployService)",
)
async def deploy_service(
    app: App, container: Services, service_instance_id: FromPath[str], data: JSONBody[m.Deployment]
) -> Response[m.Process]:
    """Begin a process that carries out the commands in their order."""
    operation = await container.device_calls.deploy(
        app,
        InstanceId(service_instance_id),
        **_staged(data),
    )
    return await begun(container, app, operation)


@post(
    "/service-instances/{service_instance_id:str}/updates",
    operation_id="updateService",
    tags=_TAG,
    status_code=202,
    opt={"version_field": "/newVersion"},
    summary="Update a service (TR-03165: updateService)",
)
async def update_service(
    app: App, container: Services, service_instance_id: FromPath[str], data: JSONBody[m.Update]
) -> Response[m.Process]:
    """Begin a process that brings the instance to another version; what is equal in both stays."""
    operation = await container.device_calls.update(
        app,
        InstanceId(service_instance_id),
        version=data.new_version,
        **_staged(data),
    )
    return await begun(container, app, operation)


@post(
    "/service-instances/{service_instance_id:str}/suspension",
    operation_id="suspendOrResumeService",
    tags=_TAG,
    status_code=202,
    summary="Suspend or resume a service (TR-03165: suspendOrResumeService)",
)
async def suspend_or_resume_service(
    app: App, container: Services, service_instance_id: FromPath[str], data: JSONBody[m.Suspension]
) -> Response[m.Process]:
    """Begin a process that suspends or resumes; each may be repeated."""
    operation = await container.device_calls.suspend_or_resume(
        app, InstanceId(service_instance_id), suspend=data.suspension_control
    )
    return await begun(container, app, operation)


@post(
    "/service-instances/{service_instance_id:str}/terminations",
    operation_id="terminateService",
    tags=_TAG,
    status_code=202,
    summary="Terminate a service (TR-03165: terminateService)",
)
async def terminate_service(
    app: App, container: Services, service_instance_id: FromPath[str], data: JSONBody[m.Nothing]
) -> Response[m.Process]:
    """Begin a process that removes the instance in whatever state it is; its id dies."""
    return await begun(
        container, app, await container.device_calls.terminate(app, InstanceId(service_instance_id))
    )


@get(
    "/services/{service_id:str}/deployment-available",
    operation_id="checkServiceDeploymentAvailable",
    tags=_TAG,
    opt={"version_field": "version"},
    summary="Check what can be deployed (TR-03165: checkServiceDeploymentAvailable)",
)
async def check_service_deployment_available(
    app: App, container: Services, service_id: FromPath[str], version: Version
) -> m.ServiceDeploymentAvailable:
    """Say which version of a service a secure component of this device could get; instances do not count."""
    return views.deployment_available(await container.device_calls.check_deployment(app, service_id, version))


@get(
    "/service-instances/{service_instance_id:str}/update-available",
    operation_id="checkServiceUpdateAvailable",
    tags=_TAG,
    opt={"version_field": "newVersion"},
    summary="Check for an update (TR-03165: checkServiceUpdateAvailable)",
)
async def check_service_update_available(
    app: App, container: Services, service_instance_id: FromPath[str], new_version: NewVersion
) -> m.ServiceUpdateAvailable:
    """Say to which higher version the instance could be updated; its state does not count."""
    return views.update_available(
        await container.device_calls.check_update(app, InstanceId(service_instance_id), new_version)
    )


async def recalled(container: ApiContainer, scope: HTTPScope, deed: Deed) -> Response[Any] | None:
    """Make the answer to a call that was carried out anew; the answer itself was lost."""
    app: DeviceCaller = scope["state"][CALLER]
    if deed.action == "instance.created":
        found = await container.device_calls.instance(app, InstanceId(deed.subject))
        return Response(await _shown(container, app, found), status_code=201)
    if deed.action.startswith("operation."):
        return await begun(
            container, app, await container.device_calls.process(app, OperationId(deed.subject))
        )
    return None


async def _shown(container: ApiContainer, app: DeviceCaller, found: ServiceInstance) -> m.ServiceInstance:
    calls = container.device_calls
    information = await calls.technical_information(app, found)
    return views.instance(found, information, views.reader_of(await calls.secure_element(app, found.se_id)))


class _Staged(TypedDict):
    """What a deployment and an update have in common, as the use cases take it."""

    commands: tuple[Stage, ...]
    finalize: bool
    suspension_control: bool
    data: dict[str, str] | None


def _staged(body: m.Deployment | m.Update) -> _Staged:
    commands = body.service_commands
    return _Staged(
        commands=tuple(_STAGES[type(command)] for command in commands),
        finalize=body.finalize_deployment,
        suspension_control=any(isinstance(one, m.Activate) and one.suspension_control for one in commands),
        data=_data(commands),
    )


def _data(commands: Sequence[m.Command]) -> dict[str, str] | None:
    """Return the data that the commands bring; None when they bring none."""
    found = [command.personalization_data for command in commands if isinstance(command, m.Personalize)]
    return dict(found[0]) if found and found[0] else None
