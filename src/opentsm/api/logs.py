"""Logs: one JSON object a line (or text for people), with the request's and operation's id, and no secret."""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog

from opentsm.tsm.config import LogFormat, LogSettings
from opentsm.tsm.kernel.disclosure import veiled

HIDDEN = "********"
_SECRET_NAMES = re.compile(
    r"token|authorization|session_?id|secret|passphrase|password|assertion|enrolment_?code|_keys?$|blob",
    re.IGNORECASE,
)
_SECRET_TEXTS = re.compile(
    r"otsm_[A-Za-z0-9_-]{8,}"
    r"|(?<=sessionId=)[^&\s\"']+"
    r"|(?<=Bearer )[^\s\"']+"
    r"|(?<=://)[^/@:\s]+:[^@\s]+(?=@)"
)

# a checkpoint's copy outside the database is of use only if it is whole: it looks like a key, and is none
_EVIDENCE = {"audit.checkpoint": frozenset({"digest", "signature"})}


def configure_logs(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Send the process's logs, ours and those of libraries, to one stream in one format.

    Args:
        settings: level and format; `auto` is text on a terminal, JSON elsewhere.
        stream: standard error by default, as standard output belongs to data.
    """
    out = stream or sys.stderr
    level = logging.getLevelNamesMapping()[settings.level.value.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    text = settings.format is LogFormat.TEXT or (settings.format is LogFormat.AUTO and out.isatty())
    structlog.configure(
        processors=[*shared, *_rendering(text)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(text)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.INFO))
    # the access line is ours, without the query; httpx would log whole URLs
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("httpx").setLevel(logging.WARNING)


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hide what must never be logged: by the name of a field, and inside every text, at any depth."""
    evidence = _EVIDENCE.get(str(event.get("event")), frozenset())
    for name, value in event.items():
        if name not in evidence:
            event[name] = _redacted(name, value)
    return event


def _redacted(name: str, value: object) -> object:
    if _SECRET_NAMES.search(name):
        return HIDDEN
    match value:
        case str():
            return veiled(_SECRET_TEXTS.sub(HIDDEN, value), paths=True)
        case bytes() | bytearray():
            return f"<{len(value)} bytes>"
        case Mapping():
            return {_redacted("", str(key)): _redacted(str(key), item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_redacted("", item) for item in value]
    return value


def _rendering(text: bool) -> list[structlog.typing.Processor]:
    # the renderer's own tracebacks would show local variables
    last = (
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
        if text
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    return [structlog.processors.format_exc_info, redact, last]
