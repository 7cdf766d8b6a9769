"""One HTTP exchange of the agent: post JSON, bound the answer, retry, and keep secrets out of every text.

The sessionId of SERAM stands in the URL, so the HTTP client's own log lines and errors pass a filter here.
"""

import logging
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

import httpx
import msgspec

from opentsm.agent.backoff import Backoff
from opentsm.agent.errors import LinkError
from opentsm.agent.messages import DATA_FORMAT, decode_json
from opentsm.agent.observer import Observer

_T = TypeVar("_T")

MAX_BODY_BYTES: Final = 8 * 1024 * 1024
SILENCE_S: Final = 40.0  # SERAM: a long poll lasts 30 s at most; 40 s of silence is a lost connection
_RETRIED: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_SESSION_IN_URL: Final = re.compile(r"(sessionId=)[^&\s\"']+")


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
class Reply:
    """One HTTP answer, whole."""

    status: int
    body: bytes = field(repr=False)
    retry_after_s: float | None


@dataclass(frozen=True, slots=True)
class Request:
    """What to post.

    Args:
        path: below the server's URL.
        body: the message, or a function that makes it for each attempt.
        query: goes into the URL.
        token: goes into the Authorization header.
    """

    path: str
    body: msgspec.Struct | Callable[[], msgspec.Struct] = field(repr=False)
    query: dict[str, str] = field(default_factory=dict, repr=False)
    token: str | None = field(default=None, repr=False)


async def post_until_answered(
    client: httpx.AsyncClient, request: Request, backoff: Backoff, observer: Observer
) -> Reply:
    """Post until the server answers with something that a repetition would not change.

    Args:
        client: reaches the server.
        request: what to send; a callable body is made anew for each attempt.
        backoff: pauses, and the end of patience.
        observer: is told of exchanges and retries.

    Raises:
        ServerUnreachableError: patience is at its end.
    """
    while True:
        try:
            reply = await _post(client, request, observer)
        except LinkError as error:
            reason, asked_s = str(error), None
        else:
            if reply.status not in _RETRIED:
                return reply
            reason, asked_s = problem_of(reply), reply.retry_after_s
        await backoff.pause(f"{request.path}: {reason}", observer, asked_s=asked_s)


async def _post(client: httpx.AsyncClient, request: Request, observer: Observer) -> Reply:
    content = msgspec.json.encode(request.body() if callable(request.body) else request.body)
    headers = {"Content-Type": DATA_FORMAT, "Accept": DATA_FORMAT}
    if request.token is not None:
        headers["Authorization"] = f"Bearer {request.token}"
    received = bytearray()
    try:
        async with client.stream(
            "POST", request.path, params=request.query, content=content, headers=headers
        ) as response:
            async for chunk in response.aiter_bytes():
                received += chunk
                if len(received) > MAX_BODY_BYTES:
                    raise LinkError(f"the server's answer exceeds {MAX_BODY_BYTES} bytes")
    except httpx.HTTPError as error:
        # `from None`: the cause carries the request and with it the URL.
        raise LinkError(redact(f"{type(error).__name__} {error}".strip())) from None
    observer.round_trip(request.path, len(content), len(received))
    return Reply(response.status_code, bytes(received), _seconds(response.headers.get("Retry-After")))


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdecimal() else None


class _Problem(msgspec.Struct):
    """What is used of an RFC 9457 problem document."""

    title: str = ""
    detail: str = ""
    code: str = ""


def problem_of(reply: Reply) -> str:
    """Describe an unwelcome answer in one line."""
    try:
        problem = decode_json(reply.body, _Problem)
    except msgspec.DecodeError:
        problem = _Problem()
    words = ": ".join(part for part in (problem.code, problem.title, problem.detail) if part)
    return redact(f"HTTP {reply.status} {words}".strip()[:500])


def decode(reply: Reply, kind: type[_T]) -> _T:
    try:
        return decode_json(reply.body, kind)
    except msgspec.DecodeError as error:
        raise LinkError(f"the server's answer is not a {kind.__name__}: {error}") from error
