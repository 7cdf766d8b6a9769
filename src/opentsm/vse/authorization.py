"""Who may change the card's content: card state, session, privileges and association, in this order.

Source: GPCS 2.3.1 §9.2-§9.5, §11.5.2.3, Table 11-1, Table 11-53.
"""

from enum import IntFlag

from opentsm.vse.environment import Environment
from opentsm.vse.lifecycle import PERSONALIZED, is_locked
from opentsm.vse.privileges import CONTENT_MANAGERS, Privilege
from opentsm.vse.state import CardImage, Instance, LoadFile
from opentsm.vse.status import SW_CONDITIONS, SW_NOT_FOUND, StatusError


class Operation(IntFlag):
    """Content management functions, coded as the Restrict parameter does (Table 11-53)."""

    DELETE = 0x01
    LOAD = 0x02
    INSTALL = 0x04
    MAKE_SELECTABLE = 0x08
    EXTRADITION = 0x10
    PERSONALIZATION = 0x20
    REGISTRY_UPDATE = 0x40


class Policy:
    """Tags of a security domain's own policy in its installation parameters (UICC Configuration, PRAC)."""

    ACCEPT_EXTRADITION_HERE = 0x82
    ACCEPT_DELETION = 0x83
    PERSONALIZED_STATE = 0x84
    ACCEPT_EXTRADITION_AWAY = 0x87


def authorize_content(
    environment: Environment, domain: Instance, operation: Operation, *, token: bool
) -> None:
    """Check that `domain` may carry out a content management operation at all.

    Args:
        environment: the card; its state and the session's level are already checked.
        domain: the security domain that processes the command.
        operation: what is to be done; combined INSTALL commands name all their parts.
        token: whether the command carries a token.

    Raises:
        StatusError: 6985.
    """
    require_unrestricted(environment.image, domain, operation)
    if environment.profile.content_domain_personalized:
        require_ready(environment.image, domain)
    if not domain.privileges & CONTENT_MANAGERS:
        raise StatusError(SW_CONDITIONS)
    # §11.5.2.3.1: the provider of an authorised domain sends no token, a delegated one always does. With
    # symmetric channels the off-card entity is the provider (§10.4.1).
    if token != domain.holds(Privilege.DELEGATED_MANAGEMENT):
        raise StatusError(SW_CONDITIONS)
    if token:
        # §C.1.1.1: without a token key of a Token Verification domain the operation fails.
        raise StatusError(SW_CONDITIONS)


def require_unrestricted(image: CardImage, domain: Instance, operation: Operation) -> None:
    """Refuse what a Restrict parameter took away, from the card or from this security domain."""
    if (image.restricted | domain.domain_data().restricted) & operation:
        raise StatusError(SW_CONDITIONS)


def require_ready(image: CardImage, domain: Instance) -> None:
    """Refuse a supplementary security domain that is not PERSONALIZED (§5.3.2.2, §9.4.1)."""
    if domain is not image.isd and domain.state != PERSONALIZED:
        raise StatusError(SW_CONDITIONS)


def receiving_domain(environment: Environment, domain: Instance, aid: bytes) -> Instance:
    """Return the security domain that content is to be associated with.

    Args:
        environment: the card.
        domain: the security domain that processes the command.
        aid: the receiving one; empty for `domain` itself.

    Raises:
        StatusError: 6A88 unknown, 6985 no security domain, not PERSONALIZED, or it does not accept.
    """
    receiver = environment.image.instance(aid) if aid else domain
    if receiver is None:
        raise StatusError(SW_NOT_FOUND)
    if receiver.domain is None:
        raise StatusError(SW_CONDITIONS)
    require_ready(environment.image, receiver)
    if receiver is not domain and not accepts(environment, receiver, domain, Policy.ACCEPT_EXTRADITION_HERE):
        raise StatusError(SW_CONDITIONS)
    return receiver


def require_control(
    environment: Environment, domain: Instance, entry: Instance | LoadFile, policy: int | None = None
) -> None:
    """Refuse work on an object whose own security domain does not accept it (section 2.4: A(T) accepts).

    Raises:
        StatusError: 6985.
    """
    owner = environment.image.instance(entry.sd)
    if owner is domain:
        return
    if (
        owner is None
        or owner.domain is None
        or (owner is not environment.image.isd and is_locked(owner.state))
    ):
        raise StatusError(SW_CONDITIONS)
    if not accepts(environment, owner, domain, policy):
        raise StatusError(SW_CONDITIONS)


def accepts(environment: Environment, owner: Instance, other: Instance, policy: int | None) -> bool:
    """Tell whether `owner` lets `other` act: by its own policy (non-zero accepts), else when it is above."""
    own = owner.domain_data().policy.get(policy) if policy is not None else None
    if own is not None:
        return any(own)
    above = any(ancestor is other for ancestor in environment.image.ancestors(owner))
    return above and environment.profile.ancestors_accepted
