"""For real processes: directories that the database's user can enter, and a Ctrl-C that works."""

import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.demo_process import require_nothing_left

CLEAN_UP_S = 120.0


@pytest.fixture
def open_data_dir() -> Iterator[str]:
    """Give a state directory that every user can enter."""
    directory = Path(tempfile.mkdtemp(prefix="otsm-"))
    directory.chmod(0o755)
    yield str(directory)
    # the database of a killed server clears its own files away
    require_nothing_left(str(directory), within_s=CLEAN_UP_S)
    shutil.rmtree(directory)


@pytest.fixture(scope="session", autouse=True)
def heard_interrupt() -> None:
    """Let SIGINT through: a shell that starts the suite in the background has it ignored, by children too."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
