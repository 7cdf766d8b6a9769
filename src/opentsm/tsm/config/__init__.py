"""All settings, each from the first of: command line, environment, `opentsm.toml`, default.

A value knows where it came from, secrets are hidden when settings are shown, and a bad value is refused
with the name of its source. Reference: `docs/howto/configure.md`.
"""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from opentsm.tsm.adapters.postgres import DatabaseSettings
from opentsm.tsm.adapters.postgres.places import default_state_dir
from opentsm.tsm.config.attestation import AttestationSettings, attestation_settings
from opentsm.tsm.config.deliveries import DeliverySettings, delivery_settings
from opentsm.tsm.config.limits import LimitSettings, limit_settings
from opentsm.tsm.config.peers import PeerSettings, peer_settings
from opentsm.tsm.config.values import boolean, choice, choices, days, port, seconds, url
from opentsm.tsm.kernel.wording import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

PREFIX = "OPENTSM_"
CONFIG_FILE = "opentsm.toml"
# Read by other parts, and no settings of the server.
OTHER_VARIABLES = frozenset({"OPENTSM_CONFIG", "OPENTSM_CRASH_ALL"})
HIDDEN = "********"
URL_PASSWORD = re.compile(r"(?<=://)([^/@:]*):[^@]*@")
URL_PASSWORD_PARAMETER = re.compile(r"([?&][a-z]*password=)[^&]*")


class ConfigError(Exception):
    """A setting has a value that cannot be used."""


class LogFormat(StrEnum):
    """How log lines are written."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


class LogLevel(StrEnum):
    """The least severe lines that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The HTTP server and its worker."""

    host: str
    port: int
    public_url: str | None
    trusted_proxies: str
    drain_timeout_s: float
    worker: bool

    @property
    def base_url(self) -> str:
        """URL under which clients reach the server."""
        return self.public_url or f"http://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is logged, and how."""

    level: LogLevel
    format: LogFormat


@dataclass(frozen=True, slots=True)
class KeystoreSettings:
    """The sealed files of the software keystores, one a party."""

    directory: Path
    passphrase: str | None = dataclass_field(repr=False)


@dataclass(frozen=True, slots=True)
class DeviceSettings:
    """The link to devices."""

    poll_timeout_s: float
    token_lifetime_s: float
    session_lifetime_s: float


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """How long things are kept that have served their purpose, and how often the house is kept."""

    exchange_days: float
    idempotency_days: float
    credential_days: float
    prepared_days: float
    delivery_days: float
    interval_s: float
    checkpoint_interval_s: float


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """How the command line reaches a running server."""

    base_url: str
    token: str | None = dataclass_field(repr=False)


@dataclass(frozen=True, slots=True)
class SettingValue:
    """One setting as it is shown: secrets are already hidden."""

    name: str
    value: str | None
    source: str
    help: str

    @property
    def variable(self) -> str:
        """The environment variable of this setting."""
        return variable_of(self.name)


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting; `values` lists them with their sources."""

    data_dir: Path
    database: DatabaseSettings
    server: ServerSettings
    log: LogSettings
    keystore: KeystoreSettings
    device: DeviceSettings
    retention: RetentionSettings
    limits: LimitSettings
    deliveries: DeliverySettings
    attestation: AttestationSettings
    peers: PeerSettings
    client: ClientSettings
    values: tuple[SettingValue, ...] = dataclass_field(repr=False)
    unknown_variables: tuple[str, ...] = ()


def variable_of(name: str) -> str:
    """Return the environment variable of a setting: `server.port` is `OPENTSM_SERVER_PORT`."""
    return PREFIX + name.upper().replace(".", "_")


def load_settings(
    flags: Mapping[str, str | None] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    config_file: Path | None = None,
) -> Settings:
    """Read all settings.

    Args:
        flags: Settings from the command line by dotted name; None means that the flag was not given.
        environment: The environment; None for the process's.
        config_file: Configuration file; None for `OPENTSM_CONFIG`, else `./opentsm.toml` if there is one.

    Raises:
        ConfigError: If a value is bad or a name unknown; the message names the source.
    """
    variables = os.environ if environment is None else environment
    path = _config_path(config_file, variables)
    resolver = _Resolver(flags or {}, variables, path, _read_toml(path))
    settings = _build(resolver)
    resolver.refuse_unknown_names()
    return settings


def _build(resolver: _Resolver) -> Settings:
    get = resolver.get
    data_dir = get("data_dir", Path, default_state_dir(), "directory of everything that is kept")
    database = DatabaseSettings(
        url=resolver.optional("database.url", url, "PostgreSQL URL; empty: an embedded server", secret=True),
        data_dir=get("database.data_dir", Path, data_dir / "postgres", "directory of the embedded server"),
        binaries=resolver.optional("database.binaries", Path, "directory of initdb and postgres to embed"),
    )
    server = ServerSettings(
        host=get("server.host", str, "127.0.0.1", "address to listen on"),
        port=get("server.port", port, 8080, "TCP port to listen on"),
        public_url=resolver.optional("server.public_url", str, "URL under which clients reach the server"),
        trusted_proxies=get(
            "server.trusted_proxies", str, "127.0.0.1", "addresses whose X-Forwarded-For is believed"
        ),
        drain_timeout_s=get("server.drain_timeout_s", seconds, 10.0, "time to end requests after SIGTERM"),
        worker=get("server.worker", boolean, True, "run the worker in the server's process"),
    )
    log = LogSettings(
        level=get("log.level", choice(LogLevel), LogLevel.INFO, choices(LogLevel)),
        format=get("log.format", choice(LogFormat), LogFormat.AUTO, choices(LogFormat)),
    )
    keystore = KeystoreSettings(
        directory=get(
            "keystore.directory", Path, data_dir / "keystores", "directory of the sealed keystores"
        ),
        passphrase=resolver.optional("keystore.passphrase", str, "what they are sealed with", secret=True),
    )
    device = DeviceSettings(
        poll_timeout_s=get("device.poll_timeout_s", seconds, 25.0, "how long a device's poll is held"),
        token_lifetime_s=get("device.token_lifetime_s", seconds, 300.0, "lifetime of a device's token"),
        session_lifetime_s=get("device.session_lifetime_s", seconds, 900.0, "lifetime of a session"),
    )
    retention = _retention(get)
    limits = limit_settings(get)
    peers = peer_settings(get, resolver.optional)
    deliveries = delivery_settings(get, resolver.optional)
    attestation = attestation_settings(get)
    client = ClientSettings(
        base_url=get("client.base_url", str, server.base_url, "server that the command line talks to"),
        token=resolver.optional("client.token", str, "access token of the command line", secret=True),
    )
    return Settings(
        data_dir=data_dir,
        database=database,
        server=server,
        log=log,
        keystore=keystore,
        device=device,
        retention=retention,
        limits=limits,
        deliveries=deliveries,
        attestation=attestation,
        peers=peers,
        client=client,
        values=tuple(resolver.values),
        unknown_variables=resolver.unknown_variables(),
    )


def _retention(get: Getter) -> RetentionSettings:
    return RetentionSettings(
        exchange_days=get(
            "retention.exchange_days", days, 30.0, "days that orders and segments of ended operations stay"
        ),
        idempotency_days=get(
            "retention.idempotency_days", days, 7.0, "days that answers to idempotency keys stay"
        ),
        credential_days=get(
            "retention.credential_days", days, 7.0, "days that expired codes, sessions and tokens stay"
        ),
        prepared_days=get(
            "retention.prepared_days", days, 90.0, "days that prepared data wait for their use"
        ),
        delivery_days=get("retention.delivery_days", days, 30.0, "days that ended deliveries stay"),
        interval_s=get("retention.interval_s", seconds, 3600.0, "time between two removals"),
        checkpoint_interval_s=get(
            "audit.checkpoint_interval_s", seconds, 3600.0, "time between two checkpoints of the audit"
        ),
    )


class Getter(Protocol):
    """Gives a setting that always has a value."""

    def __call__(self, name: str, parse: Callable[[str], T], default: T, about: str) -> T: ...


class OptionalGetter(Protocol):
    """Gives a setting that may have no value."""

    def __call__(self, name: str, parse: Callable[[str], T], about: str) -> T | None: ...


class _Resolver:
    """Finds each value in its first source and remembers which that was."""

    def __init__(
        self,
        flags: Mapping[str, str | None],
        environment: Mapping[str, str],
        path: Path | None,
        file_values: Mapping[str, str],
    ) -> None:
        self._flags = {name: value for name, value in flags.items() if value is not None}
        self._environment = environment
        self._path = path
        self._file_values = file_values
        self.values: list[SettingValue] = []

    def get(self, name: str, parse: Callable[[str], T], default: T, about: str) -> T:
        """Return a setting that always has a value."""
        found = self._find(name)
        if found is None:
            self._remember(name, default, "default", about)
            return default
        text, source = found
        value = self._parse(name, parse, text, source)
        self._remember(name, value, source, about)
        return value

    def optional(self, name: str, parse: Callable[[str], T], about: str, *, secret: bool = False) -> T | None:
        """Return a setting that may have no value; an empty text is none."""
        text, source = self._find(name) or ("", "default")
        value = self._parse(name, parse, text, source, secret=secret) if text else None
        self._remember(name, value, source, about, secret=secret)
        return value

    def refuse_unknown_names(self) -> None:
        """Refuse names in flags and file that are no settings."""
        known = [value.name for value in self.values]
        for names, source in ((self._flags, "command line"), (self._file_values, str(self._path))):
            for name in names:
                if name not in known:
                    near = get_close_matches(name, known, 1)
                    hint = f"; did you mean {quoted(near[0])}?" if near else ""
                    raise ConfigError(f"{source}: there is no setting {quoted(name)}{hint}")

    def unknown_variables(self) -> tuple[str, ...]:
        """Return the variables that look like settings and are none."""
        known = {value.variable for value in self.values} | OTHER_VARIABLES
        return tuple(
            sorted(name for name in self._environment if name.startswith(PREFIX) and name not in known)
        )

    def _find(self, name: str) -> tuple[str, str] | None:
        variable = variable_of(name)
        if name in self._flags:
            return self._flags[name], "command line"
        if variable in self._environment:
            return self._environment[variable], f"environment {variable}"
        if name in self._file_values:
            return self._file_values[name], str(self._path)
        return None

    def _parse(
        self, name: str, parse: Callable[[str], T], text: str, source: str, *, secret: bool = False
    ) -> T:
        try:
            return parse(text)
        except ValueError as error:
            shown = "the value" if secret else quoted(text)
            raise ConfigError(f"{source}: {name}: {shown} is no good: {error}") from None

    def _remember(self, name: str, value: object, source: str, about: str, *, secret: bool = False) -> None:
        shown = None if value is None else _hidden(str(value)) if secret else _plain(value)
        self.values.append(SettingValue(name, shown, source, about))


def _config_path(chosen: Path | None, environment: Mapping[str, str]) -> Path | None:
    explicit = chosen or (Path(environment["OPENTSM_CONFIG"]) if environment.get("OPENTSM_CONFIG") else None)
    if explicit is not None:
        if not explicit.is_file():
            raise ConfigError(f"{explicit}: the configuration file does not exist")
        return explicit
    usual = Path(CONFIG_FILE)
    return usual if usual.is_file() else None


def _read_toml(path: Path | None) -> dict[str, str]:
    """Read a configuration file as texts by dotted name."""
    if path is None:
        return {}
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: {error}") from None
    return dict(_flattened(path, "", document))


def _flattened(path: Path, prefix: str, table: dict[str, object]) -> list[tuple[str, str]]:
    found = []
    for key, value in table.items():
        name = prefix + key
        if isinstance(value, dict):
            found += _flattened(path, f"{name}.", value)
        elif isinstance(value, str | int | float):
            found.append((name, _plain(value)))
        else:
            raise ConfigError(f"{path}: {name}: a text, number or boolean is needed")
    return found


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _hidden(text: str) -> str:
    """Hide a secret; of a URL only the password."""
    if "://" not in text:
        return HIDDEN
    return URL_PASSWORD_PARAMETER.sub(rf"\1{HIDDEN}", URL_PASSWORD.sub(rf"\1:{HIDDEN}@", text))
