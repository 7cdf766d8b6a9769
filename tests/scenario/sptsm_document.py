"""The published TSM-Backend document with our overlay, and which refusals each operation may answer.

The document is not part of this project: it is looked for at $OPENTSM_SPTSM_DOCUMENT, else beside the
repository.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests.contract.seram_document import overlaid

Json = dict[str, Any]

HERE = Path(__file__).parent
BESIDE = HERE.parents[2] / "shared" / "spec" / "tsm-rest-api-1.0.4.yaml"
OVERLAY = HERE / "sptsm_overlay.yaml"
OF_VALID = "x-refusals-of-valid-requests"
_CATEGORY = re.compile(r"\b[12]\d{3}\b")


def document_path() -> Path | None:
    """Return where the published document lies, None if it is not at hand."""
    named = os.environ.get("OPENTSM_SPTSM_DOCUMENT")
    path = Path(named) if named else BESIDE
    return path if path.is_file() else None


@dataclass(frozen=True, slots=True)
class Refusals:
    """The categories of an operation's 400: those that it lists, and those that may meet a valid request.

    Some of the latter count only with certain words in the message.
    """

    listed: frozenset[int]
    of_valid: frozenset[int]
    with_words: tuple[tuple[int, str], ...] = ()

    def may_meet_valid(self, category: object, message: str) -> bool:
        """Tell whether a request that fits the schema may be refused like this."""
        with_words = any(category == one and words in message for one, words in self.with_words)
        return category in self.of_valid or with_words


def mended(path: Path) -> Json:
    """Return the published document with the overlay."""
    overlay = yaml.safe_load(OVERLAY.read_text())
    return overlaid(_named(yaml.safe_load(path.read_text())), overlay, extension=False)


def _named(value: Any) -> Any:
    """Return the same with texts as names, as JSON has them; YAML reads a status as a number."""
    if isinstance(value, dict):
        return {str(name): _named(item) for name, item in value.items()}
    return [_named(item) for item in value] if isinstance(value, list) else value


def operations(document: Json) -> Iterator[tuple[str, Json]]:
    """Give each operation with its label: method and path."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def refusals(document: Json) -> dict[str, Refusals]:
    """Return the refusals of each operation by its label; descriptions of responses list them."""
    always = frozenset(document["info"][OF_VALID])
    found = {}
    for label, operation in operations(document):
        response = operation["responses"]["400"]
        listed = frozenset(int(one) for one in _CATEGORY.findall(_description(document, response)))
        listed |= frozenset(operation.get("x-refusals", ()))
        with_words = tuple((one["category"], one["words"]) for one in operation.get(OF_VALID, ()))
        found[label] = Refusals(listed, listed & always, with_words)
    return found


def _description(document: Json, response: Json) -> str:
    if "$ref" in response:
        response = document["components"]["responses"][response["$ref"].rpartition("/")[2]]
    return str(response["description"])
