"""The agent's HTTP link to the Remote Agent: enrolment, tokens, sessions, handshake, orders.

Retries what may be retried, renews tokens, and keeps the sessionId, which stands in the URL, out of
every log and error. Source: SERAM 2.0.0 HTTP REST binding; docs/reference/agent-protocol.md.
"""

import asyncio
import logging
import re
import secrets
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from random import random
from typing import Final, TypeVar

import httpx
import msgspec

from opentsm.agent.backoff import Backoff, Patience
from opentsm.agent.clock import Clock, SystemClock
from opentsm.agent.device_key import DeviceIdentity, DeviceKey
from opentsm.agent.errors import (
    DeviceRefusedError,
    LinkError,
    NegotiationError,
    OrderError,
    ServerRefusedError,
    SessionLostError,
)
from opentsm.agent.messages import (
    DATA_FORMAT,
    EXTENDED_VERSION,
    PLAIN_VERSION,
    TRANSPORT,
    Assertion,
    Device,
    Enrolment,
    HandshakeCommand,
    HandshakeResponse,
    Report,
    SecureElement,
    Session,
    SessionElement,
    SessionRequest,
    Token,
    WireOrder,
)
from opentsm.agent.observer import Observer, SilentObserver

_T = TypeVar("_T")

MAX_BODY_BYTES: Final = 8 * 1024 * 1024
SILENCE_S: Final = 40.0  # SERAM: a long poll lasts 30 s at most; 40 s of silence is a lost connection
_TOKEN_MARGIN: Final = 0.1
_RETRIED: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_SESSION_IN_URL: Final = re.compile(r"(sessionId=)[^&\s\"']+")


class SessionId:
    """The identifier of a management session; only `reveal` shows it.

    Args:
        value: as the server gave it.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the identifier, for the URL only."""
        return self._value

    def __repr__(self) -> str:
        return "<SessionId>"


class _RedactSession(logging.Filter):
    """Keeps sessionId out of the HTTP client's own log lines."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the line; never drop it."""
        record.msg, record.args = redact(record.getMessage()), None
        return True


def redact(text: str) -> str:
    """Replace the sessionId in any URL of a text."""
    return _SESSION_IN_URL.sub(r"\1[hidden]", text)


def http_client(
    server_url: str, *, ca_file: str | None = None, transport: httpx.AsyncBaseTransport | None = None
) -> httpx.AsyncClient:
    """Make a client that any number of agents may share.

    Args:
        server_url: base URL of the server.
        ca_file: certificates to trust instead of the system's.
        transport: replaces the network, for tests.

    Returns:
        A client without redirects and without a bound on connections (each agent holds a long poll).
        For loopback addresses it ignores the proxies of the environment.

    Raises:
        LinkError: the URL is neither https, nor http on a loopback address.
    """
    url = httpx.URL(server_url.rstrip("/"))
    local = url.host in {"localhost", "127.0.0.1", "::1"}
    if url.scheme != "https" and not (url.scheme == "http" and local):
        raise LinkError(f"{server_url}: only https, or http on this machine, carries orders")
    for name in ("httpx", "httpcore.http11", "httpcore.connection", "httpcore.proxy"):
        logger = logging.getLogger(name)
        if not any(isinstance(known, _RedactSession) for known in logger.filters):
            logger.addFilter(_RedactSession())
    return httpx.AsyncClient(
        base_url=url,
        verify=ssl.create_default_context(cafile=ca_file) if url.scheme == "https" else False,
        trust_env=not local,
        timeout=httpx.Timeout(SILENCE_S, connect=10.0, pool=None),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=60.0),
        transport=transport,
    )


@dataclass(slots=True)
class _Reply:
    """One HTTP answer, whole."""

    status: int
    body: bytes
    retry_after_s: float | None


@dataclass(slots=True)
class _HeldToken:
    """A token and when to renew it."""

    value: str
    renew_at: float


@dataclass(slots=True)
class LinkSettings:
    """What a link may be told.

    Args:
        patience: for every request that can be repeated.
        versions: what to offer, best first.
        random: spreads the pauses.
        nonce: makes the 16 random bytes of an assertion.
    """

    patience: Patience = field(default_factory=Patience)
    versions: tuple[str, ...] = (EXTENDED_VERSION, PLAIN_VERSION)
    random: Callable[[], float] = random
    nonce: Callable[[], bytes] = field(default=lambda: secrets.token_bytes(16))


async def enrol(client: httpx.AsyncClient, code: str, key: DeviceKey, name: str) -> str:
    """Exchange a one-time code and the device's public key for a device identifier.

    It is sent once: after a lost answer the same code with the same key may be tried again.

    Args:
        client: reaches the server.
        code: from the operator.
        key: its public half is sent.
        name: what the operator will see.

    Raises:
        ServerRefusedError: the code is unknown, used or expired.
        LinkError: no usable answer.
    """
    body = Enrolment(code, key.public_jwk(), name)
    reply = await _post(client, "/v1/devices", body, {}, SilentObserver())
    if reply.status != 201:
        raise ServerRefusedError(f"the server does not enrol this device: {_problem(reply)}")
    return _decode(reply, Device).id


class ServerLink:
    """One enrolled device's link; all its agents share it.

    Args:
        client: from `http_client`.
        identity: the device.
        clock: token lifetimes, pauses.
        settings: what may differ.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        identity: DeviceIdentity,
        *,
        clock: Clock | None = None,
        settings: LinkSettings | None = None,
    ) -> None:
        self._client = client
        self._identity = identity
        self._clock = clock or SystemClock()
        self.settings = settings or LinkSettings()
        self._token: _HeldToken | None = None
        self._token_lock = asyncio.Lock()

    async def open_session(self, element: SecureElement, observer: Observer) -> SessionId:
        """Ask for a session for one secure element.

        Raises:
            ServerRefusedError: this device may not have one.
            ServerUnreachableError: patience is at its end.
        """
        body = SessionRequest(SessionElement(element.se_type, element.se_id))
        reply = await self._call("/v1/device-sessions", body, None, observer)
        if reply.status != 201:
            raise ServerRefusedError(f"the server opens no session for this card: {_problem(reply)}")
        return SessionId(_decode(reply, Session).session_id)

    async def handshake(self, session: SessionId, element: SecureElement, observer: Observer) -> str:
        """Offer versions, formats and transports; return the version that the server chose.

        Raises:
            SessionLostError: the server does not know the session.
            NegotiationError: there is no common ground.
        """
        offer = HandshakeCommand([element], [TRANSPORT], [DATA_FORMAT], list(self.settings.versions))
        reply = await self._call("/gp/seram/handshake", offer, session, observer)
        if reply.status == 406:
            raise NegotiationError(f"the server takes nothing of what is offered: {_problem(reply)}")
        choice = _decode(_session_reply(reply), HandshakeResponse)
        # The document requires chosenDataProtocol and defines chosenDataFormat: take either.
        data_format = choice.chosen_data_format or choice.chosen_data_protocol or DATA_FORMAT
        if (
            choice.chosen_version not in self.settings.versions
            or choice.chosen_transport_protocol != TRANSPORT
            or data_format != DATA_FORMAT
        ):
            raise NegotiationError()
        return choice.chosen_version

    async def exchange(self, session: SessionId, report: Report, observer: Observer) -> WireOrder:
        """Send a report, again and again until an order comes back.

        Raises:
            SessionLostError: the server does not know the session.
            OrderError: the order does not have the form of one.
            ServerRefusedError: it does not take the report.
            ServerUnreachableError: patience is at its end.
        """
        reply = await self._call("/gp/seram/remoteManagement", report, session, observer)
        try:
            return msgspec.json.decode(_session_reply(reply).body, type=WireOrder)
        except msgspec.ValidationError as error:
            raise OrderError(str(error)) from error
        except msgspec.DecodeError as error:
            raise LinkError(f"the server's answer is not JSON: {error}") from error

    async def _call(
        self, path: str, body: msgspec.Struct, session: SessionId | None, observer: Observer
    ) -> _Reply:
        query = {"sessionId": session.reveal()} if session else {}
        token = await self._bearer(observer)
        reply = await self._persistently(path, body, observer, query=query, token=token)
        if reply.status != 401:
            return reply
        self._forget(token)
        token = await self._bearer(observer)
        reply = await self._persistently(path, body, observer, query=query, token=token)
        if reply.status == 401:
            raise DeviceRefusedError(f"the server takes no token of this device: {_problem(reply)}")
        return reply

    async def _bearer(self, observer: Observer) -> str:
        async with self._token_lock:
            if self._token is None or self._clock.monotonic() >= self._token.renew_at:
                self._token = await self._new_token(observer)
            return self._token.value

    def _forget(self, token: str) -> None:
        # Another agent of this device may have renewed it meanwhile.
        if self._token is not None and self._token.value == token:
            self._token = None

    async def _new_token(self, observer: Observer) -> _HeldToken:
        asked_at = self._clock.monotonic()

        def body() -> Assertion:
            identity, settings = self._identity, self.settings
            return Assertion(
                identity.key.assertion(identity.device_id, now=self._clock.epoch(), nonce=settings.nonce())
            )

        reply = await self._persistently("/v1/device-tokens", body, observer)
        if reply.status != 200:
            raise DeviceRefusedError(f"the server gives this device no token: {_problem(reply)}")
        token = _decode(reply, Token)
        return _HeldToken(token.token, asked_at + token.expires_in * (1 - _TOKEN_MARGIN))

    async def _persistently(
        self,
        path: str,
        body: msgspec.Struct | Callable[[], msgspec.Struct],
        observer: Observer,
        *,
        query: dict[str, str] | None = None,
        token: str | None = None,
    ) -> _Reply:
        """Post until the server answers with something that a repetition would not change."""
        backoff = Backoff(self.settings.patience, self._clock, self.settings.random)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        while True:
            try:
                message = body() if callable(body) else body
                reply = await _post(self._client, path, message, headers, observer, query=query)
            except LinkError as error:
                reason, asked_s = str(error), None
            else:
                if reply.status not in _RETRIED:
                    return reply
                reason, asked_s = _problem(reply), reply.retry_after_s
            pause_s = backoff.next_pause_s(reason, asked_s=asked_s)
            observer.notice(f"{path}: {reason}; again in {pause_s:.1f} s")
            await self._clock.sleep(pause_s)


async def _post(
    client: httpx.AsyncClient,
    path: str,
    body: msgspec.Struct,
    headers: dict[str, str],
    observer: Observer,
    *,
    query: dict[str, str] | None = None,
) -> _Reply:
    content = msgspec.json.encode(body)
    headers = {"Content-Type": DATA_FORMAT, "Accept": DATA_FORMAT, **headers}
    try:
        async with client.stream("POST", path, params=query, content=content, headers=headers) as response:
            received = bytearray()
            async for chunk in response.aiter_bytes():
                received += chunk
                if len(received) > MAX_BODY_BYTES:
                    raise LinkError(f"the server's answer exceeds {MAX_BODY_BYTES} bytes")
    except httpx.HTTPError as error:
        # `from None`: the cause carries the request and with it the URL.
        raise LinkError(redact(f"{type(error).__name__} {error}".strip())) from None
    observer.round_trip(path, len(content), len(received))
    return _Reply(response.status_code, bytes(received), _seconds(response.headers.get("Retry-After")))


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdecimal() else None


def _session_reply(reply: _Reply) -> _Reply:
    if reply.status == 404:
        raise SessionLostError()
    if reply.status != 200:
        raise ServerRefusedError(f"the server refused: {_problem(reply)}")
    return reply


class _Problem(msgspec.Struct):
    """What is used of an RFC 9457 problem document."""

    title: str = ""
    detail: str = ""
    code: str = ""


def _problem(reply: _Reply) -> str:
    """Describe an unwelcome answer in one line."""
    try:
        problem = msgspec.json.decode(reply.body, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem()
    words = ": ".join(part for part in (problem.code, problem.title, problem.detail) if part)
    return redact(f"HTTP {reply.status} {words}".strip()[:500])


def _decode(reply: _Reply, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(reply.body, type=kind)
    except msgspec.DecodeError as error:
        raise LinkError(f"the server's answer is not a {kind.__name__}: {error}") from error
