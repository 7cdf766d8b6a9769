"""What belongs to a party, as far as it can be removed with the party's knowledge of it. Never its audit."""

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from opentsm.tsm.domain.operation import Operation
from opentsm.tsm.kernel.ids import InstanceId, OperationId, SeId, TenantId


class Belonging(Enum):
    """Kinds of rows that are simply removed, in the order in which they go."""

    SEGMENTS = "segments"
    KEY_SETS = "key_sets"
    PREPARED_DATA = "prepared_data"
    CONVERSATION_SCRIPTS = "conversation_scripts"
    CONVERSATIONS = "conversations"
    SERVICE_REFERENCES = "service_references"
    TOKENS = "tokens"
    CATALOGUE = "catalogue"
    IMPORTS = "imports"
    SUBSCRIPTIONS = "subscriptions"
    SP_DATA = "sp_data"
    SE_DATA = "se_data"
    WEBHOOKS = "webhooks"
    DELIVERIES = "deliveries"
    ARRANGEMENTS = "arrangements"
    CARD_AUTHORITIES = "card_authorities"
    SPACE_QUOTAS = "space_quotas"
    SPACE_QUOTAS_GRANTED = "space_quotas_granted"
    SPACE_SIZES = "space_sizes"
    ENROLMENT_CODES = "enrolment_codes"
    DEVICES = "devices"
    APPROVALS = "approvals"
    SUBMISSIONS = "submissions"
    CAMPAIGN_MEMBERS = "campaign_members"
    CAMPAIGNS = "campaigns"
    IDEMPOTENCY_KEYS = "idempotency_keys"


class Belongings(Protocol):
    """Removes what a party owns; every method is bounded by what it is given."""

    async def remove(self, what: Belonging, owner_id: TenantId, limit: int) -> int:
        """Remove at most `limit` rows of an owner, with what depends on them; return how many that were."""
        ...

    async def remove_blocks(self, owner_id: TenantId, limit: int) -> int:
        """Remove load-file data blocks that nobody else has put there; return how many were the owner's."""
        ...

    async def remove_operations(self, ids: Sequence[OperationId]) -> int:
        """Remove operations with their consumed orders and segments."""
        ...

    async def remove_instances(self, ids: Sequence[InstanceId]) -> int:
        """Remove service instances with the records of their top-ups."""
        ...

    async def remove_elements(self, ids: Sequence[SeId]) -> int:
        """Remove secure elements with their orders and sessions, and all that is known of their cards."""
        ...

    async def open_on(self, se_id: SeId) -> Sequence[Operation]:
        """Return the operations on a secure element that have not ended."""
        ...
