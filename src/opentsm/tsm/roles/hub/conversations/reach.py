"""What a provider reaches on a secure element: its own domains and applications, as far as they are there."""

from collections.abc import Sequence

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.card_content import ObservedContent
from opentsm.tsm.domain.service import InstanceState, ServiceInstance
from opentsm.tsm.engine.script_rules import Kind, Reach
from opentsm.tsm.kernel.ids import SeId, TenantId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.mandate import locked_by_issuer


async def own_instances(tx: UnitOfWork, provider_id: TenantId, se_id: SeId) -> list[ServiceInstance]:
    """Return a provider's instances on a secure element, but those that are terminated."""
    return [
        one
        for one in await tx.instances.on_secure_element(se_id)
        if one.provider_id == provider_id and one.state is not InstanceState.TERMINATED
    ]


def reach_of(
    instances: Sequence[ServiceInstance], content: ObservedContent, foreign_kvns: frozenset[int]
) -> Reach:
    """Return what a provider reaches.

    Args:
        instances: its own on the secure element.
        content: what is known of the card.
        foreign_kvns: versions of key sets of the domains above.
    """
    own: dict[Aid, tuple[Kind, bool]] = {}
    domain_of: dict[Aid, Aid] = {}
    for instance in instances:
        description = instance.description
        domain = description.sd_aid
        if description.dedicated_sd:
            own[domain] = (Kind.SECURITY_DOMAIN, content.find(domain) is not None)
            domain_of[domain] = domain
        for app in description.applications:
            aid = app.instance_aid
            own[aid] = (Kind.APPLICATION, content.find(aid) is not None)
            if description.dedicated_sd:
                domain_of[aid] = domain
    keys = {domain: content.keys.get(str(domain), ()) for domain in domain_of.values()}
    for instance in instances:
        if instance.keys_elsewhere:
            # its versions are its TSM's affair; what matters is that they are not an ancestor's
            keys[instance.description.sd_aid] = (instance.key_version,)
    others = frozenset(one.aid for one in content.objects) - own.keys()
    locked = frozenset(one.description.sd_aid for one in instances if locked_by_issuer(one))
    return Reach(own, others, domain_of, keys, foreign_kvns, locked)
