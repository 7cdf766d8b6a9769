"""The calls of the peer port as messages: derived from its protocols, so that no call is written twice.

A call is named `port/method`; its arguments are a JSON object with the method's own parameter names, its
result any JSON value. Errors of the TSM's tree travel by their code.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, get_type_hints

import msgspec

from opentsm.card.errors import AidError
from opentsm.tsm.kernel.documents import Record, from_builtins, from_json, to_builtins, to_json
from opentsm.tsm.kernel.errors import InvalidInputError, NotFoundError, PeerFaultError, TsmError
from opentsm.tsm.ports.peer import SegmentOwner, ServiceCatalogue

SEGMENT_OWNER, CATALOGUE = "segment-owner", "catalogue"
# a document that is nested too deeply is one that nobody could read
_MALFORMED = (msgspec.DecodeError, msgspec.ValidationError, ValueError, AidError, RecursionError)
PORTS: Mapping[str, type] = {SEGMENT_OWNER: SegmentOwner, CATALOGUE: ServiceCatalogue}


@dataclass(frozen=True, slots=True)
class PeerCall:
    """One call: its name, its parameters in order with their types, and the type of its result."""

    name: str
    method: str
    parameters: Mapping[str, Any]
    result: Any

    def write_arguments(self, positional: tuple[object, ...], named: Mapping[str, object]) -> bytes:
        """Write the arguments of one call as JSON."""
        return to_json({name: to_builtins(value) for name, value in self.given(positional, named).items()})

    def given(self, positional: tuple[object, ...], named: Mapping[str, object]) -> dict[str, object]:
        """Return the arguments of one call by their names."""
        return dict(zip(self.parameters, positional, strict=False)) | dict(named)

    def read_arguments(self, body: bytes) -> dict[str, object]:
        """Read the arguments of one call.

        Raises:
            InvalidInputError: one is missing, unknown or malformed.
        """
        try:
            found = from_json(dict[str, Any], body)
            if set(found) != set(self.parameters):
                raise InvalidInputError(f"{self.name} takes {', '.join(self.parameters)}.")
            return {name: from_builtins(kind, found[name]) for name, kind in self.parameters.items()}
        except _MALFORMED as error:
            raise InvalidInputError(f"The arguments of {self.name} are malformed.") from error


class PeerError(Record, frozen=True, kw_only=True):
    """An error as it travels."""

    code: str
    detail: str
    advice: str | None = None
    field: str | None = None


class PeerAnswer(Record, frozen=True, kw_only=True):
    """What comes back: a result as JSON, or an error."""

    result: msgspec.Raw = msgspec.Raw(b"null")
    error: PeerError | None = None


@cache
def call_named(name: str) -> PeerCall:
    """Return a call.

    Raises:
        NotFoundError: there is none of that name.
    """
    port, _, method = name.partition("/")
    function = getattr(PORTS.get(port), method, None) if method.isidentifier() else None
    if method.startswith("_") or not inspect.iscoroutinefunction(function):
        raise NotFoundError("There is no such call.")
    hints = get_type_hints(function)
    result = hints.pop("return")
    return PeerCall(name, method, hints, result)


def write_result(result: object) -> bytes:
    """Write the answer to a call."""
    return to_json(PeerAnswer(result=msgspec.Raw(to_json(to_builtins(result)))))


def write_error(error: TsmError) -> bytes:
    """Write an error as the answer to a call."""
    return to_json(
        PeerAnswer(
            error=PeerError(code=error.code, detail=error.detail, advice=error.advice, field=error.field)
        )
    )


def read_answer(call: PeerCall, body: bytes) -> object:
    """Return the result of a call.

    Raises:
        TsmError: the error that the other side answered, of the same class.
        PeerFaultError: what came is no answer, or an error that this TSM does not know.
    """
    try:
        answer = from_json(PeerAnswer, body)
        if answer.error is None:
            return from_json(call.result, bytes(answer.result))
    except _MALFORMED as error:
        raise PeerFaultError(f"The other TSM's answer to {call.name} is malformed.") from error
    raise _raised(answer.error)


def _raised(error: PeerError) -> TsmError:
    kind = _by_code().get(error.code)
    if kind is None:
        return PeerFaultError(f"The other TSM could not do it: {error.code}.")
    return kind(error.detail, advice=error.advice, field=error.field)


@cache
def _by_code() -> Mapping[str, type[TsmError]]:
    """Return the errors that may cross the border, by code: all but what is wrong inside a TSM."""
    found: dict[str, type[TsmError]] = {}
    waiting: list[type[TsmError]] = [TsmError]
    while waiting:
        kind = waiting.pop(0)
        found.setdefault(kind.code, kind)
        waiting += kind.__subclasses__()
    return {code: kind for code, kind in found.items() if kind.status < 500 or code in _PASSED_ON}


_PASSED_ON = ("wrong_card", "application_fault", "card_refused", "key_material_damaged")
