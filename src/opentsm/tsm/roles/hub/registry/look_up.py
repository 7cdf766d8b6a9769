"""Look-ups: which secure element goes by a name, and what is known of it, each by one read of the index.

What does not exist and what somebody may not see are answered alike.
"""

import dataclasses
from dataclasses import dataclass

from opentsm.tsm.domain.registry import SeData, SpData, sp_data_context
from opentsm.tsm.domain.secure_element import KeySet, KeySetState, SecureElement, SeIdentifierType, SeState
from opentsm.tsm.domain.subscription import MsIdentifierType, normalised
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.errors import InvalidInputError, NotFoundError
from opentsm.tsm.kernel.ids import SeId, SubscriptionId
from opentsm.tsm.ports.registry_repositories import FoundName
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.mandate import may_see, require
from opentsm.tsm.roles.hub.registry.subscriptions import digest_name
from opentsm.tsm.roles.hub.services import HubServices

MAX_FOUND = 16
MAX_SP_DATA = 1024
MAX_VALUE = 64
_NO_DATA = SeData()
_SE_TYPES = {kind.value for kind in SeIdentifierType}
_MS_TYPES = {kind.value: kind for kind in MsIdentifierType}


@dataclass(frozen=True, slots=True)
class FoundElement:
    """A secure element that was found, with what the caller may know of it.

    `by` is the type of the name; `subscription_id` is told where it is a subscription's. `sp_data` are the
    caller's own, `key_sets` its own key sets there: handles and versions, never keys.
    """

    se: SecureElement
    by: str = ""
    subscription_id: SubscriptionId | None = None
    data: SeData = _NO_DATA
    sp_data: str | None = None
    sealed_note: bytes | None = None
    key_sets: tuple[KeySet, ...] = ()


class LookUps:
    """Look-ups by any name."""

    def __init__(self, services: HubServices) -> None:
        self._s = services

    async def look_up(
        self, principal: Principal, value: str, type_: str | None = None, *, with_data: bool = False
    ) -> list[FoundElement]:
        """Return the secure elements that go by a name, mostly one.

        Args:
            principal: an issuer finds its own, a provider those on its side of the sandbox border whose
                names it may read, the operator all.
            value: a name of a secure element, or of a subscription.
            type_: its type; None tries every type.
            with_data: whether to return what is known of them, too.

        Raises:
            InvalidInputError: there is no such type, or the value is none of it.
            NotFoundError: nothing that the caller may see goes by this name.
        """
        require(principal, *TenantKind)
        values = await self._values(value, type_)
        sandbox = None if principal.kind is TenantKind.OPERATOR else principal.sandbox
        async with self._s.storage.transaction() as tx:
            names = await tx.se_registry.look_up(values, type_=type_, sandbox=sandbox, limit=MAX_FOUND)
            found = {one.se.id: one for one in names if may_find(principal, one)}
            if not found:
                raise _unknown()
            told = [_told(found[se_id], with_data=with_data) for se_id in sorted(found)]
            if with_data:
                told = [await _with_own(tx, principal, one) for one in told]
        return [await self._opened(principal, one) for one in told]

    async def se_data(self, principal: Principal, se_id: SeId) -> FoundElement:
        """Return what is known of a secure element whose id the caller has.

        Raises:
            NotFoundError: there is none that the caller may see.
        """
        require(principal, *TenantKind)
        async with self._s.storage.transaction() as tx:
            se = await _visible(tx, principal, se_id)
            data = await tx.se_registry.data(se.issuer_id, se.data)
            found = await _with_own(tx, principal, FoundElement(se=se, data=data))
        return await self._opened(principal, found)

    async def put_sp_data(self, principal: Principal, se_id: SeId, value: str) -> None:
        """Keep a provider's own note about a secure element; an empty one removes it.

        Raises:
            NotFoundError: there is no such secure element on its side of the sandbox border.
            InvalidInputError: it is too long.
        """
        require(principal, TenantKind.SERVICE_PROVIDER)
        if len(value.encode()) > MAX_SP_DATA:
            raise InvalidInputError(f"SP data have at most {MAX_SP_DATA} bytes.", field="/value")
        provider = principal.tenant_id
        sealed = await self._s.keystore.seal(value.encode(), context=sp_data_context(se_id, provider))
        async with self._s.storage.transaction() as tx:
            se = await _visible(tx, principal, se_id)
            if value:
                await tx.se_registry.put_sp_data(SpData(se_id=se.id, provider_id=provider, sealed=sealed))
            else:
                await tx.se_registry.remove_sp_data(se.id, provider)
            action = "sp-data.kept" if value else "sp-data.removed"
            await tx.audit.append(provider, actor=provider, action=action, subject=se.id)
            await tx.commit()

    async def _values(self, value: str, type_: str | None) -> list[str]:
        """Return what may stand in the index for a value: itself, and its digests as a subscription's."""
        if not 1 <= len(value.strip()) <= MAX_VALUE or not value.isprintable():
            raise InvalidInputError(
                f"An identifier has 1 to {MAX_VALUE} printable characters.", field="/identifier/value"
            )
        if type_ in _SE_TYPES:
            return [value]
        if type_ is not None:
            if type_ not in _MS_TYPES:
                known = ", ".join((*sorted(_SE_TYPES), *_MS_TYPES))
                text = f"There is no such type of identifier; there are {known}."
                raise InvalidInputError(text, field="/identifier/type")
            return [await digest_name(self._s.keystore, normalised(_MS_TYPES[type_], value))]
        values = [value]
        for kind in MsIdentifierType:
            try:
                identifier = normalised(kind, value)
            except InvalidInputError:  # it is no name of this kind
                continue
            values.append(await digest_name(self._s.keystore, identifier))
        return values

    async def _opened(self, principal: Principal, found: FoundElement) -> FoundElement:
        if found.sealed_note is None:
            return found
        context = sp_data_context(found.se.id, principal.tenant_id)
        opened = await self._s.keystore.open(found.sealed_note, context=context)
        return dataclasses.replace(found, sp_data=opened.decode(), sealed_note=None)


def may_find(principal: Principal, found: FoundName) -> bool:
    """Say whether a name leads a caller anywhere."""
    if found.se.state is SeState.RETIRED:
        return False
    if principal.kind is TenantKind.OPERATOR:
        return True
    if found.se.sandbox is not principal.sandbox or found.sandbox is not principal.sandbox:
        return False
    if principal.kind is TenantKind.SE_ISSUER and found.se.issuer_id != principal.tenant_id:
        return False
    return found.readers is None or principal.tenant_id in (*found.readers, found.owner_id)


def _told(found: FoundName, *, with_data: bool) -> FoundElement:
    return FoundElement(
        se=found.se,
        by=found.type,
        subscription_id=found.subscription_id,
        data=found.data if with_data else _NO_DATA,
    )


async def _with_own(tx: UnitOfWork, principal: Principal, found: FoundElement) -> FoundElement:
    """Add what is the caller's own on or about this secure element; its note is still sealed."""
    owner, se_id = principal.tenant_id, found.se.id
    kept = await tx.se_registry.sp_data(se_id, owner)
    key_sets = await tx.key_sets.list(owner, se_id)
    return dataclasses.replace(
        found,
        sealed_note=None if kept is None else kept.sealed,
        key_sets=tuple(one for one in key_sets if one.state is not KeySetState.RETIRED),
    )


async def _visible(tx: UnitOfWork, principal: Principal, se_id: SeId) -> SecureElement:
    se = await tx.secure_elements.get(se_id)
    if se is None or se.state is SeState.RETIRED:
        raise _unknown()
    provider = principal.kind is TenantKind.SERVICE_PROVIDER and se.sandbox is principal.sandbox
    if not (provider or may_see(principal, se)):
        raise _unknown()
    return se


def _unknown() -> NotFoundError:
    return NotFoundError("There is no such secure element.")
