"""A PostgreSQL cluster on disk: how it is made, and what its files tell about the server on it."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opentsm.tsm.adapters.postgres.errors import DataDirectoryVersionError, StartError
from opentsm.tsm.adapters.postgres.places import ServerUser, make_private

if TYPE_CHECKING:
    from pathlib import Path

    from opentsm.tsm.adapters.postgres.binaries import Binaries

DATABASE = "opentsm"
ROLE = "opentsm"
STATUS_LINE = 7
CREATE_DATABASE = f"CREATE DATABASE {DATABASE};\n".encode()


@dataclass(frozen=True, slots=True)
class Cluster:
    """One data directory of ours and the PostgreSQL cluster in it."""

    data_dir: Path
    user: ServerUser

    @property
    def directory(self) -> Path:
        """PostgreSQL's own directory."""
        return self.data_dir / "cluster"

    @property
    def log_file(self) -> Path:
        """What the server and its tools say."""
        return self.data_dir / "server.log"

    @property
    def pid_file(self) -> Path:
        """The server's own lock file."""
        return self.directory / "postmaster.pid"

    def password(self) -> str:
        """Return the password of our role, made on the first call."""
        path = self.data_dir / "password"
        if not path.exists():
            staging = path.with_suffix(".new")
            staging.unlink(missing_ok=True)
            with os.fdopen(os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(32))
                file.flush()
                os.fsync(file.fileno())
            staging.rename(path)
        return path.read_text()

    def is_ready(self) -> bool:
        """Tell whether the server on this cluster says that it accepts connections."""
        try:
            lines = self.pid_file.read_text().splitlines()
        except OSError:
            return False
        return len(lines) > STATUS_LINE and lines[STATUS_LINE].strip() == "ready"

    def prepare(self, binaries: Binaries) -> None:
        """Make the cluster unless it is there, and check that it fits the programs.

        Raises:
            DataDirectoryVersionError: If it was made by another major version.
            StartError: If `initdb` fails.
        """
        if not self.directory.exists():
            self._make(binaries)
        version = (self.directory / "PG_VERSION").read_text().strip()
        if version != str(binaries.major_version):
            raise DataDirectoryVersionError(
                f"{self.directory} was made by PostgreSQL {version}, and {binaries.directory} holds "
                f"{binaries.major_version}: dump and restore it, or set OPENTSM_DATABASE_BINARIES"
            )

    def _make(self, binaries: Binaries) -> None:
        """Make the cluster beside its place and rename it, so that half a cluster is never used."""
        staging = self.directory.with_suffix(".new")
        shutil.rmtree(staging, ignore_errors=True)
        make_private(staging, self.user)
        password_file = self._password_for_initdb()
        try:
            initdb = [binaries.initdb, "--pgdata", str(staging), "--pwfile", str(password_file)]
            access = ["--username", ROLE, "--auth", "scram-sha-256"]
            self._run([*initdb, *access, "--encoding", "UTF8", "--no-locale"])
        finally:
            password_file.unlink()
        single = [binaries.postgres, "--single", "-D", str(staging), "-c", "log_checkpoints=off", "postgres"]
        self._run(single, CREATE_DATABASE)
        staging.rename(self.directory)

    def _password_for_initdb(self) -> Path:
        path = self.data_dir / "password.initdb"
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(self.password())
        os.chown(path, self.user.uid, self.user.gid)
        return path

    def _run(self, command: list[str], stdin: bytes = b"") -> None:
        done = subprocess.run(
            command,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=server_environment(),
            check=False,
            user=self.user.uid if self.user.differs else None,
            group=self.user.gid if self.user.differs else None,
            extra_groups=[] if self.user.differs else None,
        )
        if done.returncode != 0:
            raise StartError(f"{command[0]} failed: {done.stdout.decode(errors='replace').strip()}")


def server_environment() -> dict[str, str]:
    """Return the environment of the server's programs: none of the caller's PG* or locale variables."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
