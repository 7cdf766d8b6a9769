"""Bodies about the registry: network operators, subscriptions, look-ups, data of secure elements, events."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from opentsm.api.v1.messages.base import Answer, Body, Name
from opentsm.api.v1.messages.secure_elements import SeDataBody

MsType = Literal["MSISDN", "IMSI", "ALIAS", "MS_GENERIC"]
AnyType = Literal["CIN", "ICCID", "CPLC", "EID", "GENERIC", "MSISDN", "IMSI", "ALIAS", "MS_GENERIC"]
IdentifierValue = Annotated[str, Meta(min_length=1, max_length=64)]


class NetworkBody(Body, frozen=True, kw_only=True):
    """A mobile network (ITU-T E.212)."""

    mcc: str
    mnc: str


class BearerBody(Body, frozen=True, kw_only=True):
    """A bearer; the first one of a list is preferred. Only the hub's operator is shown addresses."""

    kind: Literal["SCP80_SMS", "SCP81_HTTPS", "DEVICE_AGENT"]
    address: Annotated[str, Meta(max_length=200)] = ""
    max_script_bytes: Annotated[int, Meta(ge=1, le=1_048_576)]
    max_scripts: Annotated[int, Meta(ge=1, le=10_000)]


class NetworkOperatorBody(Body, frozen=True, kw_only=True):
    """A mobile network operator, whole."""

    name: Name
    networks: Annotated[list[NetworkBody], Meta(max_length=32)] = []
    bearers: Annotated[list[BearerBody], Meta(max_length=3)] = []


class NetworkOperatorAnswer(Answer, frozen=True, kw_only=True):
    """A mobile network operator; `preferred` is the kind of its first bearer."""

    id: str
    name: str
    networks: list[NetworkBody]
    bearers: list[BearerBody]
    preferred: str | None


class NetworkOperatorPage(Answer, frozen=True, kw_only=True):
    """A page; `next` is the cursor for `after`, null on the last page."""

    items: list[NetworkOperatorAnswer]
    next: str | None


class MsIdentifierBody(Body, frozen=True, kw_only=True):
    """A subscription's name; a phone number with its country code."""

    type: MsType
    value: IdentifierValue


class AnyIdentifierBody(Body, frozen=True, kw_only=True):
    """A name of a secure element or of a subscription; without `type` every type is tried."""

    type: AnyType | None = None
    value: IdentifierValue


class NewSubscriptionBody(Body, frozen=True, kw_only=True):
    """A subscription; `readers` are the only parties that find it, null: every provider on its side."""

    identifier: MsIdentifierBody
    se_id: str | None = None
    network_operator_id: str | None = None
    readers: Annotated[list[str], Meta(max_length=64)] | None = None


class SubscriptionAnswer(Answer, frozen=True, kw_only=True):
    """A subscription; its identifier is shown to its keeper only."""

    id: str
    identifier: MsIdentifierBody
    state: str
    se_id: str | None
    network_operator_id: str | None
    readers: list[str] | None


class SubscriptionPage(Answer, frozen=True, kw_only=True):
    """A page; `next` is the cursor for `after`, null on the last page."""

    items: list[SubscriptionAnswer]
    next: str | None


class HistoryAnswer(Answer, frozen=True, kw_only=True):
    """How things stood from `at` on; `until` is when the next entry of the page came, null: it still holds,
    or the next entry stands on the next page."""

    at: datetime
    until: datetime | None
    event: str
    actor: str
    state: str
    subscription_id: str | None
    se_id: str | None
    previous_se_id: str | None
    network_operator_id: str | None


class HistoryPage(Answer, frozen=True, kw_only=True):
    """A page, oldest first; `next` is the cursor for `after`, null on the last page."""

    items: list[HistoryAnswer]
    next: str | None


class EventBody(Body, frozen=True, kw_only=True):
    """What happened, with what belongs to it: SE_RENEWED needs `se_id`, NUMBER_CHANGED `identifier`,
    OPERATOR_CHANGED `network_operator_id`; DEVICE_CHANGED may name the only device that shall have it."""

    event: Literal[
        "SE_RENEWED",
        "DEVICE_CHANGED",
        "NUMBER_CHANGED",
        "OPERATOR_CHANGED",
        "SUSPENDED",
        "RESTORED",
        "ENDED",
        "LOST",
        "STOLEN",
        "RECOVERED",
    ]
    se_id: str | None = None
    identifier: MsIdentifierBody | None = None
    network_operator_id: str | None = None
    device_id: str | None = None


class ConcernedService(Answer, frozen=True, kw_only=True):
    """A service instance that an event concerns; where there is a new secure element, it is to be moved."""

    instance_id: str
    service_id: str
    provider_id: str
    state: str


class EventAnswer(Answer, frozen=True, kw_only=True):
    """What became of an event; `operations` were asked for because of it."""

    event: str
    subscription_id: str | None
    se_id: str | None
    services: list[ConcernedService]
    operations: list[str]


class LookupBody(Body, frozen=True, kw_only=True):
    """What to look up; `data` asks for what is known of the secure element in the same answer."""

    identifier: AnyIdentifierBody
    data: bool = False


class KeySetReference(Answer, frozen=True, kw_only=True):
    """A key set of the caller's on this secure element: where it is and its version, never a key."""

    sd_aid: str
    kvn: int
    scp: int


class SeDataAnswer(Answer, frozen=True, kw_only=True):
    """What is known of a secure element; `sp_data` and `key_sets` are the caller's own."""

    data: SeDataBody
    sp_data: str | None
    key_sets: list[KeySetReference]


class FoundElementAnswer(Answer, frozen=True, kw_only=True):
    """A secure element that was found; `loss` tells of a report that it was lost or stolen."""

    id: str
    profile: str
    state: str
    loss: str | None
    identifier_type: str | None
    subscription_id: str | None
    data: SeDataAnswer | msgspec.UnsetType = msgspec.UNSET


class LookupAnswer(Answer, frozen=True, kw_only=True):
    """The secure elements that go by a name, mostly one."""

    items: list[FoundElementAnswer]


class SpDataBody(Body, frozen=True, kw_only=True):
    """A provider's own note about a secure element; empty removes it. No key and no personalisation data."""

    value: Annotated[str, Meta(max_length=1024)]
