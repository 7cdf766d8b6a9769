"""The TR-03165 routes in OpenAPI 3.1, made from the table of operations and the forms of the entities."""

from collections.abc import Iterator
from typing import Any, Final

from opentsm.api.sptsm.exchange import MAX_BODY_BYTES
from opentsm.api.sptsm.operations import OPERATIONS
from opentsm.api.sptsm.routes import PATH, parameters
from opentsm.api.sptsm.table import Answer, Body, Operation
from opentsm.tsm.roles.sp.entities import APPLICATION_CONFIG, FLAVOR, SERVICE, SPOS_CONFIG, VERSION
from opentsm.tsm.roles.sp.errors import Category

Json = dict[str, Any]

SHORT_TERM = "sptsmToken"
LONG_TERM = "sptsmLongTermToken"
SECURITY_SCHEMES: Final[Json] = {
    SHORT_TERM: {"type": "http", "scheme": "bearer", "description": "a short-term token of POST /auth"},
    LONG_TERM: {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "the party's long-term token, with or without `Bearer` before it",
    },
}
_PREFIX = "Sptsm_"
_TAG = "TR-03165"
_JSON = "application/json"
_TEXT: Final[Json] = {"type": "string", "maxLength": 255}
_MEANINGS = {
    "400": "refused: categories 1002 to 1016",
    "401": "no valid token: category 1000 or 1001",
    "500": "our fault: category 2000; with `Retry-After` when trying again helps",
    "default": "any other refusal",
}


def describe() -> tuple[Json, Json]:
    """Return the paths and the schemas."""
    paths: Json = {f"{PATH}/auth": {"post": _auth()}}
    for operation in OPERATIONS:
        paths.setdefault(PATH + operation.path, {})[operation.method.lower()] = _operation(operation)
    return paths, {_PREFIX + name: schema for name, schema in _schemas()}


def _auth() -> Json:
    answer = {"type": "string", "description": "the token, good for an hour"}
    return {
        "operationId": "createAccessToken",
        "summary": "Exchange the long-term token for a short-term one",
        "tags": [_TAG],
        "security": [{LONG_TERM: []}],
        "responses": {"200": _content("the short-term token", _JSON, answer), **_errors()},
    }


def _operation(operation: Operation) -> Json:
    status = "204" if operation.answer is Answer.NOTHING else "200"
    described: Json = {
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [_TAG],
        "security": [{SHORT_TERM: []}],
        "parameters": [_parameter(name) for name in parameters(operation)],
        "responses": {status: _answer(operation), **_errors()},
    }
    if operation.body is not Body.NONE:
        described["requestBody"] = _body(operation)
    return described


def _parameter(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _answer(operation: Operation) -> Json:
    if operation.answer is Answer.NOTHING:
        return {"description": "done"}
    if operation.answer is Answer.FILE:
        return _content("the file", "application/octet-stream", {"type": "string", "format": "binary"})
    schema = _reference(operation.schema)
    if operation.answer is Answer.LIST:
        return _content("all of them", _JSON, {"type": "array", "items": schema})
    return _content("the document", _JSON, schema)


def _body(operation: Operation) -> Json:
    if operation.body is Body.JSON:
        return {"required": True, "content": {_JSON: {"schema": _reference(operation.takes)}}}
    kind = operation.body.value
    form = {
        "type": "object",
        "properties": {
            f"{kind}Filename": {**_TEXT, "description": "else the file part's own name counts"},
            f"{kind}File": {"type": "string", "format": "binary"},
        },
        "required": [f"{kind}File"],
        "additionalProperties": False,
    }
    return {"required": True, "content": {"multipart/form-data": {"schema": form}}}


def _errors() -> Json:
    error = _reference("GeneralError")
    return {status: _content(meaning, _JSON, error) for status, meaning in _MEANINGS.items()}


def _content(description: str, kind: str, schema: Json) -> Json:
    return {"description": description, "content": {kind: {"schema": schema}}}


def _reference(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{_PREFIX}{name}"}


# --- schemas -------------------------------------------------------------------------------------------


def _schemas() -> Iterator[tuple[str, Json]]:
    for form in (SERVICE, FLAVOR, VERSION, APPLICATION_CONFIG, SPOS_CONFIG):
        yield form.entity, {"description": f"A {form.entity} as stored.", **form.answer_schema()}
        yield f"New{form.entity}", {"description": f"A {form.entity} to store.", **form.request_schema()}
        changed = f"A {form.entity} in place of one; what cannot change may be repeated."
        yield f"Changed{form.entity}", {"description": changed, **form.change_schema()}
    yield "Ids", {"type": "array", "items": _TEXT, "uniqueItems": True, "description": "Ids."}
    yield "ProfilesOfFlavors", _map("Ids of SecureComponentProfiles by the id of their Flavor.", _IDS)
    yield "FlavorsOfProfiles", _map("The id of the Flavor by the id of a SecureComponentProfile.", _TEXT)
    for name, description, members in _WRITTEN_BY_US:
        yield name, _object(description, members)


def _map(description: str, value: Json) -> Json:
    return {"description": description, "type": "object", "additionalProperties": value}


def _object(description: str, members: Json) -> Json:
    return {
        "description": description,
        "type": "object",
        "properties": members,
        "required": list(members),
        "additionalProperties": False,
    }


_IDS: Final[Json] = {"type": "array", "items": _TEXT, "uniqueItems": True}
_TEXTS: Final[Json] = {"type": "object", "additionalProperties": {"type": "string"}}
_UPLOADED: Final[Json] = dict.fromkeys(("id", "spId", "fileName", "creationDate", "uploadDate"), _TEXT)
_WRITTEN_BY_US: Final[tuple[tuple[str, str, Json], ...]] = (
    ("ServiceProvider", "The account.", {"id": _TEXT, "name": _TEXT}),
    (
        "SecureComponentProfile",
        "A kind of card.",
        dict.fromkeys(("id", "name", "hardwarePlatform", "os", "osVersion", "javaCardVersion"), _TEXT)
        | {"scType": {"type": "integer"}}
        | dict.fromkeys(
            ("javaCardFeatures", "gpSpecVersions", "gpApiVersions", "csp", "certifications"), _TEXTS
        ),
    ),
    (
        "ExecutableLoadFile",
        f"A load file; an upload has at most {MAX_BODY_BYTES} bytes with its form.",
        _UPLOADED
        | dict.fromkeys(("aid", "type", "packageName", "packageVersion"), _TEXT)
        | {"importedPackages": {"type": "array", "items": _TEXT}, "technicalRequirements": _TEXTS},
    ),
    ("ExecutableModule", "A module of a load file.", dict.fromkeys(("id", "elfId", "aid"), _TEXT)),
    ("PersonalizationScript", "A personalisation script.", _UPLOADED),
    ("Certificate", "A certificate.", _UPLOADED),
    (
        "GeneralError",
        "A refusal, with its category of the guideline's §4.1.5.2.",
        {"errorCategory": {"type": "integer", "enum": [int(one) for one in Category]}, "errorMessage": _TEXT},
    ),
)
