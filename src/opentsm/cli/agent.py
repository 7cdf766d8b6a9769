"""`opentsm agent`: a Local Agent of SERAM on this device, for one or several secure elements."""

from __future__ import annotations

import asyncio
import os
import platform
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from opentsm.agent.errors import (
    AgentError,
    LinkError,
    ReaderMissingError,
    ServerRefusedError,
    StateError,
)
from opentsm.agent.messages import EXTENDED_VERSION, PLAIN_VERSION, SecureElement, SeType
from opentsm.agent.observer import CountingObserver
from opentsm.cli.attached import AttachedOption, when_input_ends
from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError, JsonOption, print_json, say
from opentsm.cli.readers import READER_FORMS, NamedReader, open_reader

if TYPE_CHECKING:
    from opentsm.agent.device_key import StateDirectory
    from opentsm.agent.loop import LocalAgent
    from opentsm.agent.server_link import ServerLink

agent_app = typer.Typer(no_args_is_help=True)


@agent_app.callback()
def agent() -> None:
    """Run a Local Agent on this device."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What one run of the command is to do."""

    server: str
    code: str | None
    state: Path
    name: str
    forever: bool
    patience_s: float
    ca_file: str | None
    versions: tuple[str, ...]
    attached: bool = False


class TerminalObserver(CountingObserver):
    """Counts, and says what a person may want to know on stderr.

    Args:
        se_id: stands before each line.
    """

    def __init__(self, se_id: str) -> None:
        super().__init__()
        self._se_id = se_id

    def order(self, sequence: int | None, *, repeated: bool) -> None:
        """Say which order runs."""
        super().order(sequence, repeated=repeated)
        if sequence is not None:
            self.notice(f"order {sequence}{' again, answered from the journal' if repeated else ''}")

    def notification(self, text: str) -> None:
        """Show the server's text without control characters."""
        self.notice(f"server says: {''.join(c if c.isprintable() else ' ' for c in text)}")

    def notice(self, text: str) -> None:
        """Say it."""
        say(f"{self._se_id}: {text}")


@agent_app.command("run")
def run(
    *,
    server: Annotated[str, typer.Option(help="URL of the server.", envvar="OPENTSM_SERVER")],
    reader: Annotated[list[str], typer.Option(help=f"A card: {READER_FORMS}. May be repeated.")],
    se: Annotated[
        list[str] | None,
        typer.Option(
            help="TYPE:ID of each reader's card, in the same sequence (a virtual card knows its own)."
        ),
    ] = None,
    enrol: Annotated[
        str | None, typer.Option(help="One-time code that enrols this device.", envvar="OPENTSM_ENROL_CODE")
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(help="Directory of this device's key and journals.", envvar="OPENTSM_AGENT_STATE"),
    ] = None,
    name: Annotated[
        str, typer.Option(help="What the operator sees.", show_default="the host name")
    ] = platform.node() or "device",
    forever: Annotated[
        bool, typer.Option("--forever", help="Never give up, and come back after the server stops a session.")
    ] = False,
    patience: Annotated[float, typer.Option(min=0, help="Seconds to try an unreachable server.")] = 300.0,
    ca: Annotated[
        str | None, typer.Option(help="File of certificates to trust instead of the system's.")
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Offer SERAM 2.0.0 only.")] = False,
    attached: AttachedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Carry the server's orders to the cards until it ends the session, or SIGTERM."""
    readers = [open_reader(form) for form in reader]
    elements = secure_elements(readers, se or [])
    versions = (PLAIN_VERSION,) if plain else (EXTENDED_VERSION, PLAIN_VERSION)
    assignment = Assignment(
        server, enrol, state or default_state(), name, forever, patience, ca, versions, attached
    )
    try:
        summary = asyncio.run(_work(assignment, list(zip(elements, readers, strict=True))))
    except AgentError as error:
        raise cli_error(error) from error
    if as_json:
        print_json(summary)


@agent_app.command("token")
def token(
    *,
    server: Annotated[str, typer.Option(help="URL of the server.", envvar="OPENTSM_SERVER")],
    state: Annotated[
        Path | None,
        typer.Option(help="Directory of this device's key.", envvar="OPENTSM_AGENT_STATE"),
    ] = None,
    ca: Annotated[
        str | None, typer.Option(help="File of certificates to trust instead of the system's.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print a short-lived token of this device, for the header Device-Authorization; an agent may run."""
    try:
        found = asyncio.run(_token(server, state or default_state(), ca))
    except AgentError as error:
        raise cli_error(error) from error
    if as_json:
        print_json({"token": found})
    else:
        typer.echo(found)


async def _token(server: str, state: Path, ca_file: str | None) -> str:
    from opentsm.agent.backoff import Patience
    from opentsm.agent.device_key import read_identity
    from opentsm.agent.http_exchange import http_client
    from opentsm.agent.server_link import LinkSettings, ServerLink

    settings = LinkSettings(patience=Patience(give_up_after_s=10.0))
    async with http_client(server, ca_file=ca_file) as client:
        return await ServerLink(client, read_identity(state), settings=settings).device_token()


def secure_elements(readers: list[NamedReader], names: list[str]) -> list[SecureElement]:
    """Say which secure element is in which reader.

    Args:
        readers: as opened.
        names: `TYPE:ID` for each, or none at all when every reader knows its card.

    Raises:
        CliError: the numbers differ, a type is unknown, or an identifier is missing or doubled.
    """
    if names and len(names) != len(readers):
        raise CliError(f"{len(readers)} readers need {len(readers)} --se options", code=ExitCode.USAGE)
    elements = [_element(name) for name in names] or [
        SecureElement("eSE", reader.se_id) for reader in readers if reader.se_id is not None
    ]
    if len(elements) != len(readers):
        raise CliError(
            "the card in a real reader has no name", advice="add --se TYPE:ID", code=ExitCode.USAGE
        )
    if len({element.se_id for element in elements}) != len(elements):
        raise CliError("two readers cannot hold the same card", code=ExitCode.USAGE)
    return elements


def _element(name: str) -> SecureElement:
    kind, _, identifier = name.partition(":")
    for known in get_args(SeType):
        if kind == known and identifier:
            return SecureElement(known, identifier)
    raise CliError(
        f"{name!r} is not TYPE:ID",
        advice=f"TYPE is one of {', '.join(get_args(SeType))}",
        code=ExitCode.USAGE,
    )


def default_state() -> Path:
    """Return where a device without --state keeps its files."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "opentsm" / "agent"


def cli_error(error: AgentError) -> CliError:
    """Say whose fault it is by the exit code."""
    match error:
        case ServerRefusedError():
            return CliError("the server refused", why=str(error), code=ExitCode.REFUSED)
        case LinkError() | ReaderMissingError():
            return CliError("no connection", why=str(error), code=ExitCode.UNAVAILABLE)
        case StateError():
            return CliError("the state directory", why=str(error), code=ExitCode.CONFIGURATION)
    return CliError("the agent failed", why=str(error))


async def _work(assignment: Assignment, cards: list[tuple[SecureElement, NamedReader]]) -> dict[str, object]:
    from opentsm.agent.backoff import Patience
    from opentsm.agent.device_key import StateDirectory
    from opentsm.agent.enrolment import enrolled_identity
    from opentsm.agent.http_exchange import http_client
    from opentsm.agent.server_link import LinkSettings, ServerLink

    patience = Patience(give_up_after_s=None if assignment.forever else assignment.patience_s)
    settings = LinkSettings(patience=patience, versions=assignment.versions)
    state = StateDirectory(assignment.state)
    try:
        async with http_client(assignment.server, ca_file=assignment.ca_file) as client:
            device = TerminalObserver("device")
            identity = await enrolled_identity(
                state, client, assignment.code, assignment.name, settings=settings, observer=device
            )
            say(f"device {identity.device_id}")
            link = ServerLink(client, identity, settings=settings)
            rows = await _run_agents(
                link, state, cards, come_back=assignment.forever, attached=assignment.attached
            )
    finally:
        state.close()
    return {"device": identity.device_id, "ses": rows}


async def _run_agents(
    link: ServerLink,
    state: StateDirectory,
    cards: list[tuple[SecureElement, NamedReader]],
    *,
    come_back: bool,
    attached: bool,
) -> list[dict[str, object]]:
    from opentsm.agent.loop import LocalAgent, LoopSettings

    observers = [TerminalObserver(element.se_id) for element, _ in cards]
    settings = LoopSettings(come_back=come_back)
    agents = [
        LocalAgent(
            element, named.reader, state.journal_store(element.se_id), link, observer=seen, settings=settings
        )
        for (element, named), seen in zip(cards, observers, strict=True)
    ]
    leave_on_signals(agents, attached=attached)
    # One card's trouble is not the others': let all end, then tell the first failure.
    endings = await asyncio.gather(*(agent.run() for agent in agents), return_exceptions=True)
    rows: list[dict[str, object]] = []
    for (element, _), seen, ending in zip(cards, observers, endings, strict=True):
        if isinstance(ending, BaseException):
            seen.notice(str(ending))
            raise ending
        seen.notice(ending.value)
        rows.append(
            {
                "se": element.se_id,
                "ending": ending.name,
                "orders": seen.orders,
                "repeated_orders": seen.repeated_orders,
                "apdus": seen.apdus,
                "apdu_bytes": seen.apdu_bytes,
                "round_trips": seen.round_trips,
                "http_bytes": seen.http_bytes,
            }
        )
    return rows


def leave_on_signals(agents: list[LocalAgent], *, attached: bool = False) -> None:
    """Let SIGTERM and SIGINT (attached: also the end of input) end the agents after their running orders."""

    def leave() -> None:
        for agent in agents:
            agent.leave()

    if attached:
        when_input_ends(leave)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):  # Windows has no such handlers
            loop.add_signal_handler(number, leave)
