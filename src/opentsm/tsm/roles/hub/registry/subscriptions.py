"""Use cases about subscriptions: an issuer keeps those of its secure elements, the hub's operator its own."""

from dataclasses import dataclass

from opentsm.tsm.domain.registry import HistoryEntry, RegistryEvent
from opentsm.tsm.domain.secure_element import SecureElement, SeState
from opentsm.tsm.domain.subscription import (
    DIGEST_CONTEXT,
    MsIdentifier,
    MsIdentifierType,
    Subscription,
    digested,
    name_of,
    normalised,
    subscription_context,
)
from opentsm.tsm.domain.tenant import HUB, Principal, TenantKind
from opentsm.tsm.kernel.errors import InvalidInputError, NotFoundError
from opentsm.tsm.kernel.ids import NetworkOperatorId, SeId, SubscriptionId, TenantId
from opentsm.tsm.ports.keystore import Keystore
from opentsm.tsm.ports.repositories import Page
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.mandate import may_see, require
from opentsm.tsm.roles.hub.registry.chronicle import note_element, note_subscription
from opentsm.tsm.roles.hub.registry.operators import known_operator
from opentsm.tsm.roles.hub.services import HubServices

MAX_READERS = 64
KEEPERS = (TenantKind.SE_ISSUER, TenantKind.OPERATOR)


@dataclass(frozen=True, slots=True)
class NewSubscription:
    """A subscription as its keeper describes it; see `Subscription` for `readers`."""

    type: MsIdentifierType
    value: str
    se_id: SeId | None = None
    network_operator_id: NetworkOperatorId | None = None
    readers: tuple[TenantId, ...] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.type.value}>"


class Subscriptions:
    """Subscriptions."""

    def __init__(self, services: HubServices) -> None:
        self._s = services

    async def register_subscription(self, principal: Principal, new: NewSubscription) -> Subscription:
        """Register a subscription, with its present secure element if it has one.

        Raises:
            ForbiddenError: the caller is neither an issuer nor the hub's operator.
            InvalidInputError: the identifier is none of its kind.
            NotFoundError: there is no such secure element of the caller, or no such network operator.
            ConflictError: the caller has a subscription with this identifier.
        """
        require(principal, *KEEPERS)
        if new.readers is not None and len(set(new.readers)) > MAX_READERS:
            raise InvalidInputError(f"readers are at most {MAX_READERS}.", field="/readers")
        identifier = normalised(new.type, new.value)
        id_ = SubscriptionId(self._s.world.new_id())
        name, sealed = await sealed_identifier(self._s.keystore, id_, identifier)
        async with self._s.storage.transaction() as tx:
            se = None if new.se_id is None else await usable_element(tx, principal, new.se_id)
            if new.network_operator_id is not None:
                await known_operator(tx, new.network_operator_id)
            made = Subscription(
                id=id_,
                owner_id=keeper_of(principal),
                sandbox=principal.sandbox if se is None else se.sandbox,
                type=identifier.type,
                name=name,
                sealed=sealed,
                se_id=new.se_id,
                network_operator_id=new.network_operator_id,
                readers=None if new.readers is None else tuple(sorted(set(new.readers))),
            )
            await tx.subscriptions.add(made)
            if se is not None:
                await note_element(
                    tx, self._s.world, principal, se, RegistryEvent.SE_ASSIGNED, subscription=made
                )
            await note_subscription(tx, self._s.world, principal, made, RegistryEvent.REGISTERED)
            await tx.commit()
        return made

    async def subscription(self, principal: Principal, subscription_id: SubscriptionId) -> Subscription:
        """Return a subscription of the caller."""
        require(principal, *KEEPERS)
        async with self._s.storage.transaction() as tx:
            return await own_subscription(tx, principal, subscription_id)

    async def subscriptions(self, principal: Principal, page: Page) -> list[Subscription]:
        """Return a page of the caller's subscriptions."""
        require(principal, *KEEPERS)
        async with self._s.storage.transaction() as tx:
            return list(await tx.subscriptions.list(keeper_of(principal), page))

    async def find_subscription(
        self, principal: Principal, type_: MsIdentifierType, value: str
    ) -> Subscription:
        """Return the caller's subscription with this identifier.

        Raises:
            NotFoundError: the caller has none.
        """
        require(principal, *KEEPERS)
        name = await digest_name(self._s.keystore, normalised(type_, value))
        async with self._s.storage.transaction() as tx:
            found = await tx.subscriptions.named(keeper_of(principal), name)
        if found is None:
            raise _unknown()
        return found

    async def opened_identifier(self, subscription: Subscription) -> str:
        """Return a subscription's identifier in clear, for an answer to its keeper."""
        context = subscription_context(subscription.id)
        return (await self._s.keystore.open(subscription.sealed, context=context)).decode()

    async def subscription_history(
        self, principal: Principal, subscription_id: SubscriptionId, page: Page
    ) -> list[HistoryEntry]:
        """Return a page of what happened to a subscription of the caller, oldest first."""
        require(principal, *KEEPERS)
        async with self._s.storage.transaction() as tx:
            await own_subscription(tx, principal, subscription_id)
            return list(await tx.se_registry.history(subscription_id, page))


def keeper_of(principal: Principal) -> TenantId:
    """Return who keeps what a caller registers: the operator acts for the hub."""
    return HUB if principal.kind is TenantKind.OPERATOR else principal.tenant_id


async def own_subscription(
    tx: UnitOfWork, principal: Principal, subscription_id: SubscriptionId
) -> Subscription:
    """Return a subscription of the caller; the hub's operator may touch all.

    Raises:
        NotFoundError: there is none, or it is somebody else's.
    """
    found = await tx.subscriptions.get(subscription_id)
    if found is None or keeper_of(principal) not in (HUB, found.owner_id):
        raise _unknown()
    return found


async def usable_element(tx: UnitOfWork, principal: Principal, se_id: SeId) -> SecureElement:
    """Return a secure element of the caller that is not retired.

    Raises:
        NotFoundError: there is none.
    """
    se = await tx.secure_elements.get(se_id)
    if se is None or se.state is SeState.RETIRED or not may_see(principal, se):
        raise NotFoundError("There is no such secure element.", field="/se_id")
    return se


async def digest_name(keystore: Keystore, identifier: MsIdentifier) -> str:
    """Return the name under which an identifier stands in the index of names."""
    return name_of(await keystore.digest(digested(identifier), context=DIGEST_CONTEXT))


async def sealed_identifier(
    keystore: Keystore, subscription_id: SubscriptionId, identifier: MsIdentifier
) -> tuple[str, bytes]:
    """Return an identifier's name in the index, and the identifier sealed for its subscription."""
    context = subscription_context(subscription_id)
    sealed = await keystore.seal(identifier.value.encode(), context=context)
    return await digest_name(keystore, identifier), sealed


def _unknown() -> NotFoundError:
    return NotFoundError("There is no such subscription.")
