"""The registry of the central TSM: network operators, what is known of a secure element, what happened to it.

A secure element's data are mostly those of its whole batch, so they are stored once by their content and a
secure element refers to them. History is only added to: when something ended shows from what came next.
"""

import hashlib
from base64 import urlsafe_b64encode
from datetime import date, datetime
from enum import Enum

from opentsm.tsm.kernel.documents import Record, to_json
from opentsm.tsm.kernel.ids import NetworkOperatorId, SeId, SubscriptionId, TenantId

_DIGEST_BYTES = 16


class BearerKind(Enum):
    """How scripts reach a secure element: by SMS (ETSI TS 102 225, SCP80), over HTTPS (GlobalPlatform
    Amendment B, SCP81), or through an agent on the device."""

    SCP80_SMS = "SCP80_SMS"
    SCP81_HTTPS = "SCP81_HTTPS"
    DEVICE_AGENT = "DEVICE_AGENT"


class Bearer(Record, frozen=True, kw_only=True):
    """One bearer of a network operator: where its gateway is, and how much it carries in one conversation."""

    kind: BearerKind
    address: str = ""
    max_script_bytes: int
    max_scripts: int


class Network(Record, frozen=True, kw_only=True):
    """A mobile network by its codes (ITU-T E.212): country, 3 digits, and network, 2 or 3 digits."""

    mcc: str
    mnc: str


class NetworkOperator(Record, frozen=True, kw_only=True):
    """A mobile network operator (MNO); its bearers stand in the order in which they are preferred."""

    id: NetworkOperatorId
    name: str
    networks: tuple[Network, ...] = ()
    bearers: tuple[Bearer, ...] = ()
    version: int = 0


class SeType(Enum):
    """The form factor of a secure element."""

    UICC = "UICC"
    EUICC = "EUICC"
    ESE = "ESE"
    NFC_ENABLER = "NFC_ENABLER"
    SD_CARD = "SD_CARD"
    OTHER = "OTHER"


class SeData(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What an issuer says about a secure element beside its names and keys.

    `key_index` names the issuer's master key by a number or word of its own, never a key; `profile_id` is the
    capability profile by which providers know this kind of card.
    """

    network_operator_id: NetworkOperatorId | None = None
    se_type: SeType | None = None
    key_index: str = ""
    profile_id: str = ""
    globalplatform: str = ""
    java_card: str = ""
    certification: str = ""
    expires_on: date | None = None

    @property
    def digest(self) -> str:
        """Return the name of these data: equal data have one name (22 characters, 128 bits of SHA-256)."""
        found = hashlib.sha256(to_json(self)).digest()[:_DIGEST_BYTES]
        return urlsafe_b64encode(found).rstrip(b"=").decode()


class RegistryEvent(Enum):
    """What happens to a subscription or a secure element outside any card."""

    REGISTERED = "REGISTERED"
    SE_ASSIGNED = "SE_ASSIGNED"
    SE_RENEWED = "SE_RENEWED"
    DEVICE_CHANGED = "DEVICE_CHANGED"
    NUMBER_CHANGED = "NUMBER_CHANGED"
    OPERATOR_CHANGED = "OPERATOR_CHANGED"
    SUSPENDED = "SUSPENDED"
    RESTORED = "RESTORED"
    ENDED = "ENDED"
    LOST = "LOST"
    STOLEN = "STOLEN"
    RECOVERED = "RECOVERED"
    DATA_CHANGED = "DATA_CHANGED"


class HistoryEntry(Record, frozen=True, kw_only=True, omit_defaults=True):
    """How things stood from `at` on, until the next entry of the same subject.

    `subject` is a subscription's or a secure element's id; `id` orders the entries of a subject by time.
    """

    id: str
    subject: str
    at: datetime
    event: RegistryEvent
    actor: TenantId
    subscription_id: SubscriptionId | None = None
    se_id: SeId | None = None
    previous_se_id: SeId | None = None
    network_operator_id: NetworkOperatorId | None = None
    state: str = ""


class SpData(Record, frozen=True, kw_only=True):
    """A service provider's own note about a secure element, sealed for it; nobody else sees it."""

    se_id: SeId
    provider_id: TenantId
    sealed: bytes


def sp_data_context(se_id: SeId, provider_id: TenantId) -> str:
    """Return what a provider's note is sealed for: it opens nowhere else."""
    return f"sp-data:{se_id}/{provider_id}"
