"""Where the sources of this project lie, for the commands that check and test them."""

import subprocess
import sys
from pathlib import Path

import opentsm
from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError


def source_root() -> Path:
    """Return the root of the repository.

    Raises:
        CliError: If OpenTSM runs from an installed package, which has no tests.
    """
    root = Path(opentsm.__file__).resolve().parents[2]
    if not (root / "pyproject.toml").is_file() or not (root / "tests").is_dir():
        raise CliError(
            "this command needs the source tree",
            why=f"OpenTSM is installed in {root}",
            advice="clone the repository and call ./tsm there",
            code=ExitCode.CONFIGURATION,
        )
    return root


def tool(name: str) -> str:
    """Return the path of a development tool that was installed beside this Python."""
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        raise CliError(
            f"{name} is not installed",
            why=f"{path} does not exist",
            advice="call ./tsm instead of the installed opentsm",
            code=ExitCode.CONFIGURATION,
        )
    return str(path)


def tracked_files(root: Path) -> list[Path]:
    """Return the files that git knows or would add; without git every file below `src`."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return [path for path in (root / "src").rglob("*") if path.is_file()]
    return [root / name for name in listed.split("\0") if name and (root / name).is_file()]
