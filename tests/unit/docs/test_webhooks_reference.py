"""The receiver in docs/reference/webhooks.md takes our signatures and refuses others; its lists are whole."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from opentsm.card.crypto.secret import Secret
from opentsm.tsm.domain.delivery import EVENT_TYPES
from opentsm.tsm.domain.webhook_signature import shown_secret, signature_headers

PAGE = (Path(__file__).parents[3] / "docs/reference/webhooks.md").read_text()
Verify = Callable[[str, dict[str, str], bytes], None]
OLD, NEW = Secret(bytes(32)), Secret(bytes(range(32)))


@pytest.fixture(scope="module")
def verify() -> Verify:
    found = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    names: dict[str, Verify] = {}
    exec(compile(found[1], "webhooks.md", "exec"), names)  # noqa: S102  # the documentation's own example
    return names["verify"]


def headers(*secrets: Secret, age_s: float = 0) -> dict[str, str]:
    at = datetime.fromtimestamp(time.time(), UTC) - timedelta(seconds=age_s)
    return signature_headers("id", at, b"{}", secrets)


def test_receiver_when_signed_with_one_of_two_secrets_then_takes_it(verify: Verify) -> None:
    for secret in (OLD, NEW):
        verify(shown_secret(secret), headers(NEW, OLD), b"{}")


def test_receiver_when_body_secret_or_time_differ_then_refuses(verify: Verify) -> None:
    for secret, sent, body in (
        (NEW, headers(NEW), b"{ }"),
        (OLD, headers(NEW), b"{}"),
        (NEW, headers(NEW, age_s=3600), b"{}"),
        (NEW, headers(NEW) | {"webhook-id": "other"}, b"{}"),
    ):
        with pytest.raises(ValueError, match=r"too old|not signed"):
            verify(shown_secret(secret), sent, body)


def test_page_then_names_every_event() -> None:
    for event in EVENT_TYPES:
        group, _, state = event.partition(".")
        assert f"`{event}`" in PAGE or (f"`{group}." in PAGE and f"`.{state}`" in PAGE), event
