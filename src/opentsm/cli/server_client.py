"""How the command line asks a running server, and its refusals as errors of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import httpx

from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError
from opentsm.cli.settings import command_settings

if TYPE_CHECKING:
    from opentsm.tsm.config import Settings

Json = dict[str, Any]
SPTSM: Final = "/sptsm/1.0.4"
LONG_POLL_S: Final = 25
_TIMEOUT_S: Final = 40.0
_WHOLE_PAGE: Final = 200
_TOKEN_FILE: Final = "operator.token"  # noqa: S105  # a file name


class ServerClient:
    """Asks one server with one token.

    Args:
        client: reaches the server.
        token: who is asking.
    """

    def __init__(self, client: httpx.Client, token: str) -> None:
        self._client = client
        self._token = token

    def get(self, path: str, **query: str | None) -> Any:
        """Fetch something; parameters that are None are left out.

        Raises:
            CliError: the server refuses, or cannot be reached.
        """
        return self._call("GET", path, {name: value for name, value in query.items() if value is not None})

    def send(self, method: str, path: str, body: Json) -> Any:
        """Send a JSON body.

        Raises:
            CliError: the server refuses, or cannot be reached.
        """
        return self._call(method, path, {}, json=body)

    def put_bytes(self, path: str, data: bytes, *, again: str) -> Json | None:
        """Send bytes; None when the server refuses with the code `again`, to be tried later."""
        answer = self._answer("PUT", path, {}, content=data)
        if answer.status_code == httpx.codes.CONFLICT and answer.json().get("code") == again:
            return None
        return dict(_content(answer))

    def download(self, path: str, **query: str) -> bytes:
        """Fetch a file."""
        answer = self._answer("GET", path, query)
        if answer.status_code >= 400:
            raise _refusal(answer)
        return answer.content

    def pages(self, path: str, **query: str | None) -> Iterator[Json]:
        """Fetch all items of a list, page by page."""
        after: str | None = None
        while True:
            page = self.get(path, limit=str(_WHOLE_PAGE), after=after, **query)
            yield from page["items"]
            after = page["next"]
            if after is None:
                return

    def newest(self, path: str, count: int, **query: str | None) -> Json:
        """Fetch the newest `count` items of a list, newest first, and the cursor of what comes after them."""
        items: list[Json] = []
        after = query.pop("after", None)
        while True:
            limit = str(min(count - len(items), _WHOLE_PAGE))
            page = self.get(path, order="desc", limit=limit, after=after, **query)
            items += page["items"]
            after = page["next"]
            if after is None or len(items) >= count:
                return {"items": items, "next": after}

    def provider_door(self) -> ServerClient:
        """Return a client of the TR-03165 API: the long-term token buys a short-term one."""
        return ServerClient(self._client, self._call("POST", f"{SPTSM}/auth", {}))

    def _call(self, method: str, path: str, query: dict[str, str], **body: Any) -> Any:
        return _content(self._answer(method, path, query, **body))

    def _answer(self, method: str, path: str, query: dict[str, str], **body: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._token}"}
        try:
            return self._client.request(method, path, params=query, headers=headers, **body)
        except httpx.HTTPError as error:
            raise CliError(
                f"no server at {self._client.base_url}",
                why=str(error) or type(error).__name__,
                advice="start one with `opentsm serve`, or set OPENTSM_CLIENT_BASE_URL",
                code=ExitCode.UNAVAILABLE,
            ) from error


@contextmanager
def connected_client() -> Iterator[ServerClient]:
    """Give a client of the server that the settings name.

    Raises:
        CliError: there is no token.
    """
    settings = command_settings()
    token = _token(settings)
    url = httpx.URL(settings.client.base_url)
    # a proxy of the environment cannot reach this machine's own addresses
    proxied = url.host not in ("localhost", "127.0.0.1", "::1")
    with httpx.Client(base_url=url, timeout=_TIMEOUT_S, trust_env=proxied) as client:
        yield ServerClient(client, token)


def _token(settings: Settings) -> str:
    if settings.client.token is not None:
        return settings.client.token
    path = settings.data_dir / _TOKEN_FILE
    try:
        return path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(
            "there is no access token",
            why=f"OPENTSM_CLIENT_TOKEN is not set, and {path} cannot be read",
            advice="set OPENTSM_CLIENT_TOKEN, or OPENTSM_DATA_DIR to the server's directory",
            code=ExitCode.CONFIGURATION,
        ) from error


def _content(answer: httpx.Response) -> Any:
    if answer.status_code >= 400:
        raise _refusal(answer)
    return answer.json()


def _refusal(answer: httpx.Response) -> CliError:
    try:
        found = answer.json()
    except ValueError:
        found = None
    problem: Json = found if isinstance(found, dict) else {}
    detail = problem.get("detail") or problem.get("errorMessage") or answer.reason_phrase
    advice = str(problem.get("advice") or "")
    if answer.status_code in (401, 403) and not advice:
        advice = "set OPENTSM_CLIENT_TOKEN to the token of a party that may do this"
    return CliError(
        f"the server refused: {answer.status_code}", why=str(detail), advice=advice, code=ExitCode.REFUSED
    )
