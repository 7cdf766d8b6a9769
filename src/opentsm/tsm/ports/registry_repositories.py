"""Where the registry is stored: subscriptions, network operators, data of secure elements, their history."""

from collections.abc import Sequence
from typing import Protocol

from opentsm.tsm.domain.registry import HistoryEntry, NetworkOperator, SeData, SpData
from opentsm.tsm.domain.secure_element import SecureElement
from opentsm.tsm.domain.subscription import Subscription
from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.ids import NetworkOperatorId, SeId, SubscriptionId, TenantId
from opentsm.tsm.ports.repositories import Page


class FoundName(Record, frozen=True, kw_only=True):
    """A name of a secure element as it stands in the index of names, with what it leads to.

    `owner_id` gave the name; `subscription_id` and `readers` are set where it is a subscription's.
    """

    type: str
    owner_id: TenantId
    sandbox: bool
    subscription_id: SubscriptionId | None = None
    readers: tuple[TenantId, ...] | None = None
    se: SecureElement
    data: SeData = SeData()


class Subscriptions(Protocol):
    async def add(self, subscription: Subscription) -> None:
        """Raise ConflictError when the owner has another of this name."""
        ...

    async def get(self, subscription_id: SubscriptionId) -> Subscription | None: ...
    async def named(self, owner_id: TenantId, name: str) -> Subscription | None: ...
    async def list(self, owner_id: TenantId, page: Page) -> Sequence[Subscription]: ...
    async def of_secure_element(self, se_id: SeId) -> Sequence[Subscription]:
        """Return the subscriptions that lead to a secure element, a bounded number of them."""
        ...

    async def save(self, before: Subscription, after: Subscription) -> Subscription:
        """Store `after`, move its name in the index of names, and return it with its new version.

        Raise StaleVersionError when it moved, ConflictError when its new name is taken.
        """
        ...


class NetworkOperators(Protocol):
    async def add(self, operator: NetworkOperator) -> None:
        """Raise ConflictError when there is another of this name."""
        ...

    async def get(self, operator_id: NetworkOperatorId) -> NetworkOperator | None: ...
    async def list(self, page: Page) -> Sequence[NetworkOperator]: ...
    async def save(self, operator: NetworkOperator) -> NetworkOperator: ...


class SeRegistry(Protocol):
    """The index of names, and what hangs on a secure element beside its card."""

    async def look_up(
        self, values: Sequence[str], *, type_: str | None = None, sandbox: bool | None = None, limit: int
    ) -> Sequence[FoundName]:
        """Return what goes by any of these values, with one read of the index of names."""
        ...

    async def put_data(self, issuer_id: TenantId, data: Sequence[SeData]) -> None:
        """Store data that secure elements refer to by their digest; what is there already stays."""
        ...

    async def data(self, issuer_id: TenantId, digest: str) -> SeData: ...
    async def put_sp_data(self, data: SpData) -> None: ...
    async def remove_sp_data(self, se_id: SeId, provider_id: TenantId) -> bool: ...
    async def sp_data(self, se_id: SeId, provider_id: TenantId) -> SpData | None: ...
    async def add_history(self, entries: Sequence[HistoryEntry]) -> None: ...
    async def history(self, subject: str, page: Page) -> Sequence[HistoryEntry]: ...
