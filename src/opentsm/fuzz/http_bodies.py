"""Values and bodies by a JSON Schema: valid by and large, then broken."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from opentsm.fuzz.mutation import mutate_bytes

Json = Any  # what a JSON document may hold; it is read by its schema only

_DEPTH = 6
_WORDS = (
    "",
    "a",
    "scp03-i70",
    "CIN",
    "1.0.0",
    "é",
    "\x00",
    "\ud800",
    "../..",
    "%00",
    "A" * 300,
    "0" * 70_000,
)
_NUMBERS = (0, 1, -1, 255, 256, 2**31, 2**63, 2**64, 10**400, -(2**70), 1.5, 1e308)
_WEIRD: tuple[Json, ...] = (None, True, [], {}, [[]], {"": {}}, *_WORDS, *_NUMBERS)
_BYTES = (
    b"",
    b"null",
    b"[" * 20_000,
    b'{"a":' * 3_000,
    b"\xff\xfe{}",
    b'{"a":1,"a":2}',
    b"NaN",
    b'"\\ud800"',
)


@dataclass(frozen=True, slots=True)
class Bodies:
    """Draws values.

    Args:
        schemas: the document's `components.schemas`.
        known: texts that answers held, by the name of their member.
    """

    schemas: Mapping[str, Json]
    known: Mapping[str, list[str]]

    def encoded(self, random: Random, schema: Json) -> bytes:
        """Return a JSON body: two of three fit the schema, the rest are broken as values or as bytes."""
        if random.random() < 0.03:
            return random.choice(_BYTES)
        value = self.value(random, schema)
        if random.random() < 0.2:
            value = _broken(random, value)
        data = json.dumps(value).encode()
        return mutate_bytes(random, data, (data,)) if random.random() < 0.12 else data

    def value(self, random: Random, schema: Json, name: str = "", depth: int = 0) -> Json:
        """Return a value that a schema describes, as far as this reads schemas."""
        schema = self._resolved(random, schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return random.choice(schema["enum"])
        kind = schema.get("type", "object" if "properties" in schema else "string")
        kind = random.choice(kind) if isinstance(kind, list) else kind
        if kind == "object":
            return self._object(random, schema, depth)
        if kind == "array":
            count = 0 if depth > _DEPTH else random.choice((0, 1, 1, 2, 3))
            return [self.value(random, schema.get("items", {}), name, depth + 1) for _ in range(count)]
        if kind == "string":
            return self.text(random, schema, name)
        if kind == "integer":
            low = int(schema.get("minimum", 0))
            return random.randint(low, max(low, int(schema.get("maximum", low + 300))))
        return {"boolean": random.random() < 0.5, "number": random.random() * 100}.get(kind)

    def text(self, random: Random, schema: Json, name: str) -> str:
        """Return a text: known by its name, of its format, or any."""
        known = self.known.get(_key(name)) or self.known.get("id")
        if known and random.random() < (0.85 if _is_id(name) else 0.2):
            return random.choice(known)
        if "format" in schema and schema["format"] == "uuid":
            return f"{random.getrandbits(128):032x}"
        if "[0-9A-F" in str(schema.get("pattern", "")) or random.random() < 0.3:
            return random.randbytes(random.choice((0, 3, 5, 8, 16, 24, 32))).hex().upper()
        return random.choice(_WORDS)

    def _resolved(self, random: Random, schema: Json) -> Json:
        while True:
            if "$ref" in schema:
                schema = self.schemas[schema["$ref"].rpartition("/")[2]]
            elif choices := schema.get("oneOf") or schema.get("anyOf"):
                schema = random.choice(choices)
            else:
                return schema

    def _object(self, random: Random, schema: Json, depth: int) -> Json:
        properties, required = schema.get("properties", {}), schema.get("required", ())
        wanted = [one for one in properties if one in required or random.random() < 0.5]
        made = {one: self.value(random, properties[one], one, depth + 1) for one in wanted}
        more = schema.get("additionalProperties")
        if isinstance(more, dict) and depth <= _DEPTH:
            made[self.text(random, {}, "id")] = self.value(random, more, "id", depth + 1)
        return made


def _key(name: str) -> str:
    return name.lower().replace("_", "")


def _is_id(name: str) -> bool:
    return _key(name).endswith(("id", "ids", "code", "handle", "tag", "index", "token"))


def _broken(random: Random, value: Json) -> Json:
    """Change a value in one place: another value, a member less, a member more."""
    if isinstance(value, dict) and value and random.random() < 0.8:
        name = random.choice(list(value))
        rest = {one: item for one, item in value.items() if one != name}
        return rest if random.random() < 0.3 else rest | {name: _broken(random, value[name])}
    if isinstance(value, dict):
        return value | {random.choice(_WORDS): random.choice(_WEIRD)}
    if isinstance(value, list) and value and random.random() < 0.6:
        return [_broken(random, value[0]), *value]
    return random.choice(_WEIRD)
