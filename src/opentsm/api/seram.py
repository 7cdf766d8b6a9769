"""The Remote Agent of GlobalPlatform SERAM 2.0.0 with our extension 2.0.0+opentsm.1.

Unknown members are passed over, as the standard's own examples hold some; types are taken strictly. The
sessionId stands in the query, which is never logged.
Source: gpseram-2.0.0.yaml; docs/reference/agent-protocol.md.
"""

from typing import Annotated, Literal

import msgspec
import structlog
from litestar import Response, post
from litestar.params import JSONBody, QueryParameter

from opentsm.api.authentication import DEVICES, Caller
from opentsm.api.container import Services
from opentsm.api.drain import MAX_WAIT_S, Drain, Waits
from opentsm.api.health import Counters
from opentsm.tsm.domain.device import DeviceSession
from opentsm.tsm.domain.exchange import Command, Expected, StopReason
from opentsm.tsm.kernel.errors import CallerError
from opentsm.tsm.roles.hub.device_link import Delivery
from opentsm.tsm.roles.hub.order_answers import Report
from opentsm.tsm.roles.hub.services import device_topic

PLAIN = "2.0.0"
EXTENDED = "2.0.0+opentsm.1"
HTTPS = "HTTPS"
JSON = "application/json"
DRAINING_DELAY_MS = 1000
MAX_ANSWERS = 5000

SeType = Literal["eSE", "iSE", "uicc", "euicc", "ieuicc", "undefined"]
Status = Literal["PROCESSED", "POLLING", "UNAVAILABLE_SE", "UNKNOWN_FAILURE", "UNGRANTED_ACCESS"]
Count = Annotated[int, msgspec.Meta(ge=0, le=0x7FFF_FFFF_FFFF_FFFF)]
Apdu = Annotated[str, msgspec.Meta(pattern="^([0-9A-Fa-f]{2})*$", max_length=200_000)]
SessionId = Annotated[str, QueryParameter(name="sessionId", max_length=64)]

_log = structlog.get_logger(__name__)
_TAG = ["SERAM"]


class NothingAcceptableError(CallerError):
    """Nothing that the agent offers can be served."""

    code = "not_acceptable"
    status = 406


class _Message(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    pass


class SecureElement(_Message, frozen=True, kw_only=True):
    """A secure element as the document names it."""

    se_type: SeType
    se_id: str
    se_extra_info: str | None = None


class HandshakeCommand(_Message, frozen=True, kw_only=True):
    """What a Local Agent offers; what is left out is assumed to be HTTPS, JSON and 2.0.0."""

    secure_elements: list[SecureElement]
    supported_transport_protocols: list[str] = msgspec.field(default_factory=lambda: [HTTPS])
    supported_data_formats: list[str] = msgspec.field(default_factory=lambda: [JSON])
    supported_versions: list[str] = msgspec.field(default_factory=lambda: [PLAIN])


class HandshakeResponse(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What was chosen; the document requires chosenDataProtocol and defines chosenDataFormat: send both."""

    chosen_transport_protocol: str = HTTPS
    chosen_data_format: str = JSON
    chosen_data_protocol: str = JSON
    chosen_version: str


class AgentStatus(_Message, frozen=True, kw_only=True):
    """What an agent says about itself."""

    local_agent_status_enum: Status
    executed_se_ram_commands: Count = 0
    error_msg: str | None = None


class RamResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The answers to one seRamCommand."""

    ram_response_type: Literal["seRamResponse"] = msgspec.field(name="ramResponseType")
    list_of_rapdu: list[Apdu] = msgspec.field(name="listOfRAPDU")


class Stopped(_Message, frozen=True, kw_only=True):
    """Extension: before which command the agent stopped, and why."""

    index: Count
    reason: Literal["MISMATCH", "CARD_LOST", "INTERRUPTED", "EXPIRED"]


class Refused(_Message, frozen=True, kw_only=True):
    """Extension: the order was not begun."""

    reason: Literal["MALFORMED", "NOT_NEWER", "OTHER_SE", "JOURNAL_FULL"]
    order_sequence: Count | None = None


class AgentReport(_Message, frozen=True, kw_only=True):
    """A report of a Local Agent."""

    local_agent_status: AgentStatus
    ram_responses: list[RamResponse] | None = None
    order_sequence: Count | None = None
    stopped: Stopped | None = None
    refused: Refused | None = None


class Expectation(_Message, frozen=True, kw_only=True):
    """Extension: what one answer must look like."""

    sw: list[str] | None = None
    data: str | None = None
    mask: str | None = None


class RamCommand(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A command of an order."""

    ram_command_type: str = msgspec.field(name="ramCommandType")
    list_of_capdu: list[str] | None = msgspec.field(name="listOfCAPDU", default=None)
    list_of_expectations: list[Expectation | None] | None = msgspec.field(
        name="listOfExpectations", default=None
    )


class Order(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An order to a Local Agent."""

    delay: int
    ram_commands: list[RamCommand] | None = None
    order_sequence: int | None = None
    ack_sequence: int | None = None


@post(
    "/handshake",
    opt=DEVICES,
    tags=_TAG,
    status_code=200,
    summary="Negotiate version, data format and transport (device)",
)
async def handshake(
    principal: Caller, container: Services, session_id: SessionId, data: JSONBody[HandshakeCommand]
) -> HandshakeResponse:
    """Choose our extension when it is offered, else 2.0.0; the next exchange begins with ramStartCommand."""
    session = await container.device_link.session(principal, session_id)
    version = choose_version(data)
    await container.device_link.handshake(session, extended=version == EXTENDED)
    return HandshakeResponse(chosen_version=version)


@post(
    "/remoteManagement",
    opt=DEVICES,
    tags=_TAG,
    status_code=200,
    summary="Report, and get the next order (device)",
)
async def remote_management(
    *,
    principal: Caller,
    container: Services,
    drain: Waits,
    metrics: Counters,
    session_id: SessionId,
    data: JSONBody[AgentReport],
) -> Response[Order]:
    """Take a report and give the next order, waiting for one for up to 25 s."""
    session = await container.device_link.session(principal, session_id)
    _log_error(data)
    wait_s = min(container.settings.device.poll_timeout_s, MAX_WAIT_S)
    with drain.waiting(device_topic(session.se_id), wait_s) as limit_s:
        delivery = await container.device_link.exchange(
            session, read_report(data, extended=session.extended), wait_s=limit_s
        )
    metrics.exchange(commands=len(delivery.commands), start=delivery.start)
    return Response(_order(session, delivery, drain), headers={"Cache-Control": "no-store"})


def choose_version(offer: HandshakeCommand) -> str:
    """Return the version to speak.

    Raises:
        NothingAcceptableError: neither version, or no transport or data format that is served.
    """
    if HTTPS not in offer.supported_transport_protocols:
        raise NothingAcceptableError(f"Only the transport {HTTPS} is served.")
    if JSON not in offer.supported_data_formats:
        raise NothingAcceptableError(f"Only the data format {JSON} is served.")
    for version in (EXTENDED, PLAIN):
        if version in offer.supported_versions:
            return version
    raise NothingAcceptableError(f"Only the versions {EXTENDED} and {PLAIN} are served.")


def read_report(data: AgentReport, *, extended: bool) -> Report:
    """Turn an agent's report into the link's terms.

    A missing answer is an empty string or left out: what follows the last answer does not count.
    """
    answers = [answer.upper() for response in data.ram_responses or () for answer in response.list_of_rapdu]
    while answers and not answers[-1]:
        answers.pop()
    status = data.local_agent_status.local_agent_status_enum
    if not extended:
        failed = status not in ("PROCESSED", "POLLING")
        return Report(
            polling=status == "POLLING",
            responses=tuple(answers[:MAX_ANSWERS]),
            stopped=StopReason.CARD_LOST if failed else None,
        )
    if data.refused is not None:
        return _refused(data.refused)
    return Report(
        polling=status == "POLLING",
        responses=tuple(answers[:MAX_ANSWERS]),
        sequence=data.order_sequence,
        stopped=None if data.stopped is None else StopReason(data.stopped.reason),
        index=None if data.stopped is None else data.stopped.index,
    )


def _refused(refused: Refused) -> Report:
    """Tell a refusal: a full journal empties by itself, anything else ends the order.

    An order that is not newer than one the agent has run may have been run: nothing is known about it.
    """
    if refused.reason == "JOURNAL_FULL" or refused.order_sequence is None:
        return Report(polling=True)
    reason = StopReason.INTERRUPTED if refused.reason == "NOT_NEWER" else StopReason.CARD_LOST
    return Report(polling=False, sequence=refused.order_sequence, stopped=reason, index=0)


def _order(session: DeviceSession, delivery: Delivery, drain: Drain) -> Order:
    commands: list[RamCommand] = []
    if delivery.start:
        commands.append(RamCommand(ram_command_type="ramStartCommand"))
    if delivery.commands:
        commands.append(_se_command(delivery.commands, extended=session.extended))
    return Order(
        delay=DRAINING_DELAY_MS if drain.begun else 0,
        ram_commands=commands or None,
        order_sequence=delivery.sequence if session.extended else None,
        ack_sequence=delivery.acknowledged if session.extended else None,
    )


def _se_command(commands: tuple[Command, ...], *, extended: bool) -> RamCommand:
    return RamCommand(
        ram_command_type="seRamCommand",
        list_of_capdu=[command.apdu.upper() for command in commands],
        list_of_expectations=[_expectation(command.expected) for command in commands] if extended else None,
    )


def _expectation(expected: Expected) -> Expectation | None:
    if not expected.status_words and expected.data is None:
        return None
    return Expectation(
        sw=[word.upper() for word in expected.status_words] or None,
        data=None if expected.data is None else expected.data.upper(),
        mask=None if expected.mask is None else expected.mask.upper(),
    )


def _log_error(data: AgentReport) -> None:
    status = data.local_agent_status
    if data.refused is not None:
        _log.warning("agent.refused", reason=data.refused.reason, order=data.refused.order_sequence)
    elif status.local_agent_status_enum not in ("PROCESSED", "POLLING"):
        _log.warning("agent.error", status=status.local_agent_status_enum)
