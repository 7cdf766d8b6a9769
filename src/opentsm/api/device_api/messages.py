"""Bodies of the device API; members are spelled as in BSI TR-03165 §4.2.3. Requests refuse unknown ones."""

from datetime import datetime
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

Text = Annotated[str, Meta(min_length=1, max_length=100)]
Values = Annotated[
    dict[Annotated[str, Meta(min_length=1, max_length=64)], Annotated[str, Meta(max_length=4096)]],
    Meta(max_length=100),
]


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A request body."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A response body."""


class NewServiceInstance(Body, frozen=True, kw_only=True):
    """A service, and the version to be deployed; `reference` names data that its provider prepared."""

    service_id: Text
    version: Text
    reference: Annotated[str, Meta(min_length=1, max_length=200)] | None = None


class Install(Body, frozen=True, kw_only=True, tag_field="type", tag="install"):
    """InstallServiceCommand; no service takes installation data yet."""

    installation_data: Annotated[dict[str, str], Meta(max_length=0)] = {}


class Personalize(Body, frozen=True, kw_only=True, tag_field="type", tag="personalize"):
    """PersonalizeServiceCommand, with data by field name."""

    personalization_data: Values = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Activate(Body, frozen=True, kw_only=True, tag_field="type", tag="activate"):
    """ActivateServiceCommand; with suspensionControl the finalised instance is SUSPENDED."""

    suspension_control: bool = False


Command: TypeAlias = Install | Personalize | Activate
Commands = Annotated[list[Command], Meta(max_length=3, description="at most one of each kind")]


class Deployment(Body, frozen=True, kw_only=True):
    """What is to be carried out, in this order."""

    service_commands: Commands
    finalize_deployment: bool


class Update(Deployment, frozen=True, kw_only=True):
    """The version to update to, and what is to be carried out."""

    new_version: Text


class Suspension(Body, frozen=True, kw_only=True):
    """Suspend (true) or resume (false)."""

    suspension_control: bool


class Nothing(Body, frozen=True, kw_only=True):
    """No member."""


class TechnicalInformation(Answer, frozen=True, kw_only=True):
    """The card's profile and the service's parameters (§4.2.3.13)."""

    sp_parameters: dict[str, str] = {}
    service_id: str = ""
    service_version_tag: str = ""
    flavor_id: str = ""
    flavor_name: str = ""
    profile_id: str = ""


class ServiceInstance(Answer, frozen=True, kw_only=True):
    """A service instance (§4.2.3.1)."""

    id: str
    state: int
    technical_information: TechnicalInformation
    last_operation: int
    reader: str


class ServiceInstances(Answer, frozen=True, kw_only=True):
    """The instances of a service on this device."""

    service_instances: list[ServiceInstance]


class ServiceDeploymentAvailable(Answer, frozen=True, kw_only=True):
    """Whether a version can be deployed, and the highest (§4.2.5.7)."""

    deployment_available: bool
    version: str
    new_technical_information: TechnicalInformation | None


class ServiceUpdateAvailable(Answer, frozen=True, kw_only=True):
    """Whether a higher version can be deployed, and the highest (§4.2.5.8)."""

    update_available: bool
    new_version: str
    new_technical_information: TechnicalInformation | None


class ProcessStart(Answer, frozen=True, kw_only=True):
    """A process has begun (§4.2.3.7)."""

    process_id: str
    caller_id: str
    start_date: datetime


class ProcessProgress(Answer, frozen=True, kw_only=True):
    """How far a process is, in percent, and what it does (§4.2.3.8)."""

    process_id: str
    progress: int
    operation: int


class ProcessInfo(Answer, frozen=True, kw_only=True):
    """How a process ended (§4.2.3.9)."""

    process_id: str
    execution_status: int
    execution_message: str
    start_date: datetime
    end_date: datetime


class CommandResponsePair(Answer, frozen=True, kw_only=True):
    """A command of a personalisation and its answer, in hex (§4.2.3.12)."""

    tag: str
    command: str
    response: str


class PersonalizationResult(Answer, frozen=True, kw_only=True):
    """What the personalisation of an application gave (§4.2.3.11)."""

    application_instance_aid: str
    results: list[CommandResponsePair]


class ServiceCommandResult(Answer, frozen=True, kw_only=True):
    """What became of a command: 0 success, 1 failed, 2 not executed (§4.2.3.10)."""

    command_execution_status: int
    personalization_results: list[PersonalizationResult]


class ProcessResult(Answer, frozen=True, kw_only=True):
    """The result of a process; `serviceInstanceState` is 0 once the instance is terminated."""

    process_info: ProcessInfo
    service_instance_state: int
    technical_information: TechnicalInformation
    service_command_results: list[ServiceCommandResult]
    reader: str


class Process(Answer, frozen=True, kw_only=True):
    """A process as it is now; `result` is there once it has ended."""

    process_id: str
    caller_id: str
    start_date: datetime
    progress: int
    operation: int
    result: ProcessResult | None


class FormChoice(Answer, frozen=True, kw_only=True):
    """A value that a field may have; its title by language tag."""

    value: str
    title: dict[str, str]


class FormField(Answer, frozen=True, kw_only=True):
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


class ServiceForm(Answer, frozen=True, kw_only=True):
    """The fields of a service's version, and the words for success and failure by language tag.

    `complete`: nothing is needed but what the end user gives.
    """

    service_id: str
    version: str
    fields: list[FormField]
    messages: dict[str, dict[str, str]]
    complete: bool
