"""Settings: which source wins, what is shown, what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from opentsm.tsm.config import ConfigError, LogLevel, Settings, load_settings

if TYPE_CHECKING:
    from pathlib import Path


def write(directory: Path, text: str) -> Path:
    """Write a configuration file."""
    path = directory / "opentsm.toml"
    path.write_text(text)
    return path


def source_of(settings: Settings, name: str) -> str:
    """Return where a setting came from."""
    return next(value.source for value in settings.values if value.name == name)


def shown(settings: Settings, name: str) -> str | None:
    """Return a setting as it is shown."""
    return next(value.value for value in settings.values if value.name == name)


def test_settings_when_nothing_is_set_are_defaults() -> None:
    settings = load_settings(environment={})
    assert settings.server.port == 8080
    assert settings.server.base_url == "http://127.0.0.1:8080"
    assert settings.database.url is None
    assert settings.database.data_dir == settings.data_dir / "postgres"
    assert {value.source for value in settings.values} == {"default"}


def test_settings_when_set_everywhere_take_the_first_source(tmp_path: Path) -> None:
    path = write(tmp_path, "[server]\nport = 1\nhost = 'file'\n[log]\nlevel = 'debug'\n")
    environment = {"OPENTSM_SERVER_PORT": "2", "OPENTSM_SERVER_HOST": "environment"}
    settings = load_settings({"server.port": "3"}, environment=environment, config_file=path)
    assert (settings.server.port, source_of(settings, "server.port")) == (3, "command line")
    assert settings.server.host == "environment"
    assert source_of(settings, "server.host") == "environment OPENTSM_SERVER_HOST"
    assert (settings.log.level, source_of(settings, "log.level")) == (LogLevel.DEBUG, str(path))


def test_settings_when_flag_is_not_given_use_the_next_source() -> None:
    settings = load_settings({"server.port": None}, environment={"OPENTSM_SERVER_PORT": "2"})
    assert settings.server.port == 2


def test_settings_when_data_dir_moves_take_all_with_it(tmp_path: Path) -> None:
    settings = load_settings(environment={"OPENTSM_DATA_DIR": str(tmp_path)})
    assert settings.database.data_dir == tmp_path / "postgres"
    assert settings.keystore.directory.parent == tmp_path


@pytest.mark.parametrize("name", ["keystore.passphrase", "client.token"])
def test_secret_when_shown_is_hidden(name: str) -> None:
    variable = "OPENTSM_" + name.upper().replace(".", "_")
    settings = load_settings(environment={variable: "s3cret"})
    assert shown(settings, name) == "********"
    assert "s3cret" not in repr(settings)


def test_database_url_when_shown_hides_the_password_only() -> None:
    settings = load_settings(environment={"OPENTSM_DATABASE_URL": "postgresql://tsm:s3cret@db/tsm"})
    assert settings.database.url == "postgresql://tsm:s3cret@db/tsm"
    assert shown(settings, "database.url") == "postgresql://tsm:********@db/tsm"
    assert "s3cret" not in repr(settings)


def test_database_url_when_password_is_a_parameter_hides_it() -> None:
    url = "postgresql:///tsm?host=/run&user=tsm&password=s3cret&sslmode=require"
    settings = load_settings(environment={"OPENTSM_DATABASE_URL": url})
    assert "s3cret" not in str(shown(settings, "database.url"))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OPENTSM_SERVER_PORT", "http"),
        ("OPENTSM_SERVER_PORT", "65536"),
        ("OPENTSM_SERVER_PORT", "-1"),
        ("OPENTSM_SERVER_WORKER", "perhaps"),
        ("OPENTSM_SERVER_DRAIN_TIMEOUT_S", "0"),
        ("OPENTSM_SERVER_DRAIN_TIMEOUT_S", "nan"),
        ("OPENTSM_LOG_LEVEL", "loud"),
    ],
)
def test_value_when_bad_is_refused_with_its_source(variable: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"environment {variable}: .*{value}.*needed"):
        load_settings(environment={variable: value})


def test_secret_when_bad_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(environment={"OPENTSM_DATABASE_URL": "mysql://u:s3cret@h/d"})
    assert "OPENTSM_DATABASE_URL" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_file_when_value_is_bad_names_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "[server]\nport = 'http'\n")
    with pytest.raises(ConfigError, match=r"opentsm\.toml: server\.port"):
        load_settings(environment={}, config_file=path)


def test_file_when_name_is_unknown_suggests_one(tmp_path: Path) -> None:
    path = write(tmp_path, "[server]\nprot = 1\n")
    with pytest.raises(ConfigError, match=r'no setting "server\.prot"; did you mean "server\.port"'):
        load_settings(environment={}, config_file=path)


@pytest.mark.parametrize("text", ["[server", "[server]\nport = [1]\n"])
def test_file_when_malformed_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"opentsm\.toml"):
        load_settings(environment={}, config_file=write(tmp_path, text))


def test_file_when_named_and_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_settings(environment={"OPENTSM_CONFIG": str(tmp_path / "none.toml")})


def test_file_when_boolean_is_written_as_one_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, "[server]\nworker = false\ndrain_timeout_s = 2.5\n")
    settings = load_settings(environment={}, config_file=path)
    assert (settings.server.worker, settings.server.drain_timeout_s) == (False, 2.5)


def test_variable_when_it_is_no_setting_is_reported() -> None:
    settings = load_settings(environment={"OPENTSM_SERVER_PROT": "1", "OPENTSM_CONFIG": "", "HOME": "/"})
    assert settings.unknown_variables == ("OPENTSM_SERVER_PROT",)


@pytest.mark.parametrize(
    "text", ["1.3.6.1.4.1.99999.1", "2.25.340282366920938463463374607431768211455", "2.999"]
)
def test_identifier_of_the_tsm_when_it_is_an_object_identifier_then_taken(text: str) -> None:
    settings = load_settings({"attestation.tsm_identifier": text}, environment={})
    assert settings.attestation.tsm_identifier == text


@pytest.mark.parametrize(
    "text",
    ["", "1", "3.1", "1.40", "1.02.3", "1..3", "1.3.", "a.b", "-1.3", "1.3.6 ", "١.٣", "2.25." + "9" * 400],
    ids=[
        "empty",
        "one-arc",
        "root",
        "second",
        "zero",
        "gap",
        "end",
        "words",
        "sign",
        "space",
        "script",
        "long",
    ],
)
def test_identifier_of_the_tsm_when_it_is_none_then_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="an object identifier such as"):
        load_settings({"attestation.tsm_identifier": text}, environment={})
