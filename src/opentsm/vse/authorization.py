"""Who may change the card's content: card state, session, privileges, token and association, in this order.

Source: GPCS 2.3.1 §9.2-§9.5, §10.4, §11.5.2.3, Table 11-1, Table 11-53.
"""

from enum import IntFlag

from opentsm.vse.authority import Authority
from opentsm.vse.environment import Environment, LogicalChannel
from opentsm.vse.lifecycle import PERSONALIZED, is_locked
from opentsm.vse.privileges import CONTENT_MANAGERS, Privilege
from opentsm.vse.scp import Level
from opentsm.vse.state import CardImage, Instance, LoadFile
from opentsm.vse.status import SW_CONDITIONS, SW_NOT_FOUND, SW_SECURITY, StatusError
from opentsm.vse.tokens import Proof, verify_token


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
    environment: Environment,
    channel: LogicalChannel,
    domain: Instance,
    operation: Operation,
    proof: Proof | None,
) -> Authority:
    """Check that `domain` may carry out a content management operation at all.

    Args:
        environment: the card; its state and the session's level are already checked.
        channel: tells as whom the off-card entity is authenticated.
        domain: the security domain that processes the command.
        operation: what is to be done; combined INSTALL commands name all their parts.
        proof: the command's token, if it has one, and what it signs; None for a command whose token comes
            with a later one (the first of the combined process, §11.5.2.3.1).

    Raises:
        StatusError: 6985, 6982.
    """
    require_unrestricted(environment.image, domain, operation)
    if environment.profile.content_domain_personalized:
        require_ready(environment.image, domain)
    if not domain.privileges & CONTENT_MANAGERS:
        raise StatusError(SW_CONDITIONS)
    delegated = domain.holds(Privilege.DELEGATED_MANAGEMENT)
    if proof is None:
        return Authority(delegated=delegated)
    if proof.token:
        return _by_token(environment, channel, domain, proof)
    if delegated:
        return _delegated_without_token(environment, operation)
    if not _is_provider(channel):
        raise StatusError(SW_SECURITY)
    return Authority()


def _by_token(environment: Environment, channel: LogicalChannel, domain: Instance, proof: Proof) -> Authority:
    """§11.5.2.3.1, §9.2.3: the provider of an authorised domain sends no token."""
    if domain.holds(Privilege.AUTHORIZED_MANAGEMENT) and _is_provider(channel):
        raise StatusError(SW_CONDITIONS)
    return verify_token(environment, domain, proof)


def _delegated_without_token(environment: Environment, operation: Operation) -> Authority:
    """§9.5.1, §9.5.2: by the issuer's policy a delegated deletion may need no token."""
    if operation is Operation.DELETE and environment.profile.delegated_delete_without_token:
        return Authority(delegated=True)
    raise StatusError(environment.profile.proof_missing)


def _is_provider(channel: LogicalChannel) -> bool:
    """§10.4.1: with symmetric keys the off-card entity is the provider; a certificate may say otherwise."""
    return channel.session is not None and bool(channel.session.level & Level.AUTHENTICATED)


def refuse_others(channel: LogicalChannel) -> None:
    """Refuse an off-card entity that is authenticated and not the provider what no token can stand for.

    Raises:
        StatusError: 6982 (§10.4.2, Table 11-2).
    """
    if channel.session is not None and channel.session.level & Level.ANY_AUTHENTICATED:
        raise StatusError(SW_SECURITY)


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
    """Refuse work on an object whose own security domain does not accept it (GPCS §9.4.1, §9.5).

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


def require_reach(environment: Environment, domain: Instance, entry: Instance | LoadFile) -> None:
    """Refuse to move or to change what is not within reach of `domain`.

    §9.4.1 lets any security domain ask, §11.5.2.3.4 and §11.5.2.3.5 only the associated one; the profile
    chooses, and `require_control` then asks for acceptance.

    Raises:
        StatusError: 6985.
    """
    reach = environment.profile.content_reach
    within = reach == "accepted" or entry.sd == domain.aid
    if reach == "hierarchy":
        within |= any(above is domain for above in environment.image.ancestors(entry))
    if not within:
        raise StatusError(SW_CONDITIONS)


def accepts(environment: Environment, owner: Instance, other: Instance, policy: int | None) -> bool:
    """Tell whether `owner` lets `other` act: by its own policy (non-zero accepts), else when it is above."""
    own = owner.domain_data().policy.get(policy) if policy is not None else None
    if own is not None:
        return any(own)
    above = any(ancestor is other for ancestor in environment.image.ancestors(owner))
    return above and environment.profile.ancestors_accepted
