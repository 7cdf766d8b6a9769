"""The public HTTP APIs as the demo uses them: one client, a token for each caller, problems as errors."""

from collections.abc import Mapping
from typing import Any, Final, cast

import httpx

from opentsm.demo.errors import ApiError, VerificationError

Json = dict[str, Any]
SPTSM_PATH: Final = "/sptsm/1.0.4"
_LONG_POLL_S: Final = 25
_TIMEOUT_S: Final = 40.0


def open_client(base_url: str) -> httpx.AsyncClient:
    """Return a client of the server; proxies of the environment are not used."""
    return httpx.AsyncClient(base_url=base_url, timeout=_TIMEOUT_S, trust_env=False)


class Caller:
    """One party at the APIs.

    Args:
        client: reaches the server.
        token: the party's bearer token.
    """

    def __init__(self, client: httpx.AsyncClient, token: str) -> None:
        self._client = client
        self._token = token

    async def get(self, path: str, **query: str) -> Any:
        """Fetch something."""
        return await self._call("GET", path, params=query)

    async def post(self, path: str, body: object = None, **more: Any) -> Any:
        """Make something; the answer's JSON."""
        return await self._call("POST", path, json=body, **more)

    async def put(self, path: str, body: object) -> None:
        """Put something."""
        await self._call("PUT", path, json=body)

    async def upload(self, path: str, parts: tuple[str, str], name: str, data: bytes) -> Json:
        """Upload a file as a form with two parts: its name and the file."""
        name_part, file_part = parts
        return cast(
            "Json", await self._call("POST", path, data={name_part: name}, files={file_part: (name, data)})
        )

    async def follow(self, operation: Json) -> Json:
        """Return an operation when it has changed, at the latest after 25 s."""
        path = f"/v1/operations/{operation['id']}"
        return cast("Json", await self.get(path, wait=str(_LONG_POLL_S)))

    async def refused(self, status: int, method: str, path: str, body: object = None) -> str:
        """Ask for something that must be refused, and return the problem's words.

        Raises:
            VerificationError: it is not refused, or otherwise.
        """
        try:
            await self._call(method, path, json=body)
        except ApiError as error:
            if error.status == status:
                return f"{status} {error.code}"
            raise VerificationError(f"the server refuses otherwise than it should: {error}") from error
        raise VerificationError(f"{method} {path} is not refused, and should be with {status}")

    def like(self, token: str) -> "Caller":
        """Return another party at the same server."""
        return Caller(self._client, token)

    async def provider_door(self) -> "Caller":
        """Return a caller at the TR-03165 API: the long-term token buys a short-term one."""
        return Caller(self._client, await self.post(f"{SPTSM_PATH}/auth"))

    async def _call(self, method: str, path: str, **more: Any) -> Any:
        if more.get("json", "") is None:
            del more["json"]
        headers = {"Authorization": f"Bearer {self._token}"}
        try:
            answer = await self._client.request(method, path, headers=headers, **more)
        except httpx.HTTPError as error:
            raise ApiError(f"{method} {path}", 0, type(error).__name__, str(error) or "no answer") from error
        if answer.status_code >= 400:
            raise _problem(f"{method} {path}", answer)
        return answer.json() if answer.content else None


def _problem(request: str, answer: httpx.Response) -> ApiError:
    try:
        found = answer.json()
    except ValueError:
        found = None
    problem: Mapping[str, Any] = found if isinstance(found, dict) else {}
    code = problem.get("code") or problem.get("errorCategory") or answer.reason_phrase
    detail = problem.get("detail") or problem.get("errorMessage") or answer.text[:200]
    return ApiError(
        request, answer.status_code, str(code), str(detail), advice=str(problem.get("advice") or "")
    )
