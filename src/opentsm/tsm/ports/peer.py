"""The other party, seen from the hub: whoever owns a key set opens, wraps and checks its own segments.

Every request carries the segment's id and may be repeated: the stored answer is returned, nothing is
wrapped twice. None of these calls is made inside a transaction of the caller.
"""

from typing import Protocol

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.card_content import Access, CardObject, ServiceDescription
from opentsm.tsm.domain.exchange import Command
from opentsm.tsm.domain.secure_element import SeIdentifier
from opentsm.tsm.domain.self_service import SelfService
from opentsm.tsm.domain.service import KeptAnswer
from opentsm.tsm.domain.user_form import UserForm
from opentsm.tsm.engine.sessions import PlannedSession
from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.ids import InstanceId, OperationId, SegmentId, SeId, TenantId
from opentsm.tsm.ports.delegation import ReceiptAnswer, TokenIssuer


class ServiceMaterial(Record, frozen=True, kw_only=True):
    """What a provider must be told of an instance to personalise it or to make its domain's keys.

    `sealed_data` is what the provider itself sealed for the instance (empty: erased, or there was none).
    """

    description: ServiceDescription
    sealed_data: bytes = b""


class SegmentRequest(Record, frozen=True, kw_only=True):
    """A session that the hub has planned: with whose key set, on which domain, which steps.

    `service` comes with sessions that need it, and is a provider's own. `handover` is the temporary key set
    that the issuer wrapped for this party (empty: none).

    A session that agrees on keys for another party has its commands in `carried` (hex), and one that goes on
    in the secure channel of an earlier segment names it in `continues`. `identifiers` are the secure
    element's, as the hub has them on record.
    """

    segment_id: SegmentId
    operation_id: OperationId
    se_id: SeId
    issuer_id: TenantId
    profile: str
    session: PlannedSession
    instance_id: InstanceId | None = None
    service: ServiceMaterial | None = None
    handover: bytes = b""
    carried: tuple[str, ...] = ()
    continues: SegmentId | None = None
    identifiers: tuple[SeIdentifier, ...] = ()


class StepReport(Record, frozen=True, kw_only=True):
    """What became of one step: done, refused by the card (status word), or not known."""

    done: bool
    status_word: str | None = None
    meaning: str = ""


class RegistryReport(Record, frozen=True, kw_only=True):
    """The card's registry as read in a session; `complete` is False when pages were missing."""

    objects: tuple[CardObject, ...]
    complete: bool
    seen_through: Aid
    card_state: int | None = None
    free_memory: int | None = None


class SegmentReport(Record, frozen=True, kw_only=True):
    """What a segment's answers proved.

    `authenticated` is False when the card did not accept the session. `steps` parallels the session's
    steps. `keys`, `personalization`, `transaction`, `access` and `contactless` (application in hex to its
    state) are what a probe found, and `card_state` what one found without protection; `values` what it
    measured. `receipts` says what the card's receipts for commands with a token proved. `carried` are the
    answers (R-APDUs in hex) to another party's commands, `certificate` is what the card's CASD showed.
    """

    authenticated: bool = True
    steps: tuple[StepReport, ...]
    registry: RegistryReport | None = None
    keys: tuple[int, ...] | None = None
    personalization: str | None = None
    transaction: str | None = None
    access: tuple[Access, ...] | None = None
    contactless: dict[str, str] | None = None
    card_state: int | None = None
    receipts: ReceiptAnswer = ReceiptAnswer()
    values: dict[str, int] = {}
    kept: tuple[KeptAnswer, ...] = ()
    carried: tuple[str, ...] = ()
    certificate: bytes | None = None


class SegmentOwner(Protocol):
    """A party that holds key sets."""

    async def prepare_segment(self, request: SegmentRequest) -> tuple[Command, ...]:
        """Return the commands that open the session (SELECT, INITIALIZE UPDATE, or a probe's reads)."""
        ...

    async def wrap_segment(self, segment_id: SegmentId, opening: tuple[str, ...]) -> tuple[Command, ...]:
        """Return the session's commands, given the answers to its opening (hex R-APDUs).

        Raises:
            WrongCardError: the card's cryptogram does not verify; nothing may be sent.
        """
        ...

    async def check_segment(self, segment_id: SegmentId, answers: tuple[str, ...]) -> SegmentReport:
        """Verify the answers that came back, and say what is now certain."""
        ...

    async def transport_point(self, issuer_id: TenantId) -> bytes:
        """Return the public key with which an issuer agrees with this party on a transport key.

        It is empty when the two made a transport key in a ceremony.
        """
        ...

    async def hand_over(self, se_id: SeId, sd_aid: Aid, kvn: int, to: TenantId, point: bytes) -> bytes:
        """Return a domain's temporary key set, wrapped for the party that takes the domain over.

        `point` is that party's `transport_point`.
        """
        ...

    async def forget_domain(self, se_id: SeId, sd_aid: Aid) -> None:
        """Retire the key sets of a security domain that is gone from the card."""
        ...


class TechnicalInformation(Record, frozen=True, kw_only=True):
    """What an app is told about an instance of a service, or about one that could be (TR-03165 §4.2.3.13).

    `sp_parameters` are the service's, overridden by the flavor's; empty when the service is gone.
    """

    service_id: str
    service_version_tag: str
    flavor_id: str
    flavor_name: str
    profile_id: str
    sp_parameters: dict[str, str] = {}


class OnlineSystem(Record, frozen=True, kw_only=True):
    """A service provider's online system (SPOS): where it is, and the certificate it must prove to hold."""

    url: str
    certificate: bytes


class ServiceCatalogue(Protocol):
    """What the hub asks a service provider's TSM about its services."""

    async def describe(
        self, provider_id: TenantId, service_id: str, version_tag: str | None, profile_id: str
    ) -> ServiceDescription:
        """Choose the flavor for a card profile and say what it puts on the card."""
        ...

    async def deployable_versions(
        self, provider_id: TenantId, service_id: str, profile_id: str
    ) -> tuple[str, ...]:
        """Return the tags of the versions that a card profile can get, newest first."""
        ...

    async def technical_information(
        self, description: ServiceDescription, profile_id: str
    ) -> TechnicalInformation:
        """Say what an app is told about this service on a card of this profile."""
        ...

    async def user_form(self, provider_id: TenantId, description: ServiceDescription) -> UserForm:
        """Say what the end user is asked for before a description gets on a card."""
        ...

    async def holds(self, description: ServiceDescription) -> bool:
        """Say whether service and flavor of an earlier description still exist."""
        ...

    async def online_system(self, provider_id: TenantId, service_id: str) -> OnlineSystem | None:
        """Return who hears how processes of a service ended; None when nobody does."""
        ...

    async def load_file(self, provider_id: TenantId, sha256: str) -> bytes:
        """Return the load-file data block of one of the provider's load files."""
        ...

    async def self_service(self, service_id: str) -> SelfService | None:
        """Return on which terms devices get access tokens for a service; None when they get none."""
        ...

    async def seal_personalization_data(
        self,
        provider_id: TenantId,
        description: ServiceDescription,
        instance_id: InstanceId,
        data: dict[str, str],
    ) -> bytes:
        """Check the data against the service's recipes and seal it for the instance."""
        ...

    async def check_personalization_data(
        self, provider_id: TenantId, description: ServiceDescription, data: dict[str, str]
    ) -> None:
        """Check the data against the service's recipes."""
        ...

    async def seal_prepared_data(self, provider_id: TenantId, record_id: str, data: dict[str, str]) -> bytes:
        """Seal data that wait for their instance."""
        ...

    async def open_prepared_data(
        self, provider_id: TenantId, record_id: str, sealed: bytes
    ) -> dict[str, str]:
        """Open data that waited for their instance."""
        ...


class Peers(Protocol):
    """Finds the other parties."""

    def segment_owner(self, tenant_id: TenantId) -> SegmentOwner:
        """Return the party that holds this tenant's key sets."""
        ...

    def catalogue(self) -> ServiceCatalogue:
        """Return the service providers' catalogue."""
        ...

    def token_issuer(self, tenant_id: TenantId) -> TokenIssuer:
        """Return the party that issues tokens of delegated management and verifies receipts."""
        ...
