"""The functions in OpenAPI 3.1, made from their table and the types of their messages."""

from typing import Any, Final

import msgspec

from opentsm.api.drain import MAX_WAIT_S
from opentsm.api.messaging.functions import FUNCTIONS
from opentsm.api.messaging.records import ResponseMessage
from opentsm.api.messaging.table import Function

Json = dict[str, Any]

_TAG = "messaging"
_PREFIX = "Messaging_"
_TEMPLATE = "#/components/schemas/" + _PREFIX + "{name}"
_JSON: Final = "application/json"
_WAIT: Final[Json] = {
    "name": "wait",
    "in": "query",
    "required": False,
    "description": "seconds to wait for what takes longer than a request",
    "schema": {"type": "number", "minimum": 0, "maximum": MAX_WAIT_S},
}


def describe(path: str, bearer: str) -> tuple[Json, Json]:
    """Return the paths and the schemas."""
    kinds = {kind for function in FUNCTIONS for kind in (function.takes, function.answers)}
    ordered = sorted(kinds, key=lambda kind: kind.__name__)
    _, schemas = msgspec.json.schema_components([*ordered, ResponseMessage], ref_template=_TEMPLATE)
    named = {_PREFIX + name: schema for name, schema in schemas.items()}
    paths = {f"{path}/{one.name}": {"post": _operation(one, bearer)} for one in FUNCTIONS}
    return paths, named


def _operation(function: Function, bearer: str) -> Json:
    answer = _content("the envelope with the result", _envelope(function))
    responses = {"200": answer, "default": _content("the envelope: Failed or Expired", _plain())}
    if function.act is not None or function.name == "GetProcessResult":
        responses["202"] = _content("it goes on: ask for the result by its reference", _envelope(function))
    return {
        "operationId": f"messaging{function.name}",
        "summary": function.summary,
        "tags": [_TAG],
        "security": [{bearer: []}],
        "parameters": [_WAIT],
        "requestBody": {
            "required": True,
            "content": {_JSON: {"schema": _reference(function.takes.__name__)}},
        },
        "responses": dict(sorted(responses.items())),
    }


def _takes(function: Function) -> Json:
    return {"content": {_JSON: {"schema": _reference(function.takes.__name__)}}}


def _envelope(function: Function) -> Json:
    data = {"type": "object", "properties": {"ResponseData": _reference(function.answers.__name__)}}
    return {"allOf": [_plain(), data]}


def _plain() -> Json:
    return _reference(ResponseMessage.__name__)


def _reference(name: str) -> Json:
    return {"$ref": _TEMPLATE.format(name=name)}


def _content(description: str, schema: Json) -> Json:
    return {"description": description, "content": {_JSON: {"schema": schema}}}
