"""The key sets of domains that a card came with: each holder registers its own, in its own keystore.

For secure elements whose arrangement was built elsewhere, before they were registered.
"""

import msgspec

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.key_handles import provider_master_handle, provider_transport_handle
from opentsm.tsm.domain.secure_element import DiversifiedKeys, KeySetState, SecureElement
from opentsm.tsm.domain.tenant import HUB, Principal, TenantKind
from opentsm.tsm.kernel.errors import ConflictError, InvalidInputError, NotFoundError
from opentsm.tsm.kernel.ids import SeId, TenantId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.mandate import require
from opentsm.tsm.roles.hub.registration import NewKeySet, Registration, check_key_set

replace = msgspec.structs.replace


class HeldKeys(Registration):
    """Key sets of arranged domains."""

    async def register_held_keys(
        self, principal: Principal, se_id: SeId, domain: Aid, given: NewKeySet
    ) -> None:
        """Register the key set of a domain that the caller holds; the card is not touched.

        Args:
            principal: the domain's holder; the operator for the central TSM.
            se_id: the secure element.
            domain: one of its arrangement, below the issuer security domain.
            given: its key set. A service provider names its domain master key or its transport key by index.

        Raises:
            NotFoundError: the caller holds no such domain of this secure element.
            InvalidInputError: the version is another than the arrangement's, or a value is not possible.
            ConflictError: the card has proved a key set of this domain.
        """
        require(principal, *TenantKind)
        owner = HUB if principal.kind is TenantKind.OPERATOR else principal.tenant_id
        check_key_set(given)
        async with self._s.storage.transaction() as tx:
            se, kvn = await _holding(tx, se_id, domain, owner)
        if given.kvn != kvn:
            raise InvalidInputError(f"By the arrangement the key set has version {kvn}.", field="/kvn")
        own = _own(principal, given)
        made = await self._held(se, self._profile(se.profile), own, (owner, domain), where="")
        async with self._s.storage.transaction() as tx:
            await _holding(tx, se_id, domain, owner)
            known = await tx.key_sets.list(owner, se_id, domain)
            if any(one.state is KeySetState.CURRENT for one in known):
                raise ConflictError("The card has proved a key set of this domain: it stays.")
            await tx.key_sets.put(made)
            await tx.audit.append(
                owner,
                actor=principal.tenant_id,
                action="key-set.registered",
                subject=se_id,
                details={"security_domain": str(domain), "key_version": kvn},
            )
            await tx.commit()


async def _holding(tx: UnitOfWork, se_id: SeId, domain: Aid, owner: TenantId) -> tuple[SecureElement, int]:
    """Return a secure element and the key version of a domain on it that the owner holds.

    Raises:
        NotFoundError: it holds none such.
    """
    se = await tx.secure_elements.get(se_id)
    arrangement = None
    if se is not None and se.arrangement_id is not None:
        arrangement = await tx.arrangements.get(se.arrangement_id)
    for one in () if arrangement is None else arrangement.domains:
        if se is not None and one.parent and (one.aid, one.holder_id) == (domain, owner):
            return se, one.kvn
    raise NotFoundError("There is no such security domain that the caller holds.")


def _own(principal: Principal, given: NewKeySet) -> NewKeySet:
    """Return the key set with the handles that its holder's keystore has for what it names."""
    if principal.kind is not TenantKind.SERVICE_PROVIDER:
        return given
    source, own = given.source, principal.tenant_id
    if isinstance(source, DiversifiedKeys):
        return replace(given, source=replace(source, master=provider_master_handle(own, source.master)))
    transport = provider_transport_handle(own, source.transport)
    return replace(given, source=replace(source, transport=transport))
