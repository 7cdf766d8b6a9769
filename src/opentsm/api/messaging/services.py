"""Functions about services: name them, install, personalise, activate, upgrade, suspend, terminate."""

from typing import Annotated, Literal

from msgspec import Meta

from opentsm.api.messaging.finding import element_of
from opentsm.api.messaging.processes import ProcessAnswer, operation_reply
from opentsm.api.messaging.records import (
    AidText,
    GenericId,
    InstanceReference,
    Message,
    OnElement,
    Qualifier,
    RequestMessage,
    SecureElementName,
    ServiceIdentifier,
)
from opentsm.api.messaging.status_codes import OWNER
from opentsm.api.messaging.table import Call, Reply, changing, reading
from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.card_content import Stage
from opentsm.tsm.domain.operation import OperationType
from opentsm.tsm.domain.service import ServiceInstance
from opentsm.tsm.domain.service_reference import ServiceReference
from opentsm.tsm.kernel.errors import ConflictError, InvalidInputError
from opentsm.tsm.kernel.ids import InstanceId
from opentsm.tsm.roles.hub.conversations.deploying import ServiceCommands
from opentsm.tsm.roles.hub.conversations.naming import Declaration

DataByName = Annotated[dict[str, str], Meta(max_length=200)]


class ReferenceAnswer(Message, frozen=True, kw_only=True):
    """An instance's name, and its state by the numbers of TR-03165."""

    ServiceInstanceReference: InstanceReference
    ServiceInstanceState: int


class DescriptorAnswer(Message, frozen=True, kw_only=True):
    """What a reference stands for."""

    ServiceInstanceReference: InstanceReference
    Service: ServiceIdentifier
    ServiceQualifier: Qualifier | None = None
    SecureElement: SecureElementName
    SecurityDomainAID: str
    KeysKeptByProvider: bool


class StateAnswer(Message, frozen=True, kw_only=True):
    """The state of an instance by the numbers of TR-03165."""

    ServiceInstanceState: int


class LookupServiceInstanceReference(OnElement, frozen=True, kw_only=True):
    """Ask for the name of a service's instance on a secure element."""

    Service: ServiceIdentifier
    ServiceQualifier: Qualifier | None = None


class DeclareServiceInstanceReference(OnElement, frozen=True, kw_only=True):
    """Give an instance of a service a name; it is made where there is none."""

    ServiceInstanceReference: InstanceReference
    Service: ServiceIdentifier
    ServiceQualifier: Qualifier | None = None


class OnInstance(RequestMessage, frozen=True, kw_only=True):
    """A request about an instance."""

    ServiceInstanceReference: InstanceReference


class InstallCommand(Message, frozen=True, kw_only=True, tag="InstallServiceCommand", tag_field="Command"):
    """Domain with temporary keys, load files, instances, extradition: whatever is missing."""


class PersonalizeCommand(
    Message, frozen=True, kw_only=True, tag="PersonalizeServiceCommand", tag_field="Command"
):
    """Run the service's recipes; data by the names of their fields."""

    PersonalizationData: DataByName | None = None

    def __repr__(self) -> str:
        return "<PersonalizeServiceCommand>"


class ActivateCommand(Message, frozen=True, kw_only=True, tag="ActivateServiceCommand", tag_field="Command"):
    """Make the applications selectable; with `SuspensionControl` they stay suspended."""

    SuspensionControl: bool = False


AnyCommand = InstallCommand | PersonalizeCommand | ActivateCommand
Commands = Annotated[list[AnyCommand], Meta(min_length=1, max_length=3)]


class DeployService(OnInstance, frozen=True, kw_only=True):
    """One to three commands, each at most once, in the order in which their states shall be reached."""

    ServiceCommand: Commands


class UpgradeService(RequestMessage, frozen=True, kw_only=True):
    """Bring another version; the new reference, if given, becomes a further name of the instance."""

    CurrentServiceInstanceReference: InstanceReference
    NewServiceInstanceReference: InstanceReference | None = None
    Service: ServiceIdentifier
    ServiceCommand: Commands


class TopUpCommand(Message, frozen=True, kw_only=True, tag="TopUp", tag_field="Command"):
    """Credit a purse exactly once; `TransactionId` are 8 bytes in hex."""

    Amount: Annotated[int, Meta(ge=1, le=2_147_483_647)]
    ApplicationAID: AidText | None = None
    TransactionId: Annotated[str, Meta(pattern="^[0-9A-Fa-f]{16}$")]


class PersonalizeAnewCommand(Message, frozen=True, kw_only=True, tag="Personalize", tag_field="Command"):
    """Run the service's recipes again with other data."""

    PersonalizationData: DataByName

    def __repr__(self) -> str:
        return "<PersonalizeAnewCommand>"


ExchangeCommands = Annotated[list[TopUpCommand | PersonalizeAnewCommand], Meta(min_length=1, max_length=1)]


class ExchangeServiceData(OnInstance, frozen=True, kw_only=True):
    """Exchange data with a service that is there: one command a call."""

    ExchangeServiceDataCommand: ExchangeCommands


class SuspendOrResumeService(OnInstance, frozen=True, kw_only=True):
    """Suspend (`SuspensionControl` true) or resume a service; a loss overtakes what waits."""

    SuspensionControl: bool
    Reason: Literal["LOSS"] | None = None


# --- names -------------------------------------------------------------------------------------------------


async def _instance(call: Call, reference: InstanceReference) -> ServiceInstance:
    return await call.container.naming.instance(
        call.principal, reference.ReferenceOwner, reference.Reference, OWNER
    )


def _named(instance: ServiceInstance, name: ServiceReference | None) -> InstanceReference:
    if name is None:
        return InstanceReference(ReferenceOwner=OWNER, Reference=instance.id)
    return InstanceReference(ReferenceOwner=name.owner, Reference=name.reference)


async def _look_up(call: Call, body: LookupServiceInstanceReference) -> Reply:
    se_id = await element_of(call, body)
    qualifier = None if body.ServiceQualifier is None else body.ServiceQualifier.Qualifier
    found, name = await call.container.naming.find_instance(
        call.principal, body.Service.ServiceId, qualifier, se_id
    )
    return Reply(
        ReferenceAnswer(ServiceInstanceReference=_named(found, name), ServiceInstanceState=found.state.value)
    )


async def _declare(call: Call, body: DeclareServiceInstanceReference) -> str:
    reference = body.ServiceInstanceReference
    if reference.ReferenceOwner == OWNER:
        raise InvalidInputError(
            "This owner names our own ids; choose an object identifier of yours.",
            field="/ServiceInstanceReference/ReferenceOwner",
        )
    wanted = Declaration(
        owner=reference.ReferenceOwner,
        reference=reference.Reference,
        service_id=body.Service.ServiceId,
        version=body.Service.ServiceVersion,
        se_id=await element_of(call, body),
        qualifier="" if body.ServiceQualifier is None else body.ServiceQualifier.Qualifier,
    )
    return (await call.container.naming.declare(call.principal, wanted)).id


async def _declared(call: Call, subject: str) -> Reply:
    instance = await call.container.requests.instance(call.principal, InstanceId(subject))
    return Reply(StateAnswer(ServiceInstanceState=instance.state.value))


async def _describe(call: Call, body: OnInstance) -> Reply:
    found = await _instance(call, body.ServiceInstanceReference)
    description = found.description
    _, name = await call.container.naming.find_instance(
        call.principal, description.service_id, None, found.se_id
    )
    return Reply(
        DescriptorAnswer(
            ServiceInstanceReference=body.ServiceInstanceReference,
            Service=ServiceIdentifier(
                ServiceId=description.service_id, ServiceVersion=description.version_tag
            ),
            ServiceQualifier=Qualifier(Qualifier=name.qualifier) if name and name.qualifier else None,
            SecureElement=SecureElementName(SEId_Generic=GenericId(Id=found.se_id, Type="OPENTSM")),
            SecurityDomainAID=str(description.sd_aid),
            KeysKeptByProvider=found.keys_elsewhere,
        )
    )


async def _state(call: Call, body: OnInstance) -> Reply:
    found = await _instance(call, body.ServiceInstanceReference)
    return Reply(StateAnswer(ServiceInstanceState=found.state.value))


# --- commands ----------------------------------------------------------------------------------------------

_STAGES: dict[type[Message], Stage] = {
    InstallCommand: Stage.INSTALL,
    PersonalizeCommand: Stage.PERSONALIZE,
    ActivateCommand: Stage.ACTIVATE,
}


def _commands(call: Call, given: list[AnyCommand]) -> ServiceCommands:
    data = [one.PersonalizationData for one in given if isinstance(one, PersonalizeCommand)]
    return ServiceCommands(
        stages=tuple(_STAGES[type(one)] for one in given),
        suspended=any(isinstance(one, ActivateCommand) and one.SuspensionControl for one in given),
        data=data[0] if data else None,
        valid_until=call.valid_until,
    )


async def _deploy(call: Call, body: DeployService) -> str:
    instance = await _instance(call, body.ServiceInstanceReference)
    commands = _commands(call, body.ServiceCommand)
    return (await call.container.deploying.deploy_commands(call.principal, instance, commands)).id


async def _upgrade(call: Call, body: UpgradeService) -> str:
    instance = await _instance(call, body.CurrentServiceInstanceReference)
    new = body.NewServiceInstanceReference
    if new is not None and (await _instance(call, new)).id != instance.id:
        raise ConflictError(
            "The new reference names another instance.",
            advice="An upgrade keeps its instance: leave it out, or declare it for the same one.",
            field="/NewServiceInstanceReference",
        )
    version = body.Service.ServiceVersion
    if version is None or body.Service.ServiceId != instance.description.service_id:
        raise InvalidInputError("Name the same service with its new version.", field="/Service")
    commands = _commands(call, body.ServiceCommand)
    return (await call.container.deploying.upgrade(call.principal, instance, version, commands)).id


async def _exchange(call: Call, body: ExchangeServiceData) -> str:
    instance = await _instance(call, body.ServiceInstanceReference)
    (command,) = body.ExchangeServiceDataCommand
    requests = call.container.requests
    if isinstance(command, PersonalizeAnewCommand):
        operation = await requests.personalize(
            call.principal, instance.id, data=command.PersonalizationData, valid_until=call.valid_until
        )
        return operation.id
    operation = await requests.top_up(
        call.principal,
        instance.id,
        amount=command.Amount,
        application=None if command.ApplicationAID is None else Aid.from_hex(command.ApplicationAID),
        transaction=command.TransactionId,
        valid_until=call.valid_until,
    )
    return operation.id


async def _suspend_or_resume(call: Call, body: SuspendOrResumeService) -> str:
    type_ = OperationType.SUSPEND if body.SuspensionControl else OperationType.RESUME
    if body.Reason is not None and type_ is OperationType.RESUME:
        raise InvalidInputError("A loss is no reason to resume.", field="/Reason")
    return await _change(call, body.ServiceInstanceReference, type_, loss=body.Reason is not None)


async def _terminate(call: Call, body: OnInstance) -> str:
    return await _change(call, body.ServiceInstanceReference, OperationType.TERMINATE, loss=False)


async def _change(call: Call, reference: InstanceReference, type_: OperationType, *, loss: bool) -> str:
    instance = await _instance(call, reference)
    operation = await call.container.requests.change(
        call.principal, instance.id, type_, loss=loss, valid_until=call.valid_until
    )
    return operation.id


async def _asked(call: Call, subject: str) -> Reply:
    return await operation_reply(call, subject, call.wait_s or 0.0)


class TerminateService(OnInstance, frozen=True, kw_only=True):
    """End a service: everything of it goes from the secure element."""


class GetServiceState(OnInstance, frozen=True, kw_only=True):
    """Ask for the state of an instance."""


class GetServiceInstanceReferenceDescriptor(OnInstance, frozen=True, kw_only=True):
    """Ask what a reference stands for."""


FUNCTIONS = (
    reading(
        "LookupServiceInstanceReference",
        "Ask for the name of a service's instance",
        LookupServiceInstanceReference,
        ReferenceAnswer,
        _look_up,
    ),
    changing(
        "DeclareServiceInstanceReference",
        "Name an instance of a service",
        DeclareServiceInstanceReference,
        StateAnswer,
        _declare,
        _declared,
    ),
    reading(
        "GetServiceInstanceReferenceDescriptor",
        "Ask what a reference stands for",
        GetServiceInstanceReferenceDescriptor,
        DescriptorAnswer,
        _describe,
    ),
    reading("GetServiceState", "Ask for the state of an instance", GetServiceState, StateAnswer, _state),
    changing(
        "DeployService",
        "Install, personalise, activate a service",
        DeployService,
        ProcessAnswer,
        _deploy,
        _asked,
    ),
    changing(
        "UpgradeService",
        "Bring another version of a service",
        UpgradeService,
        ProcessAnswer,
        _upgrade,
        _asked,
    ),
    changing(
        "ExchangeServiceData",
        "Exchange data with a service: top up, personalise anew",
        ExchangeServiceData,
        ProcessAnswer,
        _exchange,
        _asked,
    ),
    changing(
        "SuspendOrResumeService",
        "Suspend or resume a service",
        SuspendOrResumeService,
        ProcessAnswer,
        _suspend_or_resume,
        _asked,
    ),
    changing("TerminateService", "End a service", TerminateService, ProcessAnswer, _terminate, _asked),
)
