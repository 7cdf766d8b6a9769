"""Handle…Notification: what happens to subscriptions and secure elements, told by those who keep them."""

from typing import Literal

from opentsm.api.messaging.finding import name_of
from opentsm.api.messaging.records import Nothing, OnElement, RequestMessage, SubscriptionName
from opentsm.api.messaging.records import SecureElementName as ElementName
from opentsm.api.messaging.table import Call, Reply, changing
from opentsm.tsm.domain.registry import RegistryEvent
from opentsm.tsm.domain.subscription import MsIdentifierType
from opentsm.tsm.kernel.errors import NotFoundError
from opentsm.tsm.kernel.ids import SeId, SubscriptionId
from opentsm.tsm.roles.hub.registry.happenings import Consequences, Happening


class AboutSubscription(RequestMessage, frozen=True, kw_only=True):
    """A message about a subscription."""

    MobileSubscription: SubscriptionName


class HandleSERenewalNotification(AboutSubscription, frozen=True, kw_only=True):
    """The subscription has a new secure element."""

    NewSecureElement: ElementName


class HandleMobileSubscriptionIdentifierChangedNotification(AboutSubscription, frozen=True, kw_only=True):
    """The subscription has a new name."""

    NewMobileSubscription: SubscriptionName


class HandleMobileSubscriptionStatusChangeNotification(AboutSubscription, frozen=True, kw_only=True):
    """The subscription was suspended, restored, or has ended."""

    Status: Literal["SUSPENDED", "RESTORED", "ENDED"]


class HandleSEStatusChangeNotification(OnElement, frozen=True, kw_only=True):
    """The secure element was lost, stolen or found again; a loss suspends every service on it."""

    Status: Literal["LOST", "STOLEN", "RECOVERED"]


async def _subscription(call: Call, name: SubscriptionName) -> SubscriptionId:
    type_, value = name_of(OnElement(MobileSubscription=name))
    for found in await call.container.registry.look_up(call.principal, value, type_):
        if found.subscription_id is not None:
            return found.subscription_id
    raise NotFoundError("There is no such subscription.", field="/MobileSubscription")


async def _element(call: Call, body: OnElement) -> SeId:
    type_, value = name_of(body)
    if type_ == "OPENTSM":
        return SeId(value)
    return (await call.container.registry.look_up(call.principal, value, type_))[0].se.id


async def _happened(call: Call, name: SubscriptionName, happening: Happening) -> str:
    subscription_id = await _subscription(call, name)
    registry = call.container.registry
    return _subject(await registry.happened_to_subscription(call.principal, subscription_id, happening))


def _subject(after: Consequences) -> str:
    if after.subscription is not None:
        return after.subscription.id
    return "" if after.se is None else after.se.id


async def _renewed(call: Call, body: HandleSERenewalNotification) -> str:
    new = await _element(call, OnElement(SecureElement=body.NewSecureElement))
    return await _happened(
        call, body.MobileSubscription, Happening(event=RegistryEvent.SE_RENEWED, se_id=new)
    )


async def _renamed(call: Call, body: HandleMobileSubscriptionIdentifierChangedNotification) -> str:
    type_, value = name_of(OnElement(MobileSubscription=body.NewMobileSubscription))
    happening = Happening(event=RegistryEvent.NUMBER_CHANGED, type=MsIdentifierType(type_), value=value)
    return await _happened(call, body.MobileSubscription, happening)


async def _moved(call: Call, body: HandleMobileSubscriptionStatusChangeNotification) -> str:
    return await _happened(call, body.MobileSubscription, Happening(event=RegistryEvent(body.Status)))


async def _element_moved(call: Call, body: HandleSEStatusChangeNotification) -> str:
    happening = Happening(event=RegistryEvent(body.Status))
    se_id = await _element(call, body)
    return _subject(await call.container.registry.happened_to_element(call.principal, se_id, happening))


async def _noted(call: Call, subject: str) -> Reply:
    return Reply(Nothing())


FUNCTIONS = (
    changing(
        "HandleSERenewalNotification",
        "Tell that a subscription has a new secure element (issuer, operator)",
        HandleSERenewalNotification,
        Nothing,
        _renewed,
        _noted,
    ),
    changing(
        "HandleMobileSubscriptionIdentifierChangedNotification",
        "Tell that a subscription has a new name (issuer, operator)",
        HandleMobileSubscriptionIdentifierChangedNotification,
        Nothing,
        _renamed,
        _noted,
    ),
    changing(
        "HandleMobileSubscriptionStatusChangeNotification",
        "Tell that a subscription was suspended, restored or ended (issuer, operator)",
        HandleMobileSubscriptionStatusChangeNotification,
        Nothing,
        _moved,
        _noted,
    ),
    changing(
        "HandleSEStatusChangeNotification",
        "Tell that a secure element was lost, stolen or recovered (issuer, operator)",
        HandleSEStatusChangeNotification,
        Nothing,
        _element_moved,
        _noted,
    ),
)
