"""The data types of TR-03165's TSM-API, as the server sends and takes them.

Source: BSI TR-03165 §4.2.3, §4.2.4.1, §4.2.4.2. Names are the guideline's, in Python's spelling; on the wire
they are spelled as there.
"""

from datetime import datetime
from enum import IntEnum
from typing import TypeAlias

import msgspec


class ServiceInstanceState(IntEnum):
    """How far a service instance is. There is no TERMINATED: its id dies."""

    UNKNOWN = 0
    NOT_DEPLOYED = 1
    INITIALIZED = 10
    INSTALLED = 11
    PERSONALIZED = 12
    ACTIVATED = 14
    OPERATIONAL = 21
    SUSPENDED = 22
    IN_ERROR = 25


class ServiceOperation(IntEnum):
    """What is done, or was done last."""

    NO_OPERATION = 0
    SERVICE_DEPLOYMENT_INSTALLATION = 10
    SERVICE_DEPLOYMENT_PERSONALIZATION = 11
    SERVICE_DEPLOYMENT_ACTIVATION = 12
    SERVICE_DEPLOYMENT_FINALIZE = 13
    SERVICE_UPDATE_INSTALLATION = 20
    SERVICE_UPDATE_PERSONALIZATION = 21
    SERVICE_UPDATE_ACTIVATION = 22
    SERVICE_UPDATE_FINALIZE = 23
    SERVICE_SUSPENSION = 30
    SERVICE_RESUMPTION = 31
    SERVICE_TERMINATION = 40


class CommandExecutionStatus(IntEnum):
    """What became of one service command."""

    SUCCESS = 0
    FAILED = 1
    NOT_EXECUTED = 2


class Message(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Something the server sends."""


class TechnicalInformation(Message, frozen=True, kw_only=True):
    """The card's profile, and what the service says about itself."""

    sp_parameters: dict[str, str] = {}
    service_id: str = ""
    service_version_tag: str = ""
    flavor_id: str = ""
    flavor_name: str = ""
    profile_id: str = ""


class ServiceInstance(Message, frozen=True, kw_only=True):
    """A service on one secure component.

    `reader` is the name of the secure component's reader in the Open Mobile API, as far as it is known.
    """

    id: str
    state: ServiceInstanceState
    technical_information: TechnicalInformation
    last_operation: ServiceOperation = ServiceOperation.NO_OPERATION
    reader: str = ""


class InstallServiceCommand(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="type", tag="install"
):
    """Load and install the service."""

    installation_data: dict[str, str] = {}


class PersonalizeServiceCommand(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="type", tag="personalize"
):
    """Personalise the service; the data may be secret, so no text form shows them."""

    personalization_data: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {sorted(self.personalization_data)}>"


class ActivateServiceCommand(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="type", tag="activate"
):
    """Activate the service; with `suspension_control` it ends SUSPENDED instead of OPERATIONAL."""

    suspension_control: bool = False


ServiceCommand: TypeAlias = InstallServiceCommand | PersonalizeServiceCommand | ActivateServiceCommand


class ProcessStart(Message, frozen=True, kw_only=True):
    """A process has begun."""

    process_id: str
    caller_id: str
    start_date: datetime


class ProcessProgress(Message, frozen=True, kw_only=True):
    """How far a process is, 0 to 100, and what it is doing."""

    process_id: str
    progress: int
    operation: ServiceOperation


class ProcessInfo(Message, frozen=True, kw_only=True):
    """How a process ended: `execution_status` 0, or the number of an error type."""

    process_id: str = ""
    execution_status: int
    execution_message: str = ""
    start_date: datetime
    end_date: datetime


class CommandResponsePair(Message, frozen=True, kw_only=True):
    """One command of a personalisation and its answer, both in hex."""

    tag: str
    command: str
    response: str


class PersonalizationResult(Message, frozen=True, kw_only=True):
    """What the personalisation of one application gave."""

    application_instance_aid: str
    results: list[CommandResponsePair] = []


class ServiceCommandResult(Message, frozen=True, kw_only=True):
    """What became of one service command, in the order of the request."""

    command_execution_status: CommandExecutionStatus
    personalization_results: list[PersonalizationResult] = []


class ProcessResult(Message, frozen=True, kw_only=True):
    """The result of deploy, update, suspend, resume or terminate.

    `service_instance_state` is UNKNOWN once the instance is terminated.
    """

    process_info: ProcessInfo
    service_instance_state: ServiceInstanceState
    technical_information: TechnicalInformation = TechnicalInformation()
    service_command_results: list[ServiceCommandResult] = []
    reader: str = ""


class Process(Message, frozen=True, kw_only=True):
    """A process as it is now; `result` is there once it has ended."""

    process_id: str
    caller_id: str
    start_date: datetime
    progress: int
    operation: ServiceOperation
    result: ProcessResult | None = None

    def start(self) -> ProcessStart:
        """Return the notice of its start."""
        return ProcessStart(process_id=self.process_id, caller_id=self.caller_id, start_date=self.start_date)

    def progressed(self) -> ProcessProgress:
        """Return the notice of its progress."""
        return ProcessProgress(process_id=self.process_id, progress=self.progress, operation=self.operation)


class ServiceDeploymentAvailable(Message, frozen=True, kw_only=True):
    """Whether a version of a service can be deployed here, and the highest one."""

    deployment_available: bool
    version: str = ""
    new_technical_information: TechnicalInformation | None = None


class ServiceUpdateAvailable(Message, frozen=True, kw_only=True):
    """Whether a higher version than the instance's can be deployed, and the highest one."""

    update_available: bool
    new_version: str = ""
    new_technical_information: TechnicalInformation | None = None


class ServiceInstances(Message, frozen=True, kw_only=True):
    """The instances of a service on this device."""

    service_instances: list[ServiceInstance]


class TsmErrorMember(Message, frozen=True, kw_only=True):
    """TR-03165's number, name and message of an error, in a problem document."""

    type: int
    name: str = ""
    message: str = ""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What is used of a problem document (RFC 9457)."""

    title: str = ""
    detail: str = ""
    code: str = ""
    advice: str | None = None
    request_id: str = ""
    tsm_error: TsmErrorMember | None = None


def to_json(value: object) -> bytes:
    """Write a request's body."""
    return msgspec.json.encode(value)


class FormChoice(Message, frozen=True, kw_only=True):
    """A value that a field may have; its title by language tag."""

    value: str
    title: dict[str, str]


class FormField(Message, frozen=True, kw_only=True):
    """What the end user is asked for; title and hint by language tag.

    `min` and `max` bound the length (hex, text: bytes; digits, ascii: characters) or an integer's value.
    """

    name: str
    type: str
    min: int
    max: int
    secret: bool
    title: dict[str, str]
    hint: dict[str, str]
    characters: str
    choices: list[FormChoice]


class ServiceForm(Message, frozen=True, kw_only=True):
    """The fields of a service's version, and the words for success and failure by language tag.

    `complete`: nothing is needed but what the end user gives.
    """

    service_id: str
    version: str
    fields: list[FormField]
    messages: dict[str, dict[str, str]]
    complete: bool
