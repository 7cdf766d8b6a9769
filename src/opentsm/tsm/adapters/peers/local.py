"""Parties in the same process: their use cases are called directly, never inside a transaction."""

from collections.abc import Callable

from opentsm.tsm.kernel.errors import NotFoundError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.delegation import TokenIssuer
from opentsm.tsm.ports.peer import SegmentOwner, ServiceCatalogue


class LocalPeers:
    """Implements `ports.peer.Peers` for parties that live here."""

    def __init__(
        self,
        owner_of: Callable[[TenantId], SegmentOwner],
        catalogue: ServiceCatalogue,
        issuer_of: Callable[[TenantId], TokenIssuer] | None = None,
    ) -> None:
        """Say how parties are made.

        Args:
            owner_of: a party as the owner of its key sets.
            catalogue: of all service providers.
            issuer_of: a party as one that issues tokens; None: nobody here does.
        """
        self._owner_of = owner_of
        self._issuer_of = issuer_of
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

    def token_issuer(self, tenant_id: TenantId) -> TokenIssuer:
        """Return the party that issues tokens of delegated management and verifies receipts."""
        if self._issuer_of is None:
            raise NotFoundError("Nobody here issues tokens of delegated management.")
        return self._issuer_of(tenant_id)
