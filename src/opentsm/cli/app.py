"""`opentsm app`: the calls of an app on this device (TSM-API of BSI TR-03165), through the client library."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from opentsm.cli.app_door import Door
from opentsm.cli.app_form import filled_in, in_language, language
from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError, JsonOption, print_json, print_table
from opentsm.sdk import (
    ActivateServiceCommand,
    InstallServiceCommand,
    PersonalizeServiceCommand,
    ProcessListener,
    ProcessResult,
    ServiceCommand,
    ServiceInstance,
    TechnicalInformation,
    TsmApiService,
)

app_app = typer.Typer(no_args_is_help=True)

_COMMANDS = "install,personalize,activate"
StateOption = Annotated[
    Path | None, typer.Option(help="Directory of this device's key.", envvar="OPENTSM_AGENT_STATE")
]
AccessOption = Annotated[
    str | None,
    typer.Option(
        "--access-token",
        help="The app's access token; without it one is fetched with client.token, or by the device.",
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

    They need the device's key (--state) and an access token: give one, or let it be fetched with the
    provider's own token (OPENTSM_CLIENT_TOKEN). Without either the device fetches it, for services that are
    self-service.
    """


@app_app.command("form")
def form(
    service: str,
    version: VersionArgument = "x.x.x",
    *,
    state: StateOption = None,
    access: AccessOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what the end user is asked for before a service gets onto this device."""
    found = Door(state, access, service=service).run(lambda tsm: tsm.get_service_form(service, version))
    if as_json:
        print_json(_plain(found))
        return
    tag = language()
    rows = [
        {
            "name": field.name,
            "title": in_language(field.title, tag),
            "type": field.type,
            "values": ", ".join(choice.value for choice in field.choices) or f"{field.min} to {field.max}",
        }
        for field in found.fields
    ]
    print_table(("name", "title", "type", "values"), rows)


@app_app.command("install")
def install(
    service: str,
    version: VersionArgument = "x.x.x",
    *,
    data: DataOption = None,
    data_file: DataFileOption = None,
    state: StateOption = None,
    access: AccessOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a service onto this device: fill in its form, deploy it, show its provider's words."""
    door, tag = Door(state, access, service=service), language()
    asked = door.run(lambda tsm: tsm.get_service_form(service, version))
    filled = filled_in(asked, recipe_data(data, data_file), tag)
    words = {outcome: in_language(texts, tag) for outcome, texts in asked.messages.items()}
    try:
        result = door.follow(lambda tsm, listener: _installed(tsm, listener, service, asked.version, filled))
    except CliError:
        if "failure" in words:
            typer.echo(words["failure"], err=True)
        raise
    if as_json or "success" not in words:
        _show_result(result, as_json=as_json)
    else:
        typer.echo(words["success"])


async def _installed(
    tsm: TsmApiService, listener: ProcessListener, service: str, version: str, data: Mapping[str, str]
) -> ProcessResult:
    instance = await tsm.create_service_instance(service, version)
    chosen = service_commands(_COMMANDS, data, suspended=False)
    return await tsm.deploy_service(instance.id, chosen, True, listener)


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
    door = Door(state, access, service=service)
    found = door.run(lambda tsm: tsm.create_service_instance(service, version))
    _show_instances([found], as_json=as_json, one=True)


@app_app.command("list")
def list_(
    service: str, *, state: StateOption = None, access: AccessOption = None, as_json: JsonOption = False
) -> None:
    """List a service's instances on this device."""
    found = Door(state, access, service=service).run(lambda tsm: tsm.get_service_instances(service))
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
    result = Door(state, access, instance=instance).follow(
        lambda tsm, listener: tsm.deploy_service(instance, chosen, finalize, listener)
    )
    _show_result(result, as_json=as_json)


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
    result = Door(state, access, instance=instance).follow(
        lambda tsm, listener: tsm.update_service(instance, version, chosen, finalize, listener)
    )
    _show_result(result, as_json=as_json)


def _plain_change(
    name: str, help_: str, call: Callable[[TsmApiService, str, ProcessListener], Awaitable[ProcessResult]]
) -> None:
    """Add a command that changes an instance and takes nothing else."""

    @app_app.command(name, help=help_)
    def change(
        instance: str, *, state: StateOption = None, access: AccessOption = None, as_json: JsonOption = False
    ) -> None:
        door = Door(state, access, instance=instance)
        _show_result(door.follow(lambda tsm, listener: call(tsm, instance, listener)), as_json=as_json)


_plain_change(
    "suspend",
    "Suspend an instance.",
    lambda tsm, instance, listener: tsm.suspend_or_resume_service(instance, True, listener),
)
_plain_change(
    "resume",
    "Resume an instance.",
    lambda tsm, instance, listener: tsm.suspend_or_resume_service(instance, False, listener),
)
_plain_change(
    "terminate",
    "Remove an instance, in whatever state it is.",
    lambda tsm, instance, listener: tsm.terminate_service(instance, listener),
)


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
    door = Door(state, access, instance=service) if for_update else Door(state, access, service=service)
    found, information = door.run(lambda tsm: _checked(tsm, service, version, update=for_update))
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


def _show_result(result: ProcessResult, *, as_json: bool) -> None:
    if as_json:
        print_json(_plain(result))
    else:
        typer.echo(result.service_instance_state.name)


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
