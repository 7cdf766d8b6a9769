"""The wipe of a sandbox party: all that it owns goes, in small transactions that can be repeated.

The party itself, its long-term tokens and the audit stay. What others own stays too; of theirs only that ends
what cannot go on without the secure elements that are gone. What a provider leaves on the cards of others is
removed from them when they are next in reach. A wipe that broke off is taken up again by a worker.
"""

import dataclasses
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial

import msgspec
import structlog

from opentsm.tsm.domain.exchange import OrderState
from opentsm.tsm.domain.service import EndReason, InstanceState, ServiceInstance
from opentsm.tsm.domain.tenant import Principal, Tenant, TenantKind, TokenKind
from opentsm.tsm.kernel.errors import ConflictError, NotFoundError, StaleVersionError
from opentsm.tsm.kernel.ids import SeId, TenantId
from opentsm.tsm.ports.belongings import Belonging
from opentsm.tsm.ports.repositories import InstanceFilter, OperationFilter, Page
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.herald import instance_event, tell
from opentsm.tsm.roles.hub.mandate import require
from opentsm.tsm.roles.hub.parties import Parties
from opentsm.tsm.roles.hub.remains import leave_behind
from opentsm.tsm.roles.hub.services import ADVANCE, WIPE
from opentsm.tsm.roles.hub.without_card import WithoutCard, terminated, with_online_system

replace = msgspec.structs.replace
_log = structlog.get_logger(__name__)

BATCH = 200
_ELEMENTS = 20
_TRIES = 20
_PASSES = 3
# Whoever began a wipe goes on with it; only when it died, some other process takes over after this time.
_TAKEN_OVER_AFTER = timedelta(seconds=60)

_Step = Callable[[UnitOfWork, Tenant], Awaitable[int]]


class Wiping(Parties):
    """Wipes sandbox parties."""

    async def wipe_party(self, principal: Principal, party_id: TenantId) -> Mapping[str, int]:
        """Remove everything that a sandbox party owns; after a refusal just call it again.

        Returns:
            How many of each kind were removed by this call; nothing of a kind is not named.

        Raises:
            ForbiddenError: the caller is not the operator.
            NotFoundError: there is no such party.
            ConflictError: it is no sandbox.
            StaleVersionError: others changed too much meanwhile.
        """
        require(principal, TenantKind.OPERATOR)
        party = await self._begin(principal, party_id)
        return await self._wipe(party, principal.tenant_id)

    async def go_on_wiping(self, party_id: TenantId, by: TenantId) -> None:
        """Bring a wipe to its end that broke off.

        Args:
            party_id: the party whose wipe has begun.
            by: the operator who asked for it.
        """
        async with self._s.storage.transaction() as tx:
            party = await tx.tenants.get(party_id)
        if party is not None and party.sandbox:
            await self._wipe(party, by)

    async def _wipe(self, party: Tenant, by: TenantId) -> Mapping[str, int]:
        removed: Counter[str] = Counter()
        for _ in range(_PASSES):
            # what was at work when the first pass went by may have left something
            if not await self._pass(party, removed):
                break
        removed["keys"] = await self._s.keystore_of(party.id).erase()
        counts = {kind: count for kind, count in removed.items() if count}
        async with self._s.storage.transaction() as tx:
            await _note(tx, party, by, "party.wiped", counts)
            await tx.outbox.withdraw(WIPE, party.id)
            await tx.commit()
        _log.warning("party.wiped", party=party.id, by=by)
        return counts

    async def _begin(self, principal: Principal, party_id: TenantId) -> Tenant:
        async with self._s.storage.transaction() as tx:
            party = await tx.tenants.get(party_id)
        if party is None:
            raise NotFoundError("There is no such party.")
        if not party.sandbox:
            raise ConflictError("Only a sandbox party can be wiped; this one is none.")
        by = principal.tenant_id
        async with self._s.storage.transaction() as tx:
            await _note(tx, party, by, "party.wipe-begun", {})
            later = self._s.world.now() + _TAKEN_OVER_AFTER
            await tx.outbox.publish(WIPE, party.id, {"party": party.id, "by": by}, not_before=later)
            await tx.commit()
        return party

    async def _pass(self, party: Tenant, removed: Counter[str]) -> bool:
        """Carry out every step until nothing is left for it; True when there was something."""
        before = removed.total()
        steps: dict[str, Callable[[Tenant], Awaitable[int]]] = {
            "access_tokens": partial(self._batch, _tokens),
            "operations": partial(self._batch, _operations),
            "secure_elements": self._elements,
            "instances": partial(self._batch, self._instances),
            **{what.value: partial(self._batch, _simply(what)) for what in Belonging},
            "load_file_blocks": partial(self._batch, _blocks),
        }
        for name, step in steps.items():
            while count := await step(party):
                removed[name] += count
        return removed.total() > before

    async def _batch(self, step: _Step, party: Tenant) -> int:
        for attempt in range(_TRIES):
            try:
                async with self._s.storage.transaction() as tx:
                    count = await step(tx, party)
                    await tx.commit()
                return count
            except StaleVersionError:  # a worker moved on meanwhile
                if attempt == _TRIES - 1:
                    raise
        raise AssertionError("not reached")

    async def _elements(self, party: Tenant) -> int:
        limit = min(BATCH, _ELEMENTS)
        async with self._s.storage.transaction() as tx:
            cards = [se.id for se in await tx.secure_elements.list(party.id, Page(limit=limit))]
        told = await with_online_system(self._s.storage, self._s.catalogue, cards)

        async def remove(tx: UnitOfWork, party: Tenant) -> int:
            page = await tx.secure_elements.list(party.id, Page(limit=limit))
            for se in page:
                await WithoutCard(tx, self._s.world, se, EndReason.SECURE_ELEMENT_WIPED, told).end()
            return await tx.belongings.remove_elements([se.id for se in page]) if page else 0

        return await self._batch(remove, party)

    async def _instances(self, tx: UnitOfWork, party: Tenant) -> int:
        """Remove a provider's instances; what they have on cards of others is removed from these later."""
        limit = min(BATCH, _ELEMENTS)
        page = await tx.instances.list(Page(limit=limit), InstanceFilter(provider_id=party.id))
        for se_id in sorted({one.se_id for one in page}):
            await self._leave_card(tx, se_id, [one for one in page if one.se_id == se_id])
        return await tx.belongings.remove_instances([one.id for one in page]) if page else 0

    async def _leave_card(self, tx: UnitOfWork, se_id: SeId, instances: list[ServiceInstance]) -> None:
        se = await tx.secure_elements.get(se_id)
        if se is None:
            return
        await leave_behind(tx, self._s.world, se, [one.id for one in instances], actor="tsm")
        living = [one for one in instances if one.state is not InstanceState.TERMINATED]
        told = [instance_event(terminated(one, EndReason.PROVIDER_WIPED), se, None) for one in living]
        issuer = frozenset({se.issuer_id})  # the provider's own endpoints go with it
        await tell(tx, self._s.world, [dataclasses.replace(event, concerns=issuer) for event in told])


async def _tokens(tx: UnitOfWork, party: Tenant) -> int:
    """Remove the tokens of apps, devices and sessions; the long-term ones open the empty sandbox."""
    count, after = 0, None
    while page := await tx.tenants.tokens(party.id, Page(limit=BATCH, after=after)):
        for token in page:
            count += token.kind is not TokenKind.LONG_TERM and await tx.tenants.remove_token(token.digest)
        if count:
            break
        after = page[-1].digest.hex()
    return count


async def _operations(tx: UnitOfWork, party: Tenant) -> int:
    page = await tx.operations.list(Page(limit=BATCH), OperationFilter(tenant_id=party.id))
    ids = [operation.id for operation in page]
    if not ids:
        return 0
    cards = sorted({operation.se_id for operation in page})
    for se_id in cards:
        await _withdraw(tx, se_id, frozenset(ids))
    count = await tx.belongings.remove_operations(ids)
    for se_id in cards:
        following = await tx.operations.next_queued(se_id)
        if following is not None:
            await tx.outbox.publish(ADVANCE, following.id, {"operation": following.id})
    return count


async def _withdraw(tx: UnitOfWork, se_id: SeId, ids: frozenset[str]) -> None:
    """Free a secure element of operations that go; what their orders did to the card is not known."""
    while (order := await tx.orders.current(se_id)) is not None and order.operation_id in ids:
        await tx.orders.save(replace(order, state=OrderState.CONSUMED))
    se = await tx.secure_elements.get(se_id)
    if se is None or se.active_operation_id not in ids:
        return
    await tx.secure_elements.save(replace(se, active_operation_id=None))
    content = await tx.secure_elements.content(se_id)
    await tx.secure_elements.save_content(se_id, replace(content, fresh=False))


async def _blocks(tx: UnitOfWork, party: Tenant) -> int:
    return await tx.belongings.remove_blocks(party.id, BATCH)


def _simply(what: Belonging) -> _Step:
    async def remove(tx: UnitOfWork, party: Tenant) -> int:
        return await tx.belongings.remove(what, party.id, BATCH)

    return remove


async def _note(tx: UnitOfWork, party: Tenant, by: TenantId, action: str, details: Mapping[str, int]) -> None:
    await tx.audit.append(party.id, actor=by, action=action, subject=party.id, details={**details})
