"""One exchange with the TSM: two tokens, one idempotency key, as many attempts as it takes.

An app's access token comes from its provider's backend, the device's token from the device; both come from
callbacks, which are called for every request: whoever gives tokens also keeps them.
Source: BSI TR-03165 §4.2.3.14, §4.2.5.9.
"""

import asyncio
import inspect
import ssl
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import random
from typing import Final, TypeAlias, TypeVar

import httpx
import msgspec

from opentsm.sdk.errors import (
    InvalidArgumentError,
    NetworkConnectionError,
    NotAuthenticatedError,
    TsmApiError,
    TsmInternalError,
    TsmNotAvailableError,
    error_class,
)
from opentsm.sdk.messages import Problem, to_json

T = TypeVar("T")
GetToken: TypeAlias = Callable[[], str | Awaitable[str]]

LONG_POLL_S: Final = 25.0
_TIMEOUT_S: Final = 40.0  # longer than the server holds a request
_RETRIED: Final = frozenset({429, 502, 503, 504})
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a request that got no answer is repeated, and the pauses, which double.

    Args:
        attempts: requests in all.
        first_s: upper bound of the first pause.
        cap_s: upper bound of every pause, what the server asks for included.
    """

    attempts: int = 12
    first_s: float = 0.2
    cap_s: float = 10.0

    def pause_s(self, failures: int, asked_s: float = 0.0) -> float:
        """Return how long to wait after so many failures."""
        bound = min(self.cap_s, self.first_s * (1 << min(failures, 16)))
        return max(bound * (0.5 + 0.5 * random()), min(asked_s, self.cap_s))  # noqa: S311  # a pause


def http_client(
    base_url: str, *, ca_file: str | None = None, transport: httpx.AsyncBaseTransport | None = None
) -> httpx.AsyncClient:
    """Make the HTTP client: https, or http on this machine only, and no redirects.

    Args:
        base_url: of the TSM.
        ca_file: certificates to trust instead of the system's.
        transport: replaces the network, for tests.

    Raises:
        InvalidArgumentError: the URL would carry the tokens in the clear.
    """
    url = httpx.URL(base_url.rstrip("/"))
    local = url.host in _LOCAL
    if url.scheme != "https" and not (url.scheme == "http" and local):
        raise InvalidArgumentError(f"{base_url}: only https, or http on this machine, carries tokens.")
    return httpx.AsyncClient(
        base_url=url,
        verify=ssl.create_default_context(cafile=ca_file) if url.scheme == "https" else False,
        trust_env=not local,
        timeout=httpx.Timeout(_TIMEOUT_S, connect=10.0),
        transport=transport,
    )


class Backend:
    """The TSM as the device API sees it.

    Args:
        client: reaches it.
        device_token: gives the device's token.
        patience: with requests that get no answer.
    """

    def __init__(
        self, client: httpx.AsyncClient, device_token: GetToken, patience: Patience | None = None
    ) -> None:
        self._client = client
        self._device_token = device_token
        self._patience = patience or Patience()
        self.access_token: GetToken | None = None

    async def get(self, path: str, kind: type[T], **query: str) -> T:
        """Fetch something."""
        return _read(await self._call("GET", path, query=query), kind)

    async def post(self, path: str, body: object, kind: type[T]) -> T:
        """Ask for something, once: a repeated attempt has the same idempotency key."""
        headers = {"Idempotency-Key": str(uuid.uuid4()), "Content-Type": "application/json"}
        return _read(await self._call("POST", path, content=to_json(body), headers=headers), kind)

    async def post_as_device(self, path: str, body: object, kind: type[T]) -> T:
        """Ask for something as the device alone; that it had enough of it (429) is final."""
        headers = {"Idempotency-Key": str(uuid.uuid4()), "Content-Type": "application/json"}

        async def token() -> dict[str, str]:
            return {"Authorization": f"Bearer {await _token(self._device_token)}"}

        retried = _RETRIED - {429}
        answer = await self._call(
            "POST", path, content=to_json(body), headers=headers, tokens=token, retried=retried
        )
        return _read(answer, kind)

    @asynccontextmanager
    async def stream(self, path: str) -> AsyncIterator[httpx.Response]:
        """Open a stream of server-sent events.

        Raises:
            NetworkConnectionError: the TSM cannot be reached.
            TsmApiError: it refuses.
        """
        headers = {**await self._tokens(), "Accept": "text/event-stream"}
        try:
            async with self._client.stream("GET", path, headers=headers) as answer:
                if answer.status_code >= 400:
                    await answer.aread()
                    raise error_of(answer)
                yield answer
        except httpx.HTTPError as error:
            raise NetworkConnectionError(_words(error)) from error

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        tokens: Callable[[], Awaitable[dict[str, str]]] | None = None,
        retried: frozenset[int] = _RETRIED,
    ) -> httpx.Response:
        failures = 0
        while True:
            proofs = await (tokens or self._tokens)()
            asked_s, failure = 0.0, TsmApiError()
            try:
                answer = await self._client.request(
                    method, path, params=query, content=content, headers={**(headers or {}), **proofs}
                )
            except httpx.HTTPError as error:
                failure = NetworkConnectionError(_words(error))
            else:
                if answer.status_code < 400:
                    return answer
                failure, asked_s = error_of(answer), _seconds(answer)
                if answer.status_code not in retried:
                    raise failure
            failures += 1
            if failures >= self._patience.attempts:
                raise failure
            await asyncio.sleep(self._patience.pause_s(failures - 1, asked_s))

    async def _tokens(self) -> dict[str, str]:
        if self.access_token is None:
            raise NotAuthenticatedError("Not authenticated: no access token was set (set_access_token).")
        return {
            "Authorization": f"Bearer {await _token(self.access_token)}",
            "Device-Authorization": f"Bearer {await _token(self._device_token)}",
        }


async def _token(give: GetToken) -> str:
    """Ask for a token; a callback that fails is an authentication that fails (§4.2.4.4, type 5)."""
    try:
        found = give()
        return await found if inspect.isawaitable(found) else found
    except TsmApiError:
        raise
    except Exception as error:
        raise NotAuthenticatedError("Not authenticated: could not retrieve access token.") from error


def _read(answer: httpx.Response, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except msgspec.DecodeError as error:
        raise TsmInternalError(f"Internal error: the TSM's answer is no {kind.__name__}: {error}") from error


def error_of(answer: httpx.Response) -> TsmApiError:
    """Return the error of a refusal, of the class of its type."""
    try:
        problem = msgspec.json.decode(answer.content, type=Problem)
    except msgspec.DecodeError:
        problem = Problem()
    detail = problem.detail or f"HTTP {answer.status_code} {answer.reason_phrase}".strip()
    if problem.tsm_error is None:
        kind = TsmNotAvailableError if answer.status_code >= 500 else error_class(0)
        return kind(detail, advice=problem.advice or "", request_id=problem.request_id)
    return error_class(problem.tsm_error.type)(
        problem.tsm_error.message or detail, advice=problem.advice or "", request_id=problem.request_id
    )


def _seconds(answer: httpx.Response) -> float:
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else 0.0


def _words(error: httpx.HTTPError) -> str:
    return f"Network connection error: {str(error) or type(error).__name__}"
