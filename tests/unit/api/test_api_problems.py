"""Errors to problem documents, without a server."""

import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import structlog
from litestar import Litestar, get
from litestar.exceptions import ClientException, InternalServerException

from opentsm.api.metrics import Metrics
from opentsm.api.observation import Observation
from opentsm.api.problems import problem_response, split_path
from opentsm.card.errors import AidError
from opentsm.tsm.adapters.world import SystemWorld
from opentsm.tsm.kernel.errors import (
    CallerError,
    ConflictError,
    ForbiddenError,
    InternalError,
    InvalidInputError,
    InvariantError,
    KeystoreError,
    NotFoundError,
    StaleVersionError,
    TsmError,
    UnauthenticatedError,
    WrongCardError,
)

SECRET = "00112233445566778899aabbccddeeff"


async def _ask(error: Exception) -> httpx.Response:
    @get("/")
    async def fails() -> None:
        raise error

    app = Litestar([fails], exception_handlers={Exception: problem_response}, logging_config=None)
    app.asgi_handler = Observation(app.asgi_handler, world=SystemWorld(), metrics=Metrics())
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://tsm") as client:
        return await client.get("/")


@pytest.fixture(autouse=True)
def log() -> Iterator[io.StringIO]:
    out = io.StringIO()
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.JSONRenderer(default=str)],
        logger_factory=structlog.WriteLoggerFactory(file=out),
    )
    yield out
    structlog.reset_defaults()


@pytest.mark.parametrize(
    "error",
    [
        CallerError("no"),
        UnauthenticatedError("no"),
        ForbiddenError("no"),
        NotFoundError("no"),
        ConflictError("no", advice="do", field="/x"),
        WrongCardError("no"),
    ],
)
async def test_problem_when_the_caller_or_the_card_is_at_fault_then_everything_is_told(
    error: TsmError,
) -> None:
    answer = await _ask(error)
    document = answer.json()
    assert answer.status_code == document["status"] == error.status
    assert (document["code"], document["detail"]) == (error.code, "no")
    assert document["title"] == (type(error).__doc__ or "").splitlines()[0]
    assert error.advice in (document.get("advice"), None)
    assert document.get("field") == error.field
    assert ("www-authenticate" in answer.headers) is isinstance(error, UnauthenticatedError)


@pytest.mark.parametrize(
    "error", [RuntimeError(SECRET), InternalError(SECRET), InvariantError(SECRET), KeystoreError(SECRET)]
)
async def test_problem_when_the_fault_is_ours_then_nothing_is_told_and_the_log_has_the_request(
    error: Exception, log: io.StringIO
) -> None:
    answer = await _ask(error)
    document = answer.json()
    assert (answer.status_code, document["code"]) == (500, "internal_error")
    assert SECRET not in answer.text
    lines: list[dict[str, Any]] = [json.loads(line) for line in log.getvalue().splitlines()]
    failed = [line for line in lines if line["event"] == "request.failed"]
    assert [line["request_id"] for line in failed] == [document["request_id"]]


async def test_problem_when_a_race_was_lost_then_try_again() -> None:
    answer = await _ask(StaleVersionError())
    assert (answer.status_code, answer.json()["code"]) == (503, "try_again")
    assert answer.headers["retry-after"] == "1"


async def test_problem_when_card_data_in_the_request_is_bad_then_invalid_input() -> None:
    answer = await _ask(AidError("an AID has 5 to 16 bytes"))
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")


async def test_problem_when_litestar_refuses_then_the_same_form() -> None:
    answer = await _ask(ClientException("not so", status_code=415))
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("message", "pointer", "text"),
    [
        ("Expected `str`, got `int` - at `$.a[0].b`", "/a/0/b", "Expected `str`, got `int`"),
        ("Object missing required field `name`", "/name", "Object missing required field `name`"),
        ("Object contains unknown field `x` - at `$.a`", "/a/x", "Object contains unknown field `x`"),
        # RFC 6901 §3: a pointer that msgspec cannot end ends at the map
        ("Expected `str`, got `int` - at `$[...]`", "", "Expected `str`, got `int`"),
        ("Expected `str`, got `int` - at `$.data[...]`", "/data", "Expected `str`, got `int`"),
        ("Object contains unknown field `a/b~c`", "/a~1b~0c", "Object contains unknown field `a/b~c`"),
        ("whatever", "", "whatever"),
    ],
)
def test_path_of_a_message_then_a_json_pointer(message: str, pointer: str, text: str) -> None:
    assert split_path(message) == (pointer, text)


@pytest.mark.parametrize(
    "error", [InvalidInputError(), NotFoundError(), ForbiddenError(), UnauthenticatedError()]
)
async def test_problem_when_the_error_gives_no_advice_then_it_says_what_to_do_all_the_same(
    error: TsmError,
) -> None:
    assert (await _ask(error)).json()["advice"]


async def test_error_when_the_client_went_away_then_no_error_and_no_traceback_is_logged(
    log: io.StringIO,
) -> None:
    answer = await _ask(InternalServerException("client disconnected prematurely"))
    assert answer.status_code == 400
    assert "request.disconnected" in log.getvalue()
    assert "request.failed" not in log.getvalue()
    assert "Traceback" not in log.getvalue()
