"""Where conversations, their scripts and the names of instances are kept; each query names the party."""

from collections.abc import Sequence
from typing import Protocol

from opentsm.tsm.domain.conversation import Conversation, ConversationId, Script
from opentsm.tsm.domain.service_reference import ServiceReference
from opentsm.tsm.kernel.ids import InstanceId, TenantId


class Conversations(Protocol):
    """Conversations and their scripts."""

    async def add(self, conversation: Conversation) -> None:
        """Raise StaleVersionError when its number is taken."""
        ...

    async def get(self, tenant_id: TenantId, conversation_id: ConversationId) -> Conversation | None: ...
    async def save(self, conversation: Conversation) -> Conversation: ...
    async def add_script(self, script: Script) -> None:
        """Raise StaleVersionError when its number is taken."""
        ...

    async def script(
        self, tenant_id: TenantId, conversation_id: ConversationId, number: int
    ) -> Script | None: ...
    async def save_script(self, script: Script) -> Script: ...


class ServiceReferences(Protocol):
    """Names of instances that their providers chose."""

    async def add(self, reference: ServiceReference) -> None:
        """Raise ConflictError when the provider has used the name before."""
        ...

    async def get(self, provider_id: TenantId, owner: str, reference: str) -> ServiceReference | None: ...
    async def of_instances(self, instance_ids: Sequence[InstanceId]) -> Sequence[ServiceReference]: ...
