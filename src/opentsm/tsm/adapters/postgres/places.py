"""Where the embedded server keeps its things, and as which user it runs.

Layout of a data directory: `cluster/` (PostgreSQL's own), `run/` (socket), `password`, `lock`, `server.log`.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from opentsm.tsm.adapters.postgres.errors import DataDirectoryError

SYSTEM_DIR = Path("/var/lib/opentsm")
# sun_path holds 104 bytes on macOS, 108 on Linux; PostgreSQL adds "/.s.PGSQL.5432".
MAX_SOCKET_DIR_BYTES = 85


@dataclass(frozen=True, slots=True)
class ServerUser:
    """The user that the server runs as: `nobody` under root, because PostgreSQL refuses to be root."""

    uid: int
    gid: int
    differs: bool


def server_user() -> ServerUser:
    """Return the user that a server started by this process runs as."""
    if os.geteuid() != 0:
        return ServerUser(os.geteuid(), os.getegid(), differs=False)
    nobody = pwd.getpwnam("nobody")
    return ServerUser(nobody.pw_uid, nobody.pw_gid, differs=True)


def default_state_dir() -> Path:
    """Return where OpenTSM keeps its state unless told otherwise."""
    if os.geteuid() == 0:
        return SYSTEM_DIR
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "opentsm"


def make_data_dir(directory: Path, user: ServerUser) -> None:
    """Make a data directory and its parents, closed to others unless the server is another user."""
    mode = 0o755 if user.differs else 0o700
    for path in reversed([directory, *directory.parents]):
        if not path.exists():
            path.mkdir(exist_ok=True)
            path.chmod(mode)  # whatever the umask is


def make_private(directory: Path, user: ServerUser) -> None:
    """Make a directory that only the server's user can enter.

    Raises:
        DataDirectoryError: If it exists and belongs to somebody else.
    """
    try:
        directory.mkdir(mode=0o700)
        if user.differs:
            os.chown(directory, user.uid, user.gid)
    except FileExistsError:
        status = directory.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != user.uid:
            raise DataDirectoryError(f"{directory} belongs to another user: remove it") from None
        directory.chmod(0o700)


def check_reachable(directory: Path, user: ServerUser) -> None:
    """Check that the server's user can come to a directory.

    Raises:
        DataDirectoryError: If a parent is closed to it.
    """
    for parent in [directory, *directory.parents] if user.differs else []:
        status = parent.stat()
        if not status.st_mode & stat.S_IXOTH and status.st_uid != user.uid:
            raise DataDirectoryError(
                f"the database runs as uid {user.uid} and cannot enter {parent}: "
                f"choose another OPENTSM_DATABASE_DATA_DIR, or chmod o+x {parent}"
            )


def socket_dir(data_dir: Path, user: ServerUser) -> Path:
    """Return the directory of the socket, which is `run/` unless its path is too long for a socket."""
    usual = data_dir / "run"
    if len(os.fsencode(usual)) <= MAX_SOCKET_DIR_BYTES:
        return usual
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"opentsm-{user.uid}-{digest}"
