"""The card's non-volatile memory: one image, replaced as a whole, old or new and never a mixture.

Everything that must survive a power cut is in the image; sessions, selections and unfinished loads are not.
"""

import os
import tempfile
from pathlib import Path
from typing import Protocol


class Nvm(Protocol):
    """Holds one image of a card."""

    def load(self) -> bytes | None:
        """Return the image that was saved last, or None if there never was one."""

    def save(self, image: bytes) -> None:
        """Replace the image atomically; when this returns, the new image survives a power cut."""


class MemoryNvm:
    """An image in memory: for tests and for many cards in one process."""

    __slots__ = ("_image", "writes")

    def __init__(self, image: bytes | None = None) -> None:
        self._image = image
        self.writes = 0

    def load(self) -> bytes | None:
        """Return the saved image."""
        return self._image

    def save(self, image: bytes) -> None:
        """Replace the image."""
        self._image = image
        self.writes += 1


class FileNvm:
    """An image in one file, replaced by rename.

    Args:
        path: the file; its directory must exist.
        durable: force each image to the disk before the rename (a real power cut, not just a dead process).
    """

    __slots__ = ("_durable", "path")

    def __init__(self, path: Path | str, *, durable: bool = False) -> None:
        self.path = Path(path)
        self._durable = durable

    def load(self) -> bytes | None:
        """Return the content of the file, or None when there is no file yet."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None

    def save(self, image: bytes) -> None:
        """Write a new file beside the old one and rename it over the old one."""
        handle, name = tempfile.mkstemp(prefix=".nvm-", dir=self.path.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(image)
                if self._durable:
                    stream.flush()
                    os.fsync(stream.fileno())
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
