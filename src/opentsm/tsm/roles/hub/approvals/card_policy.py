"""Who may act on a card as a whole, through whose domain. Pure.

Without an arrangement it is the issuer through the issuer security domain. With one it is whoever holds the
domain that has the privilege, and the central TSM where the matrix says that it may ask for it.
"""

from collections.abc import Mapping

from opentsm.card.gp.privileges import Privilege
from opentsm.card.gp.se_rights import Act as RightOf
from opentsm.card.gp.se_rights import Rights
from opentsm.tsm.domain.arrangement import ArrangedDomain, Arrangement
from opentsm.tsm.domain.operation import OperationType
from opentsm.tsm.domain.secure_element import SecureElement
from opentsm.tsm.domain.tenant import HUB, Principal, TenantKind
from opentsm.tsm.engine.card_acts import DomainHolder
from opentsm.tsm.kernel.errors import ConflictError, ForbiddenError, NotFoundError
from opentsm.tsm.kernel.ids import TenantId

CARD_ACTS = (OperationType.LOCK_CARD, OperationType.UNLOCK_CARD, OperationType.TERMINATE_CARD)
_PRIVILEGES = {
    OperationType.LOCK_CARD: Privilege.CARD_LOCK,
    OperationType.UNLOCK_CARD: Privilege.CARD_LOCK,
    OperationType.TERMINATE_CARD: Privilege.CARD_TERMINATE,
}
_RIGHTS = {
    OperationType.LOCK_CARD: RightOf.LOCK_CARD,
    OperationType.UNLOCK_CARD: RightOf.UNLOCK_CARD,
    OperationType.TERMINATE_CARD: RightOf.TERMINATE_CARD,
}


def card_holder(se: SecureElement, arrangement: Arrangement | None, type_: OperationType) -> DomainHolder:
    """Return whose domain carries out an act on the card.

    Raises:
        ConflictError: by the arrangement no domain has the privilege.
    """
    if not is_built(se, arrangement) or arrangement is None:
        return DomainHolder(owner_id=se.issuer_id, aid=se.isd_aid, kvn=se.isd_kvn)
    domain = arrangement.domain_with(_PRIVILEGES[type_])
    if domain is None:
        raise ConflictError(f"By the arrangement no domain may {type_.value.lower().replace('_', ' ')}.")
    return _holder(domain)


def key_holder(se: SecureElement, arrangement: Arrangement | None, aid: bytes) -> DomainHolder:
    """Return who holds a domain that manages the card: the issuer's, or one of its arrangement.

    Raises:
        NotFoundError: it is none of these.
        ConflictError: the arrangement is not built yet.
    """
    if arrangement is None:
        if aid != se.isd_aid:
            raise NotFoundError("The secure element has no such managing domain.")
        return DomainHolder(owner_id=se.issuer_id, aid=se.isd_aid, kvn=se.isd_kvn)
    if not is_built(se, arrangement):
        raise ConflictError("The secure element's arrangement is not built.", advice="Build it first.")
    found = next((one for one in arrangement.domains if one.aid == aid), None)
    if found is None:
        raise NotFoundError("The secure element has no such managing domain.")
    return _holder(found)


def check_card_act(
    principal: Principal,
    se: SecureElement,
    arrangement: Arrangement | None,
    type_: OperationType,
    rights: Mapping[int, Rights],
) -> None:
    """Refuse who may not ask for an act on the card.

    Raises:
        ForbiddenError: it is another party's.
    """
    if acts_for(principal, card_holder(se, arrangement, type_).owner_id):
        return
    if acts_for(principal, HUB) and arrangement is not None and arrangement.configuration in rights:
        asked = rights[arrangement.configuration].requests
        if any(one.party.lower() == HUB and one.act is _RIGHTS[type_] for one in asked):
            return
    raise ForbiddenError(f"This party may not ask for {type_.value} of this secure element.")


def acts_for(principal: Principal, holder: TenantId) -> bool:
    """Say whether a caller is a party; the operator acts for the central TSM."""
    if holder == HUB:
        return principal.kind is TenantKind.OPERATOR
    return principal.tenant_id == holder


def is_built(se: SecureElement, arrangement: Arrangement | None) -> bool:
    """Say whether the issuer security domain is its holder's of the arrangement already."""
    return arrangement is not None and se.isd_kvn == arrangement.top.kvn


def _holder(domain: ArrangedDomain) -> DomainHolder:
    return DomainHolder(owner_id=domain.holder_id, aid=domain.aid, kvn=domain.kvn)
