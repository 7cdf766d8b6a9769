"""Personalisation data that a service provider hands over before there is an instance to personalise."""

from datetime import datetime

from opentsm.tsm.domain.secure_element import SecureElement, SeIdentifier
from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.ids import InstanceId, OperationId, SeId, TenantId


class PreparedData(Record, frozen=True, kw_only=True):
    """Data for one instance of a service, kept sealed until they are used or have expired.

    `name` says for whom they are; it occurs once for a service. `sealed` are the data, and after their use
    only their digest, both sealed by the provider's keystore for this record. `instance_id` and
    `operation_id` tell by which deployment they were used.
    """

    id: str
    provider_id: TenantId
    service_id: str
    version_tag: str | None = None
    name: str
    sealed: bytes = b""
    instance_id: InstanceId | None = None
    operation_id: OperationId | None = None
    created_at: datetime
    expires_at: datetime

    @property
    def used(self) -> bool:
        """Say whether an instance was made of them."""
        return self.instance_id is not None


def name_of_element(se_id: SeId) -> str:
    """Return the name of data for a secure element that is known."""
    return f"secure-element:{se_id}"


def name_of_identifier(identifier: SeIdentifier) -> str:
    """Return the name of data for a secure element that goes, or will go, by this identifier."""
    return f"identifier:{identifier.type.value}:{identifier.value}"


def name_of_reference(reference: str) -> str:
    """Return the name of data that the provider calls by a reference of its own."""
    return f"reference:{reference}"


def names_of(se: SecureElement) -> dict[str, SeIdentifier | None]:
    """Return all names by which data may wait for a secure element, and of what each is made."""
    by_identifier = {name_of_identifier(identifier): identifier for identifier in se.identifiers}
    return {name_of_element(se.id): None, **by_identifier}


def context_of(record_id: str) -> str:
    """Return the context to which prepared data are sealed: they open in no other record."""
    return f"prepared:{record_id}"
