"""A campaign against a running server: whatever is sent, no answer is a 5xx, and an answer comes.

Each connection registers parties and a device of its own from time to time, so that requests carry tokens of
several tenants; the ids of all answers are shared.
"""

import http.client
import json
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from os import urandom
from random import Random
from time import monotonic, time
from typing import Any
from urllib.parse import urlsplit

from opentsm.agent.device_key import DeviceKey
from opentsm.fuzz.http_requests import Operation, Request, Requests, Tokens

Json = dict[str, Any]

ANSWER_S = 60.0
CONNECTIONS = 4
_TENANTS_FOR = 2500
_SPTSM = "/sptsm/1.0.4"
_SERVER_ERROR = 500
_STREAM = "text/event-stream"


@dataclass(slots=True)
class HttpResult:
    """What a campaign came to; `findings` has the first request of each kind."""

    requests: int = 0
    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    reached: set[str] = field(default_factory=set)
    accepted: set[str] = field(default_factory=set)
    findings: dict[str, str] = field(default_factory=dict)
    operations: int = 0

    def document(self) -> Json:
        """Return the figures and findings for people and programs."""
        return {
            "target": "http",
            "requests": self.requests,
            "requests_per_s": round(self.requests / self.seconds) if self.seconds else 0,
            "operations": self.operations,
            "operations_reached": len(self.reached),
            "operations_accepted": len(self.accepted),
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "findings": [{"what": what, "request": request} for what, request in self.findings.items()],
        }


@dataclass(slots=True)
class HttpCampaign:
    """Sends drawn requests over several connections.

    Args:
        url: of the server.
        operator_token: registers the parties whose tokens requests carry.
        files: valid files for uploads.
        more_tokens: of parties that exist already.
    """

    url: str
    operator_token: str
    files: Sequence[bytes]
    more_tokens: Sequence[str] = ()
    result: HttpResult = field(default_factory=HttpResult)
    _left: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, *, requests: int, seed: int, connections: int = CONNECTIONS) -> HttpResult:
        """Send requests until there were so many.

        Args:
            requests: how many.
            seed: of the draws; what the server answers is drawn from, too, and that differs from run to run.
            connections: how many at once.
        """
        start = monotonic()
        drawn = Requests(self._document(), self.files)
        self._left, self.result.operations = requests, drawn.operations
        randoms = [Random(f"{seed}/{number}") for number in range(connections)]  # noqa: S311 - repeatable
        with ThreadPoolExecutor(connections) as pool:
            for done in [pool.submit(self._work, drawn, random) for random in randoms]:
                done.result()
        self.result.seconds = monotonic() - start
        return self.result

    def _document(self) -> Json:
        answered = _Connection(self.url).json("GET", "/openapi.json", "")
        return dict(answered)

    def _work(self, drawn: Requests, random: Random) -> None:
        connection, tokens = _Connection(self.url), self._tokens()
        sent = 0
        while self._take():
            sent += 1
            if sent % _TENANTS_FOR == 0:
                tokens = self._tokens()
            with self._lock:
                operation, request = drawn.draw(random, tokens)
            status, answer = connection.send(request)
            with self._lock:
                self._note(operation, request, status, answer)
                if status is not None and status < 300:
                    drawn.learn(operation, answer)

    def _take(self) -> bool:
        with self._lock:
            self._left -= 1
            return self._left >= 0

    def _note(self, operation: Operation, request: Request, status: int | None, answer: bytes) -> None:
        label, result = f"{operation.method.upper()} {operation.path}", self.result
        result.requests += 1
        result.reached.add(label)
        if status is None:
            result.findings.setdefault(f"no answer: {label}: {answer.decode()}", str(request))
            return
        result.statuses[status] += 1
        if status < 300:
            result.accepted.add(label)
        if status >= _SERVER_ERROR:
            what = f"{status}: {label}: {answer[:200].decode('utf-8', 'replace')}"
            result.findings.setdefault(what, str(request))

    def _tokens(self) -> Tokens:
        """Register two providers, an issuer and its device; return their tokens."""
        connection = _Connection(self.url)
        parties, short = [self.operator_token, *self.more_tokens], []
        for kind in ("SERVICE_PROVIDER", "SERVICE_PROVIDER", "SE_ISSUER"):
            party = {"kind": kind, "name": f"fuzz {urandom(8).hex()}"}
            parties.append(connection.json("POST", "/v1/parties", self.operator_token, party)["token"])
            if kind == "SERVICE_PROVIDER":
                short.append(str(connection.json("POST", f"{_SPTSM}/auth", parties[-1])))
        device = _device_token(connection, parties[-1])
        apps = [
            str(connection.json("POST", "/v1/access-tokens", provider, {"expires_in": 3600})["token"])
            for provider in parties[-3:-1]
        ]
        return Tokens(parties, short, [device], apps)


def _device_token(connection: "_Connection", issuer_token: str) -> str:
    """Enrol a device and return its token."""
    offer = connection.json("POST", "/v1/device-enrolments", issuer_token, {})
    key = DeviceKey.generate()
    enrolment = {"code": offer["code"], "public_key": key.public_jwk(), "name": "fuzz"}
    device = connection.json("POST", "/v1/devices", "", enrolment)
    proof = key.assertion(device["id"], now=time(), nonce=urandom(16))
    return str(connection.json("POST", "/v1/device-tokens", "", {"assertion": proof})["token"])


class _Connection:
    """One connection, opened anew when the server or a broken request closed it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._http = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=ANSWER_S)

    def send(self, request: Request) -> tuple[int | None, bytes]:
        """Return status and body of the answer; None with the reason when there is none."""
        try:
            return self._send(request)
        except (http.client.RemoteDisconnected, ConnectionError):
            self._http.close()  # an idle connection may be closed by the server at any time: once more
        except (OSError, http.client.HTTPException) as error:
            self._http.close()
            return None, type(error).__name__.encode()
        try:
            return self._send(request)
        except (OSError, http.client.HTTPException) as error:
            self._http.close()
            return None, type(error).__name__.encode()

    def _send(self, request: Request) -> tuple[int, bytes]:
        self._http.putrequest(request.method, request.path, skip_accept_encoding=True)
        for name, value in request.headers:
            self._http.putheader(name, value.encode("utf-8", "replace"))
        self._http.putheader("Content-Length", str(len(request.body)))
        self._http.endheaders(request.body)
        answer = self._http.getresponse()
        if answer.headers.get_content_type() == _STREAM:
            self._http.close()  # it tells until something ends
            return answer.status, b""
        return answer.status, answer.read()

    def json(self, method: str, path: str, token: str, body: Json | None = None) -> Any:
        """Return the JSON answer to a good request."""
        data = b"" if body is None else json.dumps(body).encode()
        headers = (("Authorization", f"Bearer {token}"), ("Content-Type", "application/json"))
        status, answer = self.send(Request(method, path, headers if body is not None else headers[:1], data))
        if status is None or status >= 300:
            raise RuntimeError(f"{method} {path} was answered {status}: {answer[:200]!r}")
        return json.loads(answer)
