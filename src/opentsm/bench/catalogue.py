"""Reads of a service provider's repository under a load that does not wait, and the floor of the same run.

The server is a process of its own with a database of its own; the floor is `/healthz`, a handler that does
nothing, asked for at the same rate in turns with the reads.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx

from opentsm.bench.open_loop import Connections, Times, arrivals, drive, quantile
from opentsm.bench.server import ServerBenchError, server
from opentsm.card.gp.cap_builder import CapSpec, build_cap

SPTSM: Final = "/sptsm/1.0.4"
FLOOR: Final = ("/healthz",)
PROFILES: Final = ("scp03-i70", "scp03-i60", "scp02-i55")
_WARM_UP_S: Final = 2.0
_CAP_CODE_BYTES: Final = 6_000
_SLOW_SHARE: Final = 0.99


@dataclass(frozen=True, slots=True)
class Size:
    """How many objects the repository holds; each service has as many flavors as versions, three."""

    services: int = 50
    load_files: int = 40


@dataclass(frozen=True, slots=True)
class CatalogueFigures:
    """Times in milliseconds, from the moment at which a request should have been sent.

    Attributes:
        services: in the repository.
        load_files: in the repository.
        rate_per_s: mean arrivals.
        reads: how many were answered.
        refused: of these not with 200.
        floor_p50_ms: of the empty handler.
        floor_p99_ms: likewise.
        p50_ms: of the reads.
        p99_ms: likewise.
        max_ms: likewise.
        p99_over_floor: reads to floor.
        sent_late_p99_ms: by how much the load generator itself was late.
    """

    services: int
    load_files: int
    rate_per_s: float
    reads: int
    refused: int
    floor_p50_ms: float
    floor_p99_ms: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    p99_over_floor: float
    sent_late_p99_ms: float


def measure(*, rate: float, rounds: int, seconds: float, size: Size) -> CatalogueFigures:
    """Start a server, fill a repository, and measure floor and reads in turns.

    Args:
        rate: arrivals a second.
        rounds: turns of each.
        seconds: how long a turn is.
        size: of the repository.

    Raises:
        ServerBenchError: the server did not start, or refused what is needed.
    """
    return asyncio.run(_measured(rate, rounds, seconds, size))


async def _measured(rate: float, rounds: int, seconds: float, size: Size) -> CatalogueFigures:
    async with server() as found:
        token, paths = await _furnished(found.base_url, found.operator, size)
        url = httpx.URL(found.base_url)
        connections = Connections(url.host, url.port or 80, token)
        await drive(connections.get, [*FLOOR, *paths], arrivals(rate, _WARM_UP_S, 0), Times())
        floor, reads = Times(), Times()
        for turn in range(rounds):
            await drive(connections.get, FLOOR, arrivals(rate, seconds, 2 * turn + 1), floor)
            await drive(connections.get, paths, arrivals(rate, seconds, 2 * turn + 2), reads)
        await connections.close()
    return _figures(rate, size, floor, reads)


def _figures(rate: float, size: Size, floor: Times, reads: Times) -> CatalogueFigures:
    def ms(values: Sequence[float], share: float) -> float:
        return 1000 * quantile(values, share)

    return CatalogueFigures(
        services=size.services,
        load_files=size.load_files,
        rate_per_s=rate,
        reads=len(reads.taken),
        refused=reads.refused + floor.refused,
        floor_p50_ms=ms(floor.taken, 0.5),
        floor_p99_ms=ms(floor.taken, _SLOW_SHARE),
        p50_ms=ms(reads.taken, 0.5),
        p99_ms=ms(reads.taken, _SLOW_SHARE),
        max_ms=ms(reads.taken, 1.0),
        p99_over_floor=quantile(reads.taken, _SLOW_SHARE) / quantile(floor.taken, _SLOW_SHARE),
        sent_late_p99_ms=ms(reads.late, _SLOW_SHARE),
    )


# --- the repository ------------------------------------------------------------------------------


async def _furnished(base_url: str, operator: str, size: Size) -> tuple[str, list[str]]:
    """Register a provider and fill its repository; return its short-term token and what can be read."""
    trust = {"base_url": base_url, "trust_env": False, "timeout": 60.0}
    async with httpx.AsyncClient(**trust) as client:  # type: ignore[arg-type]  # of several types
        client.headers["Authorization"] = f"Bearer {operator}"
        body = {"kind": "SERVICE_PROVIDER", "name": "A provider"}
        provider = await _made(client, "/v1/parties", json=body)
        client.headers["Authorization"] = f"Bearer {provider['token']}"
        token = str((await client.post(f"{SPTSM}/auth")).json())
        client.headers["Authorization"] = f"Bearer {token}"
        return token, await _filled(client, size)


async def _filled(client: httpx.AsyncClient, size: Size) -> list[str]:
    profiles = (await client.get(f"{SPTSM}/secure-component-profiles")).json()
    ids = [str(one["id"]) for one in profiles if one["name"] in PROFILES]
    files = [await _load_file(client, number) for number in range(size.load_files)]
    paths = [f"{SPTSM}/services", f"{SPTSM}/executable-load-files"]
    for number in range(size.services):
        paths += await _service(client, number, files[number % len(files)], ids)
    for elf in files:
        path = f"{SPTSM}/executable-load-files/{elf}"
        paths += [path, f"{path}/executable-modules"]
    return _mixed(paths)


async def _service(client: httpx.AsyncClient, number: int, elf: str, profiles: Sequence[str]) -> list[str]:
    """Make a service with a flavor for each profile and three versions; return what can be read of it."""
    service = await _made(client, f"{SPTSM}/services", json={"name": f"Service {number}"})
    path = f"{SPTSM}/services/{service['id']}"
    flavors = [
        await _made(client, f"{path}/flavors", json={"name": f"Flavor {n}", "executableLoadFileIds": [elf]})
        for n, _ in enumerate(profiles)
    ]
    allowed = {str(one["id"]): [profile] for one, profile in zip(flavors, profiles, strict=True)}
    tags = [f"1.{n}.0" for n in range(3)]
    for tag in tags:
        await _made(client, f"{path}/versions", json={"tag": tag, "allowedDeployments": allowed})
    single = [f"{path}/flavors/{one['id']}" for one in flavors] + [f"{path}/versions/{tag}" for tag in tags]
    return [path, f"{path}/flavors", f"{path}/versions", *single]


async def _load_file(client: httpx.AsyncClient, number: int) -> str:
    aid = f"F04F54534E{number:04X}"
    description = {
        "package": {"aid": aid, "name": f"org/opentsm/bench{number}", "version": "1.0"},
        "applets": [{"aid": f"{aid}01", "name": "Bench"}],
        "code_bytes": _CAP_CODE_BYTES,
    }
    name, cap = f"{number}.cap", build_cap(CapSpec.from_dict(description))
    path = f"{SPTSM}/executable-load-files"
    made = await _made(client, path, data={"elfFilename": name}, files={"elfFile": (name, cap)})
    return str(made["id"])


async def _made(client: httpx.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    answer = await client.post(path, **body)
    if answer.status_code not in (200, 201):
        raise ServerBenchError(f"POST {path}: {answer.status_code} {answer.text[:200]}")
    return dict(answer.json())


def _mixed(paths: list[str]) -> list[str]:
    """Return the same in an order in which neighbours are of different kinds, always the same."""
    step = 37
    return [paths[(step * n) % len(paths)] for n in range(len(paths))] if len(paths) % step else paths
