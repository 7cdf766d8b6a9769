"""How `opentsm app` reaches the TSM: both tokens, one call, and what its errors are for the shell.

The access token is the one that was given, or fetched with the provider's own token, or, where there is none,
fetched by the device itself (self-service) and kept beside the device's key for the next command.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from opentsm.agent.errors import AgentError
from opentsm.cli.agent import cli_error, default_state
from opentsm.cli.app_progress import ProgressListener
from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError
from opentsm.cli.settings import command_settings
from opentsm.sdk import (
    ErrorType,
    HeldToken,
    NotAuthenticatedError,
    ProcessListener,
    ProcessResult,
    TsmApiError,
    TsmApiService,
)

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

KEPT = "access-tokens.json"
_UNREACHED = (ErrorType.TSM_NOT_AVAILABLE, ErrorType.NETWORK_CONNECTION_ERROR)


@dataclass(frozen=True, slots=True)
class Door:
    """One command's way to the TSM.

    Args:
        state: directory of the device's key; None for the usual one.
        access: an access token; None to have one fetched.
        service: the service that the command is about; or
        instance: one of its instances.
    """

    state: Path | None
    access: str | None
    service: str | None = None
    instance: str | None = None

    def run(self, call: Callable[[TsmApiService], Awaitable[T]]) -> T:
        """Make a call, or several, and return what it does.

        Raises:
            CliError: it failed.
        """
        try:
            return asyncio.run(self._call(call))
        except AgentError as error:
            raise cli_error(error) from error
        except TsmApiError as error:
            raise failure(error) from error

    def follow(
        self, call: Callable[[TsmApiService, ProcessListener], Awaitable[ProcessResult]]
    ) -> ProcessResult:
        """Make a call that begins a process, and show its progress until it ends.

        Raises:
            CliError: it failed.
        """
        with ProgressListener() as listener:
            return self.run(lambda tsm: call(tsm, listener))

    async def _call(self, call: Callable[[TsmApiService], Awaitable[T]]) -> T:
        async with self._service() as tsm:
            return await call(tsm)

    @asynccontextmanager
    async def _service(self) -> AsyncIterator[TsmApiService]:
        from opentsm.agent.device_key import read_identity
        from opentsm.agent.http_exchange import http_client
        from opentsm.agent.server_link import ServerLink

        client_settings = command_settings().client
        base_url, directory = client_settings.base_url, self.state or default_state()
        identity = read_identity(directory)
        async with http_client(base_url) as client:
            link = ServerLink(client, identity)
            async with TsmApiService(base_url, device_token=link.device_token) as tsm:
                if self.access is not None or client_settings.token is not None:
                    access = self.access or await _fetched(client, str(client_settings.token))
                    tsm.set_access_token(lambda: access)
                    yield tsm
                else:
                    async with self._self_served(tsm, directory / KEPT, base_url):
                        yield tsm

    @asynccontextmanager
    async def _self_served(self, tsm: TsmApiService, file: Path, base_url: str) -> AsyncIterator[None]:
        """Let the device fetch its token, unless one is kept; keep what is there at the end."""
        place = f"{base_url} {self.service or self.instance}"
        tokens = tsm.use_self_service(
            self.service, service_instance_id=self.instance, held=kept_tokens(file).get(place)
        )
        try:
            yield
        except NotAuthenticatedError:
            tokens.held = None  # its service's mark was taken back: the next command asks anew
            raise
        finally:
            others = {name: held for name, held in kept_tokens(file).items() if name != place}
            keep_tokens(file, others if tokens.held is None else {**others, place: tokens.held})


def kept_tokens(file: Path) -> dict[str, HeldToken]:
    """Return the tokens that earlier commands kept, by server and service; a damaged file holds none."""
    try:
        found = json.loads(file.read_text("utf-8"))
        return {
            str(name): HeldToken(str(one["value"]), float(one["renew_at"])) for name, one in found.items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def keep_tokens(file: Path, tokens: dict[str, HeldToken]) -> None:
    """Keep tokens where only this user can read; each is worth nothing without the device's key beside it."""
    if tokens == kept_tokens(file):
        return
    fresh = file.with_name(f"{file.name}.{os.getpid()}")
    document = {name: {"value": held.value, "renew_at": held.renew_at} for name, held in tokens.items()}
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
        json.dump(document, opened)
    fresh.replace(file)


def failure(error: TsmApiError) -> CliError:
    """Say whose fault an error of a call is by the exit code."""
    code = ExitCode.REFUSED if error.result is None else ExitCode.FAILED
    if error.error_type in _UNREACHED:
        code = ExitCode.UNAVAILABLE
    kind = error.error_type
    return CliError(
        f"error type {kind.value}, {kind.name}", why=error.message, advice=error.advice, code=code
    )


async def _fetched(client: httpx.AsyncClient, provider_token: str) -> str:
    """Fetch an access token, as the provider's backend does for its app."""
    import httpx as http

    headers = {"Authorization": f"Bearer {provider_token}"}
    try:
        answer = await client.post("/v1/access-tokens", json={}, headers=headers)
    except http.HTTPError as error:
        raise CliError("no connection", why=type(error).__name__, code=ExitCode.UNAVAILABLE) from error
    if answer.status_code != 201:
        raise CliError(
            f"the server gives no access token: {answer.status_code}",
            advice="set OPENTSM_CLIENT_TOKEN to the token of the service's provider, or unset it",
            code=ExitCode.REFUSED,
        )
    return str(answer.json()["token"])
