"""What the registry's records look like from outside, and its request bodies as records."""

from collections.abc import Sequence
from itertools import zip_longest

import msgspec

from opentsm.api.v1 import registry_messages as m
from opentsm.api.v1.messages.secure_elements import SeDataBody
from opentsm.tsm.domain.registry import (
    Bearer,
    BearerKind,
    HistoryEntry,
    Network,
    NetworkOperator,
    RegistryEvent,
    SeData,
    SeType,
)
from opentsm.tsm.domain.subscription import MsIdentifierType, Subscription
from opentsm.tsm.kernel.ids import DeviceId, NetworkOperatorId, SeId
from opentsm.tsm.roles.hub.registry.door import Registry
from opentsm.tsm.roles.hub.registry.happenings import Consequences, Happening
from opentsm.tsm.roles.hub.registry.look_up import FoundElement


def read_network_operator(data: m.NetworkOperatorBody, id_: NetworkOperatorId) -> NetworkOperator:
    """Read a network operator."""
    return NetworkOperator(
        id=id_,
        name=data.name,
        networks=tuple(Network(mcc=one.mcc, mnc=one.mnc) for one in data.networks),
        bearers=tuple(
            Bearer(
                kind=BearerKind(one.kind),
                address=one.address,
                max_script_bytes=one.max_script_bytes,
                max_scripts=one.max_scripts,
            )
            for one in data.bearers
        ),
    )


def network_operator(found: NetworkOperator) -> m.NetworkOperatorAnswer:
    """Show a network operator."""
    return m.NetworkOperatorAnswer(
        id=found.id,
        name=found.name,
        networks=[m.NetworkBody(mcc=one.mcc, mnc=one.mnc) for one in found.networks],
        bearers=[
            m.BearerBody(
                kind=one.kind.value,
                address=one.address,
                max_script_bytes=one.max_script_bytes,
                max_scripts=one.max_scripts,
            )
            for one in found.bearers
        ],
        preferred=found.bearers[0].kind.value if found.bearers else None,
    )


async def subscription(registry: Registry, found: Subscription) -> m.SubscriptionAnswer:
    """Show a subscription to its keeper, with its identifier in clear."""
    value = await registry.opened_identifier(found)
    return m.SubscriptionAnswer(
        id=found.id,
        identifier=m.MsIdentifierBody(type=found.type.value, value=value),
        state=found.state.value,
        se_id=found.se_id,
        network_operator_id=found.network_operator_id,
        readers=None if found.readers is None else list(found.readers),
    )


def history(page: Sequence[HistoryEntry]) -> list[m.HistoryAnswer]:
    """Show entries of one subject; each holds until the next one."""
    return [
        m.HistoryAnswer(
            at=entry.at,
            until=None if following is None else following.at,
            event=entry.event.value,
            actor=entry.actor,
            state=entry.state,
            subscription_id=entry.subscription_id,
            se_id=entry.se_id,
            previous_se_id=entry.previous_se_id,
            network_operator_id=entry.network_operator_id,
        )
        for entry, following in zip_longest(page, page[1:])
        if entry is not None
    ]


def read_event(data: m.EventBody) -> Happening:
    """Read what happened."""
    return Happening(
        event=RegistryEvent(data.event),
        se_id=None if data.se_id is None else SeId(data.se_id),
        type=None if data.identifier is None else MsIdentifierType(data.identifier.type),
        value="" if data.identifier is None else data.identifier.value,
        network_operator_id=(
            None if data.network_operator_id is None else NetworkOperatorId(data.network_operator_id)
        ),
        device_id=None if data.device_id is None else DeviceId(data.device_id),
    )


def consequences(event: str, result: Consequences) -> m.EventAnswer:
    """Show what became of an event."""
    return m.EventAnswer(
        event=event,
        subscription_id=None if result.subscription is None else result.subscription.id,
        se_id=None if result.se is None else result.se.id,
        services=[
            m.ConcernedService(
                instance_id=one.id,
                service_id=one.description.service_id,
                provider_id=one.provider_id,
                state=one.state.name,
            )
            for one in result.services
        ],
        operations=[operation.id for operation in result.operations],
    )


def read_se_data(data: SeDataBody) -> SeData:
    """Read what an issuer says about a secure element."""
    operator = data.network_operator_id
    return SeData(
        network_operator_id=None if operator is None else NetworkOperatorId(operator),
        se_type=None if data.se_type is None else SeType(data.se_type),
        key_index=data.key_index,
        profile_id=data.profile_id,
        globalplatform=data.globalplatform,
        java_card=data.java_card,
        certification=data.certification,
        expires_on=data.expires_on,
    )


def se_data(found: FoundElement) -> m.SeDataAnswer:
    """Show what is known of a secure element."""
    data = found.data
    return m.SeDataAnswer(
        data=SeDataBody(
            network_operator_id=data.network_operator_id,
            se_type=None if data.se_type is None else data.se_type.value,
            key_index=data.key_index,
            profile_id=data.profile_id,
            globalplatform=data.globalplatform,
            java_card=data.java_card,
            certification=data.certification,
            expires_on=data.expires_on,
        ),
        sp_data=found.sp_data,
        key_sets=[
            m.KeySetReference(sd_aid=str(one.sd_aid), kvn=one.kvn, scp=one.scp) for one in found.key_sets
        ],
    )


def found_element(found: FoundElement, *, with_data: bool) -> m.FoundElementAnswer:
    """Show a secure element that was found."""
    return m.FoundElementAnswer(
        id=found.se.id,
        profile=found.se.profile,
        state=found.se.state.value,
        loss=None if found.se.loss is None else found.se.loss.value,
        identifier_type=found.by or None,
        subscription_id=found.subscription_id,
        data=se_data(found) if with_data else msgspec.UNSET,
    )
