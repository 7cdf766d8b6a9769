"""Calls over HTTP with httpx: to checked addresses only, without redirects, within a time.

The name is looked up once for each call, every address of the answer is checked, and the connection goes to
an address that was checked: a name that changes its address in between (DNS rebinding) gains nothing.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import cast
from urllib.parse import SplitResult, urlsplit, urlunsplit

import httpx

from opentsm.tsm.adapters.deliveries.trust import Identity, NoIdentityError, Trust
from opentsm.tsm.domain.addresses import Network, may_call
from opentsm.tsm.kernel.errors import InvalidInputError
from opentsm.tsm.ports.sender import Call, CallResult

MAX_URL = 2048
_READ_BYTES = 16 * 1024
_LOOK_UPS = 64
_LOOK_UP_S = 5.0
_TRIED = 3
_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class SenderRules:
    """What the operator allows: networks that are not public, calls without TLS, and the time of one."""

    allowed: tuple[Network, ...] = ()
    allow_http: bool = False
    timeout_s: float = 15.0
    identity: Identity | None = None


class RefusedAddressError(Exception):
    """The name leads to an address that may not be called."""


class HttpSender:
    """Implements `ports.sender.Sender`; keeps no connection: a name's proof is never used for another's."""

    def __init__(self, rules: SenderRules) -> None:
        self._rules = rules
        self._trust = Trust(rules.identity)
        # of its own: slow name servers of one receiver must not take the threads of others
        self._look_ups = ThreadPoolExecutor(_LOOK_UPS, thread_name_prefix="look-up")

    async def check_url(self, url: str) -> None:
        """Check that a URL may be called; a name that leads nowhere yet is taken.

        Raises:
            InvalidInputError: its scheme, its form or its address is not allowed.
        """
        parts = self._checked(url)
        try:
            async with asyncio.timeout(_LOOK_UP_S):
                await self._addresses(parts)
        except RefusedAddressError as error:
            raise InvalidInputError(
                "The URL leads to an address that is not called from here.",
                advice="Use a public address; the operator can allow others (deliveries.allowed_networks).",
                field="/url",
            ) from error
        except OSError:  # TimeoutError is one too
            return

    async def send(self, call: Call) -> CallResult:
        """Make a call; whatever the other side or the network does, is a result."""
        began = time.monotonic()
        status, error = None, ""
        try:
            async with asyncio.timeout(self._rules.timeout_s):
                status = await self._post(call)
        except NoIdentityError:
            error = "the TSM has no client certificate: its operator sets deliveries.client_certificate"
        except RefusedAddressError:
            error = "the address may not be called from here"
        except InvalidInputError as refused:
            error = refused.detail
        except TimeoutError:
            error = f"no answer within {self._rules.timeout_s:g} s"
        except (httpx.HTTPError, OSError, ValueError) as failed:  # ssl.SSLError is an OSError
            error = _words(failed)
        return CallResult(status=status, error=error, took_ms=round((time.monotonic() - began) * 1000))

    def close(self) -> None:
        """Let go of the threads."""
        self._look_ups.shutdown(wait=False, cancel_futures=True)

    async def _post(self, call: Call) -> int:
        parts = self._checked(call.url)
        context = (
            self._trust.public() if call.trust is None else self._trust.pinned(call.trust, mutual=call.mutual)
        )
        addresses = await self._addresses(parts)
        for last, address in _with_last(addresses[:_TRIED]):
            try:
                return await self._post_to(address, parts, call, context)
            except httpx.ConnectError as error:
                if last or _is_tls(error):
                    raise
        raise OSError("the name has no address")

    async def _post_to(self, address: str, parts: SplitResult, call: Call, context: ssl.SSLContext) -> int:
        host = f"[{address}]" if ":" in address else address
        netloc = host if parts.port is None else f"{host}:{parts.port}"
        url = urlunsplit((parts.scheme, netloc, parts.path or "/", parts.query, ""))
        named = f"[{parts.hostname}]" if ":" in str(parts.hostname) else str(parts.hostname)
        headers = {
            **call.headers,
            "Host": named if parts.port is None else f"{named}:{parts.port}",
            "Connection": "close",
        }
        async with (
            httpx.AsyncClient(
                verify=context, trust_env=False, follow_redirects=False, timeout=self._rules.timeout_s
            ) as client,
            client.stream(
                "POST", url, headers=headers, content=call.body, extensions={"sni_hostname": parts.hostname}
            ) as response,
        ):
            await _read_some(response)
            return response.status_code

    def _checked(self, url: str) -> SplitResult:
        if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
            raise InvalidInputError(f"The URL has not 1 to {MAX_URL} visible ASCII characters.", field="/url")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise InvalidInputError("The URL cannot be read.", field="/url") from None
        schemes = ("https", "http") if self._rules.allow_http else ("https",)
        if parts.scheme not in schemes:
            raise InvalidInputError(f"The URL must begin with {' or '.join(schemes)}://.", field="/url")
        if not parts.hostname or port == 0 or "@" in parts.netloc or parts.fragment or "\\" in url:
            raise InvalidInputError("The URL must name a host, without user and fragment.", field="/url")
        return parts

    async def _addresses(self, parts: SplitResult) -> list[str]:
        port = parts.port or _PORTS[parts.scheme]
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._look_ups, lambda: socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
        )
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        if not all(may_call(address, self._rules.allowed) for address in addresses):
            raise RefusedAddressError
        return addresses


async def _read_some(response: httpx.Response) -> None:
    """Read the beginning of the answer, so that a small one ends in order; it is not kept."""
    read = 0
    async for part in response.aiter_raw():
        read += len(part)
        if read > _READ_BYTES:
            return


def _with_last(addresses: Sequence[str]) -> list[tuple[bool, str]]:
    return [(number == len(addresses) - 1, address) for number, address in enumerate(addresses)]


def _is_tls(error: BaseException) -> bool:
    return any(isinstance(cause, ssl.SSLError) for cause in _causes(error))


def _words(error: BaseException) -> str:
    """Return what went wrong in words that tell nothing of the answer."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the server's certificate is refused: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return f"no TLS connection: {cause.reason or 'it failed'}"
        if isinstance(cause, socket.gaierror):
            return "the name has no address"
        if isinstance(cause, ConnectionRefusedError):
            return "the connection was refused"
    return {
        httpx.ConnectError: "no connection",
        httpx.RemoteProtocolError: "the answer is no HTTP",
        httpx.ReadError: "the connection broke",
        httpx.WriteError: "the connection broke",
    }.get(cast("type[httpx.TransportError]", type(error)), "the call failed")


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
