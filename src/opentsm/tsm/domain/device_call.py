"""What an app on a device may ask of a service instance: the calls of BSI TR-03165 (TSM-API) as one table.

A call names commands: `Install`, `Personalize`, `Activate` are the stages of a deployment. The order in which
an app names them is a rule of the call; in which order a card is worked on is the planner's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from opentsm.tsm.domain.card_content import ALL_STAGES, Stage
from opentsm.tsm.domain.service import InstanceState, ServiceOperation
from opentsm.tsm.kernel.errors import TsmError


class TsmErrorType(Enum):
    """Error types of TR-03165 §4.2.4.4: `executionStatus` of every answer of the TSM-API."""

    NO_ERROR = 0
    TSM_NOT_AVAILABLE = 1
    INTERNAL_ERROR = 2
    NETWORK_CONNECTION_ERROR = 3
    INVALID_ARGUMENT = 4
    NOT_AUTHENTICATED = 5
    EXECUTION_INTERRUPTED = 6
    SECURE_COMPONENT_ERROR = 7
    NO_ELIGIBLE_SC = 8
    SC_INACCESSIBLE = 9
    SC_CHANNEL_NOT_AVAILABLE = 10
    NFC_NOT_ACTIVATED = 11
    ORPHANED_SERVICE_INSTANCE = 12
    NOT_ALLOWED = 13
    ALREADY_EXISTS = 14
    UNAUTHORIZED = 15
    ISSUER_ERROR = 16
    NOT_FOUND = 17
    OVERLOAD_PROTECTION = 18
    UNDER_MAINTENANCE = 19
    DEVICE_INTEGRITY_CHECK_FAILED = 20
    UNSPECIFIED = 100


_PREFIX: Mapping[TsmErrorType, str] = {
    TsmErrorType.TSM_NOT_AVAILABLE: "TSM not available",
    TsmErrorType.INTERNAL_ERROR: "Internal error",
    TsmErrorType.NETWORK_CONNECTION_ERROR: "Network connection error",
    TsmErrorType.INVALID_ARGUMENT: "Invalid argument",
    TsmErrorType.NOT_AUTHENTICATED: "Not authenticated",
    TsmErrorType.EXECUTION_INTERRUPTED: "Execution interrupted",
    TsmErrorType.SECURE_COMPONENT_ERROR: "Secure component error",
    TsmErrorType.NO_ELIGIBLE_SC: "No eligible SC",
    TsmErrorType.SC_INACCESSIBLE: "SC inaccessible",
    TsmErrorType.SC_CHANNEL_NOT_AVAILABLE: "SC channel not available",
    TsmErrorType.NFC_NOT_ACTIVATED: "NFC not activated",
    TsmErrorType.ORPHANED_SERVICE_INSTANCE: "Orphaned service instance",
    TsmErrorType.NOT_ALLOWED: "Not allowed",
    TsmErrorType.ALREADY_EXISTS: "Already exists",
    TsmErrorType.UNAUTHORIZED: "Unauthorized",
    TsmErrorType.ISSUER_ERROR: "Issuer error",
    TsmErrorType.NOT_FOUND: "Not found",
    TsmErrorType.DEVICE_INTEGRITY_CHECK_FAILED: "Device integrity check failed",
    TsmErrorType.UNSPECIFIED: "Unspecified",
}
_LATER = "The system is currently not available, please try again later."
_WHOLE: Mapping[TsmErrorType, str] = {
    TsmErrorType.NO_ERROR: "",
    TsmErrorType.OVERLOAD_PROTECTION: f"Overload protection: {_LATER}",
    TsmErrorType.UNDER_MAINTENANCE: f"Under maintenance: {_LATER}",
}


def execution_message(type_: TsmErrorType, details: str) -> str:
    """Word an error's executionMessage: the guideline's beginning, then the details.

    Source: TR-03165 §4.2.4.4.
    """
    return _WHOLE.get(type_, f"{_PREFIX.get(type_, '')}: {details}")


class DeviceCallError(TsmError):
    """The call cannot be carried out."""

    type: ClassVar[TsmErrorType] = TsmErrorType.UNSPECIFIED
    code = "unspecified"
    status = 500


class InvalidArgumentError(DeviceCallError):
    """An argument is missing, has the wrong form, or contradicts another."""

    type = TsmErrorType.INVALID_ARGUMENT
    code = "invalid_argument"
    status = 400


class NotAuthenticatedError(DeviceCallError):
    """The device or the app is not authenticated."""

    type = TsmErrorType.NOT_AUTHENTICATED
    code = "not_authenticated"
    status = 401


class NoEligibleScError(DeviceCallError):
    """No secure element of this device can take the service."""

    type = TsmErrorType.NO_ELIGIBLE_SC
    code = "no_eligible_sc"
    status = 409


class ScInaccessibleError(DeviceCallError):
    """The secure element is there, but nothing is sent to it."""

    type = TsmErrorType.SC_INACCESSIBLE
    code = "sc_inaccessible"
    status = 409


class OrphanedInstanceError(DeviceCallError):
    """What the instance was made of was deleted; only suspend, resume and terminate are possible."""

    type = TsmErrorType.ORPHANED_SERVICE_INSTANCE
    code = "orphaned_service_instance"
    status = 409


class NotAllowedError(DeviceCallError):
    """The instance's state does not allow the call."""

    type = TsmErrorType.NOT_ALLOWED
    code = "not_allowed"
    status = 409


class AlreadyExistsError(DeviceCallError):
    """The service has an instance on this device."""

    type = TsmErrorType.ALREADY_EXISTS
    code = "already_exists"
    status = 409


class CallUnauthorizedError(DeviceCallError):
    """The app is not authorised to use this."""

    type = TsmErrorType.UNAUTHORIZED
    code = "unauthorized"
    status = 403


class ResourceNotFoundError(DeviceCallError):
    """There is no such service, version, instance or process for this app on this device."""

    type = TsmErrorType.NOT_FOUND
    code = "not_found"
    status = 404


class InternalCallError(DeviceCallError):
    """An internal error of the TSM."""

    type = TsmErrorType.INTERNAL_ERROR
    code = "internal_error"


_BY_CODE: Mapping[str, TsmErrorType] = {
    **{error.code: error.type for error in DeviceCallError.__subclasses__()},
    "cancelled": TsmErrorType.EXECUTION_INTERRUPTED,
    "expired": TsmErrorType.EXECUTION_INTERRUPTED,
    "no_progress": TsmErrorType.SC_INACCESSIBLE,
    "card_refused": TsmErrorType.SECURE_COMPONENT_ERROR,
    "application_fault": TsmErrorType.SECURE_COMPONENT_ERROR,
    "plan_refused": TsmErrorType.SECURE_COMPONENT_ERROR,
    "wrong_card": TsmErrorType.SC_INACCESSIBLE,
    "secure_element_quarantined": TsmErrorType.SC_INACCESSIBLE,
    "secure_element_retired": TsmErrorType.SC_INACCESSIBLE,
    "key_material_damaged": TsmErrorType.ISSUER_ERROR,
    "peer_fault": TsmErrorType.ISSUER_ERROR,
    "orphaned": TsmErrorType.ORPHANED_SERVICE_INSTANCE,
    "conflict": TsmErrorType.NOT_ALLOWED,
    "invalid_input": TsmErrorType.INVALID_ARGUMENT,
}


def error_type_of(failure_code: str | None) -> TsmErrorType:
    """Return the error type under which an app sees the end of an operation; None: no failure."""
    if failure_code is None:
        return TsmErrorType.NO_ERROR
    return _BY_CODE.get(failure_code, TsmErrorType.INTERNAL_ERROR)


class Call(Enum):
    """The calls that change a service instance."""

    DEPLOY = "deployService"
    UPDATE = "updateService"
    SUSPEND = "suspend"
    RESUME = "resume"
    TERMINATE = "terminateService"


Commands = tuple[Stage, ...]
_I, _P, _A = Stage.INSTALL, Stage.PERSONALIZE, Stage.ACTIVATE
_S = InstanceState
REACHED: Mapping[Stage, InstanceState] = {_I: _S.INSTALLED, _P: _S.PERSONALIZED, _A: _S.ACTIVATED}
FINALIZABLE = frozenset({_S.PERSONALIZED, _S.ACTIVATED})

_FROM_NOTHING: tuple[Commands, ...] = ((_I, _A, _P), (_I, _A), (_I, _P, _A), (_I, _P), (_I,))
_DEPLOYMENTS: Mapping[InstanceState, tuple[Commands, ...]] = {
    _S.NOT_DEPLOYED: _FROM_NOTHING,
    _S.INSTALLED: ((_A, _P), (_P, _A), (_A,)),
    _S.PERSONALIZED: ((_A,), ()),
    _S.ACTIVATED: ((_P,), ()),
    # §3.2.2: "missing steps shall be performed to reach the targeted life-cycle state"
    _S.IN_ERROR: (*_FROM_NOTHING, (_A, _P), (_P, _A), (_A,), (_P,)),
}
_DEPLOYED = (_S.OPERATIONAL, _S.SUSPENDED)


def _rows() -> dict[tuple[InstanceState, Call, Commands], InstanceState | None]:
    rows: dict[tuple[InstanceState, Call, Commands], InstanceState | None] = {}
    for state, lists in _DEPLOYMENTS.items():
        for commands in lists:
            rows[state, Call.DEPLOY, commands] = REACHED[commands[-1]] if commands else _S.ACTIVATED
    rows[_S.PERSONALIZED, Call.DEPLOY, ()] = _S.PERSONALIZED
    for state in _DEPLOYED:
        for commands in _FROM_NOTHING:
            rows[state, Call.UPDATE, commands] = REACHED[commands[-1]]
        rows[state, Call.SUSPEND, ()] = _S.SUSPENDED
        rows[state, Call.RESUME, ()] = _S.OPERATIONAL
    for state in InstanceState:
        if state not in (_S.UNKNOWN, _S.TERMINATED):
            rows[state, Call.TERMINATE, ()] = None
    return rows


LEGAL_CALLS = _rows()
"""Every legal (state, call, commands), and the state it leads to before any finalisation; None: gone.

Source: TR-03165 §3.2.2, §4.2.5.3 to 4.2.5.6.
"""


@dataclass(frozen=True, slots=True)
class Request:
    """A call with its commands; `suspension_control` is the attribute of the `Activate` command."""

    call: Call
    commands: Commands = ()
    finalize: bool = False
    suspension_control: bool = False


def service_operation(request: Request) -> ServiceOperation:
    """Return the number under which TR-03165 §4.2.4.2 knows a call."""
    if request.call in _FINALIZATIONS:
        final, first = _FINALIZATIONS[request.call]
        if request.finalize or not request.commands:
            return final
        return ServiceOperation(first.value + ALL_STAGES.index(request.commands[-1]))
    return {
        Call.SUSPEND: ServiceOperation.SUSPENSION,
        Call.RESUME: ServiceOperation.RESUMPTION,
        Call.TERMINATE: ServiceOperation.TERMINATION,
    }[request.call]


_FINALIZATIONS = {
    Call.DEPLOY: (ServiceOperation.DEPLOYMENT_FINALIZE, ServiceOperation.DEPLOYMENT_INSTALLATION),
    Call.UPDATE: (ServiceOperation.UPDATE_FINALIZE, ServiceOperation.UPDATE_INSTALLATION),
}


def target_state(state: InstanceState, request: Request) -> InstanceState | None:
    """Return the state to which a call leads when it succeeds; None: the instance is gone.

    Args:
        state: the instance's present state.
        request: the call.

    Raises:
        InvalidArgumentError: the commands are no list of a call at all.
        NotAllowedError: the state does not allow the call, or not with these commands.

    Source: TR-03165 §3.2.2, §4.2.4.4 (4, 13), §4.2.5.3 to 4.2.5.6.
    """
    _check_form(request)
    key = (state, request.call, request.commands)
    if key not in LEGAL_CALLS:
        names = ", ".join(stage.name.capitalize() for stage in request.commands)
        listed = f" with [{names}]" if request.call in (Call.DEPLOY, Call.UPDATE) else ""
        raise NotAllowedError(
            f"{request.call.value}{listed} is not possible for an instance in state {state.name}.",
            advice="Look at the instance's state; docs/reference/states.md lists what each allows.",
        )
    reached = LEGAL_CALLS[key]
    if not request.finalize or request.call not in (Call.DEPLOY, Call.UPDATE):
        return reached
    if reached not in FINALIZABLE:
        raise NotAllowedError(
            f"A deployment cannot be finalised in state {reached.name if reached else 'gone'}.",
            advice="Personalise or activate the service first.",
        )
    # only an `Activate` without suspension control takes a suspension back
    kept = state is _S.SUSPENDED and Stage.ACTIVATE not in request.commands
    return _S.SUSPENDED if request.suspension_control or kept else _S.OPERATIONAL


def _check_form(request: Request) -> None:
    commands = request.commands
    for stage in set(commands):
        if commands.count(stage) > 1:
            raise InvalidArgumentError(
                f"The commands contain {stage.name.capitalize()} more than once.", field="/commands"
            )
    if request.call not in (Call.DEPLOY, Call.UPDATE):
        return
    if not commands and not request.finalize:
        raise InvalidArgumentError(
            "The commands may be empty only if the call finalises the deployment.", field="/commands"
        )
    if request.suspension_control and Stage.ACTIVATE not in commands:
        raise InvalidArgumentError(
            "suspension_control belongs to the command Activate, which is not among the commands.",
            field="/suspension_control",
        )
