"""Subscriptions, and their names in the index of names."""

from collections.abc import Sequence

from msgspec.structs import replace

from opentsm.tsm.adapters.storage.records import document, page_arguments, versioned
from opentsm.tsm.adapters.storage.session import Session
from opentsm.tsm.adapters.storage.sql import load_queries
from opentsm.tsm.domain.subscription import Subscription
from opentsm.tsm.kernel.errors import ConflictError
from opentsm.tsm.kernel.ids import SeId, SubscriptionId, TenantId
from opentsm.tsm.ports.repositories import Page

_SQL = load_queries("subscriptions")
_MANY = 16


class PostgresSubscriptions:
    """Subscriptions; each has at most one row in the index of names, while it leads to a secure element."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add(self, subscription: Subscription) -> None:
        """Add a subscription; raise ConflictError when the owner has another of this name."""
        added = await self._session.change(
            _SQL["add"],
            subscription.id,
            subscription.owner_id,
            subscription.name or None,
            subscription.se_id,
            document(subscription, "sealed"),
            subscription.sealed,
            subscription.version,
        )
        if not added:
            raise self._session.spoiled(_taken())
        await self._add_name(subscription)

    async def get(self, subscription_id: SubscriptionId) -> Subscription | None:
        """Return the subscription, or None."""
        row = await self._session.row(_SQL["get"], subscription_id)
        return None if row is None else versioned(Subscription, row, "sealed")

    async def named(self, owner_id: TenantId, name: str) -> Subscription | None:
        """Return the owner's subscription of this name, or None."""
        row = await self._session.row(_SQL["named"], owner_id, name)
        return None if row is None else versioned(Subscription, row, "sealed")

    async def list(self, owner_id: TenantId, page: Page) -> Sequence[Subscription]:
        """Return a page of an owner's subscriptions by id."""
        rows = await self._session.rows(_SQL["list"], *page_arguments(page), owner_id)
        return [versioned(Subscription, row, "sealed") for row in rows]

    async def of_secure_element(self, se_id: SeId) -> Sequence[Subscription]:
        """Return the subscriptions that lead to a secure element, a bounded number of them."""
        rows = await self._session.rows(_SQL["of_secure_element"], se_id, _MANY)
        return [versioned(Subscription, row, "sealed") for row in rows]

    async def save(self, before: Subscription, after: Subscription) -> Subscription:
        """Store `after`, move its name in the index of names, and return it with its new version."""
        await self._session.change_one(
            _SQL["save"],
            after.id,
            before.version,
            after.name or None,
            after.se_id,
            document(after, "sealed"),
            after.sealed,
        )
        if _place(before) != _place(after):
            await self._session.change(_SQL["remove_name"], before.id)
            await self._add_name(after)
        return replace(after, version=before.version + 1)

    async def _add_name(self, subscription: Subscription) -> None:
        if subscription.se_id is None or not subscription.name:
            return
        added = await self._session.change(
            _SQL["add_name"],
            subscription.owner_id,
            subscription.type.value,
            subscription.name,
            subscription.se_id,
            subscription.sandbox,
            subscription.id,
            None if subscription.readers is None else list(subscription.readers),
        )
        if not added:
            raise self._session.spoiled(_taken())


def _place(subscription: Subscription) -> tuple[object, ...]:
    return subscription.name, subscription.type, subscription.se_id, subscription.readers


def _taken() -> ConflictError:
    return ConflictError("A subscription with this identifier is registered already.", field="/identifier")
