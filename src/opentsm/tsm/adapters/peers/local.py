"""Parties in the same process: their use cases are called directly, never inside a transaction."""

from collections.abc import Callable

from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.peer import SegmentOwner, ServiceCatalogue


class LocalPeers:
    """Implements `ports.peer.Peers` for parties that live here."""

    def __init__(self, owner_of: Callable[[TenantId], SegmentOwner], catalogue: ServiceCatalogue) -> None:
        self._owner_of = owner_of
        self._catalogue = catalogue
        self._owners: dict[TenantId, SegmentOwner] = {}

    def segment_owner(self, tenant_id: TenantId) -> SegmentOwner:
        """Return the party that holds this tenant's key sets."""
        if tenant_id not in self._owners:
            self._owners[tenant_id] = self._owner_of(tenant_id)
        return self._owners[tenant_id]

    def catalogue(self) -> ServiceCatalogue:
        """Return the service providers' catalogue."""
        return self._catalogue
