"""Self-service: a provider lets this installation hand out access tokens for one simple service itself."""

from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.ids import TenantId

VALIDITY_S = 900
MIN_VALIDITY_S = 60
MAX_VALIDITY_S = 3600
TOKENS_PER_DEVICE = 10
MAX_TOKENS_PER_DEVICE = 100


class SelfService(Record, frozen=True, kw_only=True):
    """On which terms a device gets access tokens for a service.

    `expires_in_s` is a token's life; `tokens_per_device` is how many that still live a device may have of
    this service, which also bounds how often it can ask.
    """

    provider_id: TenantId
    service_id: str
    expires_in_s: int = VALIDITY_S
    tokens_per_device: int = TOKENS_PER_DEVICE
