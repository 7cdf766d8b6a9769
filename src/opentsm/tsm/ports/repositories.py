"""What is stored and how it is found again. Every save is optimistic: a moved version is refused.

`StaleVersionError` leaves nothing changed; the caller repeats its work from the stored state. Every query
is led by a tenant or a secure element and answered from an index.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Protocol

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.card_content import Claim, Credit, ObservedContent
from opentsm.tsm.domain.device import Device, DeviceSession, EnrolmentCode, Trial, Turn
from opentsm.tsm.domain.exchange import DeviceOrder, OutboxMessage, Segment
from opentsm.tsm.domain.operation import Operation, OperationState, OperationType
from opentsm.tsm.domain.prepared import PreparedData
from opentsm.tsm.domain.secure_element import KeySet, SecureElement, SeIdentifierType
from opentsm.tsm.domain.service import InstanceState, ServiceInstance
from opentsm.tsm.domain.tenant import AccessToken, Tenant, TenantKind
from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.ids import DeviceId, InstanceId, OperationId, SegmentId, SeId, TenantId


class Page(Record, frozen=True, kw_only=True):
    """How much of a list to return: at most `limit` (≤ 200) after the cursor id `after`.

    `descending` counts where it is said of a list; the others have one order.
    """

    limit: int = 50
    after: str | None = None
    descending: bool = False


class OperationFilter(Record, frozen=True, kw_only=True):
    """Which operations to list, where a field is not None; created in [`created_from`, `created_before`)."""

    tenant_id: TenantId | None = None
    issuer_id: TenantId | None = None
    se_id: SeId | None = None
    instance_id: InstanceId | None = None
    state: OperationState | None = None
    type: OperationType | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None


class InstanceFilter(Record, frozen=True, kw_only=True):
    """Which instances to list, where a field is not None; created in [`created_from`, `created_before`).

    `application` needs a provider: it is the AID of an application of the instance.
    """

    provider_id: TenantId | None = None
    se_id: SeId | None = None
    service_id: str | None = None
    version_tag: str | None = None
    flavor_id: str | None = None
    state: InstanceState | None = None
    application: Aid | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None


class Tenants(Protocol):
    async def add(self, tenant: Tenant) -> None: ...
    async def get(self, tenant_id: TenantId) -> Tenant | None: ...
    async def by_name(self, kind: TenantKind, name: str) -> Tenant | None: ...
    async def list(self, page: Page) -> Sequence[Tenant]: ...
    async def add_token(self, token: AccessToken) -> None: ...
    async def find_token(self, digest: bytes) -> tuple[AccessToken, Tenant] | None: ...
    async def tokens(self, tenant_id: TenantId, page: Page) -> Sequence[AccessToken]:
        """Return a page of a tenant's tokens by digest; the cursor is the digest in hex."""
        ...

    async def persons(self, tenant_id: TenantId, limit: int) -> Sequence[str]:
        """Return the names of the persons that hold tokens of a tenant, at most `limit`."""
        ...

    async def remove_token(self, digest: bytes) -> bool: ...
    async def live_tokens(
        self, tenant_id: TenantId, subject: str, now: datetime
    ) -> tuple[int, datetime | None]:
        """Return how many tokens of a subject have not expired, and when the first of them does."""
        ...

    async def revoke_tokens(self, tenant_id: TenantId, subject: str) -> int: ...


class SecureElements(Protocol):
    async def add(self, se: SecureElement) -> None:
        """Raise ConflictError when an identifier is taken."""
        ...

    async def get(self, se_id: SeId) -> SecureElement | None: ...
    async def hold(self, se_id: SeId) -> SecureElement | None:
        """Return the secure element, which nobody saves until this transaction ends."""
        ...

    async def find(
        self,
        type_: SeIdentifierType | None,
        value: str,
        *,
        issuer_id: TenantId | None = None,
        sandbox: bool | None = None,
    ) -> SecureElement | None:
        """Return the one of this name, where they are given of an issuer, of sandboxes or of none.

        Raise ConflictError when there are several.
        """
        ...

    async def list(self, issuer_id: TenantId | None, page: Page) -> Sequence[SecureElement]: ...
    async def of_device(self, device_id: DeviceId, now: datetime) -> Sequence[SecureElement]:
        """Return those that are bound to a device, reserved for it, or with which it has a session, by id."""
        ...

    async def save(self, se: SecureElement) -> SecureElement:
        """Store and return it with its new version; raise StaleVersionError when it moved."""
        ...

    async def content(self, se_id: SeId) -> ObservedContent: ...
    async def save_content(self, se_id: SeId, content: ObservedContent) -> None: ...
    async def claims(self, se_id: SeId) -> tuple[Claim, ...]: ...
    async def save_claims(self, se_id: SeId, claims: tuple[Claim, ...]) -> None: ...


class Credits(Protocol):
    async def get(self, se_id: SeId, transaction: str) -> Credit | None: ...
    async def put(self, credit: Credit) -> None:
        """Record a credit or its outcome; raise ConflictError when the id was used for another credit."""
        ...


class KeySets(Protocol):
    """Key sets of one owner; every query names the owner."""

    async def get(self, owner_id: TenantId, se_id: SeId, sd_aid: Aid, kvn: int) -> KeySet | None: ...
    async def list(self, owner_id: TenantId, se_id: SeId, sd_aid: Aid | None = None) -> Sequence[KeySet]: ...
    async def put(self, key_set: KeySet) -> None:
        """Insert or replace."""
        ...


class Devices(Protocol):
    async def add_code(self, code: EnrolmentCode) -> None: ...
    async def take_code(self, digest: bytes, now: datetime) -> EnrolmentCode | None:
        """Return and spend the code, or None when unknown, spent or expired."""
        ...

    async def add(self, device: Device) -> None: ...
    async def get(self, device_id: DeviceId) -> Device | None: ...
    async def hold(self, device_id: DeviceId) -> Device | None:
        """Return the device, which nobody saves until this transaction ends."""
        ...

    async def lock(self, device_id: DeviceId) -> Device | None:
        """Return the device, which nobody else holds until this transaction ends."""
        ...

    async def list(self, tenant_id: TenantId, page: Page) -> Sequence[Device]: ...
    async def save(self, device: Device) -> None: ...
    async def add_session(self, session: DeviceSession) -> None: ...
    async def session(self, digest: bytes) -> DeviceSession | None: ...
    async def save_session(self, session: DeviceSession) -> None: ...
    async def end_sessions(self, device_id: DeviceId) -> int:
        """Remove all sessions of a device and return how many there were."""
        ...

    async def remember_assertion(self, device_id: DeviceId, jti: str, expires_at: datetime) -> bool:
        """Store the assertion's id; False when it was used before."""
        ...


class Turns(Protocol):
    """Who may try to prove a secure element that is bound to no device."""

    async def turn(self, se_id: SeId) -> Turn | None: ...
    async def put_turn(self, turn: Turn) -> None: ...
    async def trials(self, se_id: SeId) -> Sequence[Trial]: ...
    async def fail(self, se_id: SeId, device_id: DeviceId, now: datetime, *, barred: bool) -> None:
        """Count a turn in which the device did not prove the card."""
        ...

    async def rivals(self, se_id: SeId, now: datetime) -> Sequence[DeviceId]:
        """Return the devices that have a session with the secure element (a bounded number of them)."""
        ...

    async def clear(self, se_id: SeId) -> None:
        """Forget turns and trials: the secure element is bound."""
        ...


class Instances(Protocol):
    async def add(self, instance: ServiceInstance) -> None: ...
    async def get(self, instance_id: InstanceId) -> ServiceInstance | None: ...
    async def hold(self, instance_id: InstanceId) -> int | None:
        """Return the version of an instance, which nobody else saves until this transaction ends."""
        ...

    async def save(self, instance: ServiceInstance) -> ServiceInstance: ...
    async def on_secure_element(self, se_id: SeId) -> Sequence[ServiceInstance]:
        """Return the instances that are not TERMINATED."""
        ...

    async def list(self, page: Page, wanted: InstanceFilter) -> Sequence[ServiceInstance]: ...


class PreparedDataRecords(Protocol):
    """Personalisation data that wait for their instance; every query names the provider."""

    async def add(self, data: PreparedData) -> None:
        """Raise StaleVersionError when there are others of this name."""
        ...

    async def use(self, data: PreparedData) -> None:
        """Store that data were used; raise StaleVersionError when they are gone or were used before."""
        ...

    async def get(self, provider_id: TenantId, id_: str) -> PreparedData | None: ...
    async def named(
        self, provider_id: TenantId, service_id: str, names: Sequence[str]
    ) -> Sequence[PreparedData]: ...
    async def list(
        self, provider_id: TenantId, page: Page, service_id: str | None = None
    ) -> Sequence[PreparedData]: ...
    async def remove(self, provider_id: TenantId, id_: str) -> bool: ...


class Operations(Protocol):
    async def add(self, operation: Operation) -> None: ...
    async def get(self, operation_id: OperationId) -> Operation | None: ...
    async def hold(self, operation_id: OperationId) -> int | None:
        """Return the version of an operation, which nobody else saves until this transaction ends."""
        ...

    async def save(self, operation: Operation) -> Operation: ...
    async def next_queued(self, se_id: SeId) -> Operation | None:
        """Return the QUEUED or REQUESTED operation that has the next turn (`turn_of`), then the oldest."""
        ...

    async def list(self, page: Page, wanted: OperationFilter) -> Sequence[Operation]: ...

    async def expired(self, now: datetime, limit: int) -> Sequence[Operation]:
        """Return operations not ended whose validity is over."""
        ...

    async def count_open(self) -> Mapping[OperationState, int]:
        """Return how many operations are in each state that is not an end."""
        ...


class Orders(Protocol):
    async def add(self, order: DeviceOrder) -> None: ...
    async def current(self, se_id: SeId) -> DeviceOrder | None:
        """Return the newest order of the secure element that is not CONSUMED."""
        ...

    async def get(self, se_id: SeId, sequence: int) -> DeviceOrder | None: ...
    async def save(self, order: DeviceOrder) -> DeviceOrder: ...


class Segments(Protocol):
    async def add(self, segment: Segment) -> None: ...
    async def get(self, owner_id: TenantId, segment_id: SegmentId) -> Segment | None: ...
    async def save(self, segment: Segment) -> Segment: ...


class LoadFiles(Protocol):
    """Load-file data blocks by content, shared by whoever may refer to them."""

    async def put_block(self, sha256: str, block: bytes, *, owner_id: TenantId | None = None) -> None:
        """Store a block once, and that this owner put it there: it stays until all of them are wiped."""
        ...

    async def block_of(self, owner_id: TenantId, sha256: str) -> bytes | None:
        """Return the block if this owner put it there, or None."""
        ...

    async def block(self, sha256: str) -> bytes | None: ...


class Catalogue(Protocol):
    """Documents of the TR-03165 repository, by entity name; each belongs to a service provider.

    `entity` is one of: service, flavor, version, executable-load-file, executable-module,
    application-config, personalization-script, recipe (by SHA-256, kept for instances), certificate,
    spos-config, secure-component-profile (owner ''), domain-master-key and transport-key (by index; the
    keys are in the keystore), domain-key-set (wrapped), attestation-key (public), self-service (by service).
    `parent` groups what belongs together (a service's flavors and versions, a load file's modules).
    """

    async def lock(self, owner_id: TenantId) -> None:
        """Wait until no other transaction changes this owner's documents; held until the transaction ends."""
        ...

    async def put(
        self,
        owner_id: TenantId,
        entity: str,
        id_: str,
        document: dict[str, object],
        *,
        parent: str = "",
        file: bytes | None = None,
    ) -> None: ...
    async def get(self, owner_id: TenantId, entity: str, id_: str) -> dict[str, object] | None: ...
    async def file(self, owner_id: TenantId, entity: str, id_: str) -> bytes | None: ...
    async def list(
        self, owner_id: TenantId, entity: str, *, parent: str | None = None
    ) -> Sequence[dict[str, object]]: ...
    async def self_service_owner(self, service_id: str) -> TenantId | None: ...
    async def delete(self, owner_id: TenantId, entity: str, id_: str) -> bool: ...


class Outbox(Protocol):
    async def publish(
        self, kind: str, key: str, body: dict[str, str], *, not_before: datetime | None = None
    ) -> None:
        """Add a message; one with the same kind and key that waits unclaimed is not added twice."""
        ...

    async def claim(self, now: datetime, *, lease_s: float, limit: int) -> Sequence[OutboxMessage]:
        """Take messages that are due (FOR UPDATE SKIP LOCKED) and lease them."""
        ...

    async def release(self, now: datetime) -> int:
        """Make every leased message due now, and say how many: whoever leased them is known to be dead."""
        ...

    async def done(self, message_id: str) -> None: ...
    async def withdraw(self, kind: str, key: str) -> None:
        """Remove a message that waits unclaimed, if there is one."""
        ...

    async def retry(self, message_id: str, not_before: datetime, error: str) -> None: ...
    async def oldest_due(self, now: datetime) -> datetime | None:
        """Return since when the oldest message that is due has waited, or None when none is due."""
        ...


class Expendable(Enum):
    """What is removed some time after it has served its purpose. The audit is not among it."""

    ORDERS = "orders"
    SEGMENTS = "segments"
    IDEMPOTENCY_KEYS = "idempotency_keys"
    ENROLMENT_CODES = "enrolment_codes"
    DEVICE_SESSIONS = "device_sessions"
    DEVICE_ASSERTIONS = "device_assertions"
    ACCESS_TOKENS = "access_tokens"
    PREPARED_DATA = "prepared_data"
    DELIVERIES = "deliveries"
    IMPORTS = "imports"
    CONVERSATION_SCRIPTS = "conversation_scripts"


class Retention(Protocol):
    """Removes what is expendable; rows that another transaction holds are left for the next time."""

    async def due(self, what: Expendable, before: datetime) -> int:
        """Return how many rows there are to remove."""
        ...

    async def prune(self, what: Expendable, before: datetime, limit: int) -> int:
        """Remove at most `limit` rows, and return how many that were.

        Orders and segments go when their operation has ended and was requested before `before`, answers
        to idempotency keys when they were given before it, deliveries when they ended before it, all else
        when it expired before it.
        """
        ...


class IdempotencyKeys(Protocol):
    async def find(self, tenant_id: TenantId, key: str) -> tuple[bytes, int, bytes] | None:
        """Return (request digest, status, answer) of an earlier request; status 0: (…, 0, what it did)."""
        ...

    async def claim(self, tenant_id: TenantId, key: str, digest: bytes, deed: bytes) -> bool:
        """Write what a request does, in the transaction that does it; False when the key is taken.

        A key that another open transaction writes is waited for.
        """
        ...

    async def put(self, tenant_id: TenantId, key: str, digest: bytes, status: int, response: bytes) -> None:
        """Keep the answer to a request; raise StaleVersionError when there is one."""
        ...
