"""What is never logged."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from opentsm.api.logs import HIDDEN, configure_logs, redact
from opentsm.tsm.config import LogFormat, LogLevel, LogSettings


@pytest.fixture
def out(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    stream = io.StringIO()
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    level = root.level
    configure_logs(LogSettings(level=LogLevel.INFO, format=LogFormat.JSON), stream)
    yield stream
    root.setLevel(level)
    logging.getLogger("httpx").setLevel(logging.NOTSET)
    logging.getLogger("uvicorn.access").disabled = False
    structlog.reset_defaults()


@pytest.mark.parametrize(
    "name",
    [
        "token",
        "access_token",
        "Authorization",
        "session_id",
        "sessionId",
        "passphrase",
        "master_key",
        "static_keys",
        "blob",
    ],
)
def test_field_when_its_name_says_secret_then_hidden(name: str) -> None:
    assert redact(None, "info", {name: "abc", "event": "x"}) == {name: HIDDEN, "event": "x"}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("POST /gp/seram/handshake?sessionId=00ff&x=1", "POST /gp/seram/handshake?sessionId="),
        ("Authorization: Bearer abc.def", "Authorization: Bearer "),
        ("token otsm_abcdefghijkl used", "token "),
        ("postgresql://tsm:pass@host/db", "postgresql://"),
    ],
)
def test_text_when_it_holds_a_secret_then_only_that_is_hidden(text: str, kept: str) -> None:
    shown = redact(None, "info", {"event": text})["event"]
    assert shown.startswith(kept + HIDDEN)
    assert not {"00ff", "abc", "pass"} & set(shown.replace("&", "?").replace("@", "?").split("?"))


def test_line_then_one_json_object_with_time_level_and_context(out: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(request_id="r1", operation_id="o1"):
        structlog.get_logger("x").info("happened", count=1)
        logging.getLogger("some.library").warning("said %s", "sessionId=abc")
    ours, theirs = (json.loads(line) for line in out.getvalue().splitlines())
    assert (ours["event"], ours["count"], ours["level"]) == ("happened", 1, "info")
    assert (ours["request_id"], ours["operation_id"]) == ("r1", "o1")
    assert "timestamp" in ours
    assert theirs["event"] == f"said sessionId={HIDDEN}"
    assert theirs["request_id"] == "r1"


def test_level_then_less_severe_lines_are_left_out(out: io.StringIO) -> None:
    structlog.get_logger().debug("no")
    assert out.getvalue() == ""


def test_traceback_when_it_quotes_a_session_then_hidden(out: io.StringIO) -> None:
    try:
        raise ValueError("bad ?sessionId=cafe")
    except ValueError as error:
        structlog.get_logger().error("failed", exc_info=error)
    line = json.loads(out.getvalue())
    assert "ValueError" in line["exception"]
    assert "cafe" not in line["exception"]


def test_text_when_an_error_is_logged_then_no_local_variable_is_shown(
    out: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_logs(LogSettings(level=LogLevel.INFO, format=LogFormat.TEXT), out)
    try:
        _fail(bytes.fromhex("404142434445464748494A4B4C4D4E4F"))
    except ValueError as error:
        structlog.get_logger("ours").error("ours", exc_info=error)
        logging.getLogger("library").error("theirs", exc_info=error)
    shown = out.getvalue()
    assert shown.count("ValueError: of otsm-pass at ********") == 2
    assert "@ABCDEFGHIJKLMNO" not in shown
    assert "4041" not in shown


def _fail(key: bytes) -> None:
    url = key.hex()
    raise ValueError(f"of otsm-pass at otsm_{url}")


@pytest.mark.parametrize("secret", ["404142434445464748494A4B4C4D4E4F", "4929123456789017"])
def test_text_when_it_looks_like_a_key_or_card_number_then_hidden(secret: str) -> None:
    shown = redact(None, "info", {"event": f"no {secret}", "details": {"path": [secret]}})
    assert secret not in str(shown)


def test_checkpoint_then_its_digest_and_signature_are_logged_whole(out: io.StringIO) -> None:
    evidence = {"digest": "5A" * 32, "signature": "A5" * 64}
    structlog.get_logger().info("audit.checkpoint", number=7, heads=3, token="abc", **evidence)
    line = json.loads(out.getvalue())
    assert {name: line[name] for name in evidence} == evidence
    assert line["token"] == HIDDEN


def test_digest_when_it_is_of_another_event_then_hidden(out: io.StringIO) -> None:
    structlog.get_logger().info("request", digest="5A" * 32)
    assert "5A5A" not in out.getvalue()
