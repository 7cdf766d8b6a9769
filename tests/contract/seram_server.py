"""A small Remote Agent on a real loopback socket, for tests of the Local Agent.

It plays a script of orders, holds the server's half of the exactly-once rules, checks every message
against the published document with our overlay when it is at hand, and can misbehave on purpose.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey

Json = dict[str, Any]
Checker = Callable[[str, Json], None]

CODE = "one-time-code"
EXTENDED = "2.0.0+opentsm.1"


@dataclass
class Fault:
    """What to do wrong with the n-th request to a path (counted from 1).

    Args:
        path: which requests count.
        number: which of them it hits.
        action: `drop` closes the connection before the request is handled, `lose` handles it and
            closes the connection instead of answering, an integer answers with this HTTP status.
    """

    path: str
    number: int
    action: str | int


@dataclass
class SeramServer:
    """Answers one or more agents.

    Args:
        orders: what to send, in sequence; each goes out when the one before was answered.
        version: what the handshake chooses.
        faults: what to do wrong.
        check: is given (schema name, message) for every message, both ways.
        one_try: an order is done with after one report, whatever it says.
        acknowledge: whether reports are acknowledged.
        choice: what to change in the handshake's answer; None leaves a field out.
    """

    orders: list[Json]
    version: str = EXTENDED
    faults: list[Fault] = field(default_factory=list)
    check: Checker | None = None
    one_try: bool = False
    acknowledge: bool = True
    choice: dict[str, str | None] = field(default_factory=dict)

    reports: list[Json] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    sessions: dict[str, str] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    devices: dict[str, ECKey] = field(default_factory=dict)
    assertions: set[str] = field(default_factory=set)
    next_order: int = 0
    in_flight: Json | None = None
    acknowledged: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> "SeramServer":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()[:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one_request(reader, writer):
                pass
        except (EOFError, ConnectionError, asyncio.CancelledError):
            pass  # the agent or the test is over
        finally:
            writer.close()

    async def _one_request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
        line, *rest = head.strip().split("\r\n")
        headers = {name.lower(): value for name, value in (field.split(": ", 1) for field in rest)}
        body = json.loads(await reader.readexactly(int(headers.get("content-length", "0"))))
        target = urlsplit(line.split(" ")[1])
        self.requests.append(target.path)
        fault = self._fault(target.path)
        if fault == "drop":
            return False
        if isinstance(fault, int):
            status, answer = fault, {"title": "on purpose", "status": fault, "code": "fault"}
        else:
            query = {name: values[0] for name, values in parse_qs(target.query).items()}
            status, answer = await self._handle(target.path, query, headers, body)
        if fault == "lose":
            return False
        payload = json.dumps(answer).encode()
        writer.write(
            f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(payload)}\r\n\r\n".encode()
            + payload
        )
        await writer.drain()
        return True

    def _fault(self, path: str) -> str | int | None:
        number = self.requests.count(path)
        return next((f.action for f in self.faults if (f.path, f.number) == (path, number)), None)

    async def _handle(self, path: str, query: Json, headers: Json, body: Json) -> tuple[int, Json]:
        match path:
            case "/v1/devices":
                return self._enrol(body)
            case "/v1/device-tokens":
                return self._token(body)
        if headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            return 401, {"title": "no token", "code": "unauthorized"}
        match path:
            case "/v1/device-sessions":
                session = f"{len(self.requests):032x}"
                self.sessions[session] = body["se"]["id"]
                if self.in_flight == STOP:
                    self.in_flight = None  # it was for the session before
                return 201, {"session_id": session, "expires_in": 600}
            case _ if query.get("sessionId") not in self.sessions:
                return 404, {"title": "no such session"}
            case "/gp/seram/handshake":
                return self._handshake(body)
            case "/gp/seram/remoteManagement":
                return await self._manage(body)
        return 404, {}

    def _enrol(self, body: Json) -> tuple[int, Json]:
        if body["code"] != CODE:
            return 403, {"title": "the code is not valid", "code": "enrolment_code_invalid"}
        assert set(body["public_key"]) == {"kty", "crv", "x", "y"}
        key = ECKey.import_key(body["public_key"])
        for device, known in self.devices.items():
            if known.thumbprint() == key.thumbprint():
                return 201, {"id": device}  # the answer before was lost
        device = f"device-{len(self.devices) + 1}"
        self.devices[device] = key
        return 201, {"id": device}

    def _token(self, body: Json) -> tuple[int, Json]:
        header = json.loads(_unbase64(body["assertion"].split(".")[0]))
        if header["kid"] not in self.devices:
            return 401, {"title": "unknown device", "code": "device_unknown"}
        claims = jwt.decode(body["assertion"], self.devices[header["kid"]], algorithms=["ES256"]).claims
        assert claims["sub"] == header["kid"]
        assert claims["aud"] == "opentsm"
        assert claims["exp"] - claims["iat"] <= 60
        assert len(bytes.fromhex(claims["jti"])) == 16
        assert claims["jti"] not in self.assertions
        self.assertions.add(claims["jti"])
        token = f"token-{len(self.assertions)}"
        self.tokens.add(token)
        return 200, {"token": token, "expires_in": 300}

    def _handshake(self, body: Json) -> tuple[int, Json]:
        self._checked("ramHandshakeCommand", body)
        if self.version not in body["supportedVersions"]:
            return 406, {"title": "no common version"}
        answer: Json = {
            "chosenTransportProtocol": "HTTPS",
            "chosenDataFormat": "application/json",
            "chosenDataProtocol": "application/json",
            "chosenVersion": self.version,
            **self.choice,
        }
        answer = {name: value for name, value in answer.items() if value is not None}
        self._checked("ramHandshakeResponse", answer)
        return 200, answer

    async def _manage(self, report: Json) -> tuple[int, Json]:
        self._checked("remoteManagementReport", report)
        self.reports.append(report)
        polled = report["localAgentStatus"]["localAgentStatusEnum"] == "POLLING"
        if self.in_flight is not None and not polled and self._answers(report):
            self.acknowledged = report.get("orderSequence", self.acknowledged)
            self.in_flight = None
        if self.in_flight is None:
            if self.next_order >= len(self.orders):
                self.idle.set()
                await asyncio.Event().wait()  # the long poll of a server with nothing to do
            self.in_flight = dict(self.orders[self.next_order])
            self.next_order += 1
        order = dict(self.in_flight)
        if "ramCommands" not in order:
            self.in_flight = None  # nothing to answer
        if self.acknowledge and self.acknowledged and self.version == EXTENDED:
            order["ackSequence"] = self.acknowledged
        self._checked("remoteManagementOrder", order)
        return 200, order

    def _answers(self, report: Json) -> bool:
        assert self.in_flight is not None
        if self.one_try or self.version != EXTENDED:
            return True
        return bool(report.get("orderSequence") == self.in_flight.get("orderSequence"))

    def _checked(self, schema: str, message: Json) -> None:
        if self.check is not None:
            self.check(schema, message)


def _unbase64(text: str) -> bytes:
    from base64 import urlsafe_b64decode

    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def seram_order(sequence: int, *commands: str, expect: list[Json | None] | None = None, **more: Any) -> Json:
    """Word an order with one seRamCommand."""
    command: Json = {"ramCommandType": "seRamCommand", "listOfCAPDU": list(commands)}
    if expect is not None:
        command["listOfExpectations"] = expect
    return {"delay": 0, "orderSequence": sequence, "ramCommands": [command], **more}


START: Json = {"delay": 0, "ramCommands": [{"ramCommandType": "ramStartCommand"}]}
STOP: Json = {"delay": 0, "ramCommands": [{"ramCommandType": "ramStopCommand"}]}
OVERLAY = Path(__file__).with_name("seram_overlay.yaml")
