"""Bodies of the `/v1` API. Requests refuse unknown fields; bytes travel as upper-case hex."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Hex = Annotated[str, Meta(pattern="^([0-9A-Fa-f]{2})*$", description="bytes in hex")]
AidHex = Annotated[str, Meta(pattern="^([0-9A-Fa-f]{2}){5,16}$", description="application identifier in hex")]
Name = Annotated[str, Meta(min_length=1, max_length=100)]
IdentifierType = Literal["CIN", "ICCID", "CPLC", "EID", "GENERIC"]
SeType = Literal["eSE", "iSE", "uicc", "euicc", "ieuicc", "undefined"]


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request body."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A response body."""


# --- parties -------------------------------------------------------------------------------------------


class NewParty(Body, frozen=True, kw_only=True):
    """A party to register; a `sandbox` one meets only other sandbox parties, and can be wiped."""

    kind: Literal["SE_ISSUER", "SERVICE_PROVIDER"]
    name: Name
    sandbox: bool = False


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
    the only ones that an access token opens.
    """

    id: str
    kind: str
    subject: str
    expires_at: datetime | None
    services: list[str] = []


class TokenPage(Answer, frozen=True, kw_only=True):
    """A page; `next` is the cursor for `after`, null on the last page."""

    items: list[TokenAnswer]
    next: str | None


class NewToken(Answer, frozen=True, kw_only=True):
    """A long-term token, which is shown only once."""

    token: str

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


# --- secure elements -----------------------------------------------------------------------------------


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


class NewSecureElementBody(Body, frozen=True, kw_only=True):
    """A secure element to register; sessions open with the first key set."""

    identifiers: Annotated[list[Identifier], Meta(min_length=1)]
    profile: str
    key_sets: Annotated[list[KeySetBody], Meta(min_length=1)]
    isd_aid: AidHex | None = None


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


# --- devices -------------------------------------------------------------------------------------------


class NewEnrolment(Body, frozen=True, kw_only=True):
    """An enrolment to offer; with `se_id` the device may work only for that secure element."""

    se_id: str | None = None


class Enrolment(Answer, frozen=True, kw_only=True):
    """A one-time code, which is shown only once."""

    code: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class NewDevice(Body, frozen=True, kw_only=True):
    """A device that enrols: its code, its public key (JWK, P-256), its name."""

    code: Annotated[str, Meta(min_length=1, max_length=200)]
    public_key: dict[str, str]
    name: Name

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class EnrolledDevice(Answer, frozen=True, kw_only=True):
    """An enrolled device."""

    id: str


class DeviceAnswer(Answer, frozen=True, kw_only=True):
    """A device; `se_id` is the only secure element that it may work for, null: any of its issuer's."""

    id: str
    name: str
    se_id: str | None
    created_at: datetime
    revoked_at: datetime | None


class DevicePage(Answer, frozen=True, kw_only=True):
    """A page; `next` is the cursor for `after`, null on the last page."""

    items: list[DeviceAnswer]
    next: str | None


class AssertionBody(Body, frozen=True, kw_only=True):
    """A JWS (compact, ES256; header `kid` = device id; sub, aud "opentsm", iat, exp ≤ 60 s, jti)."""

    assertion: str

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class DeviceToken(Answer, frozen=True, kw_only=True):
    """A short-term bearer token."""

    token: str
    expires_in: float

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class SessionElement(Body, frozen=True, kw_only=True):
    """The secure element of a session, as SERAM names it."""

    type: SeType
    id: Annotated[str, Meta(min_length=1, max_length=64)]


class NewDeviceSession(Body, frozen=True, kw_only=True):
    """A session to open."""

    se: SessionElement


class OpenedDeviceSession(Answer, frozen=True, kw_only=True):
    """A session: its id goes into the query of the SERAM requests and is a secret."""

    session_id: str
    expires_in: float

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


# --- instances and operations --------------------------------------------------------------------------


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


class PreparedLine(Body, frozen=True, kw_only=True):
    """Data for one future instance; exactly one of `se_id`, `identifier` and `reference` says for whom."""

    service_id: str
    version: str | None = None
    se_id: str | None = None
    identifier: Identifier | None = None
    reference: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    profile: str | None = None
    data: dict[str, str]
    deploy: bool = False
    valid_until: datetime | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class PreparedDeployment(Answer, frozen=True, kw_only=True):
    """A deployment that a line asked for."""

    line: int
    operation_id: str


class PreparedReport(Answer, frozen=True, kw_only=True):
    """What became of an upload; `deployed` names the operations, also those of an earlier upload."""

    lines: int
    kept: int
    unchanged: int
    deployed: list[PreparedDeployment]
    refused: list[RefusedLine]


class PreparedAnswer(Answer, frozen=True, kw_only=True):
    """Prepared data without the data; used ones name their instance and the operation that deploys it."""

    id: str
    service_id: str
    version: str | None
    se_id: str | None
    identifier: Identifier | None
    reference: str | None
    instance_id: str | None
    operation_id: str | None
    created_at: datetime
    expires_at: datetime


class PreparedPage(Answer, frozen=True, kw_only=True):
    """A page; `next` is the cursor for `after`, null on the last page."""

    items: list[PreparedAnswer]
    next: str | None


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
    """A service instance; `state_code` is the number of TR-03165."""

    id: str
    state: str
    state_code: int
    se_id: str
    service_id: str
    version: str
    flavor_id: str
    sd_aid: str
    applications: list[ApplicationAnswer]
    kept_answers: list[KeptAnswer]
    created_at: datetime


class InstancePage(Answer, frozen=True, kw_only=True):
    """A page; `next` is the cursor for `after`, null on the last page."""

    items: list[InstanceAnswer]
    next: str | None


class FailureAnswer(Answer, frozen=True, kw_only=True):
    """Why an operation failed; `status_word` is the card's."""

    code: str
    detail: str
    advice: str
    status_word: str | None
    step: str | None


class OperationAnswer(Answer, frozen=True, kw_only=True):
    """An operation and how far it has come; `plan` has one line a step."""

    id: str
    type: str
    state: str
    se_id: str
    instance_id: str | None
    plan: list[str]
    apdus: int
    bytes: int
    round_trips: int
    duration_ms: int | None
    result: dict[str, str | int]
    failure: FailureAnswer | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    valid_until: datetime | None


class OperationPage(Answer, frozen=True, kw_only=True):
    """A page; `next` is the cursor for `after`, null on the last page."""

    items: list[OperationAnswer]
    next: str | None


class DeployedInstance(Answer, frozen=True, kw_only=True):
    """A new instance and the operation that deploys it."""

    instance: InstanceAnswer
    operation: OperationAnswer


# --- audit ---------------------------------------------------------------------------------------------


class AuditEntryAnswer(Answer, frozen=True, kw_only=True):
    """An audit entry; `digest` covers the entry and `previous`, the digest before it in its shard."""

    cursor: str
    shard: int
    number: int
    at: datetime
    actor: str
    action: str
    subject: str
    details: dict[str, str | int]
    previous: str
    digest: str


class AuditPage(Answer, frozen=True, kw_only=True):
    """A page; `next` is the cursor for `after`, null on the last page."""

    items: list[AuditEntryAnswer]
    next: str | None
