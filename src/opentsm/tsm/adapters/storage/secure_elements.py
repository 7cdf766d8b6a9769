"""Secure elements: their records and identifiers, what is on them and who put it there."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg
from msgspec.structs import replace

from opentsm.tsm.adapters.storage.records import document, page_arguments, versioned
from opentsm.tsm.adapters.storage.session import Session
from opentsm.tsm.adapters.storage.sql import load_queries
from opentsm.tsm.domain.card_content import Claim, ObservedContent
from opentsm.tsm.domain.secure_element import SecureElement, SeIdentifier, SeIdentifierType, SeState
from opentsm.tsm.kernel.documents import from_json, to_json
from opentsm.tsm.kernel.errors import ConflictError, StaleVersionError
from opentsm.tsm.kernel.ids import DeviceId, SeId, TenantId
from opentsm.tsm.kernel.wording import quoted
from opentsm.tsm.ports.repositories import Page

_SQL = load_queries("secure_elements")


class PostgresSecureElements:
    """Secure elements, their observed content and claims."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add(self, se: SecureElement) -> None:
        """Add a secure element; raise ConflictError when its id or one of its identifiers is taken."""
        added = await self._session.change(
            _SQL["add"], se.id, se.issuer_id, _identifiers(se), document(se), se.version
        )
        if not added:
            raise self._session.spoiled(ConflictError(f"Secure element {se.id} exists already."))
        await self._add_identifiers(se)

    async def get(self, se_id: SeId) -> SecureElement | None:
        """Return the secure element, or None."""
        row = await self._session.row(_SQL["get"], se_id)
        return None if row is None else versioned(SecureElement, row)

    async def hold(self, se_id: SeId) -> SecureElement | None:
        """Return the secure element, which nobody saves until this transaction ends."""
        row = await self._session.row(_SQL["hold"], se_id)
        return None if row is None else versioned(SecureElement, row)

    async def find(
        self,
        type_: SeIdentifierType | None,
        value: str,
        *,
        issuer_id: TenantId | None = None,
        sandbox: bool | None = None,
    ) -> SecureElement | None:
        """Return the secure element with this identifier, of any type, issuer and sort where they are None.

        Raises:
            ConflictError: more than one secure element goes by this name.
        """
        kind = None if type_ is None else type_.value
        if issuer_id is None:
            rows = await self._session.rows(_SQL["find"], value, kind, sandbox)
        else:
            rows = await self._session.rows(_SQL["find_of_issuer"], value, kind, sandbox, issuer_id)
        if len(rows) > 1:
            raise ConflictError(
                f"More than one secure element goes by the name {quoted(value)}.",
                advice="Name the type of the identifier, or the issuer.",
            )
        return versioned(SecureElement, rows[0]) if rows else None

    async def list(self, issuer_id: TenantId | None, page: Page) -> Sequence[SecureElement]:
        """Return a page of secure elements by id, of one issuer or of all."""
        if issuer_id is None:
            rows = await self._session.rows(_SQL["list"], *page_arguments(page))
        else:
            rows = await self._session.rows(_SQL["list_of_issuer"], *page_arguments(page), issuer_id)
        return [versioned(SecureElement, row) for row in rows]

    async def of_device(self, device_id: DeviceId, now: datetime) -> Sequence[SecureElement]:
        """Return those that are bound to a device, reserved for it, or with which it has a session, by id."""
        rows = [
            *await self._session.rows(_SQL["bound_to"], device_id),
            *await self._session.rows(_SQL["reserved_for"], device_id),
            *await self._session.rows(_SQL["in_session_with"], device_id, now),
        ]
        found = {se.id: se for se in (versioned(SecureElement, row) for row in rows)}
        return [found[se_id] for se_id in sorted(found)]

    async def save(self, se: SecureElement) -> SecureElement:
        """Store and return it with its new version; raise StaleVersionError when it moved."""
        row = await self._session.row(_SQL["save"], se.id, se.version, _identifiers(se), document(se))
        if row is None:
            raise self._session.spoiled(StaleVersionError())
        if row["renamed"]:
            await self._session.change(_SQL["remove_identifiers"], se.id)
            await self._add_identifiers(se)
        return replace(se, version=se.version + 1)

    async def content(self, se_id: SeId) -> ObservedContent:
        """Return what is known to be on the card; nothing known when nothing was stored."""
        row = await self._session.row(_SQL["content"], se_id)
        return ObservedContent() if row is None else from_json(ObservedContent, row["document"])

    async def save_content(self, se_id: SeId, content: ObservedContent) -> None:
        """Replace what is known; the secure element's version guards it."""
        await self._session.change(_SQL["save_content"], se_id, document(content))

    async def claims(self, se_id: SeId) -> tuple[Claim, ...]:
        """Return who caused which object to be there."""
        row = await self._session.row(_SQL["claims"], se_id)
        return () if row is None else _claims(row)

    async def save_claims(self, se_id: SeId, claims: tuple[Claim, ...]) -> None:
        """Replace the claims; the secure element's version guards them."""
        await self._session.change(_SQL["save_claims"], se_id, to_json(claims).decode())

    async def _add_identifiers(self, se: SecureElement) -> None:
        taken = _taken(se)
        kinds = [identifier.type.value for identifier in taken]
        values = [identifier.value for identifier in taken]
        added = await self._session.change(
            _SQL["add_identifiers"], se.issuer_id, se.id, kinds, values, se.sandbox
        )
        if added != len(values):
            raise self._session.spoiled(
                ConflictError("An identifier of this secure element is taken.", field="/identifiers")
            )


def _identifiers(se: SecureElement) -> str:
    return to_json((se.issuer_id, _taken(se))).decode()


def _taken(se: SecureElement) -> tuple[SeIdentifier, ...]:
    """Return the names that nobody else may have: those of a retired secure element are free again."""
    return () if se.state is SeState.RETIRED else se.identifiers


def _claims(row: asyncpg.Record) -> tuple[Claim, ...]:
    return from_json(tuple[Claim, ...], row["document"])
