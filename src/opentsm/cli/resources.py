"""`opentsm operation`, `se` and `service`: what a running server knows, as tables or JSON."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Annotated, Final

import typer

from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import JsonOption, print_json, print_table, say
from opentsm.cli.se_import import import_file
from opentsm.cli.server_client import LONG_POLL_S, SPTSM, Json, ServerClient, connected_client

operation_app = typer.Typer(no_args_is_help=True)
se_app = typer.Typer(no_args_is_help=True)
service_app = typer.Typer(no_args_is_help=True)

LimitOption = Annotated[int, typer.Option(min=1, help="Show at most so many.")]
se_app.command("import")(import_file)

OperationArgument = Annotated[str, typer.Argument(help="Id of the operation.", metavar="ID")]
SeArgument = Annotated[str, typer.Argument(help="Id of the secure element.", metavar="ID")]
ServiceArgument = Annotated[str, typer.Argument(help="Id of the service.", metavar="ID")]

_ENDED: Final = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})
_OPERATION: Final = (
    "id",
    "type",
    "state",
    "se_id",
    "apdus",
    "bytes",
    "round_trips",
    "duration_ms",
    "created_at",
)
_SE: Final = ("id", "identifier", "profile", "state", "device_id")
_OBJECT: Final = ("aid", "kind", "state_name", "contactless", "security_domain", "load_file", "owned")
_ACCESS_RULE: Final = ("aid", "device_app", "apdu", "nfc", "limited", "owned")
_SERVICE: Final = ("id", "name", "sdAid", "creationDate")
_INSTANCE: Final = ("id", "state", "se_id", "version", "sd_aid", "created_at")


# --- operations ----------------------------------------------------------------------------------------


@operation_app.command("list")
def list_operations(
    *,
    se: Annotated[str | None, typer.Option(help="Only those of this secure element.")] = None,
    instance: Annotated[str | None, typer.Option(help="Only those of this service instance.")] = None,
    state: Annotated[str | None, typer.Option(help="Only those in this state, for example FAILED.")] = None,
    type_: Annotated[str | None, typer.Option("--type", help="Only those of this type.")] = None,
    after: Annotated[str | None, typer.Option(help="Go on behind this cursor: `next` of --json.")] = None,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
) -> None:
    """List the newest operations, newest first."""
    query = {"se_id": se, "instance_id": instance, "state": state, "type": type_, "after": after}
    with connected_client() as client:
        page = client.newest("/v1/operations", limit, **query)
    if as_json:
        print_json(page)
    else:
        print_table(_OPERATION, page["items"])


@operation_app.command("show")
def show_operation(operation_id: OperationArgument, as_json: JsonOption = False) -> None:
    """Show an operation with its plan."""
    with connected_client() as client:
        _show_operation(client.get(f"/v1/operations/{operation_id}"), as_json=as_json)


@operation_app.command("follow")
def follow_operation(operation_id: OperationArgument, as_json: JsonOption = False) -> None:
    """Follow an operation to its end; exit code 1 when it did not succeed."""
    with connected_client() as client:
        ended = _followed(client, client.get(f"/v1/operations/{operation_id}"))
    _show_operation(ended, as_json=as_json)
    _exit_by([ended])


# --- secure elements -----------------------------------------------------------------------------------


@se_app.command("list")
def list_ses(
    identifier: Annotated[str | None, typer.Option(help="Only the one that goes by this name.")] = None,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
) -> None:
    """List secure elements."""
    with connected_client() as client:
        found = list(islice(client.pages("/v1/secure-elements", identifier=identifier), limit))
    _show_list(found if as_json else [_named(se) for se in found], _SE, as_json=as_json)


@se_app.command("show")
def show_se(se_id: SeArgument, as_json: JsonOption = False) -> None:
    """Show a secure element with its content as last read."""
    with connected_client() as client:
        se = client.get(f"/v1/secure-elements/{se_id}")
        content = client.get(f"/v1/secure-elements/{se_id}/content")
    if as_json:
        print_json({**se, "content": content})
        return
    print_table(_SE, [_named(se)])
    print_table(_OBJECT, content["objects"])
    if content["access_rules"]:
        print_table(_ACCESS_RULE, content["access_rules"])
    say(
        f"free memory: {content['free_memory']} bytes{'' if content['fresh'] else '; may have changed since'}"
    )


@se_app.command("follow")
def follow_se(se_id: SeArgument, as_json: JsonOption = False) -> None:
    """Follow a secure element's running operations to their ends."""
    with connected_client() as client:
        client.get(f"/v1/secure-elements/{se_id}")
        ended = _follow_all(client, client.pages("/v1/operations", se_id=se_id))
    _show_list(ended, _OPERATION, as_json=as_json)
    _exit_by(ended)


# --- services ------------------------------------------------------------------------------------------


@service_app.command("list")
def list_services(limit: LimitOption = 100, as_json: JsonOption = False) -> None:
    """List the services of a provider (OPENTSM_CLIENT_TOKEN)."""
    with connected_client() as client:
        found = client.provider_door().get(f"{SPTSM}/services")[:limit]
    _show_list(found, _SERVICE, as_json=as_json)


@service_app.command("show")
def show_service(service_id: ServiceArgument, as_json: JsonOption = False) -> None:
    """Show a service with its flavors, versions and instances."""
    with connected_client() as client:
        door = client.provider_door()
        path = f"{SPTSM}/services/{service_id}"
        service = door.get(path)
        flavors, versions = door.get(f"{path}/flavors"), door.get(f"{path}/versions")
        instances = _instances(client, service_id)
    if as_json:
        print_json({**service, "flavors": flavors, "versions": versions, "instances": instances})
        return
    print_table(_SERVICE, [service])
    print_table(("id", "name", "published"), flavors)
    print_table(("tag", "allowedDeployments"), versions)
    print_table(_INSTANCE, instances)


@service_app.command("follow")
def follow_service(service_id: ServiceArgument, as_json: JsonOption = False) -> None:
    """Follow the running operations of a service's instances to their ends."""
    with connected_client() as client:
        client.provider_door().get(f"{SPTSM}/services/{service_id}")
        operations = [
            operation
            for instance in _instances(client, service_id)
            for operation in client.pages("/v1/operations", instance_id=instance["id"])
        ]
        ended = _follow_all(client, operations)
    _show_list(ended, _OPERATION, as_json=as_json)
    _exit_by(ended)


# --- small things --------------------------------------------------------------------------------------


def _instances(client: ServerClient, service_id: str) -> list[Json]:
    return list(client.pages("/v1/instances", service_id=service_id))


def _follow_all(client: ServerClient, operations: Iterable[Json]) -> list[Json]:
    running = [one for one in operations if one["state"] not in _ENDED]
    if not running:
        say("no operation is running")
    return [_followed(client, one) for one in running]


def _followed(client: ServerClient, operation: Json) -> Json:
    """Tell each change on stderr, until the operation has ended."""
    told = ""
    while True:
        line = (
            f"{operation['type']} {operation['state']}: {operation['apdus']} APDUs, "
            f"{operation['bytes']} bytes, {operation['round_trips']} round trips"
        )
        if line != told:
            say(line)
        told = line
        if operation["state"] in _ENDED:
            return operation
        operation = client.get(f"/v1/operations/{operation['id']}", wait=str(LONG_POLL_S))


def _exit_by(operations: Iterable[Json]) -> None:
    """End with FAILED when an operation did not succeed."""
    for one in operations:
        if one["state"] != "SUCCEEDED":
            failure = one["failure"] or {}
            say(f"error: operation {one['id']} {one['state']}")
            for name, text in (("why", failure.get("detail")), ("do", failure.get("advice"))):
                if text:
                    say(f"  {name}: {text}")
            raise typer.Exit(ExitCode.FAILED)


def _show_operation(operation: Json, *, as_json: bool) -> None:
    if as_json:
        print_json(operation)
        return
    print_table(_OPERATION, [operation])
    print_table(("step", "plan"), [{"step": n, "plan": line} for n, line in enumerate(operation["plan"], 1)])
    if operation["failure"]:
        print_table(("code", "detail", "advice", "status_word", "step"), [operation["failure"]])


def _named(se: Json) -> Json:
    identifiers = se.get("identifiers") or [{"type": "", "value": ""}]
    return {**se, "identifier": f"{identifiers[0]['type']}:{identifiers[0]['value']}"}


def _show_list(found: list[Json], columns: tuple[str, ...], *, as_json: bool) -> None:
    if as_json:
        print_json({"items": found})
    else:
        print_table(columns, found)
