"""The Debian packages of `packages.debian`: which are missing, and how they get installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError, say

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def listed_packages(text: str) -> list[str]:
    """Return the package names of a `packages.debian`: one a line, `#` starts a comment."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def missing_packages(names: Iterable[str]) -> list[str]:
    """Return those of the packages that dpkg does not report as installed."""
    command = ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}\n"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    installed = {line.partition(" ")[2] for line in shown.splitlines() if line.startswith("installed ")}
    return [name for name in names if name not in installed]


def require_system_packages(root: Path) -> None:
    """Install what `packages.debian` lists and the machine lacks; other systems are left alone.

    Raises:
        CliError: If packages are missing and this user cannot install them.
    """
    if shutil.which("dpkg-query") is None:
        say("no dpkg here: the packages of packages.debian are not checked")
        return
    missing = missing_packages(listed_packages((root / "packages.debian").read_text(encoding="utf-8")))
    if not missing:
        return
    if os.geteuid() != 0 or not _install(missing):
        raise CliError(
            f"Debian packages are missing: {' '.join(missing)}",
            advice=f"sudo apt-get install {' '.join(missing)}",
            code=ExitCode.CONFIGURATION,
        )


def _install(names: list[str]) -> bool:
    """Install packages and tell whether that worked; services that they bring are not started."""
    say(f"installing {' '.join(names)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    install = ["apt-get", "install", "-qy", "--no-install-recommends", *names]
    for command in (["apt-get", "update", "-q"], install):
        if subprocess.run(command, env=environment, stdout=sys.stderr, check=False).returncode != 0:
            return False
    return True
