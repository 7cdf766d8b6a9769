"""Errors by their number in TR-03165 §4.2.4.4, each with a class of its own.

TsmApiError
├── TsmNotAvailableError (1) … DeviceIntegrityCheckFailedError (20), UnspecifiedError (100)
"""

from enum import IntEnum
from typing import ClassVar

from opentsm.sdk.messages import ProcessResult


class ErrorType(IntEnum):
    """The guideline's error categories."""

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


class TsmApiError(Exception):
    """A call to the TSM failed."""

    error_type: ClassVar[ErrorType] = ErrorType.UNSPECIFIED

    def __init__(
        self,
        message: str | None = None,
        *,
        advice: str = "",
        request_id: str = "",
        result: ProcessResult | None = None,
    ) -> None:
        """Tell what failed.

        Args:
            message: the guideline's executionMessage.
            advice: what can be done.
            request_id: under which the server has logged it.
            result: of the process, when one was begun and failed.
        """
        self.message = message or (type(self).__doc__ or "").strip()
        self.advice = advice
        self.request_id = request_id
        self.result = result
        super().__init__(f"{self.message} {advice}".strip())


class TsmNotAvailableError(TsmApiError):
    """The TSM is not available."""

    error_type = ErrorType.TSM_NOT_AVAILABLE


class TsmInternalError(TsmApiError):
    """An internal error of the TSM, or an answer that is none."""

    error_type = ErrorType.INTERNAL_ERROR


class NetworkConnectionError(TsmApiError):
    """The TSM could not be reached."""

    error_type = ErrorType.NETWORK_CONNECTION_ERROR


class InvalidArgumentError(TsmApiError):
    """A value is missing or not of its form."""

    error_type = ErrorType.INVALID_ARGUMENT


class NotAuthenticatedError(TsmApiError):
    """An access token or a device token is missing, unknown, expired or revoked."""

    error_type = ErrorType.NOT_AUTHENTICATED


class ExecutionInterruptedError(TsmApiError):
    """The process was cancelled, or its connection is lost."""

    error_type = ErrorType.EXECUTION_INTERRUPTED


class SecureComponentError(TsmApiError):
    """The secure component refused, or answered what it may not."""

    error_type = ErrorType.SECURE_COMPONENT_ERROR


class NoEligibleScError(TsmApiError):
    """No secure component of this device can have the service."""

    error_type = ErrorType.NO_ELIGIBLE_SC


class ScInaccessibleError(TsmApiError):
    """A secure component is there and cannot be accessed."""

    error_type = ErrorType.SC_INACCESSIBLE


class ScChannelNotAvailableError(TsmApiError):
    """No channel to the secure component could be opened."""

    error_type = ErrorType.SC_CHANNEL_NOT_AVAILABLE


class NfcNotActivatedError(TsmApiError):
    """NFC is off."""

    error_type = ErrorType.NFC_NOT_ACTIVATED


class OrphanedServiceInstanceError(TsmApiError):
    """The instance's flavor is gone: it can be suspended, resumed and terminated."""

    error_type = ErrorType.ORPHANED_SERVICE_INSTANCE


class NotAllowedError(TsmApiError):
    """The instance's state does not allow this."""

    error_type = ErrorType.NOT_ALLOWED


class AlreadyExistsError(TsmApiError):
    """The service has an instance on this device."""

    error_type = ErrorType.ALREADY_EXISTS


class UnauthorizedError(TsmApiError):
    """The app may not do this."""

    error_type = ErrorType.UNAUTHORIZED


class IssuerError(TsmApiError):
    """The secure component's issuer failed."""

    error_type = ErrorType.ISSUER_ERROR


class NotFoundError(TsmApiError):
    """There is no such service, version, instance or process."""

    error_type = ErrorType.NOT_FOUND


class OverloadProtectionError(TsmApiError):
    """The TSM is too busy: try again later."""

    error_type = ErrorType.OVERLOAD_PROTECTION


class UnderMaintenanceError(TsmApiError):
    """The TSM is under maintenance: try again later."""

    error_type = ErrorType.UNDER_MAINTENANCE


class DeviceIntegrityCheckFailedError(TsmApiError):
    """The device is not in a state in which it may do this."""

    error_type = ErrorType.DEVICE_INTEGRITY_CHECK_FAILED


class UnspecifiedError(TsmApiError):
    """An error of no other type."""


_CLASSES = {kind.error_type.value: kind for kind in TsmApiError.__subclasses__()}


def error_class(number: int) -> type[TsmApiError]:
    """Return the class of an error type; numbers that are not known are UNSPECIFIED."""
    return _CLASSES.get(number, UnspecifiedError)
