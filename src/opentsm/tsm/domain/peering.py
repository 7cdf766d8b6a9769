"""Peerings: which other TSM a party's TSM works with, and how the two know each other."""

from datetime import datetime

from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.ids import TenantId


class Peering(Record, frozen=True, kw_only=True):
    """Another TSM in what concerns one party.

    `key` verifies its messages (point of P-256, 65 bytes). With a `url` the party lives there, and this TSM
    asks it; without, the party lives here, and the other TSM may ask for it.
    """

    tenant_id: TenantId
    name: str
    key: bytes
    url: str = ""
    created_at: datetime
