"""An import of secure elements on a real server: how fast, how much memory and disk, and look-ups afterwards.

Lines are CSV with a CIN, an ICCID and diversification data; the key sets follow from a master key. Disk is
the growth of the database's tables and indexes, memory the server process's highest resident set.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from opentsm.bench.open_loop import quantile
from opentsm.bench.server import BenchServer, ServerBenchError, server

_MASTER: Final = "master-1"
_KEY: Final = bytes(range(0x40, 0x50)).hex()  # a published test value: a measurement needs no secret
_PART_BYTES: Final = 1_000_000
_PAUSE_S: Final = 0.2
_DEFAULTS: Final = {
    "profile": "scp03-i70",
    "kvn": "48",
    "master": _MASTER,
    "method": "KDF3",
    "se_type": "ESE",
    "globalplatform": "2.3.1",
    "expires_on": "2036-01-01",
}


@dataclass(frozen=True, slots=True)
class ImportFigures:
    """What an import cost.

    Attributes:
        secure_elements: how many.
        seconds: from the first part to the last line.
        per_s: secure elements a second.
        bytes_each: of the database, indexes and audit included.
        server_before_mb: highest resident set of the server before the import.
        server_peak_mb: after it.
        repeated_per_s: lines a second when the same file comes again.
        floor_p50_ms: of an empty handler, in turns with the look-ups.
        by_name_p50_ms: look-ups by CIN or ICCID, type unknown.
        by_name_p99_ms: likewise.
        by_number_p50_ms: look-ups by a subscription's number, with data.
        by_number_p99_ms: likewise.
        by_name_over_floor: medians of look-ups by name and of the empty handler.
    """

    secure_elements: int
    seconds: float
    per_s: float
    bytes_each: int
    server_before_mb: float
    server_peak_mb: float
    repeated_per_s: float
    floor_p50_ms: float
    by_name_p50_ms: float
    by_name_p99_ms: float
    by_number_p50_ms: float
    by_number_p99_ms: float
    by_name_over_floor: float


def measure(*, elements: int, lookups: int) -> ImportFigures:
    """Start a server, import a file, import it again, look up.

    Args:
        elements: lines of the file.
        lookups: of each kind.

    Raises:
        ServerBenchError: the server did not start, or refused what is needed.
    """
    return asyncio.run(_measured(elements, lookups))


async def _measured(elements: int, lookups: int) -> ImportFigures:
    async with server() as found, _parties(found) as (issuer, provider):
        before, disk = _peak_mb(found.pid), _disk(found.data)
        seconds = await _imported(issuer, elements)
        peak, grown = _peak_mb(found.pid), _disk(found.data) - disk
        again = await _imported(issuer, elements)
        names = [_names(random.randrange(elements))[number % 2] for number in range(lookups)]  # noqa: S311
        numbers = await _subscribed(issuer, elements, lookups)
        floor, by_name, by_number = await _looked_up(provider, names, numbers)
    return ImportFigures(
        secure_elements=elements,
        seconds=round(seconds, 1),
        per_s=round(elements / seconds),
        bytes_each=grown // elements,
        server_before_mb=before,
        server_peak_mb=peak,
        repeated_per_s=round(elements / again),
        floor_p50_ms=round(1000 * quantile(floor, 0.5), 2),
        by_name_over_floor=round(quantile(by_name, 0.5) / quantile(floor, 0.5), 2),
        by_name_p50_ms=round(1000 * quantile(by_name, 0.5), 2),
        by_name_p99_ms=round(1000 * quantile(by_name, 0.99), 2),
        by_number_p50_ms=round(1000 * quantile(by_number, 0.5), 2),
        by_number_p99_ms=round(1000 * quantile(by_number, 0.99), 2),
    )


@asynccontextmanager
async def _parties(found: BenchServer) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """Give the clients of an issuer with its master key, and of a provider."""

    def client(token: str) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.AsyncClient(base_url=found.base_url, headers=headers, trust_env=False, timeout=60.0)

    async with client(found.operator) as operator:
        tokens = [
            (await _asked(operator, "POST", "/v1/parties", {"kind": kind, "name": kind.lower()}))["token"]
            for kind in ("SE_ISSUER", "SERVICE_PROVIDER")
        ]
    async with client(tokens[0]) as issuer, client(tokens[1]) as provider:
        await _asked(issuer, "PUT", f"/v1/master-keys/{_MASTER}", {"key": _KEY})
        yield issuer, provider


async def _imported(issuer: httpx.AsyncClient, elements: int) -> float:
    """Import the file and return how many seconds that took."""
    job = await _asked(issuer, "POST", "/v1/imports", {"format": "csv", "defaults": _DEFAULTS})
    path, number = f"/v1/imports/{job['id']}", 0
    began = time.monotonic()
    for part in _parts(elements):
        await _put(issuer, f"{path}/parts/{number}", part)
        number += 1
    job = await _asked(issuer, "POST", f"{path}/completion", {"parts": number})
    while job["state"] == "PROCESSING":
        await asyncio.sleep(_PAUSE_S)
        job = await _asked(issuer, "GET", path)
    if job["state"] != "FINISHED" or job["refused"]:
        raise ServerBenchError(f"the import ended as {job}")
    return time.monotonic() - began


async def _put(issuer: httpx.AsyncClient, path: str, part: bytes) -> None:
    answer = await issuer.put(path, content=part)
    while answer.status_code == httpx.codes.CONFLICT:
        await asyncio.sleep(_PAUSE_S)  # what was sent before is being worked off
        answer = await issuer.put(path, content=part)
    if answer.status_code != httpx.codes.OK:
        raise ServerBenchError(f"PUT {path}: {answer.status_code} {answer.text[:200]}")


def _names(number: int) -> tuple[str, str]:
    return f"4250{number:012d}", f"8949{number:015d}"


def _parts(elements: int) -> Iterator[bytes]:
    """Write the file in parts."""
    lines, size = [b"cin,iccid,kdd\n"], 0
    for number in range(elements):
        cin, iccid = _names(number)
        lines.append(f"{cin},{iccid},{number:020X}\n".encode())
        size += len(lines[-1])
        if size > _PART_BYTES:
            yield b"".join(lines)
            lines, size = [], 0
    if lines:
        yield b"".join(lines)


async def _subscribed(issuer: httpx.AsyncClient, elements: int, count: int) -> list[str]:
    """Register subscriptions for some of the secure elements, and return their numbers."""
    page = await _asked(issuer, "GET", f"/v1/secure-elements?limit={min(200, elements)}")
    numbers = []
    for number in range(min(count, 200)):
        value = f"+4915{number:09d}"
        se_id = page["items"][number % len(page["items"])]["id"]
        body = {"identifier": {"type": "MSISDN", "value": value}, "se_id": se_id}
        await _asked(issuer, "POST", "/v1/subscriptions", body)
        numbers.append(value)
    return [numbers[number % len(numbers)] for number in range(count)]


async def _looked_up(
    provider: httpx.AsyncClient, names: Sequence[str], numbers: Sequence[str]
) -> tuple[list[float], list[float], list[float]]:
    """Return the seconds of an empty handler, of look-ups by name and by number, taken in turns."""
    floor, by_name, by_number = [], [], []
    for name, number in zip(names, numbers, strict=True):
        began = time.monotonic()
        await provider.get("/healthz")
        floor.append(time.monotonic() - began)
        by_name.append(await _found(provider, name, data=False))
        by_number.append(await _found(provider, number, data=True))
    return floor, by_name, by_number


async def _found(provider: httpx.AsyncClient, value: str, *, data: bool) -> float:
    body = {"identifier": {"value": value}, "data": data}
    began = time.monotonic()
    found = await _asked(provider, "POST", "/v1/secure-elements/lookups", body)
    taken = time.monotonic() - began
    if len(found["items"]) != 1:
        raise ServerBenchError("a look-up did not find one secure element")
    return taken


async def _asked(client: httpx.AsyncClient, method: str, path: str, body: object = None) -> dict[str, Any]:
    answer = await client.request(method, path, json=body)
    if not answer.is_success:
        raise ServerBenchError(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
    return dict(answer.json()) if answer.content else {}


def _peak_mb(pid: int) -> float:
    """Return the highest resident set of a process so far; 0 where the machine does not tell it."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("ascii")
    except OSError:
        return 0.0
    line = next((one for one in status.splitlines() if one.startswith("VmHWM:")), "VmHWM: 0 kB")
    return round(int(line.split()[1]) / 1024, 1)


def _disk(data: Path) -> int:
    """Return the size of the database's tables and indexes."""
    return sum(file.stat().st_size for file in data.glob("postgres/**/base/**/*") if file.is_file())
