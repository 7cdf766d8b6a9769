"""Which secure element a message is about: the one place where names of the standard become ids of ours."""

from opentsm.api.messaging.records import OnElement, SecureElementName, SubscriptionName
from opentsm.api.messaging.table import Call
from opentsm.tsm.kernel.errors import ConflictError, InvalidInputError
from opentsm.tsm.kernel.ids import SeId

OWN_TYPE = "OPENTSM"


async def element_of(call: Call, body: OnElement) -> SeId:
    """Return the id of the secure element that a request names, by itself or by its subscription.

    Raises:
        InvalidInputError: it names none, or several times.
        NotFoundError: there is none of this name for the caller.
    """
    type_, value = name_of(body)
    if type_ == OWN_TYPE:
        return (await call.container.naming.element(call.principal, SeId(value))).id
    found = {one.se.id for one in await call.container.registry.look_up(call.principal, value, type_)}
    if len(found) != 1:
        raise ConflictError(
            "Several secure elements go by this name.", advice="Name it by another identifier, or by its id."
        )
    return found.pop()


def name_of(body: OnElement) -> tuple[str, str]:
    """Return type and value of the name that a request gives."""
    given: list[tuple[str, str]] = []
    if body.SecureElement is not None:
        # where the subscription is told, too, it is for the record
        given = _element_names(body.SecureElement)
    elif body.MobileSubscription is not None:
        given = _subscription_names(body.MobileSubscription)
    if len(given) != 1:
        raise InvalidInputError(
            "Name the secure element by exactly one identifier, or a mobile subscription by one.",
            field="/SecureElement",
        )
    return given[0]


def _element_names(name: SecureElementName) -> list[tuple[str, str]]:
    plain = (("ICCID", name.SEId_ICCID), ("CIN", name.SEId_CardUniqueData))
    found = [(type_, value) for type_, value in plain if value is not None]
    if name.SEId_Generic is not None:
        found.append((name.SEId_Generic.Type, name.SEId_Generic.Id))
    return found


def _subscription_names(name: SubscriptionName) -> list[tuple[str, str]]:
    plain = (("MSISDN", name.MSId_MSISDN), ("ALIAS", name.MSId_Alias))
    found = [(type_, value) for type_, value in plain if value is not None]
    if name.MSId_Extendable is not None:
        type_ = name.MSId_Extendable.Type
        found.append(("MS_GENERIC" if type_ == "GENERIC" else type_, name.MSId_Extendable.Id))
    return found
