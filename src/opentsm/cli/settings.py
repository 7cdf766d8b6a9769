"""The settings of a command, and the errors of settings and database as errors of the command line."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError
from opentsm.tsm.adapters.postgres import PostgresError
from opentsm.tsm.config import ConfigError, Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentsm.tsm.adapters.postgres import DatabaseSettings


def command_settings(flags: Mapping[str, str | None] | None = None) -> Settings:
    """Read the settings.

    Args:
        flags: Settings given as options of the command, by dotted name.

    Raises:
        CliError: If a value is bad.
    """
    try:
        return load_settings(flags)
    except ConfigError as error:
        raise CliError(
            "a setting is wrong",
            why=str(error),
            advice="correct it there; `opentsm config show` lists all settings",
            code=ExitCode.CONFIGURATION,
        ) from error


def lacks_cluster(database: DatabaseSettings) -> bool:
    """Tell whether the database is the embedded one, and it was never started."""
    return database.url is None and not Path(database.data_dir, "cluster").exists()


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn errors of the database into errors of the command line.

    Raises:
        CliError: If the database cannot be started or reached, or its schema does not fit.
    """
    from opentsm.tsm.adapters.storage.migrate import DatabaseUnreachableError, SchemaError

    try:
        yield
    except PostgresError as error:
        raise CliError(
            "the embedded database cannot be used", why=str(error), code=ExitCode.UNAVAILABLE
        ) from error
    except DatabaseUnreachableError as error:
        raise CliError(
            "the database cannot be reached",
            why=str(error),
            advice="check OPENTSM_DATABASE_URL, and that the server runs",
            code=ExitCode.UNAVAILABLE,
        ) from error
    except SchemaError as error:
        raise CliError(
            "the database schema does not fit this release", why=str(error), code=ExitCode.SCHEMA
        ) from error
