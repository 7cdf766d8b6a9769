"""The TSM's error tree; the docstring of a class is its default message.

TsmError
├── CallerError            whoever called is at fault (HTTP 4xx)
│   ├── InvalidInputError
│   ├── UnauthenticatedError
│   │   └── ExpiredTokenError
│   ├── ForbiddenError
│   ├── NotFoundError
│   ├── PreconditionFailedError
│   ├── TooManyError
│   └── ConflictError
│       ├── IllegalTransitionError
│       ├── PlanRefusedError
│       │   ├── QuotaExceededError
│       │   └── NoSpaceError
│       ├── TokenRefusedError
│       ├── OrphanedError
│       ├── QuarantinedError
│       └── IdempotencyConflictError
├── CardFaultError         the card refused or answered what it may not
│   ├── CardRefusedError
│   ├── WrongCardError
│   └── ApplicationFaultError
├── PeerFaultError         another party's TSM is at fault
└── InternalError          we are at fault (HTTP 5xx)
    ├── StaleVersionError  lost an optimistic race: retry
    ├── InvariantError     stored data contradict each other
    └── KeystoreError
        └── KeyMaterialError   a stored key set was changed or belongs elsewhere
"""

from typing import ClassVar


class TsmError(Exception):
    """The Trusted Service Manager refused."""

    code: ClassVar[str] = "tsm_error"
    status: ClassVar[int] = 500

    def __init__(
        self, detail: str | None = None, *, advice: str | None = None, field: str | None = None
    ) -> None:
        """Describe what was refused, why, and what to do.

        Args:
            detail: what was refused and why; never a key, PIN or personalisation value.
            advice: what the receiver can do about it.
            field: the value at fault: a JSON pointer (`/key_sets/0/kvn`) when it comes with a body, the plain
                name when it stands in a query, a path or a header.
        """
        self.detail = detail or type(self).__doc__ or type(self).__name__
        self.advice = advice
        self.field = field
        super().__init__(self.detail if advice is None else f"{self.detail} {advice}")


class CallerError(TsmError):
    """The request cannot be carried out as it was made."""

    code = "bad_request"
    status = 400


class InvalidInputError(CallerError):
    """A value in the request is missing or not of the required form."""

    code = "invalid_input"


class UnauthenticatedError(CallerError):
    """The request carries no valid credential."""

    code = "unauthenticated"
    status = 401


class ExpiredTokenError(UnauthenticatedError):
    """The bearer token has expired."""


class ForbiddenError(CallerError):
    """The credential does not allow this."""

    code = "forbidden"
    status = 403


class SandboxBorderError(ForbiddenError):
    """Sandbox parties and real ones do not meet."""

    code = "sandbox_border"


class NotFoundError(CallerError):
    """There is no such object, or it belongs to somebody else."""

    code = "not_found"
    status = 404


class ConflictError(CallerError):
    """The object's present state does not allow this."""

    code = "conflict"
    status = 409


class PreconditionFailedError(CallerError):
    """The object has changed since the caller looked at it."""

    code = "precondition_failed"
    status = 412


class TooManyError(CallerError):
    """The caller has had as much of this as it may have for now."""

    code = "too_many"
    status = 429

    def __init__(
        self,
        detail: str | None = None,
        *,
        advice: str | None = None,
        field: str | None = None,
        retry_after_s: int = 1,
    ) -> None:
        """Say also in how many seconds trying again helps."""
        self.retry_after_s = retry_after_s
        super().__init__(detail, advice=advice, field=field)


class IllegalTransitionError(ConflictError):
    """The state machine has no such move."""

    code = "illegal_transition"


class PlanRefusedError(ConflictError):
    """What is on the card does not allow what is wanted."""

    code = "plan_refused"


class QuotaExceededError(PlanRefusedError):
    """The provider would use more of the secure element's memory than it may."""

    code = "quota_exceeded"


class NoSpaceError(PlanRefusedError):
    """The secure element has not enough free memory; nothing was sent to it."""

    code = "no_space"


class TokenRefusedError(ConflictError):
    """The party that issues tokens refuses one: the operation on record does not ask for this command."""

    code = "token_refused"


class OrphanedError(ConflictError):
    """The flavor that the instance was made of is gone; it can be suspended, resumed and terminated."""

    code = "orphaned"


class QuarantinedError(ConflictError):
    """The secure element is quarantined: it did not prove that it holds its keys."""


class IdempotencyConflictError(ConflictError):
    """The idempotency key was used before with another body."""

    code = "idempotency_key_reused"


class CardFaultError(TsmError):
    """The secure element did not do what was asked."""

    code = "card_fault"
    status = 502


class CardRefusedError(CardFaultError):
    """The secure element refused a command."""

    code = "card_refused"


class WrongCardError(CardFaultError):
    """The secure element does not hold the keys that it should hold."""

    code = "wrong_card"


class ApplicationFaultError(CardFaultError):
    """An application on the secure element does not answer as its provider's keys and recipe say."""

    code = "application_fault"


class PeerFaultError(TsmError):
    """The other party's TSM did not answer as agreed."""

    code = "peer_fault"
    status = 502


class InternalError(TsmError):
    """An error of the TSM itself; it was logged under the request's id."""

    code = "internal_error"


class StaleVersionError(InternalError):
    """Another writer was faster; the work is repeated from the stored state."""

    code = "stale_version"
    status = 409


class InvariantError(InternalError):
    """Stored data contradict each other; nothing was done."""

    code = "invariant_broken"


class KeystoreError(InternalError):
    """The keystore refused; no key was used."""

    code = "keystore_error"


class KeyMaterialError(KeystoreError):
    """A stored key set was changed, or was sealed for another place; no key was used."""

    code = "key_material_damaged"
