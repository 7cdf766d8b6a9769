"""Conversations, their scripts, and the names that providers give to instances; queries name the party."""

from collections.abc import Sequence

import asyncpg
from msgspec.structs import replace

from opentsm.tsm.adapters.storage.records import document, versioned
from opentsm.tsm.adapters.storage.session import Session
from opentsm.tsm.adapters.storage.sql import load_queries
from opentsm.tsm.domain.conversation import Conversation, ConversationId, Script
from opentsm.tsm.domain.service_reference import ServiceReference
from opentsm.tsm.kernel.errors import ConflictError, StaleVersionError
from opentsm.tsm.kernel.ids import InstanceId, TenantId

_SQL = load_queries("conversations")


class PostgresConversations:
    """Conversations and their scripts."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add(self, conversation: Conversation) -> None:
        """Add one; raise StaleVersionError when its number is taken."""
        added = await self._session.change(
            _SQL["add"],
            conversation.tenant_id,
            conversation.id,
            conversation.version,
            document(conversation),
        )
        if not added:
            raise self._session.spoiled(StaleVersionError("The conversation's number is taken."))

    async def get(self, tenant_id: TenantId, conversation_id: ConversationId) -> Conversation | None:
        """Return the tenant's conversation, or None."""
        row = await self._session.row(_SQL["get"], tenant_id, conversation_id)
        return None if row is None else versioned(Conversation, row)

    async def save(self, conversation: Conversation) -> Conversation:
        """Store and return it with its new version; raise StaleVersionError when it moved."""
        await self._session.change_one(
            _SQL["save"],
            conversation.tenant_id,
            conversation.id,
            conversation.version,
            document(conversation),
        )
        return replace(conversation, version=conversation.version + 1)

    async def add_script(self, script: Script) -> None:
        """Add a script; raise StaleVersionError when its number is taken."""
        if not await self._session.change(_SQL["add_script"], *_script_columns(script)):
            raise self._session.spoiled(StaleVersionError("Another script of the conversation was faster."))

    async def script(
        self, tenant_id: TenantId, conversation_id: ConversationId, number: int
    ) -> Script | None:
        """Return a script, or None."""
        row = await self._session.row(_SQL["script"], tenant_id, conversation_id, number)
        return None if row is None else versioned(Script, row, "sealed_result")

    async def save_script(self, script: Script) -> Script:
        """Store and return it with its new version; raise StaleVersionError when it moved."""
        await self._session.change_one(_SQL["save_script"], *_script_columns(script))
        return replace(script, version=script.version + 1)


def _script_columns(script: Script) -> tuple[object, ...]:
    return (
        script.tenant_id,
        script.conversation_id,
        script.number,
        script.version,
        document(script, "sealed_result"),
        script.sealed_result,
        script.expires_at,
    )


class PostgresServiceReferences:
    """Names of instances that their providers chose."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add(self, reference: ServiceReference) -> None:
        """Add one; raise ConflictError when the provider has used the name before."""
        added = await self._session.change(
            _SQL["add_reference"],
            reference.provider_id,
            reference.owner,
            reference.reference,
            reference.instance_id,
            reference.qualifier,
        )
        if not added:
            raise self._session.spoiled(ConflictError("The reference was declared before."))

    async def get(self, provider_id: TenantId, owner: str, reference: str) -> ServiceReference | None:
        """Return the provider's reference of this name, or None."""
        return _reference(await self._session.row(_SQL["reference"], provider_id, owner, reference))

    async def of_instances(self, instance_ids: Sequence[InstanceId]) -> Sequence[ServiceReference]:
        """Return the names of instances."""
        rows = await self._session.rows(_SQL["references_of"], list(instance_ids))
        return [ServiceReference(**dict(row)) for row in rows]


def _reference(row: asyncpg.Record | None) -> ServiceReference | None:
    return None if row is None else ServiceReference(**dict(row))
