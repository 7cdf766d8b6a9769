"""The JSON messages of the device link as typed structures.

GlobalPlatform SERAM 2.0.0 (gpseram.yaml) with the fields of our negotiated extension 2.0.0+opentsm.1.
Names and optional fields follow the document; unknown fields are ignored.
"""

from typing import Final, Literal, TypeVar

import msgspec

PLAIN_VERSION: Final = "2.0.0"
EXTENDED_VERSION: Final = "2.0.0+opentsm.1"
_T = TypeVar("_T")

TRANSPORT: Final = "HTTPS"
DATA_FORMAT: Final = "application/json"

SeType = Literal["eSE", "iSE", "uicc", "euicc", "ieuicc", "undefined"]
Status = Literal["PROCESSED", "POLLING", "UNAVAILABLE_SE", "UNKNOWN_FAILURE", "UNGRANTED_ACCESS"]
StopReason = Literal["MISMATCH", "CARD_LOST", "INTERRUPTED", "EXPIRED"]
RefusalReason = Literal["MALFORMED", "NOT_NEWER", "OTHER_SE", "JOURNAL_FULL"]


class SecureElement(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A secure element as the document names it."""

    se_type: SeType
    se_id: str
    se_extra_info: str | None = None


class Enrolment(msgspec.Struct, frozen=True):
    """Body of `POST /v1/devices`."""

    code: str
    public_key: dict[str, str]
    name: str

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Device(msgspec.Struct, frozen=True):
    """Answer of `POST /v1/devices`."""

    id: str


class Assertion(msgspec.Struct, frozen=True):
    """Body of `POST /v1/device-tokens`."""

    assertion: str

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Token(msgspec.Struct, frozen=True):
    """Answer of `POST /v1/device-tokens`."""

    token: str
    expires_in: float

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class SessionElement(msgspec.Struct, frozen=True):
    """The secure element in `POST /v1/device-sessions`."""

    type: SeType
    id: str


class SessionRequest(msgspec.Struct, frozen=True):
    """Body of `POST /v1/device-sessions`."""

    se: SessionElement


class Session(msgspec.Struct, frozen=True):
    """Answer of `POST /v1/device-sessions`."""

    session_id: str
    expires_in: float

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class HandshakeCommand(msgspec.Struct, frozen=True, rename="camel"):
    """`ramHandshakeCommand`: what the agent offers, best first."""

    secure_elements: list[SecureElement]
    supported_transport_protocols: list[str]
    supported_data_formats: list[str]
    supported_versions: list[str]


class HandshakeResponse(msgspec.Struct, frozen=True, rename="camel"):
    """`ramHandshakeResponse`: the document requires chosenDataProtocol and defines chosenDataFormat."""

    chosen_transport_protocol: str
    chosen_version: str
    chosen_data_format: str | None = None
    chosen_data_protocol: str | None = None


class WireExpectation(msgspec.Struct, frozen=True):
    """Extension: what one answer must look like."""

    sw: list[str] | None = None
    data: str | None = None
    mask: str | None = None


class WireCommand(msgspec.Struct, frozen=True):
    """`ramCommand` and its kinds in one structure; `ram_command_type` tells which fields count."""

    ram_command_type: str = msgspec.field(name="ramCommandType")
    list_of_capdu: list[str] | None = msgspec.field(name="listOfCAPDU", default=None)
    list_of_expectations: list[WireExpectation | None] | None = msgspec.field(
        name="listOfExpectations", default=None
    )
    device_app_notification: str | None = msgspec.field(name="deviceAppNotification", default=None)


class WireOrder(msgspec.Struct, frozen=True, rename="camel"):
    """`remoteManagementOrder`, with the extension's sequence numbers."""

    delay: int | None = None
    chosen_secure_element: SecureElement | None = None
    ram_commands: list[WireCommand] | None = None
    order_sequence: int | None = None
    ack_sequence: int | None = None
    order_validity: int | None = None


class AgentStatus(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """`localAgentStatus`."""

    local_agent_status_enum: Status
    executed_se_ram_commands: int
    error_msg: str | None = None


class RamResponse(msgspec.Struct, frozen=True, tag_field="ramResponseType", tag="seRamResponse"):
    """`seRamResponse`: the answers to one seRamCommand."""

    list_of_rapdu: list[str] = msgspec.field(name="listOfRAPDU")


class Stopped(msgspec.Struct, frozen=True):
    """Extension: why and before which command of the order the agent stopped."""

    index: int
    reason: StopReason


class Refused(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Extension: the order was not begun, nothing was sent to the card, nothing was recorded."""

    reason: RefusalReason
    order_sequence: int | None = None


class Report(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """`remoteManagementReport`, with the extension's fields."""

    local_agent_status: AgentStatus
    ram_responses: list[RamResponse] | None = None
    order_sequence: int | None = None
    stopped: Stopped | None = None
    refused: Refused | None = None


POLLING: Final = Report(local_agent_status=AgentStatus("POLLING", 0))


def decode_json(data: bytes, kind: type[_T]) -> _T:
    """Read a document.

    Args:
        data: what came in.
        kind: the type it must have.

    Raises:
        msgspec.ValidationError: it is JSON, but of another type.
        msgspec.DecodeError: it is not JSON: not UTF-8 or nested too deeply, too.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(f"not JSON in UTF-8 of a usable depth: {type(error).__name__}") from error
