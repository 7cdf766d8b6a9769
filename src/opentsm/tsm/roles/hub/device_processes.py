"""Operations as an app sees them: processes of BSI TR-03165, with progress, commands and an error type."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.card_content import Stage
from opentsm.tsm.domain.device_call import (
    REACHED,
    Call,
    Request,
    ResourceNotFoundError,
    TsmErrorType,
    error_type_of,
    execution_message,
)
from opentsm.tsm.domain.operation import ENDED, Operation, OperationState
from opentsm.tsm.domain.service import InstanceState, ServiceInstance, ServiceOperation
from opentsm.tsm.kernel.ids import OperationId
from opentsm.tsm.ports.peer import TechnicalInformation
from opentsm.tsm.roles.hub.device_reach import DeviceCaller, DeviceReach, as_call_errors
from opentsm.tsm.roles.hub.progress import progress_of
from opentsm.tsm.roles.hub.requests import Requests
from opentsm.tsm.roles.hub.wanted import COMMANDS_DONE, request_of

_O = ServiceOperation
_OPERATIONS = {
    Call.DEPLOY: (
        _O.DEPLOYMENT_INSTALLATION,
        _O.DEPLOYMENT_PERSONALIZATION,
        _O.DEPLOYMENT_ACTIVATION,
        _O.DEPLOYMENT_FINALIZE,
    ),
    Call.UPDATE: (
        _O.UPDATE_INSTALLATION,
        _O.UPDATE_PERSONALIZATION,
        _O.UPDATE_ACTIVATION,
        _O.UPDATE_FINALIZE,
    ),
}
_ALONE = {Call.SUSPEND: _O.SUSPENSION, Call.RESUME: _O.RESUMPTION, Call.TERMINATE: _O.TERMINATION}
_STAGES = (Stage.INSTALL, Stage.PERSONALIZE, Stage.ACTIVATE)


class CommandResult(Enum):
    """What became of a service command (TR-03165 §4.2.3.10)."""

    SUCCESS = 0
    FAILED = 1
    NOT_EXECUTED = 2


@dataclass(frozen=True, slots=True)
class CommandOutcome:
    """A command, what became of it, and the applications that it personalised."""

    command: Stage
    result: CommandResult
    personalized: tuple[Aid, ...] = ()


@dataclass(frozen=True, slots=True)
class ProcessView:
    """A process: `ended_at` and what follows it are there once it has ended."""

    process_id: OperationId
    started_at: datetime
    progress: int
    operation: ServiceOperation
    ended_at: datetime | None = None
    error: TsmErrorType = TsmErrorType.NO_ERROR
    message: str = ""
    state: InstanceState = InstanceState.UNKNOWN
    instance: ServiceInstance | None = None
    information: TechnicalInformation | None = None
    commands: tuple[CommandOutcome, ...] = ()


class DeviceProcesses(DeviceReach):
    """Processes on the app's device."""

    async def process_view(self, caller: DeviceCaller, operation: Operation) -> ProcessView:
        """Return a process as it is now.

        Args:
            caller: the app.
            operation: as `process` returned it.

        Source: TR-03165 §4.2.3.7 to 4.2.3.11.
        """
        async with self._s.storage.transaction() as tx:
            instance = (
                None if operation.instance_id is None else await tx.instances.get(operation.instance_id)
            )
        request = request_of(operation)
        if instance is None or request is None:
            raise ResourceNotFoundError("This operation is no process of an app.")
        view = ProcessView(
            process_id=operation.id,
            started_at=operation.created_at,
            progress=progress_of(operation),
            operation=operation_in_work(operation, request, instance.state),
        )
        if operation.state not in ENDED:
            return view
        gone = instance.state is InstanceState.TERMINATED
        information = None if gone else await self.technical_information(caller, instance)
        error = _error(operation)
        return ProcessView(
            process_id=view.process_id,
            started_at=view.started_at,
            progress=view.progress,
            operation=view.operation,
            ended_at=operation.ended_at,
            error=error,
            message=execution_message(error, _details(operation)),
            state=InstanceState.UNKNOWN if gone else instance.state,
            instance=instance,
            information=information,
            commands=command_outcomes(operation, request, instance),
        )

    async def cancel(self, caller: DeviceCaller, operation_id: OperationId) -> Operation:
        """Cancel a process at once when nothing was sent to the card, else at the next safe point.

        Raises:
            DeviceCallError: 13, it has ended; 17.
        """
        async with as_call_errors():
            await self.process(caller, operation_id)
            return await Requests(self._s).cancel(caller.principal, operation_id)


def operation_in_work(operation: Operation, request: Request, state: InstanceState) -> ServiceOperation:
    """Return the number of what is done now; of an ended process, of what was asked for.

    Source: TR-03165 §4.2.4.2.
    """
    if request.call in _ALONE:
        return _ALONE[request.call]
    numbers = _OPERATIONS[request.call]
    if operation.state in ENDED or not request.commands:
        last = None if request.finalize or not request.commands else request.commands[-1]
        return numbers[-1] if last is None else numbers[_STAGES.index(last)]
    reached = [number for number, stage in enumerate(request.commands) if REACHED[stage] is state]
    following = reached[-1] + 1 if reached and operation.changed_card else 0
    if following < len(request.commands):
        return numbers[_STAGES.index(request.commands[following])]
    return numbers[-1] if request.finalize else numbers[_STAGES.index(request.commands[-1])]


def command_outcomes(
    operation: Operation, request: Request, instance: ServiceInstance
) -> tuple[CommandOutcome, ...]:
    """Return what became of each command of an ended process, in the order of the call."""
    if operation.state is OperationState.SUCCEEDED:
        results = [CommandResult.SUCCESS] * len(request.commands)
    else:
        done = int(operation.result.get(COMMANDS_DONE, 0))
        failed = CommandResult.FAILED if operation.started_at else CommandResult.NOT_EXECUTED
        rest = len(request.commands) - done
        results = [CommandResult.SUCCESS] * done + [failed] * min(rest, 1)
        results += [CommandResult.NOT_EXECUTED] * (rest - 1)
    personalized = tuple(app.instance_aid for app in instance.description.applications if app.personalization)
    return tuple(
        CommandOutcome(
            command,
            result,
            personalized if command is Stage.PERSONALIZE and result is CommandResult.SUCCESS else (),
        )
        for command, result in zip(request.commands, results, strict=True)
    )


def _error(operation: Operation) -> TsmErrorType:
    if operation.state is OperationState.SUCCEEDED:
        return TsmErrorType.NO_ERROR
    if operation.state is OperationState.CANCELLED:
        return TsmErrorType.EXECUTION_INTERRUPTED
    return error_type_of(None if operation.failure is None else operation.failure.code)


def _details(operation: Operation) -> str:
    if operation.failure is not None:
        return operation.failure.detail
    return "manually cancelled" if operation.state is OperationState.CANCELLED else ""
