"""The published SERAM document with our overlay, and a checker of messages against it.

The document is not part of this project: it is looked for at $OPENTSM_SERAM_DOCUMENT, else beside the
repository. OpenAPI Overlay 1.0 with plain member paths as targets.
"""

import os
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

Json = dict[str, Any]

HERE = Path(__file__).parent
BESIDE = HERE.parents[2] / "shared" / "spec" / "gpseram-2.0.0.yaml"
OVERLAY = HERE / "seram_overlay.yaml"
SENT_BY_AGENTS = (
    "ramHandshakeCommand",
    "remoteManagementReport",
    "localAgentStatus",
    "seRamResponse",
    "secureElement",
)


def seram_document_path() -> Path | None:
    """Return where the published document lies, None if it is not at hand."""
    named = os.environ.get("OPENTSM_SERAM_DOCUMENT")
    path = Path(named) if named else BESIDE
    return path if path.is_file() else None


def overlaid(document: Json, overlay: Json, *, extension: bool) -> Json:
    """Apply an overlay's actions in sequence.

    Args:
        document: the OpenAPI document; it stays as it is.
        overlay: the overlay document.
        extension: whether actions marked x-opentsm-extension count.
    """
    result = deepcopy(document)
    for action in overlay["actions"]:
        if action.get("x-opentsm-extension") and not extension:
            continue
        *way, last = action["target"].removeprefix("$.").split(".")
        parent = result
        for name in way:
            parent = parent[name]
        if action.get("remove"):
            del parent[last]
        else:
            parent[last] = _merged(parent[last], action["update"])
    return result


def _merged(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{name: _merged(old[name], new[name]) if name in old else new[name] for name in new}}
    if isinstance(old, list) and isinstance(new, list):
        return old + new
    return new


class SeramChecker:
    """Checks messages against the mended document.

    Args:
        path: the published document.
        extension: whether the fields of 2.0.0+opentsm.1 are allowed.
    """

    def __init__(self, path: Path, *, extension: bool) -> None:
        overlay = yaml.safe_load(OVERLAY.read_text())
        self.document = overlaid(yaml.safe_load(path.read_text()), overlay, extension=extension)
        self.checked: list[str] = []
        # What an agent sends holds nothing that the document does not know.
        for name in SENT_BY_AGENTS:
            self.document["components"]["schemas"][name]["unevaluatedProperties"] = False
        resource = DRAFT202012.create_resource(self.document)
        self._registry: Registry[Any] = Registry().with_resource("urn:seram", resource)

    def __call__(self, schema: str, message: Json) -> None:
        """Raise a ValidationError if the message does not fit the schema of this name."""
        reference = {"$ref": f"urn:seram#/components/schemas/{schema}"}
        Draft202012Validator(reference, registry=self._registry).validate(message)
        self.checked.append(schema)
