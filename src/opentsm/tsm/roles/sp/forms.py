"""What the documents of TR-03165 §4.1.4 look like, as tables, and the check of a request body against them.

Each attribute has an access: assigned by the TSM, fixed once created, or editable; and a check of its
format. The check finds the first fault and names it with the guideline's category.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final
from urllib.parse import urlsplit

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.tlv import parse_tlvs
from opentsm.card.errors import AidError, TlvError
from opentsm.tsm.roles.sp import errors

Document = dict[str, object]
Schema = Mapping[str, object]

MAX_TEXT = 255
MAX_ITEMS = 255
MAX_URL = 500
# RFC 3986 characters only; no @ before the path, no #
_URL: Final = re.compile(r"https://[A-Za-z0-9._:\[\]-]+([/?][A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]*)?")
TAG_PATTERN: Final = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}")


@dataclass(frozen=True, slots=True)
class Check:
    """The format of a value: its check, and the same in words of JSON Schema (2020-12)."""

    check: Callable[[object, str], None]
    schema: Schema

    def __call__(self, value: object, path: str) -> None:
        """Raise CatalogueError when the value does not have the format."""
        self.check(value, path)


class Access(Enum):
    """Who sets an attribute, and when."""

    ASSIGNED = "assigned"
    FIXED = "fixed"
    EDITABLE = "editable"


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute: its check, whether it is mandatory, who sets it."""

    check: Check
    mandatory: bool = False
    access: Access = Access.EDITABLE


@dataclass(frozen=True, slots=True)
class Form:
    """One entity's attributes."""

    entity: str
    attributes: Mapping[str, Attribute]

    def request_schema(self) -> Schema:
        """Return the JSON Schema of what a provider sends."""
        given = {n: a for n, a in self.attributes.items() if a.access is not Access.ASSIGNED}
        return schema_of(given, _mandatory(given))

    def change_schema(self) -> Schema:
        """Return the JSON Schema of what a provider sends to change: the rest may be repeated unchanged."""
        editable = {n: a for n, a in self.attributes.items() if a.access is Access.EDITABLE}
        return schema_of(self.attributes, _mandatory(editable))

    def answer_schema(self) -> Schema:
        """Return the JSON Schema of what the TSM answers."""
        always = [n for n, a in self.attributes.items() if a.mandatory or a.access is Access.ASSIGNED]
        return schema_of(self.attributes, always)

    def check_new(self, body: object) -> Document:
        """Return the body of a POST if it has the form.

        Raises:
            CatalogueError: 1002, 1003, 1004, 1007 or 1008.
        """
        document = _object(body)
        for name in document:
            if self._known(name).access is Access.ASSIGNED:
                raise errors.assigned(name)
        self._check_values(document, modify=False)
        return document

    def check_change(self, body: object, before: Document) -> Document:
        """Return the body of a PUT if it has the form; fixed attributes may be repeated unchanged.

        Raises:
            CatalogueError: 1002, 1005, 1006, 1007 or 1008.
        """
        document = _object(body)
        for name, value in document.items():
            if self._known(name).access is not Access.EDITABLE and value != before.get(name):
                raise errors.fixed(name)
        editable = {n: v for n, v in document.items() if self.attributes[n].access is Access.EDITABLE}
        self._check_values(editable, modify=True)
        return editable

    def _known(self, name: str) -> Attribute:
        try:
            return self.attributes[name]
        except KeyError:
            raise errors.unknown(name) from None

    def _check_values(self, document: Document, *, modify: bool) -> None:
        for name, attribute in self.attributes.items():
            if (
                attribute.mandatory
                and name not in document
                and not (modify and attribute.access is Access.FIXED)
            ):
                raise errors.missing(name, self.entity, modify=modify)
        try:
            for name, value in document.items():
                self.attributes[name].check(value, name)
        except _MissingInsideError as inside:
            raise errors.missing(inside.path, inside.entity, modify=modify) from None


class _MissingInsideError(Exception):
    """A nested object lacks a mandatory attribute; only the form knows whether that is 1004 or 1006."""

    def __init__(self, path: str, entity: str) -> None:
        super().__init__(path)
        self.path = path
        self.entity = entity


def _object(body: object) -> Document:
    if not isinstance(body, dict):
        raise errors.invalid_request("the request body must be a JSON object")
    return dict(body)


# --- formats -----------------------------------------------------------------------------------


def _text(value: object, path: str) -> None:
    """Check a string of at most 255 characters that a database can hold."""
    if not isinstance(value, str) or len(value) > MAX_TEXT or "\x00" in value or not _is_unicode(value):
        raise errors.bad_format(value, path, f"a string of at most {MAX_TEXT} characters")


text = Check(_text, {"type": "string", "maxLength": MAX_TEXT})


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate, which JSON can write and nothing can store
        return False
    return True


def _boolean(value: object, path: str) -> None:
    """Check a truth value."""
    if not isinstance(value, bool):
        raise errors.bad_format(value, path, "a boolean")


boolean = Check(_boolean, {"type": "boolean"})


def integer(low: int, high: int) -> Check:
    """Return a check for a whole number from `low` to `high`."""

    def check(value: object, path: str) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise errors.bad_format(value, path, f"an integer from {low} to {high}")

    return Check(check, {"type": "integer", "minimum": low, "maximum": high})


def _aid(value: object, path: str) -> None:
    """Check an application identifier in hex."""
    try:
        if not isinstance(value, str):
            raise AidError(path)
        Aid.from_hex(value)
    except AidError:
        raise errors.bad_format(value, path, "an AID of 5 to 16 bytes in hex") from None


aid = Check(_aid, {"type": "string", "pattern": "^([0-9A-Fa-f]{2}){5,16}$"})


def _device_app(value: object, path: str) -> None:
    """Check what names an app on the device: the hash of its certificate, or an identifier like an AID."""
    try:
        length = len(bytes.fromhex(value)) if isinstance(value, str) and value.isalnum() else 0
    except ValueError:
        length = 0
    if not (5 <= length <= 16 or length in (20, 32)):
        supported = (
            "a certificate's hash of 20 (SHA-1) or 32 bytes (SHA-256) in hex, or an AID of 5 to 16 bytes"
        )
        raise errors.bad_format(value, path, supported)


device_app = Check(
    _device_app, {"type": "string", "pattern": "^(([0-9A-Fa-f]{2}){5,16}|[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})$"}
)


def _tag(value: object, path: str) -> None:
    """Check a version tag: Major.Minor.Revision."""
    if not isinstance(value, str) or not TAG_PATTERN.fullmatch(value):
        raise errors.bad_format(value, path, "<Major>.<Minor>.<Revision>, each of 1 to 3 digits")


tag = Check(_tag, {"type": "string", "pattern": f"^{TAG_PATTERN.pattern}$"})


def _tlv(value: object, path: str) -> None:
    """Check BER-TLV structures in hex, blanks allowed; empty means none."""
    text(value, path)
    try:
        parse_tlvs(bytes.fromhex(str(value)))
    except (ValueError, TlvError):
        raise errors.bad_format(value, path, "TLV structures in hex") from None


tlv = Check(_tlv, {**text.schema, "description": "BER-TLV structures in hex"})


def _https_url(value: object, path: str) -> None:
    """Check an absolute https address: credentials have no place in it, a fragment never reaches a server."""
    supported = f"an absolute https URL of at most {MAX_URL} characters, without user and fragment"
    if not isinstance(value, str) or len(value) > MAX_URL or not _URL.fullmatch(value):
        raise errors.bad_format(value, path, supported)
    try:
        parts = urlsplit(value)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port beyond 65535, a bracket that is no IPv6 address
        usable = False
    if not usable:
        raise errors.bad_format(value, path, supported)


https_url = Check(
    _https_url,
    {"type": "string", "format": "uri", "pattern": f"^{_URL.pattern}$", "maxLength": MAX_URL},
)


def _reference(value: object, path: str) -> None:
    """Check an id; whether something has it is for the use case."""
    text(value, path)


reference = Check(_reference, {**text.schema, "description": "an id"})


def one_of(*choices: str) -> Check:
    """Return a check for one of these words."""

    def check(value: object, path: str) -> None:
        if value not in choices:
            raise errors.bad_format(value, path, "one of " + ", ".join(choices))

    return Check(check, {"type": "string", "enum": list(choices)})


def list_of(check: Check) -> Check:
    """Return a check for a list without repetitions."""

    def check_list(value: object, path: str) -> None:
        if not isinstance(value, list) or len(value) > MAX_ITEMS:
            raise errors.bad_format(value, path, f"a list of at most {MAX_ITEMS} items")
        for number, item in enumerate(value):
            check(item, f"{path}[{number}]")
            if item in value[:number]:
                raise errors.bad_format(item, f"{path}[{number}]", "an item that occurs once")

    return Check(
        check_list,
        {"type": "array", "items": check.schema, "maxItems": MAX_ITEMS, "uniqueItems": True},
    )


def map_to(check: Check) -> Check:
    """Return a check for an object with any names."""

    def check_map(value: object, path: str) -> None:
        if not isinstance(value, dict) or len(value) > MAX_ITEMS:
            raise errors.bad_format(value, path, f"an object with at most {MAX_ITEMS} members")
        for key, item in value.items():
            text(key, path)
            check(item, f"{path}.{key}")

    return Check(
        check_map, {"type": "object", "additionalProperties": check.schema, "maxProperties": MAX_ITEMS}
    )


def schema_of(attributes: Mapping[str, Attribute], required: list[str]) -> Schema:
    """Return the JSON Schema of an object with these attributes and no others."""
    return {
        "type": "object",
        "properties": {name: attribute.check.schema for name, attribute in attributes.items()},
        "required": required,
        "additionalProperties": False,
    }


def _mandatory(attributes: Mapping[str, Attribute]) -> list[str]:
    return [name for name, attribute in attributes.items() if attribute.mandatory]


def nested(entity: str, attributes: Mapping[str, Attribute]) -> Check:
    """Return a check for an object inside a document."""

    def check_nested(value: object, path: str) -> None:
        if not isinstance(value, dict):
            raise errors.bad_format(value, path, "an object")
        for key in value:
            if key not in attributes:
                raise errors.unknown(f"{path}.{key}")
        for key, attribute in attributes.items():
            if attribute.mandatory and key not in value:
                raise _MissingInsideError(f"{path}.{key}", entity)
        for key, item in value.items():
            attributes[key].check(item, f"{path}.{key}")

    return Check(check_nested, schema_of(attributes, _mandatory(attributes)))
