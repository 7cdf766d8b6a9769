"""`opentsm se import`: sends a file of secure elements in parts, and follows what becomes of its lines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Final

import typer

from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError, JsonOption, print_json, print_table, say
from opentsm.cli.server_client import Json, ServerClient, connected_client

if TYPE_CHECKING:
    from collections.abc import Sequence

PART_BYTES: Final = 1024 * 1024
_OVER: Final = frozenset({"FINISHED", "CANCELLED", "STOPPED"})
_BACKLOG: Final = "import_backlog"
_PAUSE_S: Final = 0.5
_SHOWN: Final = ("id", "state", "lines", "accepted", "unchanged", "refused")


def import_file(
    file: Annotated[Path, typer.Argument(help="CSV with a header, or JSON lines.", metavar="FILE")],
    *,
    format_: Annotated[
        str | None, typer.Option("--format", help="csv or jsonl; default: by the name of the file.")
    ] = None,
    default: Annotated[
        list[str] | None, typer.Option(help="A column that lines may leave out, for example kvn=48.")
    ] = None,
    stop_after: Annotated[int, typer.Option(min=1, help="End after so many refused lines.")] = 10_000,
    resume: Annotated[str | None, typer.Option(help="Go on with this import, from the same file.")] = None,
    refused: Annotated[
        Path | None, typer.Option(help="Where to write the refused lines (CSV).", metavar="FILE")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Send a file of secure elements and follow its import; exit code 1 when lines were refused."""
    chosen = _format(file, format_)
    with connected_client() as client, _opened(file) as source:
        if resume is None:
            body = {"format": chosen, "defaults": _defaults(default or []), "stop_after": stop_after}
            job = client.send("POST", "/v1/imports", body)
            say(f"import {job['id']}: go on with --resume {job['id']} if this is broken off")
        else:
            job = client.get(f"/v1/imports/{resume}")
        job = _followed(client, _sent(client, job, source))
        if refused is not None:
            refused.write_bytes(client.download(f"/v1/imports/{job['id']}/refused-report", format="csv"))
    if as_json:
        print_json(job)
    else:
        print_table(_SHOWN, [job])
    if job["state"] != "FINISHED" or job["refused"]:
        raise typer.Exit(ExitCode.FAILED)


def _format(file: Path, asked: str | None) -> str:
    found = asked or file.suffix.removeprefix(".").replace("ndjson", "jsonl").lower()
    if found not in ("csv", "jsonl"):
        raise CliError("the format of the file is not clear", advice="say --format csv or --format jsonl")
    return found


def _defaults(given: Sequence[str]) -> dict[str, str]:
    pairs = [one.partition("=") for one in given]
    if any(not sign or not name for name, sign, _ in pairs):
        raise CliError("--default is NAME=VALUE, for example --default kvn=48", code=ExitCode.USAGE)
    return {name: value for name, _, value in pairs}


def _opened(file: Path) -> BinaryIO:
    try:
        return file.open("rb")
    except OSError as error:
        raise CliError(f"{file} cannot be read", why=str(error), code=ExitCode.CONFIGURATION) from error


def _sent(client: ServerClient, job: Json, source: BinaryIO) -> Json:
    """Send the parts that are not there yet, then say that this was all."""
    if job["state"] != "RECEIVING":
        return job
    source.seek(job["received_bytes"])
    number = int(job["parts"])
    for part in parts(source):
        job = _put(client, job, number, part)
        number += 1
        _tell(job)
    return dict(client.send("POST", f"/v1/imports/{job['id']}/completion", {"parts": number}))


def parts(source: BinaryIO) -> Iterator[bytes]:
    """Cut a file into parts of whole lines, none longer than the server takes; the last line gets its end.

    Raises:
        CliError: a line is longer than a part.
    """
    rest = b""
    while chunk := source.read(PART_BYTES - len(rest)):
        whole, end, rest = (rest + chunk).rpartition(b"\n")
        if end:
            yield whole + end
        elif len(rest) >= PART_BYTES:
            raise CliError("a line of the file is longer than 1 MiB", advice="look at its line ends")
    if rest:
        yield rest + b"\n"


def _put(client: ServerClient, job: Json, number: int, part: bytes) -> Json:
    while True:
        answer = client.put_bytes(f"/v1/imports/{job['id']}/parts/{number}", part, again=_BACKLOG)
        if answer is not None:
            return answer
        time.sleep(_PAUSE_S)  # what was sent before is being worked off


def _followed(client: ServerClient, job: Json) -> Json:
    while job["state"] not in _OVER:
        time.sleep(_PAUSE_S)
        job = client.get(f"/v1/imports/{job['id']}")
        _tell(job)
    return job


def _tell(job: Json) -> None:
    say(
        f"{job['state']}: part {job['worked_parts']} of {job['parts']}, {job['lines']} lines, "
        f"{job['accepted']} accepted, {job['unchanged']} unchanged, {job['refused']} refused"
    )
