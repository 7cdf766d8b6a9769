"""Who may do what: the checks that every use case begins with."""

from opentsm.tsm.domain.secure_element import SecureElement
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.errors import ForbiddenError


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
