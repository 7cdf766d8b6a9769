"""Every answer of the TR-03165 API against what its description says about it."""

import re
from functools import cache
from typing import Any

import httpx
from jsonschema import Draft202012Validator

from opentsm.api.sptsm.description import describe

Json = dict[str, Any]


@cache
def _described() -> tuple[list[tuple[re.Pattern[str], Json]], Json]:
    paths, schemas = describe()
    patterns = [(re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))), paths[path]) for path in paths]
    # a literal path comes before one with parameters
    return sorted(patterns, key=lambda one: "[^/]+" in one[0].pattern), schemas


async def check(answer: httpx.Response) -> None:
    """Compare status, media type and body with the description; for a client's event hooks."""
    await answer.aread()
    patterns, schemas = _described()
    path = answer.request.url.path.rstrip("/")  # with a slash at the end it is the same path
    item = next((item for pattern, item in patterns if pattern.fullmatch(path)), None)
    if item is None or answer.request.method.lower() not in item:
        assert answer.status_code in (404, 405), (answer.request.method, path)
        return
    responses = item[answer.request.method.lower()]["responses"]
    assert str(answer.status_code) in responses, (answer.request.method, path, answer.text)
    content = responses[str(answer.status_code)].get("content")
    if content is None:
        assert answer.content == b""
        return
    ((kind, media),) = content.items()
    assert answer.headers["content-type"].split(";")[0] == kind
    if kind == "application/json":
        schema = {**media["schema"], "components": {"schemas": schemas}}
        Draft202012Validator(schema).validate(answer.json())
