"""`opentsm app`: the calls of an app on this device (TSM-API of BSI TR-03165), through the client library."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from opentsm.agent.errors import AgentError
from opentsm.cli.agent import cli_error, default_state
from opentsm.cli.app_progress import ProgressListener
from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError, JsonOption, print_json, print_table
from opentsm.cli.settings import command_settings
from opentsm.sdk import (
    ActivateServiceCommand,
    ErrorType,
    InstallServiceCommand,
    PersonalizeServiceCommand,
    ProcessListener,
    ProcessResult,
    ServiceCommand,
    ServiceInstance,
    TechnicalInformation,
    TsmApiError,
    TsmApiService,
)

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
app_app = typer.Typer(no_args_is_help=True)

_COMMANDS = "install,personalize,activate"
_UNREACHED = (ErrorType.TSM_NOT_AVAILABLE, ErrorType.NETWORK_CONNECTION_ERROR)
StateOption = Annotated[
    Path | None, typer.Option(help="Directory of this device's key.", envvar="OPENTSM_AGENT_STATE")
]
AccessOption = Annotated[
    str | None,
    typer.Option(
        "--access-token",
        help="The app's access token; without it one is fetched with client.token.",
        envvar="OPENTSM_ACCESS_TOKEN",
        show_default=False,
    ),
]
VersionArgument = Annotated[str, typer.Argument(help="1.3.0, 1.3.x, 1.x.x or x.x.x.")]
CommandsOption = Annotated[
    str, typer.Option("--commands", help="Of install, personalize, activate, in this order; or none.")
]
DataOption = Annotated[list[str] | None, typer.Option(help="NAME=VALUE for the recipes; may be repeated.")]
DataFileOption = Annotated[
    str | None, typer.Option(help="JSON object of NAME: VALUE for the recipes, - for standard input.")
]
FinalizeOption = Annotated[bool, typer.Option(help="Whether the deployment is complete with this.")]
SuspendedOption = Annotated[bool, typer.Option("--suspended", help="End SUSPENDED instead of OPERATIONAL.")]


@app_app.callback()
def app() -> None:
    """Make the calls of an app on this device.

    They need the device's key (--state) and an access token of the service's provider: give one, or let it be
    fetched with the provider's own token (OPENTSM_CLIENT_TOKEN).
    """


@dataclass(frozen=True, slots=True)
class _Tokens:
    """Where the two tokens come from."""

    state: Path
    access: str | None


@app_app.command("create")
def create(
    service: str,
    version: VersionArgument = "x.x.x",
    *,
    state: StateOption = None,
    access: AccessOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create an instance of a service; the version may be a pattern, of which the newest is taken."""
    found = _run(state, access, lambda tsm: tsm.create_service_instance(service, version))
    _show_instances([found], as_json=as_json, one=True)


@app_app.command("list")
def list_(
    service: str, *, state: StateOption = None, access: AccessOption = None, as_json: JsonOption = False
) -> None:
    """List a service's instances on this device."""
    found = _run(state, access, lambda tsm: tsm.get_service_instances(service))
    _show_instances(found, as_json=as_json)


@app_app.command("deploy")
def deploy(
    instance: str,
    *,
    commands: CommandsOption = _COMMANDS,
    data: DataOption = None,
    data_file: DataFileOption = None,
    finalize: FinalizeOption = True,
    suspended: SuspendedOption = False,
    state: StateOption = None,
    access: AccessOption = None,
    as_json: JsonOption = False,
) -> None:
    """Deploy an instance, in one go or in stages."""
    chosen = service_commands(commands, recipe_data(data, data_file), suspended=suspended)
    _follow(
        state,
        access,
        lambda tsm, listener: tsm.deploy_service(instance, chosen, finalize, listener),
        as_json=as_json,
    )


@app_app.command("update")
def update(
    instance: str,
    version: str,
    *,
    commands: CommandsOption = _COMMANDS,
    data: DataOption = None,
    data_file: DataFileOption = None,
    finalize: FinalizeOption = True,
    suspended: SuspendedOption = False,
    state: StateOption = None,
    access: AccessOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring an instance to another version; what is equal in both stays on the card."""
    chosen = service_commands(commands, recipe_data(data, data_file), suspended=suspended)
    _follow(
        state,
        access,
        lambda tsm, listener: tsm.update_service(instance, version, chosen, finalize, listener),
        as_json=as_json,
    )


@app_app.command("suspend")
def suspend(
    instance: str, *, state: StateOption = None, access: AccessOption = None, as_json: JsonOption = False
) -> None:
    """Suspend an instance."""
    _follow(
        state,
        access,
        lambda tsm, listener: tsm.suspend_or_resume_service(instance, True, listener),
        as_json=as_json,
    )


@app_app.command("resume")
def resume(
    instance: str, *, state: StateOption = None, access: AccessOption = None, as_json: JsonOption = False
) -> None:
    """Resume an instance."""
    _follow(
        state,
        access,
        lambda tsm, listener: tsm.suspend_or_resume_service(instance, False, listener),
        as_json=as_json,
    )


@app_app.command("terminate")
def terminate(
    instance: str, *, state: StateOption = None, access: AccessOption = None, as_json: JsonOption = False
) -> None:
    """Remove an instance, in whatever state it is."""
    _follow(state, access, lambda tsm, listener: tsm.terminate_service(instance, listener), as_json=as_json)


@app_app.command("check")
def check(
    service: Annotated[str, typer.Argument(help="A service; with --update one of its instances.")],
    version: VersionArgument = "x.x.x",
    *,
    for_update: Annotated[bool, typer.Option("--update", help="Look for an update of an instance.")] = False,
    state: StateOption = None,
    access: AccessOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say which version could be deployed here, or to which one an instance could be updated."""
    found, information = _run(state, access, lambda tsm: _checked(tsm, service, version, update=for_update))
    if as_json:
        print_json({"available": bool(found), "version": found, "technical_information": _plain(information)})
    else:
        typer.echo(found or "nothing is available for this device")


async def _checked(
    tsm: TsmApiService, subject: str, version: str, *, update: bool
) -> tuple[str, TechnicalInformation | None]:
    if update:
        for_instance = await tsm.check_service_update_available(subject, version)
        return for_instance.new_version, for_instance.new_technical_information
    for_device = await tsm.check_service_deployment_available(subject, version)
    return for_device.version, for_device.new_technical_information


def service_commands(names: str, data: Mapping[str, str], *, suspended: bool) -> list[ServiceCommand]:
    """Return the commands that were named.

    Raises:
        CliError: there is no such command, or data or --suspended without the command that takes it.
    """
    known: dict[str, ServiceCommand] = {
        "install": InstallServiceCommand(),
        "personalize": PersonalizeServiceCommand(personalization_data=dict(data)),
        "activate": ActivateServiceCommand(suspension_control=suspended),
    }
    words = [] if names == "none" else [word.strip() for word in names.split(",")]
    for word in words:
        if word not in known:
            raise CliError(
                f"{word!r} is no service command",
                advice="name some of install, personalize, activate, or none",
                code=ExitCode.USAGE,
            )
    for needed, word in ((bool(data), "personalize"), (suspended, "activate")):
        if needed and word not in words:
            raise CliError(f"that belongs to the command {word}", code=ExitCode.USAGE)
    return [known[word] for word in words]


def recipe_data(pairs: Sequence[str] | None, file: str | None) -> dict[str, str]:
    """Return the data of a call.

    Raises:
        CliError: a word is no NAME=VALUE, or the file holds no object of texts.
    """
    found = {} if file is None else _read_data(file)
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise CliError("--data takes NAME=VALUE", code=ExitCode.USAGE)
        found[name] = value
    return found


def _read_data(file: str) -> dict[str, str]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
        found = json.loads(text)
    except (OSError, ValueError) as error:
        # what the file holds may be secret: the error of the reader is not shown
        raise CliError(f"{file} cannot be read as JSON", code=ExitCode.BAD_INPUT) from error
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise CliError(f"{file} holds no object of texts", code=ExitCode.BAD_INPUT)
    return found


def _follow(
    state: Path | None,
    access: str | None,
    call: Callable[[TsmApiService, ProcessListener], Awaitable[ProcessResult]],
    *,
    as_json: bool,
) -> None:
    with ProgressListener() as listener:
        result = _run(state, access, lambda tsm: call(tsm, listener))
    if as_json:
        print_json(_plain(result))
    else:
        typer.echo(result.service_instance_state.name)


def _run(state: Path | None, access: str | None, call: Callable[[TsmApiService], Awaitable[T]]) -> T:
    try:
        return asyncio.run(_call(_Tokens(state or default_state(), access), call))
    except AgentError as error:
        raise cli_error(error) from error
    except TsmApiError as error:
        raise _failure(error) from error


def _failure(error: TsmApiError) -> CliError:
    code = ExitCode.REFUSED if error.result is None else ExitCode.FAILED
    if error.error_type in _UNREACHED:
        code = ExitCode.UNAVAILABLE
    kind = error.error_type
    return CliError(
        f"error type {kind.value}, {kind.name}", why=error.message, advice=error.advice, code=code
    )


async def _call(tokens: _Tokens, call: Callable[[TsmApiService], Awaitable[T]]) -> T:
    async with _service(tokens) as tsm:
        return await call(tsm)


@asynccontextmanager
async def _service(tokens: _Tokens) -> AsyncIterator[TsmApiService]:
    from opentsm.agent.device_key import read_identity
    from opentsm.agent.http_exchange import http_client
    from opentsm.agent.server_link import ServerLink

    base_url = command_settings().client.base_url
    identity = read_identity(tokens.state)
    async with http_client(base_url) as client:
        link = ServerLink(client, identity)
        access = tokens.access or await _fetched(client)
        async with TsmApiService(base_url, device_token=link.device_token) as tsm:
            tsm.set_access_token(lambda: access)
            yield tsm


async def _fetched(client: httpx.AsyncClient) -> str:
    """Fetch an access token, as the provider's backend does for its app."""
    import httpx as http

    provider = command_settings().client.token
    if provider is None:
        raise CliError(
            "there is no access token",
            advice="set OPENTSM_ACCESS_TOKEN, or OPENTSM_CLIENT_TOKEN to the provider's token",
            code=ExitCode.CONFIGURATION,
        )
    headers = {"Authorization": f"Bearer {provider}"}
    try:
        answer = await client.post("/v1/access-tokens", json={}, headers=headers)
    except http.HTTPError as error:
        raise CliError("no connection", why=type(error).__name__, code=ExitCode.UNAVAILABLE) from error
    if answer.status_code != 201:
        raise CliError(
            f"the server gives no access token: {answer.status_code}",
            advice="set OPENTSM_CLIENT_TOKEN to the token of the service's provider",
            code=ExitCode.REFUSED,
        )
    return str(answer.json()["token"])


def _show_instances(found: Sequence[ServiceInstance], *, as_json: bool, one: bool = False) -> None:
    if as_json:
        print_json(_plain(found[0]) if one else {"service_instances": [_plain(each) for each in found]})
        return
    rows = [
        {
            "id": each.id,
            "state": each.state.name,
            "version": each.technical_information.service_version_tag,
            "reader": each.reader,
        }
        for each in found
    ]
    print_table(("id", "state", "version", "reader"), rows)


def _plain(value: object) -> Any:
    """Return an answer as the server spelled it."""
    import msgspec

    return msgspec.to_builtins(value)
