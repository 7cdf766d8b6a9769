"""Who may do what: the checks that every use case begins with."""

from collections.abc import Sequence

from opentsm.tsm.domain.operation import OperationType
from opentsm.tsm.domain.secure_element import SecureElement
from opentsm.tsm.domain.service import InstanceState, ServiceInstance
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.errors import ConflictError, ForbiddenError, OrphanedError, SandboxBorderError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.peer import ServiceCatalogue

_REQUIRED_STATES = {
    OperationType.SUSPEND: (InstanceState.OPERATIONAL, InstanceState.SUSPENDED),
    OperationType.RESUME: (InstanceState.OPERATIONAL, InstanceState.SUSPENDED),
    OperationType.TOP_UP: (InstanceState.OPERATIONAL,),
    OperationType.ROTATE_KEYS: (InstanceState.OPERATIONAL, InstanceState.SUSPENDED),
    OperationType.UPDATE: (InstanceState.OPERATIONAL, InstanceState.SUSPENDED),
    OperationType.PERSONALIZE: (InstanceState.OPERATIONAL,),
    OperationType.DEPLOY: (
        InstanceState.NOT_DEPLOYED,
        InstanceState.INITIALIZED,
        InstanceState.INSTALLED,
        InstanceState.PERSONALIZED,
        InstanceState.ACTIVATED,
        InstanceState.IN_ERROR,
    ),
}

_NEEDS_FLAVOR = (
    OperationType.DEPLOY,
    OperationType.UPDATE,
    OperationType.PERSONALIZE,
    OperationType.TOP_UP,
    OperationType.ROTATE_KEYS,
)
_NEEDS_KEYS = (OperationType.ROTATE_KEYS, OperationType.PERSONALIZE)
_UNLOCKS = (OperationType.RESUME, OperationType.DEPLOY, OperationType.UPDATE)


def require(principal: Principal, *kinds: TenantKind) -> None:
    """Refuse every caller but a party of these kinds; a device is never one.

    Raises:
        ForbiddenError: the caller is another party, or a device.
    """
    if principal.kind not in kinds or principal.device_id is not None:
        names = " or ".join(kind.value.lower().replace("_", " ") for kind in kinds)
        raise ForbiddenError(f"This needs the token of a {names}.")


def may_see(principal: Principal, se: SecureElement) -> bool:
    """Say whether a secure element belongs to the caller, who is its issuer or the operator."""
    if principal.device_id is not None:
        return False
    return principal.kind is TenantKind.OPERATOR or (
        principal.kind is TenantKind.SE_ISSUER and se.issuer_id == principal.tenant_id
    )


def check_border(principal: Principal, se: SecureElement) -> None:
    """Refuse a provider and a secure element of which one is a sandbox's and the other is not.

    Raises:
        SandboxBorderError: they are of different sorts.
    """
    if principal.sandbox is not se.sandbox:
        raise across_the_border()


def across_the_border() -> SandboxBorderError:
    """Return the refusal; it does not tell which side is the sandbox."""
    return SandboxBorderError(
        "One of the two is a sandbox party, and these do not meet with real ones.",
        advice="Use a provider and a secure element that are both of sandbox parties, or neither.",
    )


def check_state(instance: ServiceInstance | None, type_: OperationType, asked_by: TenantId) -> None:
    """Check that an instance's state allows an operation, when it is asked for and again when it starts.

    Raises:
        ConflictError: it does not, or the issuer locked what its provider wants to use again.
    """
    if instance is None:
        return
    allowed = _REQUIRED_STATES.get(type_)
    if instance.state is InstanceState.TERMINATED or (allowed and instance.state not in allowed):
        raise ConflictError(
            f"{type_.value} is not possible for an instance in state {instance.state.name}.",
            advice="Look at the instance's state and its last operation.",
        )
    if type_ in _NEEDS_KEYS and instance.keys_elsewhere:
        raise ConflictError(
            f"{type_.value} is not possible: the keys of the instance's security domain are kept by its"
            " provider's own TSM.",
            advice="Do it in a conversation (SendScript), or terminate the instance and deploy it again.",
        )
    if type_ in _UNLOCKS and asked_by == instance.provider_id and locked_by_issuer(instance):
        raise ConflictError(
            "The secure element's issuer suspended this instance; its provider cannot resume it.",
            advice="Ask the issuer to resume it.",
        )


async def check_flavor(
    catalogue: ServiceCatalogue, instance: ServiceInstance | None, type_: OperationType
) -> None:
    """Check that an instance is not orphaned when an operation is more than suspend, resume or terminate.

    Raises:
        OrphanedError: its service or flavor was deleted.

    Source: BSI TR-03165, service instances: error 12 (ORPHANED).
    """
    if instance is None or type_ not in _NEEDS_FLAVOR or await catalogue.holds(instance.description):
        return
    description = instance.description
    raise OrphanedError(
        f"{type_.value} is not possible: the instance is orphaned, for service {description.service_id}"
        f" or its flavor {description.flavor_id} was deleted.",
        advice="Terminate the instance, then deploy a version that exists; suspend and resume still work.",
    )


def check_domain_free(wanted: ServiceInstance, present: Sequence[ServiceInstance]) -> None:
    """Check that the security domain of a service is nobody else's on this secure element.

    AIDs of security domains are allotted at random; a card knows them only once, whoever its providers are.

    Raises:
        ConflictError: another instance there has a domain with this AID.
    """
    own = wanted.description
    taken = [one.description.sd_aid for one in present if one.description.dedicated_sd]
    if own.dedicated_sd and own.sd_aid in taken:
        raise ConflictError(
            f"The AID {own.sd_aid} of the service's security domain is in use on this secure element.",
            advice="Create the service anew: it gets another one.",
        )


def locked_by_issuer(instance: ServiceInstance) -> bool:
    """Say whether somebody else than its provider suspended an instance."""
    return instance.suspended_by not in (None, instance.provider_id)
