"""The agent's HTTP link to the Remote Agent: enrolment, tokens, sessions, handshake, orders.

Retries what may be retried, renews tokens, and keeps the sessionId, which stands in the URL, out of
every log and error. Source: SERAM 2.0.0 HTTP REST binding; docs/reference/agent-protocol.md.
"""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from random import random
from typing import Final

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
from opentsm.agent.http_exchange import Reply, Request, decode, post_until_answered, problem_of
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
    decode_json,
)
from opentsm.agent.observer import Observer, SilentObserver

_TOKEN_MARGIN: Final = 0.1


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


@dataclass(slots=True)
class _HeldToken:
    """A token and when to renew it."""

    value: str = field(repr=False)
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


async def enrol(
    client: httpx.AsyncClient,
    code: str,
    key: DeviceKey,
    name: str,
    *,
    clock: Clock | None = None,
    settings: LinkSettings | None = None,
    observer: Observer | None = None,
) -> str:
    """Exchange a one-time code and the device's public key for a device identifier.

    After a lost answer the same code goes out with the same key; the server answers that alike.

    Args:
        client: reaches the server.
        code: from the operator.
        key: its public half is sent.
        name: what the operator will see.
        clock: pauses.
        settings: patience.
        observer: is told of retries.

    Raises:
        ServerRefusedError: the code is unknown, used by another key, or expired.
        ServerUnreachableError: patience is at its end.
    """
    settings = settings or LinkSettings()
    backoff = Backoff(settings.patience, clock or SystemClock(), settings.random)
    body = Enrolment(code, key.public_jwk(), name)
    reply = await post_until_answered(
        client, Request("/v1/devices", body), backoff, observer or SilentObserver()
    )
    if reply.status != 201:
        raise ServerRefusedError(f"the server does not enrol this device: {problem_of(reply)}")
    return decode(reply, Device).id


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
            raise ServerRefusedError(f"the server opens no session for this card: {problem_of(reply)}")
        return SessionId(decode(reply, Session).session_id)

    async def handshake(self, session: SessionId, element: SecureElement, observer: Observer) -> str:
        """Offer versions, formats and transports; return the version that the server chose.

        Raises:
            SessionLostError: the server does not know the session.
            NegotiationError: there is no common ground.
        """
        offer = HandshakeCommand([element], [TRANSPORT], [DATA_FORMAT], list(self.settings.versions))
        reply = await self._call("/gp/seram/handshake", offer, session, observer)
        if reply.status == 406:
            raise NegotiationError(f"the server takes nothing of what is offered: {problem_of(reply)}")
        choice = decode(_session_reply(reply), HandshakeResponse)
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
            return decode_json(_session_reply(reply).body, WireOrder)
        except msgspec.ValidationError as error:
            raise OrderError(str(error)) from error
        except msgspec.DecodeError as error:
            raise LinkError(f"the server's answer is not JSON: {error}") from error

    async def device_token(self, observer: Observer | None = None) -> str:
        """Return the device's own token, for what else on this device speaks to the server for it.

        It is kept and renewed in time, so this may be called for every request.

        Raises:
            DeviceRefusedError: the server gives this device none.
            ServerUnreachableError: patience is at its end.
        """
        return await self._bearer(observer or SilentObserver())

    async def _call(
        self, path: str, body: msgspec.Struct, session: SessionId | None, observer: Observer
    ) -> Reply:
        query = {"sessionId": session.reveal()} if session else {}
        token = await self._bearer(observer)
        reply = await self._persistently(Request(path, body, query, token), observer)
        if reply.status != 401:
            return reply
        self._forget(token)
        token = await self._bearer(observer)
        reply = await self._persistently(Request(path, body, query, token), observer)
        if reply.status == 401:
            raise DeviceRefusedError(f"the server takes no token of this device: {problem_of(reply)}")
        return reply

    async def _persistently(self, request: Request, observer: Observer) -> Reply:
        backoff = Backoff(self.settings.patience, self._clock, self.settings.random)
        return await post_until_answered(self._client, request, backoff, observer)

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

        reply = await self._persistently(Request("/v1/device-tokens", body), observer)
        if reply.status != 200:
            raise DeviceRefusedError(f"the server gives this device no token: {problem_of(reply)}")
        token = decode(reply, Token)
        return _HeldToken(token.token, asked_at + token.expires_in * (1 - _TOKEN_MARGIN))


def _session_reply(reply: Reply) -> Reply:
    if reply.status == 404:
        raise SessionLostError()
    if reply.status != 200:
        raise ServerRefusedError(f"the server refused: {problem_of(reply)}")
    return reply
