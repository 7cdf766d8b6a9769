"""docs/tutorial/first-service.md does what it says: its commands run as they stand, one after the other."""

import contextlib
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/tutorial/first-service.md"
TIMEOUT_S = 240


def commands(text: str, *, port: int, directory: str) -> str:
    """Return the page's commands as one script, with a port and a place of this test's own."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    script = "set -eu\n" + "\n".join(blocks)
    return script.replace("PORT=8099", f"PORT={port}").replace("/tmp/first-service.", f"{directory}/")  # noqa: S108


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def test_tutorial_when_followed_deploys_locks_unlocks_and_removes_the_badge(open_data_dir: str) -> None:
    script = commands(PAGE.read_text("utf-8"), port=free_port(), directory=open_data_dir)
    process = subprocess.Popen(
        ["bash", "-c", script],
        cwd=ROOT,
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
    assert re.findall(r"^SUCCEEDED|^FAILED.*|^CANCELLED", output, re.MULTILINE) == ["SUCCEEDED"] * 4, output
    assert "F04F54534D030101 APPLICATION SELECTABLE ours" in output
    assert re.findall(r" (instance\.\w+)$", output, re.MULTILINE)[-1] == "instance.terminated"
    assert list(Path(open_data_dir).iterdir()) == []
