"""How a provider's TSM names an instance of a service: ServiceInstanceReference of GP Messaging."""

from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.ids import InstanceId, TenantId


class ServiceReference(Record, frozen=True, kw_only=True):
    """A name that a provider declared; `owner` is an object identifier, `qualifier` tells instances apart."""

    provider_id: TenantId
    owner: str
    reference: str
    instance_id: InstanceId
    qualifier: str = ""
