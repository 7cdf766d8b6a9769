"""Tenants: the legal parties that meet in this TSM, and the credentials they hold."""

from datetime import datetime
from enum import Enum

from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.ids import TenantId

# the central TSM: holds the keys of its security domains in a keystore of its own; the operator acts for it
HUB = TenantId("hub")


class TenantKind(Enum):
    """OPERATOR runs the hub; SE_ISSUER holds ISD keys; SERVICE_PROVIDER holds its own domains' keys."""

    OPERATOR = "OPERATOR"
    SE_ISSUER = "SE_ISSUER"
    SERVICE_PROVIDER = "SERVICE_PROVIDER"


class Tenant(Record, frozen=True, kw_only=True):
    """A party; a `sandbox` one, which it is for ever, meets only others of its sort."""

    id: TenantId
    kind: TenantKind
    name: str
    sandbox: bool = False
    created_at: datetime


class TokenKind(Enum):
    """LONG_TERM is given out of band; SHORT_TERM is fetched with it; DEVICE belongs to an enrolled device.

    APP is what a provider's backend fetches for its app on a device; SELF_SERVICE is what the device fetches
    for one simple service, good there alone. Both open the device API only.
    """

    LONG_TERM = "LONG_TERM"
    SHORT_TERM = "SHORT_TERM"
    DEVICE = "DEVICE"
    APP = "APP"
    SELF_SERVICE = "SELF_SERVICE"


FOR_APPS = frozenset({TokenKind.APP, TokenKind.SELF_SERVICE})


class AccessToken(Record, frozen=True, kw_only=True):
    """A bearer token, known only by its SHA-256 digest.

    `services` are the only ones that a token for apps opens, all of the provider's when it is empty;
    `device_id` is the device that fetched one of kind SELF_SERVICE, and may use it. `person` is whose a
    long-term one is: acts that need two people are asked for and decided with such tokens only.
    """

    digest: bytes
    tenant_id: TenantId
    kind: TokenKind
    subject: str = ""
    expires_at: datetime | None = None
    services: tuple[str, ...] = ()
    device_id: str = ""
    person: str = ""


class Principal(Record, frozen=True, kw_only=True):
    """Who is calling: the tenant, whether it is a sandbox, and the device when a device calls.

    `person` is whose token it is, where that is known, and `token` the token's digest in hex.
    """

    tenant_id: TenantId
    kind: TenantKind
    device_id: str | None = None
    sandbox: bool = False
    person: str = ""
    token: str = ""
