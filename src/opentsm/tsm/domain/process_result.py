"""What a service provider's online system hears at the end of a process (BSI TR-03165 1.0.4 §4.3.3.1)."""

from datetime import UTC, datetime

import msgspec

from opentsm.tsm.domain.card_content import ALL_STAGES, Stage
from opentsm.tsm.domain.device_call import TsmErrorType, error_type_of
from opentsm.tsm.domain.operation import Operation, OperationState, OperationType
from opentsm.tsm.domain.service import EndReason, InstanceState, ServiceInstance

_FIRST_OF = {OperationType.DEPLOY: 10, OperationType.UPDATE: 20}
_ALONE = {
    OperationType.PERSONALIZE: (11,),
    OperationType.SUSPEND: (30,),
    OperationType.RESUME: (31,),
    OperationType.TERMINATE: (40,),
}
_WORDS = {
    EndReason.SECURE_ELEMENT_WIPED: "The secure element's issuer wiped it.",
    EndReason.SECURE_ELEMENT_RETIRED: "The secure element's issuer put it out of use for good.",
}
REPORTED = frozenset((*_FIRST_OF, *_ALONE))


class ProcessResult(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The body of `POST <sposURL>/process-results`."""

    process_id: str
    execution_status: int
    execution_message: str
    start_date: str
    end_date: str
    service_id: str
    version_tag: str
    service_instance_id: str
    requested_operations: tuple[int, ...]
    service_start_state: int
    service_end_state: int


def process_result(operation: Operation, instance: ServiceInstance) -> ProcessResult | None:
    """Word the result of an operation that has ended; None for one that is no process of the guideline.

    Args:
        operation: ended.
        instance: as the operation left it.
    """
    requested = requested_operations(operation, instance)
    if requested is None or operation.ended_at is None:
        return None
    status, message = _execution(operation, instance)
    description = instance.description
    return ProcessResult(
        process_id=operation.id,
        execution_status=status,
        execution_message=message,
        start_date=_utc(operation.created_at),
        end_date=_utc(operation.ended_at),
        service_id=description.service_id,
        version_tag=str(operation.parameters.get("version", description.version_tag)),
        service_instance_id=instance.id,
        requested_operations=requested,
        service_start_state=_state(operation.start_state or instance.state),
        service_end_state=_state(instance.state),
    )


def requested_operations(operation: Operation, instance: ServiceInstance) -> tuple[int, ...] | None:
    """Return the numbers of what was asked for (§4.3.3.1); None: the guideline knows nothing like it.

    A deployment that names no commands is one with all stages that its service has.
    """
    if operation.type not in _FIRST_OF:
        return _ALONE.get(operation.type)
    named = operation.parameters.get("commands")
    names = [one for one in str(named).split(",") if one] if named is not None else _stages_of(instance)
    order = [stage.value for stage in ALL_STAGES]
    return tuple(_FIRST_OF[operation.type] + order.index(name) for name in names)


def _stages_of(instance: ServiceInstance) -> list[str]:
    personalized = any(app.personalization is not None for app in instance.description.applications)
    return [one.value for one in ALL_STAGES if one is not Stage.PERSONALIZE or personalized]


def _execution(operation: Operation, instance: ServiceInstance) -> tuple[int, str]:
    if operation.state is OperationState.SUCCEEDED:
        words = "" if instance.end_reason is None else _WORDS.get(instance.end_reason, "")
        return int(TsmErrorType.NO_ERROR.value), words
    if operation.failure is None:
        return int(TsmErrorType.EXECUTION_INTERRUPTED.value), "It was cancelled."
    return int(error_type_of(operation.failure.code).value), operation.failure.detail


def _state(state: InstanceState) -> int:
    """Return the state's number; an instance that is gone has none, and nothing of it is deployed."""
    shown = InstanceState.NOT_DEPLOYED if state is InstanceState.TERMINATED else state
    return int(shown.value)


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
