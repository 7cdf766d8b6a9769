"""`opentsm test`: the system packages, the reader library, the checks and the test suite, in this order."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Annotated

import typer

from opentsm.cli.check import run_checks
from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.reader_library import require_pyscard
from opentsm.cli.source_tree import source_root
from opentsm.cli.system_packages import require_system_packages

MOST_WORKERS = 8
"""Each worker starts database servers of its own: more of them cost memory and bring little."""

test_app = typer.Typer()


def workers(cores: int) -> list[str]:
    """Return pytest's options for this many cores: one worker each, which take work from one another."""
    return ["-n", str(min(cores, MOST_WORKERS)), "--dist", "worksteal"] if cores > 1 else []


def surroundings(environment: Mapping[str, str], bytecode: str, *, crash_all: bool) -> dict[str, str]:
    """Return the environment for pytest and the many processes that it starts.

    Args:
        environment: What there is.
        bytecode: A directory where they find each other's compiled modules, instead of compiling anew.
        crash_all: Whether processes are killed at every APDU.
    """
    kept = {name: value for name, value in environment.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": bytecode, **({"OPENTSM_CRASH_ALL": "1"} if crash_all else {})}


@test_app.command(context_settings={"ignore_unknown_options": True})
def test(
    pytest_arguments: Annotated[
        list[str] | None,
        typer.Argument(help="Handed to pytest; with arguments only pytest runs, in one process without -n."),
    ] = None,
    crash_all: Annotated[
        bool, typer.Option("--crash-all", help="kill -9 at every APDU, not only at the ends of a phase.")
    ] = False,
) -> None:
    """Install what the tests need, run all checks, then pytest on all cores."""
    root = source_root()
    require_system_packages(root)
    require_pyscard(root)
    checks_passed = bool(pytest_arguments) or all(result.passed for result in run_checks(root))
    arguments = pytest_arguments or workers(len(os.sched_getaffinity(0)))
    pytest = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    with tempfile.TemporaryDirectory(prefix="opentsm-test-") as bytecode:
        environment = surroundings(os.environ, bytecode, crash_all=crash_all)
        tests_passed = subprocess.run(pytest, cwd=root, env=environment, check=False).returncode == 0
    if not (checks_passed and tests_passed):
        raise typer.Exit(ExitCode.FAILED)
