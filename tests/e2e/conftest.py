"""Directories for real processes: pytest's own are closed to the user that the database runs as."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def open_data_dir() -> Iterator[str]:
    """Give a state directory that every user can enter."""
    directory = Path(tempfile.mkdtemp(prefix="otsm-"))
    directory.chmod(0o755)
    yield str(directory)
    shutil.rmtree(directory)
