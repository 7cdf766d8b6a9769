"""Requests that carry secrets where none belong: every one is refused, and none may be repeated anywhere."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.scenario.leak_story import MADE_UP, SPTSM, Story


@dataclass(frozen=True)
class Mistake:
    """One such request; `name` holds no value."""

    name: str
    method: str
    path: str = field(repr=False)
    who: str | None
    more: dict[str, Any] = field(default_factory=dict, repr=False)


def mistakes(story: Story, device_token: str, session_id: str) -> Iterator[Mistake]:
    """Return the requests; secrets are those that the server holds."""
    master, application = story.masters["scp03"], story.applications["bank-ac"]
    pan = story.holders["phone"].pan
    for form, key in (
        ("hex", master.hex()),
        ("HEX", master.hex().upper()),
        ("base64", base64.b64encode(master).decode()),
        ("application key", application.hex()),
        ("PAN", pan),
    ):
        for name, method, path, who, more in _with_text(story, key):
            yield Mistake(f"{name} ({form})", method, path, who, more)
    yield from _malformed(master.hex())
    yield from _of_devices(device_token, session_id, master.hex(), pan)


def _with_text(story: Story, text: str) -> Iterator[tuple[str, str, str, str | None, dict[str, Any]]]:
    quoted = text.replace("/", "%2F").replace("+", "%2B").replace("=", "%3D")
    another = {"json": {"key": MADE_UP.randbytes(16).hex()}}
    yield "master key as handle", "PUT", f"/v1/master-keys/{quoted}", "issuer", another
    yield (
        "key as name of an application key",
        "PUT",
        f"/v1/application-keys/{quoted}",
        "provider",
        {"json": {"key": MADE_UP.randbytes(16).hex()}},
    )
    yield "too long a key", "PUT", "/v1/master-keys/new", "issuer", {"json": {"key": text + "00"}}
    yield "a key that is no hex", "PUT", "/v1/master-keys/new", "issuer", {"json": {"key": f"{text}?"}}
    yield "another key under a handle", "PUT", "/v1/master-keys/scp02", "issuer", {"json": {"key": "11" * 16}}
    yield (
        "key as a member",
        "PUT",
        "/v1/master-keys/new",
        "issuer",
        {"json": {"key": MADE_UP.randbytes(16).hex(), text: 1}},
    )
    yield "kind of party", "POST", "/v1/parties", "operator", {"json": {"kind": text, "name": "x"}}
    yield (
        "name of party as a list",
        "POST",
        "/v1/parties",
        "operator",
        {"json": {"kind": "SE_ISSUER", "name": [text]}},
    )
    for name, change in (
        ("profile", {"profile": text}),
        ("AID", {"isd_aid": text * 3}),
        ("unknown member", {text: text}),
        ("identifier type", {"identifiers": [{"type": text, "value": "1"}]}),
        ("identifier", {"identifiers": [{"type": "CIN", "value": f"<{text}>"}]}),
        ("handle", {"key_sets": [_key_set(master=text)]}),
        ("method", {"key_sets": [_key_set(method=text)]}),
        ("diversification data", {"key_sets": [_key_set(kdd=text)]}),
        ("key version", {"key_sets": [_key_set() | {"kvn": text}]}),
        ("check values", {"key_sets": [_key_set() | {"kcvs": [text] * 3}]}),
        ("kind of source", {"key_sets": [{"kvn": 48, "source": {"type": text}}]}),
        (
            "wrapped blob",
            {"key_sets": [{"kvn": 48, "source": {"type": "wrapped", "transport": "scp03", "blob": text}}]},
        ),
        (
            "transport handle",
            {"key_sets": [{"kvn": 48, "source": {"type": "wrapped", "transport": text, "blob": "00"}}]},
        ),
    ):
        body = {
            "identifiers": [{"type": "CIN", "value": "9"}],
            "profile": "scp03-i70",
            "key_sets": [_key_set()],
        }
        yield f"element: {name}", "POST", "/v1/secure-elements", "issuer", {"json": body | change}
    data: dict[str, Any]
    service, element = story.services["bank"], story.elements["phone"]
    for name, data in (
        ("value of another type", {"pan": [text]}),
        ("unknown datum", {text: "1"}),
        ("malformed value", {"pan": f"{text}x"}),
        ("values for a number", {"pan": f"{text}{text}"}),
    ):
        new = {"service_id": service, "se_id": element, "data": data}
        yield f"instance: {name}", "POST", "/v1/instances", "provider", {"json": new}
    for name, changed in (
        ("service", {"service_id": text}),
        ("element", {"se_id": text}),
        ("version", {"version": text}),
        ("validity", {"valid_until": text}),
    ):
        start = {"service_id": service, "se_id": element, "data": {}}
        yield f"instance: {name}", "POST", "/v1/instances", "provider", {"json": start | changed}
    for name in (
        "/v1/operations/{}",
        "/v1/operations/{}/events",
        "/v1/instances/{}",
        "/v1/secure-elements?limit={}",
        "/v1/operations?limit={}",
        "/v1/operations/x?wait={}",
        "/v1/audit?after={}",
        "/v1/nothing/{}",
        "/{}",
    ):
        yield f"GET {name}", "GET", name.format(quoted), "provider", {}
    yield "another method", "DELETE", f"/v1/operations/{quoted}", "provider", {}
    yield "change of an instance", "POST", f"/v1/instances/x/{quoted}", "provider", {"json": {}}
    yield "reason", "POST", "/v1/instances/x/suspensions", "provider", {"json": {"reason": text}}
    yield "cancel", "POST", f"/v1/operations/{quoted}/cancellations", "provider", {}
    yield "bearer", "GET", "/v1/parties", None, {"headers": {"Authorization": f"Bearer {text}"}}
    yield "basic", "GET", "/v1/parties", None, {"headers": {"Authorization": f"Basic {text}"}}
    yield (
        "content type",
        "POST",
        "/v1/parties",
        "operator",
        {"content": b"{}", "headers": {"Content-Type": f"a/{text}"}},
    )
    yield (
        "enrolment code",
        "POST",
        "/v1/devices",
        None,
        {"json": {"code": text, "public_key": {"kty": text}, "name": "x"}},
    )
    yield "assertion", "POST", "/v1/device-tokens", None, {"json": {"assertion": f"{text}.{text}.{text}"}}
    yield "assertion of another form", "POST", "/v1/device-tokens", None, {"json": {"assertion": text}}
    yield from _on_the_shelf(text, quoted)


def _on_the_shelf(text: str, quoted: str) -> Iterator[tuple[str, str, str, str | None, dict[str, Any]]]:
    for name in ("services/{}", "executable-load-files/{}", "personalization-scripts/{}/binary", "{}"):
        yield f"shelf: GET {name}", "GET", f"{SPTSM}/{name.format(quoted)}", "shelf", {}
    for name, path, body in (
        ("service name", "services", {"name": [text]}),
        ("unknown attribute", "services", {"name": "x", text: 1}),
        ("assigned attribute", "services", {"name": "x", "sdAid": text}),
        ("reference", "services", {"name": "x", "sposConfigId": text}),
        ("AID", "application-configs", {"instanceAid": text * 3}),
        (
            "privilege",
            "application-configs",
            {"instanceAid": "A000000001", "installConfig": {"privileges": [text]}},
        ),
        (
            "parameters",
            "application-configs",
            {
                "instanceAid": "A000000001",
                "installConfig": {"applicationSpecificInstallParameter": text + "0"},
            },
        ),
    ):
        yield f"shelf: {name}", "POST", f"{SPTSM}/{path}", "shelf", {"json": body}
    for name, recipe in (
        ("recipe member", f'{{"{text}": 1}}'),
        ("recipe format", f'{{"format": "{text}"}}'),
        ("no recipe", f'"{text}'),
    ):
        form = {"scriptFile": ("a.json", recipe.encode())}
        more = {"data": {"scriptFilename": "a.json"}, "files": form}
        yield f"shelf: {name}", "POST", f"{SPTSM}/personalization-scripts", "shelf", more
    yield (
        "shelf: no load file",
        "POST",
        f"{SPTSM}/executable-load-files",
        "shelf",
        {"data": {"elfFilename": "a.cap"}, "files": {"elfFile": ("a.cap", text.encode())}},
    )
    yield (
        "shelf: unknown part",
        "POST",
        f"{SPTSM}/executable-load-files",
        "shelf",
        {"files": {text: ("a.cap", b"x")}},
    )
    yield "shelf: token", "POST", f"{SPTSM}/auth", None, {"headers": {"Authorization": text}}


def _key_set(master: str = "scp03", method: str = "KDF3", kdd: str = "00" * 10) -> dict[str, Any]:
    return {"kvn": 48, "source": {"type": "diversified", "master": master, "method": method, "kdd": kdd}}


_KEY_SETS = '[{"kvn": 48, "source": {"type": "diversified", "master": "m", "method": "KDF3", "kdd": "00"}}]'


def _malformed(key: str) -> Iterator[Mistake]:
    json_type = {"Content-Type": "application/json"}
    for name, content in (
        ("cut", f'{{"key": "{key}'),
        ("without quotes", f'{{"key": {key}}}'),
        ("escape", f'{{"key": "{key}\\x"}}'),
        ("two documents", f'{{"key": "00"}} {key}'),
        ("surrogate", f'{{"key": "{key}\\ud800"}}'),
    ):
        for path in ("/v1/master-keys/new", "/v1/application-keys/new"):
            who = "issuer" if "master" in path else "provider"
            more = {"content": content.encode(), "headers": json_type}
            yield Mistake(f"malformed JSON, {name}", "PUT", path, who, more)
    whole = (
        f'{{"profile": "{key}", "identifiers": [{{"type": "CIN", "value": "7"}}], "key_sets": {_KEY_SETS}}}'
    )
    bad = [f'{{"key": "{key}', f'{{"profile": "{key}"}}', f"[{key}]", f'"{key}"', f'{{"{key}": 1}}', whole]
    lines = "\n".join(bad).encode() + b'\n{"profile": "\xff' + bytes.fromhex(key) + b'"}'
    yield Mistake("import of lines", "POST", "/v1/secure-elements/import", "issuer", {"content": lines})
    # Not UTF-8 in every place where a decoder looks: first a whole text, then one with a control character.
    for name, text in (("whole", key), ("with a control character", f"{key}\x01")):
        more = {"content": b'{"key": "\xff' + text.encode() + b'"}', "headers": json_type}
        yield Mistake(f"bytes that are no text, {name}", "PUT", "/v1/master-keys/new", "issuer", more)
    raw = {"content": b'{"key": "\xff' + bytes.fromhex(key) + b'"}', "headers": json_type}
    yield Mistake("bytes that are no text, a raw key", "PUT", "/v1/master-keys/new", "issuer", raw)


def _of_devices(token: str, session_id: str, key: str, pan: str) -> Iterator[Mistake]:
    headers = {"Authorization": f"Bearer {token}"}
    status = {
        "localAgentStatusEnum": "UNKNOWN_FAILURE",
        "executedSeRamCommands": 0,
        "errorMsg": f"{key} {pan}",
    }
    path = "/gp/seram/remoteManagement"
    for name, query, body in (
        ("unknown session", key, {"localAgentStatus": status}),
        ("malformed report", session_id, {"localAgentStatus": {"localAgentStatusEnum": key}}),
        ("answer that is no hex", session_id, _report(f"{key}x")),
        ("refused order", session_id, {"localAgentStatus": status, "refused": {"reason": "MALFORMED"}}),
    ):
        more = {"json": body, "params": {"sessionId": query}, "headers": headers}
        yield Mistake(f"device: {name}", "POST", path, None, more)
    yield Mistake(
        "device: handshake",
        "POST",
        "/gp/seram/handshake",
        None,
        {
            "json": {"secureElements": [{"seType": key, "seId": pan}]},
            "params": {"sessionId": session_id},
            "headers": headers,
        },
    )
    yield Mistake(
        "device: session",
        "POST",
        "/v1/device-sessions",
        None,
        {"json": {"se": {"type": "eSE", "id": key}}, "headers": headers},
    )


def _report(answer: str) -> dict[str, Any]:
    status = {"localAgentStatusEnum": "PROCESSED", "executedSeRamCommands": 1}
    return {
        "localAgentStatus": status,
        "ramResponses": [{"ramResponseType": "seRamResponse", "listOfRAPDU": [answer]}],
    }
