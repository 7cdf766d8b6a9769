"""What all messages share: the envelope, the identifiers, the names of services.

Members are spelled as in the standard's schemas (systems-messaging 2.1.0), so that they need no glossary.
"""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Status = Literal["Executed-Success", "Executed-WithWarning", "Failed", "Expired"]
ShortText = Annotated[str, Meta(min_length=1, max_length=100)]
CallIdentifier = Annotated[
    str, Meta(pattern="^[!-~]{1,200}$", description="the same identifier and request are carried out once")
]
Oid = Annotated[str, Meta(pattern=r"^[0-2](\.(0|[1-9][0-9]*)){1,30}$", max_length=200)]
HexText = Annotated[str, Meta(pattern="^([0-9A-Fa-f]{2})+$", max_length=140_000)]
AidText = Annotated[
    str, Meta(pattern="^([0-9A-Fa-f]{2}){5,16}$", description="application identifier in hex")
]
Seconds = Annotated[int, Meta(ge=1, le=31_536_000)]


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A part of a message."""


class RequestMessage(Message, frozen=True, kw_only=True):
    """A request: its own identifier, and for how many seconds it is good."""

    FunctionCallIdentifier: CallIdentifier | None = None
    ValidityPeriod: Seconds | None = None


class StatusCode(Message, frozen=True, kw_only=True):
    """Why a function was not, or not simply, executed: object identifiers of ours, and words."""

    Subject: str
    Reason: str
    SubjectIdentifier: str | None = None
    Message: str | None = None


class ExecutionStatus(Message, frozen=True, kw_only=True):
    """How a function was executed."""

    Status: Status
    StatusCodeData: StatusCode | None = None


class ResponseMessage(Message, frozen=True, kw_only=True):
    """An answer: the envelope around `ResponseData`."""

    FunctionCallIdentifier: str | None = None
    ProcessingStart: datetime
    ProcessingEnd: datetime | None = None
    AcceptableValidityPeriod: int | None = None
    FunctionExecutionStatus: ExecutionStatus
    ResponseData: msgspec.Raw | None = None


# --- identifiers -------------------------------------------------------------------------------------------


class GenericId(Message, frozen=True, kw_only=True):
    """A name with its type: CIN, CPLC, EID, GENERIC, or OPENTSM for the id under which we know it."""

    Id: ShortText
    Type: Literal["CIN", "CPLC", "EID", "GENERIC", "OPENTSM"] = "GENERIC"


class SecureElementName(Message, frozen=True, kw_only=True):
    """A secure element, by exactly one of its names."""

    SEId_ICCID: ShortText | None = None
    SEId_CardUniqueData: ShortText | None = None
    SEId_Generic: GenericId | None = None


class SubscriptionAlias(Message, frozen=True, kw_only=True):
    """A name of a subscription of another kind."""

    Id: ShortText
    Type: Literal["IMSI", "ALIAS", "GENERIC"] = "GENERIC"

    def __repr__(self) -> str:
        return "<SubscriptionAlias>"


class SubscriptionName(Message, frozen=True, kw_only=True):
    """A mobile subscription, by exactly one of its names."""

    MSId_MSISDN: ShortText | None = None
    MSId_Alias: ShortText | None = None
    MSId_Extendable: SubscriptionAlias | None = None

    def __repr__(self) -> str:
        return "<SubscriptionName>"


class OnElement(RequestMessage, frozen=True, kw_only=True):
    """A request about a secure element, named by itself or by the subscription that it belongs to."""

    SecureElement: SecureElementName | None = None
    MobileSubscription: SubscriptionName | None = None


class ServiceIdentifier(Message, frozen=True, kw_only=True):
    """A service of the caller's catalogue, and its version's tag."""

    ServiceId: ShortText
    ServiceVersion: ShortText | None = None


class Qualifier(Message, frozen=True, kw_only=True):
    """Tells apart what a service was made for: a card number's reference, mostly."""

    Qualifier: Annotated[str, Meta(max_length=200)]


class InstanceReference(Message, frozen=True, kw_only=True):
    """An instance of a service on a secure element, by an opaque name and whose name that is."""

    ReferenceOwner: Oid
    Reference: Annotated[str, Meta(min_length=1, max_length=200)]


class Nothing(Message, frozen=True, kw_only=True):
    """No data."""
