"""Which stages an operation is asked for, written into its parameters and read from them."""

from opentsm.tsm.domain.card_content import ALL_STAGES, Stage
from opentsm.tsm.domain.device_call import Call, Request
from opentsm.tsm.domain.operation import Operation, OperationType

COMMANDS_DONE = "commands_done"  # member of a failed operation's result
_CALLS = {
    OperationType.DEPLOY: Call.DEPLOY,
    OperationType.UPDATE: Call.UPDATE,
    OperationType.SUSPEND: Call.SUSPEND,
    OperationType.RESUME: Call.RESUME,
    OperationType.TERMINATE: Call.TERMINATE,
}


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
