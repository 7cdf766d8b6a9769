"""docs/tutorial/service-provider.md does what it says: sandbox, curl, client library, shell."""

import contextlib
import os
import re
import signal
import subprocess
from pathlib import Path

from tests.e2e.test_tutorial import commands, free_port

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/tutorial/service-provider.md"
TIMEOUT_S = 240


def test_provider_tutorial_when_followed_deploys_by_curl_library_and_shell(open_data_dir: str) -> None:
    text = PAGE.read_text("utf-8").replace("PORT=8098", f"PORT={free_port()}")
    script = commands(text, port=0, directory=open_data_dir)
    script = script.replace("/tmp/service-provider.", f"{open_data_dir}/")  # noqa: S108
    process = subprocess.Popen(
        ["bash", "-c", script],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": open_data_dir, "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=TIMEOUT_S)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    assert process.returncode == 0, output
    by_curl, _, rest = output.partition("process ")
    assert re.findall(r"^event: (\w+)", by_curl, re.MULTILINE)[0] == "onProcessStart"
    assert by_curl.count("event: onProcessResult") == 1
    assert re.findall(r"^(\d+)$", by_curl, re.MULTILINE) == ["21", "0", "0"], by_curl
    assert '"type": 17' in by_curl
    by_library, _, by_shell = rest.partition("left: []")
    by_shell, _, alone = by_shell.partition("needs data that only its provider can supply: rights.")
    assert "deployed: OPERATIONAL in reader eSE1" in by_library
    assert "as expected: 13 Not allowed: " in by_library
    assert "suspended: SUSPENDED" in by_library
    shown = [int(number) for number in re.findall(r"^ *(\d+) % SERVICE_DEP", by_library, re.MULTILINE)]
    assert shown == sorted(shown)
    assert shown[-1] == 100
    assert len(shown) > 2
    assert re.findall(r"^(INSTALLED|OPERATIONAL|UNKNOWN)$", by_shell, re.MULTILINE) == [
        "INSTALLED",
        "OPERATIONAL",
        "UNKNOWN",
    ], by_shell
    welcome = "Welcome: your badge opens the door."
    assert re.findall(rf"^({re.escape(welcome)}|UNKNOWN|Entrance: MAIN|10)$", alone, re.MULTILINE) == [
        "10",
        welcome,
        "UNKNOWN",
        "Entrance: MAIN",
        welcome,
    ], alone
    assert list(Path(open_data_dir).iterdir()) == []
