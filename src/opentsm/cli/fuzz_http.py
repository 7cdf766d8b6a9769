"""`opentsm fuzz http`: a sandbox as a process of its own, and requests that nobody would send it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError, print_json, print_table, say

_DEMO = Path(__file__).parents[1] / "demo"
# All refusals come from one address, and nobody waits long for what does not happen.
_SETTINGS = {"OPENTSM_LIMITS_FAILED_PROOFS": "1000000000", "OPENTSM_DEVICE_POLL_TIMEOUT_S": "1"}
_END_S = 60


def feed_server(requests: int, seed: int, *, as_json: bool) -> None:
    """Send requests to a sandbox and print what came of it.

    Args:
        requests: how many.
        seed: of the draws.
        as_json: for programs.

    Raises:
        CliError: a finding, or there is no sandbox.
    """
    from opentsm.fuzz.http_campaign import HttpCampaign

    with _sandbox() as server:
        tokens = (server["sp_token"], server["issuer_token"])
        campaign = HttpCampaign(server["base_url"], server["operator_token"], uploads(), tokens)
        result = campaign.run(requests=requests, seed=seed)
    found = result.document()
    if as_json:
        print_json(found)
    else:
        print_table(
            ("requests", "requests_per_s", "operations", "operations_reached", "operations_accepted"), [found]
        )
        for what, request in result.findings.items():
            say(f"fuzz: {what}: {request}")
    if result.findings:
        raise CliError(f"{len(result.findings)} findings", code=ExitCode.FAILED)


def uploads() -> tuple[bytes, ...]:
    """Return valid files, load files and recipes, and one that is empty."""
    places = (*sorted((_DEMO / "caps").glob("*.cap")), *sorted((_DEMO / "recipes").glob("*.json")))
    return (*(path.read_bytes() for path in places), b"")


@contextmanager
def _sandbox() -> Iterator[dict[str, Any]]:
    """Run a sandbox; it ends with its input."""
    process = subprocess.Popen(
        [sys.executable, "-m", "opentsm.cli", "sandbox", "--json", "--attached"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **_SETTINGS},
    )
    with process:
        try:
            line = process.stdout.readline() if process.stdout else b""
            if not line:
                advice = "`opentsm sandbox` says why"
                raise CliError("the sandbox did not start", advice=advice, code=ExitCode.INTERNAL)
            yield json.loads(line)
        finally:
            if process.stdin:
                process.stdin.close()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
