"""Holds an embedded server until standard input closes; started as a process of its own by tests.

Only the standard library and our supervisor, so that it also runs under the Python of the system.
Arguments: data directory, directory of the programs or "".
"""

import json
import sys
from pathlib import Path

from opentsm.tsm.adapters.postgres import EmbeddedPostgres, PostgresError


def main() -> int:
    """Start the server, print one JSON line, wait, stop."""
    server = EmbeddedPostgres(Path(sys.argv[1]), binaries=Path(sys.argv[2]) if sys.argv[2] else None)
    try:
        dsn = server.start_blocking()
    except PostgresError as error:
        print(json.dumps({"error": type(error).__name__, "message": str(error)}), flush=True)
        return 1
    pid = int(server.pid_file.read_text().splitlines()[0])
    print(json.dumps({"dsn": dsn, "postmaster": pid}), flush=True)
    sys.stdin.read()
    server.stop_blocking()
    return 0


if __name__ == "__main__":
    sys.exit(main())
