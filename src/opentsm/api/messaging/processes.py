"""What takes longer than a request: operations, as the callers of functions see them."""

from typing import Literal

from opentsm.api.messaging.records import Message
from opentsm.api.messaging.table import Call, Reply
from opentsm.api.waiting import until
from opentsm.tsm.domain.operation import ENDED, Operation, OperationState
from opentsm.tsm.kernel.ids import OperationId
from opentsm.tsm.roles.hub.services import operation_topic


class ProcessAnswer(Message, frozen=True, kw_only=True):
    """How far an operation has come. The results of its commands stand in the order of the request."""

    ProcessReference: str
    ProcessState: Literal["PENDING", "ENDED"]
    ServiceInstanceState: int | None = None
    ServiceCommandResult: list[Literal["Executed-Success", "Failed"]] = []


def settled_operation(operation: Operation, data: Message) -> Reply:
    """Return an operation's end in the words of the envelope; one that goes on is a success so far."""
    failure = operation.failure
    if operation.state is OperationState.CANCELLED:
        return Reply(data, "Failed", "cancelled", operation.id, "It was cancelled.")
    if failure is None:
        return Reply(data)
    message = f"{failure.detail} {failure.advice}".strip()
    status = "Expired" if failure.code == "expired" else "Failed"
    return Reply(data, status, failure.code, operation.id, message)  # type: ignore[arg-type]


async def operation_reply(call: Call, operation_id: str, wait_s: float) -> Reply:
    """Return how far an operation has come, waiting for its end if need be."""

    async def look() -> Operation:
        return await call.container.requests.operation(call.principal, OperationId(operation_id))

    found = await until(call, operation_topic(operation_id), wait_s, look, lambda one: one.state in ENDED)
    ended = found.state in ENDED
    data = ProcessAnswer(
        ProcessReference=found.id,
        ProcessState="ENDED" if ended else "PENDING",
        ServiceInstanceState=None if found.end_state is None else found.end_state.value,
        ServiceCommandResult=_command_results(found) if ended else [],
    )
    return settled_operation(found, data) if ended else Reply(data, http=202)


def _command_results(operation: Operation) -> list[Literal["Executed-Success", "Failed"]]:
    names = [name for name in str(operation.parameters.get("commands", "")).split(",") if name]
    if operation.state is OperationState.SUCCEEDED:
        return ["Executed-Success" for _ in names]
    done = int(operation.result.get("commands_done", 0))
    return ["Executed-Success" if n < done else "Failed" for n in range(len(names))]
