"""What can go wrong with the embedded database server.

PostgresError
├── BinariesMissingError       no PostgreSQL for this machine
├── DataDirectoryError         the directory cannot be used
│   ├── DataDirectoryInUseError    another process runs a server on it
│   └── DataDirectoryVersionError  it belongs to another major version
└── StartError                 the server did not come up
"""


class PostgresError(Exception):
    """The embedded PostgreSQL cannot be used."""


class BinariesMissingError(PostgresError):
    """There is no PostgreSQL for this machine."""


class DataDirectoryError(PostgresError):
    """The data directory cannot be used."""


class DataDirectoryInUseError(DataDirectoryError):
    """Another process runs a server on this data directory."""


class DataDirectoryVersionError(DataDirectoryError):
    """The data directory belongs to another major version of PostgreSQL."""


class StartError(PostgresError):
    """The server did not come up."""
