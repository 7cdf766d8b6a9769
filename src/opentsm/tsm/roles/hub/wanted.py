"""What an operation is to make of its instance, written into its parameters and read from them. Pure."""

from opentsm.tsm.domain.card_content import ALL_STAGES, Goal, Stage
from opentsm.tsm.domain.device_call import Call, Request
from opentsm.tsm.domain.operation import Operation, OperationType
from opentsm.tsm.domain.service import ServiceInstance

COMMANDS_DONE = "commands_done"  # member of a failed operation's result
_CALLS = {
    OperationType.DEPLOY: Call.DEPLOY,
    OperationType.UPDATE: Call.UPDATE,
    OperationType.SUSPEND: Call.SUSPEND,
    OperationType.RESUME: Call.RESUME,
    OperationType.TERMINATE: Call.TERMINATE,
}

_GOALS = {Call.SUSPEND: Goal.SUSPENDED, Call.RESUME: Goal.ACTIVE, Call.TERMINATE: Goal.ABSENT}


def request_parameters(request: Request) -> dict[str, str | int]:
    """Return a call's commands as an operation's parameters."""
    return {
        "commands": ",".join(stage.value for stage in request.commands),
        "finalize": int(request.finalize),
        "suspension_control": int(request.suspension_control),
    }


def is_staged(operation: Operation) -> bool:
    """Say whether the caller chose the stages; else it is a deployment or an update as a whole."""
    return "commands" in operation.parameters


def request_of(operation: Operation) -> Request | None:
    """Return what was asked for as a call of TR-03165; None when it knows no such call."""
    call = _CALLS.get(operation.type)
    if call is None:
        return None
    if call not in (Call.DEPLOY, Call.UPDATE):
        return Request(call)
    if not is_staged(operation):
        return Request(call, ALL_STAGES, finalize=True)
    parameters = operation.parameters
    names = str(parameters["commands"])
    return Request(
        call,
        tuple(Stage(name) for name in names.split(",") if name),
        finalize=bool(parameters["finalize"]),
        suspension_control=bool(parameters["suspension_control"]),
    )


def is_final(operation: Operation) -> bool:
    """Say whether the instance is complete when the operation has succeeded."""
    request = request_of(operation)
    return request is None or request.call not in (Call.DEPLOY, Call.UPDATE) or request.finalize


def goal_of(operation: Operation, instance: ServiceInstance) -> Goal:
    """Return what an instance should be when the operation has succeeded.

    A suspension that a call has asked for stays until an `Activate` without it, or a resumption.
    """
    request = request_of(operation)
    if request is None:
        return instance.goal
    if request.call not in (Call.DEPLOY, Call.UPDATE):
        return _GOALS[request.call]
    if request.suspension_control:
        return Goal.SUSPENDED
    if is_staged(operation):
        return Goal.ACTIVE if Stage.ACTIVATE in request.commands else instance.goal
    return Goal.ACTIVE if request.call is Call.DEPLOY else instance.goal


def stages_of(operation: Operation, instance: ServiceInstance) -> tuple[Stage, ...]:
    """Return the stages of its description that should be on the card when the operation has succeeded.

    Those that were reached before stay; without the first there is none of the others.
    """
    request = request_of(operation)
    wanted = {Stage.INSTALL}
    if operation.type is not OperationType.UPDATE:
        wanted |= set(instance.stages)
    if operation.type is OperationType.PERSONALIZE:
        wanted.add(Stage.PERSONALIZE)
    if request is not None:
        wanted |= set(request.commands)
    return tuple(stage for stage in ALL_STAGES if stage in wanted)
