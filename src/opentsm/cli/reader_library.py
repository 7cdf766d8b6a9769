"""pyscard, the library behind `pcsc:` readers: the tests need it, and Linux has to build it from source."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING

from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError, say

if TYPE_CHECKING:
    from pathlib import Path

LOCK = "requirements-pcsc.lock"


def locked_version(text: str) -> str:
    """Return the version of pyscard that a lock names.

    Raises:
        ValueError: If it names none.
    """
    found = re.search(r"^pyscard==(\S+)", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"{LOCK} does not name pyscard")
    return found[1]


def installed_version() -> str | None:
    """Return the version of pyscard that is installed, None without one."""
    try:
        return metadata.version("pyscard")
    except metadata.PackageNotFoundError:
        return None


def require_pyscard(root: Path) -> None:
    """Build and install the pyscard of the lock, unless it is there.

    Args:
        root: The source tree.

    Raises:
        CliError: If it cannot be built here.
    """
    wanted = locked_version((root / LOCK).read_text(encoding="utf-8"))
    if installed_version() == wanted:
        return
    say(f"building pyscard {wanted}")
    # Without isolation: its build back end is the one of requirements.lock, checked by hash like all else.
    install = ["-m", "uv", "pip", "install", "-q", "--python", sys.executable, "--no-deps"]
    source = ["--require-hashes", "--no-build-isolation", "--no-binary", "pyscard", "-r", str(root / LOCK)]
    # Outside the tree: its pyproject.toml takes pyscard out of what uv installs.
    command = [sys.executable, *install, *source]
    done = subprocess.run(command, cwd=root.anchor, stdout=sys.stderr, check=False)
    if done.returncode != 0:
        raise CliError(
            f"pyscard {wanted} could not be built for the tests of PC/SC readers",
            advice="install a C compiler, swig, and the headers of Python and PC/SC "
            "(Debian: gcc libc6-dev swig python3-dev libpcsclite-dev)",
            code=ExitCode.CONFIGURATION,
        )
