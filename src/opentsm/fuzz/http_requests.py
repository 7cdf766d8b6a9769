"""Requests to a running server, drawn from its own OpenAPI document, with tokens of several parties."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import quote

from opentsm.fuzz.http_bodies import Bodies
from opentsm.fuzz.mutation import mutate_bytes

Json = dict[str, Any]

_KEPT = 300
_BOUNDARY = "opentsm-fuzz"
_METHODS = ("get", "post", "put", "delete", "head", "patch", "options")
_TYPES = ("application/json", "text/plain", "application/json; charset=utf-7", "multipart/form-data", "x", "")
_HEADERS = (
    ("Idempotency-Key", ("a", "b", "", "k" * 300, "é")),
    ("If-Match", ('"1"', "*", "x", '"' * 9)),
    ("Accept", ("text/html", "x", "*/*;q=9")),
    ("Content-Encoding", ("gzip", "br", "x")),
    ("X-Request-ID", ("x" * 500, "a b")),
    ("Forwarded", ("for=1.2.3.4",)),
    ("X-Forwarded-For", ("1.2.3.4", "x", ",")),
    ("Range", ("bytes=0-1", "bytes=9-1")),
    ("Expect", ("x",)),
)
_QUERY = ("limit", "after", "wait", "order", "state", "sessionId", "subject", "from", "x")
_DEVICE_API = "/v1/device-api"  # it takes an app's token and a device's
_NEVER_KNOWN = ("token",)  # what a campaign's own tokens are called: it would revoke them


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as it goes over the wire."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def __str__(self) -> str:
        shown = " ".join(
            f"{name}: {value[:80]!r}" for name, value in self.headers if "Authorization" not in name
        )
        return f"{self.method} {self.path[:500]} {shown} {self.body[:500]!r}"


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of parties, of the TR-03165 API, of devices and apps; most requests carry what fits."""

    parties: Sequence[str]
    short: Sequence[str]
    devices: Sequence[str]
    apps: Sequence[str] = ()

    def authorization(self, random: Random, path: str) -> str:
        """Return a header for a path."""
        door = self.parties
        if path.startswith(_DEVICE_API):
            door = self.apps or self.parties
        elif "device" in path or path.startswith("/gp/seram"):
            door = self.devices
        elif path.startswith("/sptsm") and not path.endswith("/auth"):
            door = self.short
        everyone = (*self.parties, *self.short, *self.devices, *self.apps, "nobody")
        token = random.choice(door if random.random() < 0.85 else everyone)
        scheme = random.choice(("Bearer ",) * 40 + ("bearer ", "", "Basic ", "Bearer"))
        return scheme + (
            token if random.random() < 0.97 else random.choice(("", "x", token[:-1], token * 30))
        )


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the document."""

    method: str
    path: str
    parameters: tuple[Json, ...]
    contents: Json


@dataclass(slots=True)
class Requests:
    """Draws requests, and learns from answers which ids there are.

    Args:
        document: the server's OpenAPI document.
        files: valid files for uploads.
    """

    document: Json
    files: Sequence[bytes]
    known: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._operations = tuple(_operations(self.document))
        self._bodies = Bodies(self.document["components"]["schemas"], self.known)

    _operations: tuple[Operation, ...] = field(init=False)
    _round: list[Operation] = field(default_factory=list, init=False)
    _bodies: Bodies = field(init=False)

    @property
    def operations(self) -> int:
        """How many operations the document has."""
        return len(self._operations)

    def draw(self, random: Random, tokens: Tokens) -> tuple[Operation, Request]:
        """Return an operation and a request to it.

        Args:
            random: where all choices come from.
            tokens: of several parties.
        """
        operation = self._next(random)
        method = operation.method if random.random() < 0.98 else random.choice(_METHODS)
        headers, body = self._content(random, operation)
        if random.random() < 0.97:
            headers.append(("Authorization", tokens.authorization(random, operation.path)))
        if operation.path.startswith(_DEVICE_API) and random.random() < 0.97:
            headers.append(("Device-Authorization", tokens.authorization(random, "device")))
        for name, values in _HEADERS:
            if random.random() < 0.03:
                headers.append((name, random.choice(values)))
        path = self._path(random, operation)
        return operation, Request(method.upper(), path, tuple(headers), body)

    def _next(self, random: Random) -> Operation:
        """Return an operation: every one has its turn, in rounds of another order each."""
        if not self._round:
            self._round.extend(random.sample(self._operations, len(self._operations)))
        return self._round.pop()

    def learn(self, operation: Operation, answer: bytes) -> None:
        """Keep the ids of an answer by the names of their members."""
        if any(word in operation.path for word in _NEVER_KNOWN):
            return
        try:
            found = json.loads(answer)
        except (ValueError, RecursionError):
            return
        for item in found if isinstance(found, list) else [found]:
            if isinstance(item, dict):
                self._keep(operation, item)

    def _keep(self, operation: Operation, item: Json) -> None:
        for name, value in item.items():
            if not isinstance(value, str) or len(value) > 100 or not name.lower().endswith(_LEARNT):
                continue
            # an `id` is also known by the name that paths give it: /services gives serviceId
            resource = operation.path.split("/{", 1)[0].rstrip("s").rpartition("/")[2].replace("-", "")
            for key in {name.lower().replace("_", ""), f"{resource}id" if name == "id" else name.lower()}:
                kept = self.known.setdefault(key, [])
                if value not in kept:
                    kept.append(value)
                del kept[:-_KEPT]

    def _path(self, random: Random, operation: Operation) -> str:
        path, query = operation.path, []
        for parameter in operation.parameters:
            value = self._bodies.value(random, parameter.get("schema", {}), parameter["name"])
            if parameter["in"] == "path":
                path = path.replace("{" + parameter["name"] + "}", _quoted(value) or "-")
            elif parameter["in"] == "query" and random.random() < 0.5:
                query.append(f"{_quoted(parameter['name'])}={_quoted(value)}")
        if random.random() < 0.05:
            query.append(f"{random.choice(_QUERY)}={_quoted(self._bodies.text(random, {}, 'id'))}")
        return path + ("?" + "&".join(query) if query else "")

    def _content(self, random: Random, operation: Operation) -> tuple[list[tuple[str, str]], bytes]:
        if not operation.contents:
            return [], (b"" if random.random() < 0.95 else b"{}")
        kind, media = random.choice(list(operation.contents.items()))
        if kind == "multipart/form-data":
            named, body = f"{kind}; boundary={_BOUNDARY}", self._form(random, media["schema"])
        else:
            named, body = kind, self._bodies.encoded(random, media.get("schema", {}))
        return [("Content-Type", named if random.random() < 0.96 else random.choice(_TYPES))], body

    def _form(self, random: Random, schema: Json) -> bytes:
        parts = b""
        for name in schema.get("properties", {}):
            is_file = name.endswith("File")
            file = random.choice(self.files)
            if is_file and random.random() < 0.4:
                file = mutate_bytes(random, file, self.files)
            text = self._bodies.text(random, {}, "name").encode("utf-8", "replace")
            for _ in range(random.choice((0, 1, 1, 1, 1, 1, 1, 2))):
                extra = f'; filename="{name}"' if is_file and random.random() < 0.9 else ""
                head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'
                parts += head.encode() + (file if is_file else text) + b"\r\n"
        whole = parts + f"--{_BOUNDARY}--\r\n".encode()
        return mutate_bytes(random, whole, self.files) if random.random() < 0.05 else whole


_LEARNT = ("id", "code", "tag", "handle", "sequence", "next", "aid")


def _operations(document: Mapping[str, Any]) -> list[Operation]:
    return [
        Operation(
            method,
            path,
            tuple(described.get("parameters", ())),
            described.get("requestBody", {}).get("content", {}),
        )
        for path, item in document["paths"].items()
        for method, described in item.items()
        if method in _METHODS
    ]


def _quoted(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return quote(text[:2000].encode("utf-8", "surrogatepass"), safe="")
