"""The wipe of a sandbox party: all that it owns goes, in small transactions that can be repeated.

The party itself, its long-term tokens and the audit stay. What others own stays too; of theirs only that ends
what cannot go on without the secure elements that are gone.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

import msgspec
import structlog

from opentsm.tsm.domain.exchange import OrderState
from opentsm.tsm.domain.operation import (
    OPERATION_STATES,
    Failure,
    Operation,
    OperationEvent,
    OperationState,
)
from opentsm.tsm.domain.secure_element import SecureElement
from opentsm.tsm.domain.service import INSTANCE_STATES, InstanceEvent, ServiceInstance
from opentsm.tsm.domain.tenant import Principal, Tenant, TenantKind, TokenKind
from opentsm.tsm.kernel.errors import ConflictError, NotFoundError, StaleVersionError
from opentsm.tsm.kernel.ids import SeId, TenantId
from opentsm.tsm.ports.belongings import Belonging
from opentsm.tsm.ports.repositories import OperationFilter, Page
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.herald import instance_event, operation_event, tell
from opentsm.tsm.roles.hub.mandate import require
from opentsm.tsm.roles.hub.parties import Parties
from opentsm.tsm.roles.hub.services import ADVANCE

replace = msgspec.structs.replace
_log = structlog.get_logger(__name__)

BATCH = 200
_ELEMENTS = 20
_TRIES = 20
_PASSES = 3
_GONE = Failure(
    code="secure_element_wiped",
    detail="The secure element's issuer is a sandbox, and was wiped.",
    advice="Use another secure element.",
)

_Step = Callable[[UnitOfWork, Tenant], Awaitable[int]]


class Wiping(Parties):
    """Wipes sandbox parties."""

    async def wipe_party(self, principal: Principal, party_id: TenantId) -> Mapping[str, int]:
        """Remove everything that a sandbox party owns; after a crash or a refusal just call it again.

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
        removed: Counter[str] = Counter()
        for _ in range(_PASSES):
            # what was at work when the first pass went by may have left something
            if not await self._pass(party, removed):
                break
        removed["keys"] = await self._s.keystore_of(party.id).erase()
        counts = {kind: count for kind, count in removed.items() if count}
        await self._noted(principal, party, "party.wiped", counts)
        _log.warning("party.wiped", party=party.id, by=principal.tenant_id)
        return counts

    async def _begin(self, principal: Principal, party_id: TenantId) -> Tenant:
        async with self._s.storage.transaction() as tx:
            party = await tx.tenants.get(party_id)
        if party is None:
            raise NotFoundError("There is no such party.")
        if not party.sandbox:
            raise ConflictError("Only a sandbox party can be wiped; this one is none.")
        await self._noted(principal, party, "party.wipe-begun", {})
        return party

    async def _noted(
        self, principal: Principal, party: Tenant, action: str, details: Mapping[str, int]
    ) -> None:
        async with self._s.storage.transaction() as tx:
            await tx.audit.append(
                party.id, actor=principal.tenant_id, action=action, subject=party.id, details={**details}
            )
            await tx.commit()

    async def _pass(self, party: Tenant, removed: Counter[str]) -> bool:
        """Carry out every step until nothing is left for it; True when there was something."""
        before = removed.total()
        steps: dict[str, _Step] = {
            "tokens": _tokens,
            "operations": _operations,
            "secure_elements": self._elements,
            **{what.value: _simply(what) for what in Belonging},
            "load_file_blocks": _blocks,
        }
        for name, step in steps.items():
            while count := await self._batch(party, step):
                removed[name] += count
        return removed.total() > before

    async def _batch(self, party: Tenant, step: _Step) -> int:
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

    async def _elements(self, tx: UnitOfWork, party: Tenant) -> int:
        page = await tx.secure_elements.list(party.id, Page(limit=_ELEMENTS))
        for se in page:
            await self._end_what_is_on(tx, se)
        return await tx.belongings.remove_elements([se.id for se in page]) if page else 0

    async def _end_what_is_on(self, tx: UnitOfWork, se: SecureElement) -> None:
        """End what providers have on a card that is gone: they keep the records, in their last state."""
        events = []
        ended: dict[str, ServiceInstance] = {}
        for instance in await tx.instances.on_secure_element(se.id):
            state = INSTANCE_STATES.next(instance.state, InstanceEvent.TERMINATE)
            saved = await tx.instances.save(replace(instance, state=state, sealed_data=b"", renewal=None))
            ended[saved.id] = saved
            events.append(instance_event(saved, se, None))
            await _audit(tx, saved.provider_id, "instance.terminated", saved.id)
        for operation in await tx.belongings.open_on(se.id):
            failed = await tx.operations.save(self._failed(operation))
            events.append(operation_event(failed, ended.get(failed.instance_id or ""), se))
            await _audit(tx, failed.tenant_id, "operation.failed", failed.id)
        await tell(tx, self._s.world, events)

    def _failed(self, operation: Operation) -> Operation:
        state = operation.state
        if state is OperationState.AWAITING_DEVICE:  # its order may have been carried out
            state = OPERATION_STATES.next(state, OperationEvent.DOUBT)
        state = OPERATION_STATES.next(state, OperationEvent.FAIL)
        return replace(operation, state=state, failure=_GONE, ended_at=self._s.world.now())


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


async def _audit(tx: UnitOfWork, tenant_id: TenantId, action: str, subject: str) -> None:
    await tx.audit.append(
        tenant_id, actor="tsm", action=action, subject=subject, details={"reason": "issuer wiped"}
    )
