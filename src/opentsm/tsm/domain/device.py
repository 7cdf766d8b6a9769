"""Devices that carry bytes to a secure element: enrolment, identity, sessions."""

from datetime import datetime

from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.ids import DeviceId, SeId, TenantId


class EnrolmentCode(Record, frozen=True, kw_only=True):
    """A one-time code that lets one device enrol; known only by its SHA-256 digest."""

    digest: bytes
    tenant_id: TenantId
    expires_at: datetime
    se_id: SeId | None = None


class Device(Record, frozen=True, kw_only=True):
    """An enrolled device and its public key (JWK, P-256); `revoked_at` shuts it out for good."""

    id: DeviceId
    tenant_id: TenantId
    name: str
    public_key: dict[str, str]
    created_at: datetime
    se_id: SeId | None = None
    revoked_at: datetime | None = None


class DeviceSession(Record, frozen=True, kw_only=True):
    """A SERAM session of one device with one secure element; `digest` is the SHA-256 of the session id.

    `extended` is True when the agent negotiated our extension in the handshake.
    """

    digest: bytes
    device_id: DeviceId
    tenant_id: TenantId
    se_id: SeId
    expires_at: datetime
    extended: bool = False
    ready: bool = False


class Turn(Record, frozen=True, kw_only=True):
    """Which device has an order for a secure element that is bound to none, and since when."""

    se_id: SeId
    sequence: int
    device_id: DeviceId
    since: datetime


class Trial(Record, frozen=True, kw_only=True):
    """How often a device had its turn with an unbound secure element and did not prove the card.

    `barred` is True when it answered with a wrong cryptogram: then it comes after all others.
    """

    device_id: DeviceId
    failures: int
    last_at: datetime
    barred: bool
