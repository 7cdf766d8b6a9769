"""Bodies about parties and their tokens."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from opentsm.api.v1.messages.base import Answer, Body, Name

PartyId = Annotated[
    str,
    Meta(pattern="^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"),
]


class NewParty(Body, frozen=True, kw_only=True):
    """A party to register; a `sandbox` one meets only other sandbox parties, and can be wiped.

    `id` is for a party that another TSM knows already: it is the same there and here.
    """

    kind: Literal["SE_ISSUER", "SERVICE_PROVIDER"]
    name: Name
    sandbox: bool = False
    id: PartyId | None = None


class NewTokenBody(Body, frozen=True, kw_only=True):
    """Whose of the party the token is to be; only the operator names other people than the caller."""

    person: Name | None = None


class Party(Answer, frozen=True, kw_only=True):
    """A party."""

    id: str
    kind: str
    name: str
    sandbox: bool
    created_at: datetime


class RegisteredParty(Party, frozen=True, kw_only=True):
    """A party and its long-term token, which is shown only once."""

    token: str

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class WipedParty(Answer, frozen=True, kw_only=True):
    """How much of each kind was removed by this call."""

    id: str
    removed: dict[str, int]


class PartyPage(Answer, frozen=True, kw_only=True):
    """A page; `next` is the cursor for `after`, null on the last page."""

    items: list[Party]
    next: str | None


class TokenAnswer(Answer, frozen=True, kw_only=True):
    """A token, named by its SHA-256 digest.

    `subject` is the device that a device's token belongs to, or the app of an access token; `services` are
    the only ones that an access token opens. `person` is whose of the party it is.
    """

    id: str
    kind: str
    subject: str
    expires_at: datetime | None
    services: list[str] = []
    person: str | None = None


class TokenPage(Answer, frozen=True, kw_only=True):
    """A page; `next` is the cursor for `after`, null on the last page."""

    items: list[TokenAnswer]
    next: str | None


class NewToken(Answer, frozen=True, kw_only=True):
    """A long-term token, which is shown only once."""

    token: str

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"
