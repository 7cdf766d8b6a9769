"""Bodies about secure elements, their keys and their content."""

from datetime import date
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from opentsm.api.v1.messages.base import AidHex, Answer, Body, Hex

Words = Annotated[str, Meta(max_length=64)]
IdentifierType = Literal["CIN", "ICCID", "CPLC", "EID", "GENERIC"]


class Identifier(Body, frozen=True, kw_only=True):
    """One name of a secure element; the first one is the `seId` that device agents use."""

    type: IdentifierType
    value: Annotated[str, Meta(min_length=1, max_length=64)]


class DiversifiedSource(Body, frozen=True, kw_only=True, tag_field="type", tag="diversified"):
    """Keys that follow from a master key in the issuer's keystore and the card's diversification data."""

    master: str
    method: Literal["EMV", "VISA2", "KDF3"]
    kdd: Hex


class WrappedSource(Body, frozen=True, kw_only=True, tag_field="type", tag="wrapped"):
    """ENC ‖ MAC ‖ DEK, wrapped under a transport key of the issuer's keystore (RFC 3394)."""

    transport: str
    blob: Hex


class KeySetBody(Body, frozen=True, kw_only=True):
    """A key set of the issuer security domain; `counter` is the last sequence counter, if it is known."""

    kvn: Annotated[int, Meta(ge=1, le=127)]
    source: DiversifiedSource | WrappedSource
    kcvs: list[Hex] = []
    counter: Annotated[int, Meta(ge=0, le=0xFFFFFF)] | None = None


class SeDataBody(Body, frozen=True, kw_only=True):
    """What an issuer says about a secure element beside its names and keys; all of it is optional.

    `key_index` names the issuer's master key by a number or word, never a key.
    """

    network_operator_id: str | None = None
    se_type: Literal["UICC", "EUICC", "ESE", "NFC_ENABLER", "SD_CARD", "OTHER"] | None = None
    key_index: Words = ""
    profile_id: Words = ""
    globalplatform: Words = ""
    java_card: Words = ""
    certification: Words = ""
    expires_on: date | None = None


class NewSecureElementBody(Body, frozen=True, kw_only=True):
    """A secure element to register; sessions open with the first key set.

    `arrangement_id` names the arrangement of its security domains; without one its issuer holds all.
    """

    identifiers: Annotated[list[Identifier], Meta(min_length=1)]
    profile: str
    key_sets: Annotated[list[KeySetBody], Meta(min_length=1)]
    isd_aid: AidHex | None = None
    arrangement_id: str | None = None
    data: SeDataBody | None = None


class KeySetsBody(Body, frozen=True, kw_only=True):
    """All key sets of the issuer security domain; sessions open with the first one."""

    key_sets: Annotated[list[KeySetBody], Meta(min_length=1)]


class SecureElementAnswer(Answer, frozen=True, kw_only=True):
    """A secure element; a service provider sees only `id`, `profile` and `state`."""

    id: str
    profile: str
    state: str
    identifiers: list[Identifier] | msgspec.UnsetType = msgspec.UNSET
    device_id: str | msgspec.UnsetType | None = msgspec.UNSET
    arrangement_id: str | msgspec.UnsetType | None = msgspec.UNSET
    content_url: str | msgspec.UnsetType = msgspec.UNSET


class SecureElementPage(Answer, frozen=True, kw_only=True):
    """A page; `next` is the cursor for `after`, null on the last page."""

    items: list[SecureElementAnswer]
    next: str | None


class ImportedLine(Answer, frozen=True, kw_only=True):
    """A line that was taken."""

    line: int
    id: str


class RefusedLine(Answer, frozen=True, kw_only=True):
    """A line that was refused, and why."""

    line: int
    code: str
    detail: str
    field: str | None = None


class ImportReport(Answer, frozen=True, kw_only=True):
    """What became of an import; every line stands for itself, empty lines count but are skipped."""

    lines: int
    registered: list[ImportedLine]
    refused: list[RefusedLine]


class CardObjectAnswer(Answer, frozen=True, kw_only=True):
    """An entry of the card's registry; `owned` tells whether this TSM put it there.

    `handover` is the grade in which a security domain changed hands ("confidential", "relay-trusted").

    `contactless` is its state in the contactless registry, null where that is not known.
    """

    aid: str
    kind: str
    state: int
    state_name: str
    privileges: list[str]
    load_file: str | None
    security_domain: str | None
    owned: bool
    handover: str | None = None
    contactless: str | None


class AccessRuleAnswer(Answer, frozen=True, kw_only=True):
    """An access rule of the card; `owned` tells whether this TSM stored it.

    `aid` is an application's, or the beginning of it; `device_app` the hash of a certificate; empty: any.
    `apdu` and `nfc` are null where the rule does not say; `limited`: it has conditions that are not shown.
    """

    aid: str
    device_app: str
    apdu: bool | None
    nfc: bool | None
    limited: bool
    owned: bool


class CardContentAnswer(Answer, frozen=True, kw_only=True):
    """The card's registry as last read; `fresh` is false when it may have changed since.

    `access_rules` is null where they have not been read, or the card keeps none.
    """

    objects: list[CardObjectAnswer]
    access_rules: list[AccessRuleAnswer] | None
    free_memory: int | None
    fresh: bool
