"""The registry: network operators, subscriptions, look-ups by any name, data of secure elements, events.

A subscription's identifier is personal data: it travels in bodies only, never in a URL, and no request or
answer with one is kept (`opt=STREAMED` leaves it out of the idempotency keys; a repetition is a conflict).
"""

from litestar import Response, get, post, put
from litestar.params import FromPath, JSONBody

from opentsm.api.authentication import Caller
from opentsm.api.container import Services
from opentsm.api.idempotency import LOCATED, STREAMED
from opentsm.api.v1 import registry_messages as m
from opentsm.api.v1 import registry_views as views
from opentsm.api.v1.messages.secure_elements import SeDataBody
from opentsm.api.v1.paging import After, Limit, read_page
from opentsm.tsm.domain.subscription import MsIdentifierType
from opentsm.tsm.kernel.ids import NetworkOperatorId, SeId, SubscriptionId, TenantId
from opentsm.tsm.roles.hub.registry.subscriptions import NewSubscription

_OPERATORS, _SUBSCRIPTIONS, _ELEMENTS = ["network operators"], ["subscriptions"], ["secure elements"]


@post("/network-operators", opt=LOCATED, tags=_OPERATORS, summary="Register a network operator (operator)")
async def register_network_operator(
    principal: Caller, container: Services, data: JSONBody[m.NetworkOperatorBody]
) -> Response[m.NetworkOperatorAnswer]:
    """Register a mobile network operator with its bearers, the preferred one first."""
    new = views.read_network_operator(data, NetworkOperatorId(""))
    made = await container.registry.register_network_operator(principal, new)
    location = {"Location": f"/v1/network-operators/{made.id}"}
    return Response(views.network_operator(made), status_code=201, headers=location)


@put("/network-operators/{network_operator_id:str}", tags=_OPERATORS, summary="Change one (operator)")
async def change_network_operator(
    principal: Caller,
    container: Services,
    network_operator_id: FromPath[str],
    data: JSONBody[m.NetworkOperatorBody],
) -> m.NetworkOperatorAnswer:
    """Replace what is kept of a mobile network operator."""
    new = views.read_network_operator(data, NetworkOperatorId(network_operator_id))
    return views.network_operator(await container.registry.change_network_operator(principal, new))


@get("/network-operators", tags=_OPERATORS, summary="List network operators")
async def list_network_operators(
    principal: Caller, container: Services, limit: Limit = 50, after: After = None
) -> m.NetworkOperatorPage:
    """Return mobile network operators; only the hub's operator sees the addresses of their bearers."""
    page, following = await read_page(
        lambda page: container.registry.network_operators(principal, page), lambda one: one.id, limit, after
    )
    return m.NetworkOperatorPage(items=[views.network_operator(one) for one in page], next=following)


@get("/network-operators/{network_operator_id:str}", tags=_OPERATORS, summary="Show a network operator")
async def show_network_operator(
    principal: Caller, container: Services, network_operator_id: FromPath[str]
) -> m.NetworkOperatorAnswer:
    """Return a mobile network operator."""
    found = await container.registry.network_operator(principal, NetworkOperatorId(network_operator_id))
    return views.network_operator(found)


@post(
    "/subscriptions", opt=LOCATED | STREAMED, tags=_SUBSCRIPTIONS, summary="Register one (issuer, operator)"
)
async def register_subscription(
    principal: Caller, container: Services, data: JSONBody[m.NewSubscriptionBody]
) -> Response[m.SubscriptionAnswer]:
    """Register a mobile subscription with its present secure element. Its identifier is stored sealed."""
    new = NewSubscription(
        type=MsIdentifierType(data.identifier.type),
        value=data.identifier.value,
        se_id=None if data.se_id is None else SeId(data.se_id),
        network_operator_id=(
            None if data.network_operator_id is None else NetworkOperatorId(data.network_operator_id)
        ),
        readers=None if data.readers is None else tuple(map(TenantId, data.readers)),
    )
    made = await container.registry.register_subscription(principal, new)
    return Response(
        await views.subscription(container.registry, made),
        status_code=201,
        headers={"Location": f"/v1/subscriptions/{made.id}"},
    )


@get("/subscriptions", tags=_SUBSCRIPTIONS, summary="List subscriptions (issuer, operator)")
async def list_subscriptions(
    principal: Caller, container: Services, limit: Limit = 50, after: After = None
) -> m.SubscriptionPage:
    """Return the caller's subscriptions."""
    page, following = await read_page(
        lambda page: container.registry.subscriptions(principal, page), lambda one: one.id, limit, after
    )
    items = [await views.subscription(container.registry, one) for one in page]
    return m.SubscriptionPage(items=items, next=following)


@post(
    "/subscriptions/lookups",
    opt=STREAMED,
    tags=_SUBSCRIPTIONS,
    status_code=200,
    summary="Find a subscription by its identifier (issuer, operator)",
)
async def find_subscription(
    principal: Caller, container: Services, data: JSONBody[m.MsIdentifierBody]
) -> m.SubscriptionAnswer:
    """Return the caller's subscription with this identifier."""
    type_ = MsIdentifierType(data.type)
    found = await container.registry.find_subscription(principal, type_, data.value)
    return await views.subscription(container.registry, found)


@get("/subscriptions/{subscription_id:str}", tags=_SUBSCRIPTIONS, summary="Show one (issuer, operator)")
async def show_subscription(
    principal: Caller, container: Services, subscription_id: FromPath[str]
) -> m.SubscriptionAnswer:
    """Return a subscription of the caller."""
    found = await container.registry.subscription(principal, SubscriptionId(subscription_id))
    return await views.subscription(container.registry, found)


@get("/subscriptions/{subscription_id:str}/history", tags=_SUBSCRIPTIONS, summary="Show its history")
async def show_subscription_history(
    principal: Caller,
    container: Services,
    subscription_id: FromPath[str],
    limit: Limit = 50,
    after: After = None,
) -> m.HistoryPage:
    """Return which secure element and network operator a subscription had from when to when."""
    id_ = SubscriptionId(subscription_id)
    page, following = await read_page(
        lambda page: container.registry.subscription_history(principal, id_, page),
        lambda entry: entry.id,
        limit,
        after,
    )
    return m.HistoryPage(items=views.history(page), next=following)


@post(
    "/subscriptions/{subscription_id:str}/events",
    opt=STREAMED,
    tags=_SUBSCRIPTIONS,
    status_code=200,
    summary="Report what happened to a subscription (issuer, operator)",
)
async def report_on_subscription(
    principal: Caller, container: Services, subscription_id: FromPath[str], data: JSONBody[m.EventBody]
) -> m.EventAnswer:
    """Take note of an event; a loss suspends every service on its secure element at once."""
    result = await container.registry.happened_to_subscription(
        principal, SubscriptionId(subscription_id), views.read_event(data)
    )
    return views.consequences(data.event, result)


@post(
    "/secure-elements/{se_id:str}/events",
    opt=STREAMED,
    tags=_ELEMENTS,
    status_code=200,
    summary="Report a loss, a theft, a recovery or a change of device (issuer, operator)",
)
async def report_on_element(
    principal: Caller, container: Services, se_id: FromPath[str], data: JSONBody[m.EventBody]
) -> m.EventAnswer:
    """Take note of an event; a loss suspends every service on the secure element at once."""
    result = await container.registry.happened_to_element(principal, SeId(se_id), views.read_event(data))
    return views.consequences(data.event, result)


@get("/secure-elements/{se_id:str}/history", tags=_ELEMENTS, summary="Show its history (issuer, operator)")
async def show_element_history(
    principal: Caller, container: Services, se_id: FromPath[str], limit: Limit = 50, after: After = None
) -> m.HistoryPage:
    """Return what happened to a secure element outside its card."""
    page, following = await read_page(
        lambda page: container.registry.element_history(principal, SeId(se_id), page),
        lambda entry: entry.id,
        limit,
        after,
    )
    return m.HistoryPage(items=views.history(page), next=following)


@post(
    "/secure-elements/lookups",
    opt=STREAMED,
    tags=_ELEMENTS,
    status_code=200,
    summary="Find secure elements by any name",
    description="The name is one of the secure element (CIN, ICCID, CPLC, EID, …) or of a subscription "
    "(MSISDN, IMSI, alias, …). What does not exist and what the caller may not see are answered alike.",
)
async def look_up(principal: Caller, container: Services, data: JSONBody[m.LookupBody]) -> m.LookupAnswer:
    """Return the id of a secure element, and with `data` what is known of it (get SE id, get SE data)."""
    given = data.identifier
    found = await container.registry.look_up(principal, given.value, given.type, with_data=data.data)
    return m.LookupAnswer(items=[views.found_element(one, with_data=data.data) for one in found])


@get("/secure-elements/{se_id:str}/data", tags=_ELEMENTS, summary="Show what is known of a secure element")
async def show_se_data(principal: Caller, container: Services, se_id: FromPath[str]) -> m.SeDataAnswer:
    """Return what its issuer says about a secure element, and what is the caller's own."""
    return views.se_data(await container.registry.se_data(principal, SeId(se_id)))


@put("/secure-elements/{se_id:str}/data", tags=_ELEMENTS, summary="Say what is known of one (issuer)")
async def put_se_data(
    principal: Caller, container: Services, se_id: FromPath[str], data: JSONBody[SeDataBody]
) -> m.SeDataAnswer:
    """Replace what its issuer says about a secure element."""
    await container.registry.put_se_data(principal, SeId(se_id), views.read_se_data(data))
    return views.se_data(await container.registry.se_data(principal, SeId(se_id)))


@put(
    "/secure-elements/{se_id:str}/sp-data",
    tags=_ELEMENTS,
    status_code=204,
    summary="Keep a note about a secure element (provider)",
)
async def put_sp_data(
    principal: Caller, container: Services, se_id: FromPath[str], data: JSONBody[m.SpDataBody]
) -> None:
    """Keep a provider's own note, sealed; only this provider is shown it."""
    await container.registry.put_sp_data(principal, SeId(se_id), data.value)


HANDLERS = [
    register_network_operator,
    change_network_operator,
    list_network_operators,
    show_network_operator,
    register_subscription,
    list_subscriptions,
    find_subscription,
    show_subscription,
    show_subscription_history,
    report_on_subscription,
    report_on_element,
    show_element_history,
    look_up,
    show_se_data,
    put_se_data,
    put_sp_data,
]
