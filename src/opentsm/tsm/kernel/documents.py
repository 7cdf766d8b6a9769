"""Records to JSON and back. AIDs travel as upper-case hex, other bytes as base64; unions carry a tag."""

from typing import Any, TypeVar

import msgspec

from opentsm.card.codec.aid import Aid

T = TypeVar("T")


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A frozen value that can be stored as a JSON document."""


def _encode(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex().upper()
    raise NotImplementedError(f"{type(value).__name__} cannot be stored in a document")


def _decode(kind: type[Any], value: object) -> object:
    if kind is Aid and isinstance(value, str):
        return Aid.from_hex(value)
    raise NotImplementedError(f"{kind.__name__} cannot be read from a document")


def to_json(value: object) -> bytes:
    """Write a record as JSON (UTF-8)."""
    return msgspec.json.encode(value, enc_hook=_encode, order="deterministic")


def from_json(kind: type[T], data: bytes | str) -> T:
    """Read a record.

    Raises:
        msgspec.ValidationError: the document does not have the record's form.
    """
    return msgspec.json.decode(data, type=kind, dec_hook=_decode)


def to_builtins(value: object) -> Any:
    """Turn a record into plain JSON types."""
    return msgspec.to_builtins(value, enc_hook=_encode, order="deterministic")


def from_builtins(kind: type[T], value: object) -> T:
    """Turn plain JSON types into a record.

    Raises:
        msgspec.ValidationError: the value does not have the record's form.
    """
    return msgspec.convert(value, type=kind, dec_hook=_decode)
