"""What instances, checks and processes look like to an app."""

from collections.abc import Sequence

from opentsm.api.device_api import messages as m
from opentsm.tsm.domain.secure_element import SecureElement, SeIdentifierType
from opentsm.tsm.domain.service import KeptAnswer, ServiceInstance
from opentsm.tsm.ports.peer import TechnicalInformation
from opentsm.tsm.roles.hub.device_calls import Availability
from opentsm.tsm.roles.hub.device_processes import CommandOutcome, ProcessView

_ON_A_UICC = (SeIdentifierType.ICCID, SeIdentifierType.EID)


def reader_of(se: SecureElement) -> str:
    """Name the reader that the Open Mobile API gives a card of this kind first; the server sees no slots."""
    return "SIM1" if se.identifiers and se.identifiers[0].type in _ON_A_UICC else "eSE1"


def technical_information(found: TechnicalInformation | None) -> m.TechnicalInformation:
    """Show technical information; all of it is empty when there is none."""
    if found is None:
        return m.TechnicalInformation()
    return m.TechnicalInformation(
        sp_parameters=found.sp_parameters,
        service_id=found.service_id,
        service_version_tag=found.service_version_tag,
        flavor_id=found.flavor_id,
        flavor_name=found.flavor_name,
        profile_id=found.profile_id,
    )


def instance(found: ServiceInstance, information: TechnicalInformation, reader: str) -> m.ServiceInstance:
    """Show an instance."""
    return m.ServiceInstance(
        id=found.id,
        state=found.state.value,
        technical_information=technical_information(information),
        last_operation=found.last_operation.value,
        reader=reader,
    )


def deployment_available(found: Availability) -> m.ServiceDeploymentAvailable:
    """Show what could be deployed."""
    return m.ServiceDeploymentAvailable(
        deployment_available=found.available,
        version=found.version or "",
        new_technical_information=_or_none(found),
    )


def update_available(found: Availability) -> m.ServiceUpdateAvailable:
    """Show to what could be updated."""
    return m.ServiceUpdateAvailable(
        update_available=found.available,
        new_version=found.version or "",
        new_technical_information=_or_none(found),
    )


def _or_none(found: Availability) -> m.TechnicalInformation | None:
    return technical_information(found.information) if found.available else None


def process(view: ProcessView, caller_id: str, reader: str) -> m.Process:
    """Show a process."""
    return m.Process(
        process_id=view.process_id,
        caller_id=caller_id,
        start_date=view.started_at,
        progress=view.progress,
        operation=view.operation.value,
        result=None if view.ended_at is None else _result(view, reader),
    )


def start(shown: m.Process) -> m.ProcessStart:
    """Return the notice of a process's start."""
    return m.ProcessStart(process_id=shown.process_id, caller_id=shown.caller_id, start_date=shown.start_date)


def progress(shown: m.Process) -> m.ProcessProgress:
    """Return the notice of a process's progress."""
    return m.ProcessProgress(process_id=shown.process_id, progress=shown.progress, operation=shown.operation)


def _result(view: ProcessView, reader: str) -> m.ProcessResult:
    return m.ProcessResult(
        process_info=m.ProcessInfo(
            process_id=view.process_id,
            execution_status=view.error.value,
            execution_message=view.message,
            start_date=view.started_at,
            end_date=view.ended_at or view.started_at,
        ),
        service_instance_state=view.state.value,
        technical_information=technical_information(view.information),
        service_command_results=[
            _command(outcome, () if view.instance is None else view.instance.kept_answers)
            for outcome in view.commands
        ],
        reader=reader,
    )


def _command(outcome: CommandOutcome, kept: Sequence[KeptAnswer]) -> m.ServiceCommandResult:
    """Show a command's result, with what the recipes kept; all else of a personalisation holds secrets."""
    return m.ServiceCommandResult(
        command_execution_status=outcome.result.value,
        personalization_results=[
            m.PersonalizationResult(
                application_instance_aid=str(aid),
                results=[
                    m.CommandResponsePair(tag=one.tag, command=one.command, response=one.response)
                    for one in kept
                    if one.application == aid
                ],
            )
            for aid in outcome.personalized
        ],
    )
