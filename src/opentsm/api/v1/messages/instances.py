"""Bodies about service instances."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from opentsm.api.v1.messages.base import AidHex, Answer, Body
from opentsm.api.v1.messages.operations import OperationAnswer


class NewInstance(Body, frozen=True, kw_only=True):
    """A service to deploy; `data` is personalisation data by field name and is never shown again.

    Without `data` those are taken that were prepared: under `reference`, else for this secure element.
    """

    service_id: str
    se_id: str
    version: str | None = None
    reference: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    data: dict[str, str] = {}
    valid_until: datetime | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Change(Body, frozen=True, kw_only=True):
    """A change of an instance; a reported loss overtakes everything that waits for the card."""

    reason: Literal["LOSS"] | None = None
    valid_until: datetime | None = None


class NewVersion(Body, frozen=True, kw_only=True):
    """Another version of an instance's service; `data` is for what is personalised anew, and never shown."""

    version: str
    data: dict[str, str] | None = None
    valid_until: datetime | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class NewPersonalization(Body, frozen=True, kw_only=True):
    """Other personalisation data of an instance, by field name; never shown."""

    data: dict[str, str]
    valid_until: datetime | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class TopUp(Body, frozen=True, kw_only=True):
    """A credit, in minor units, exactly once for each `transaction` (8 bytes in hex)."""

    amount: Annotated[int, Meta(ge=1, le=0x7FFFFFFF)]
    application: AidHex | None = None
    transaction: Annotated[str, Meta(pattern="^[0-9A-Fa-f]{16}$")] | None = None
    valid_until: datetime | None = None


class ApplicationAnswer(Answer, frozen=True, kw_only=True):
    """An application of an instance."""

    instance_aid: str
    load_file: str
    module: str
    make_selectable: bool
    personalization: str | None


class KeptAnswer(Answer, frozen=True, kw_only=True):
    """A command of a personalisation recipe and its answer (hex), under the tag that the recipe gives."""

    instance_aid: str
    tag: str
    command: str
    response: str


class InstanceAnswer(Answer, frozen=True, kw_only=True):
    """A service instance; `state_code` is the number of TR-03165.

    `end_reason` says of a terminated one why it ended without its card, null where its card was cleared.
    `handover` is the grade in which its security domain changed hands: "confidential" or "relay-trusted".
    """

    id: str
    state: str
    state_code: int
    end_reason: str | None
    se_id: str
    service_id: str
    version: str
    flavor_id: str
    sd_aid: str
    handover: str | None
    applications: list[ApplicationAnswer]
    kept_answers: list[KeptAnswer]
    created_at: datetime


class InstancePage(Answer, frozen=True, kw_only=True):
    """A page; `next` is the cursor for `after`, null on the last page."""

    items: list[InstanceAnswer]
    next: str | None


class DeployedInstance(Answer, frozen=True, kw_only=True):
    """A new instance and the operation that deploys it."""

    instance: InstanceAnswer
    operation: OperationAnswer
