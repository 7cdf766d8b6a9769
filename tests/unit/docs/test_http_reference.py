"""docs/reference/http.md names every problem code and limit that the server has."""

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from opentsm.api import bodies, problems
from opentsm.api.json_lines import MAX_LINE
from opentsm.api.sptsm.exchange import MAX_BODY_BYTES
from opentsm.tsm.config import load_settings
from opentsm.tsm.kernel.errors import InternalError, TooManyError, TsmError
from opentsm.tsm.roles.sp.errors import CatalogueError

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/reference/http.md").read_text("utf-8")
ROW = re.compile(r"^\| `(?P<code>\w+)` \| (?P<status>\d{3}) \| \S", re.MULTILINE)
LITERAL = re.compile(r'code="(\w+)"')
# refused in the standard's own words; and what is only ever raised as one of its kinds
NEVER_SHOWN = (CatalogueError, TooManyError, TsmError)


def kinds(kind: type[TsmError]) -> Iterator[type[TsmError]]:
    yield kind
    for more in kind.__subclasses__():
        yield from kinds(more)


def shown() -> set[tuple[str, int]]:
    """Return code and status of every error that is told to a caller as such."""
    for module in ("opentsm.api.app", "opentsm.api.sptsm.routes", "opentsm.tsm.bootstrap"):
        import_module(module)
    told = {
        (k.code, k.status)
        for k in kinds(TsmError)
        if not issubclass(k, InternalError) and k not in NEVER_SHOWN
    }
    return told | {(code, status) for status, code in problems._CODES.items()}


def test_codes_when_compared_then_the_table_has_those_of_the_code() -> None:
    table = {(row["code"], int(row["status"])) for row in ROW.finditer(PAGE)}
    assert shown() <= table
    literals = {
        code
        for path in (ROOT / "src/opentsm/api").glob("*.py")
        for code in LITERAL.findall(path.read_text("utf-8"))
    }
    assert {"try_again", "malformed_json", "not_ready"} <= literals
    assert {code for code, _ in table} == {code for code, _ in shown()} | literals


def test_limits_when_compared_then_the_table_has_those_of_the_code() -> None:
    limits = load_settings(environment={}).limits
    numbers = (bodies.ANONYMOUS_BYTES, bodies.PARTY_BYTES, bodies.DEVICE_BYTES, MAX_BODY_BYTES, MAX_LINE)
    assert [number for number in numbers if f" {number:,} bytes" not in PAGE] == []
    assert f"`limits.import_bytes` ({limits.import_bytes >> 20} MiB)" in PAGE
    assert f"`limits.failed_proofs` ({limits.failed_proofs})" in PAGE
    assert f"`limits.failed_proofs_window_s` ({limits.failed_proofs_window_s:.0f} s)" in PAGE
