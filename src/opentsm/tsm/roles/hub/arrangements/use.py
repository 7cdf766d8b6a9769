"""Whether a secure element may refer to an arrangement."""

from opentsm.tsm.domain.secure_element import SecureElement
from opentsm.tsm.kernel.errors import InvalidInputError, PlanRefusedError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.unit_of_work import UnitOfWork

_FIELD = "/arrangement_id"


async def check_arrangement(tx: UnitOfWork, se: SecureElement) -> None:
    """Check the arrangement of a secure element, and keep it as it is until the transaction ends.

    Raises:
        InvalidInputError: its issuer has none of this id, or it is one for other cards.
    """
    if se.arrangement_id is None:
        return
    arrangement = await tx.arrangements.hold(se.arrangement_id)
    if arrangement is None or arrangement.issuer_id != se.issuer_id:
        raise InvalidInputError("There is no such arrangement.", field=_FIELD)
    if arrangement.top.aid != se.isd_aid:
        raise InvalidInputError(
            f"The arrangement is for cards whose issuer security domain is {arrangement.top.aid}.",
            field=_FIELD,
        )


async def check_place(tx: UnitOfWork, se: SecureElement, provider_id: TenantId) -> None:
    """Check that a provider may have services on a secure element.

    Raises:
        PlanRefusedError: by its arrangement it may not.
    """
    arrangement = await tx.arrangements.get(se.arrangement_id) if se.arrangement_id else None
    if arrangement is not None and arrangement.place_of(provider_id) is None:
        raise no_place()


def no_place() -> PlanRefusedError:
    """Return the refusal of a provider that has no place in an arrangement."""
    return PlanRefusedError(
        "By the arrangement of this secure element the service provider may have nothing on it.",
        advice="Ask the issuer for a place in the arrangement.",
    )
