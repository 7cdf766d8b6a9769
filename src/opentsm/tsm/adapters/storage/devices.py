"""Devices: enrolment codes, devices, their sessions and spent assertions."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from opentsm.tsm.adapters.storage.records import document, optional, page_arguments
from opentsm.tsm.adapters.storage.session import Session
from opentsm.tsm.adapters.storage.sql import load_queries
from opentsm.tsm.domain.device import Device, DeviceSession, EnrolmentCode
from opentsm.tsm.kernel.documents import from_json
from opentsm.tsm.kernel.errors import ConflictError, InvariantError
from opentsm.tsm.kernel.ids import DeviceId, TenantId
from opentsm.tsm.ports.repositories import Page
from opentsm.tsm.ports.world import World

_SQL = load_queries("devices")
# How long expired sessions and assertions stay: an expired name can be told from an invented one.
_GRACE = timedelta(days=1)


class PostgresDevices:
    """Enrolled devices and what they authenticate with."""

    def __init__(self, session: Session, world: World) -> None:
        self._session = session
        self._world = world

    async def add_code(self, code: EnrolmentCode) -> None:
        """Add a one-time code."""
        await self._session.change(_SQL["add_code"], code.digest, code.expires_at, document(code))

    async def take_code(self, digest: bytes, now: datetime) -> EnrolmentCode | None:
        """Return and spend the code, or None when unknown, spent or expired."""
        return optional(EnrolmentCode, await self._session.row(_SQL["take_code"], digest, now))

    async def add(self, device: Device) -> None:
        """Add a device; raise ConflictError when its id is taken."""
        if not await self._session.change(_SQL["add"], device.id, device.tenant_id, document(device)):
            raise self._session.spoiled(ConflictError(f"A device with the id {device.id} exists already."))

    async def get(self, device_id: DeviceId) -> Device | None:
        """Return the device, or None."""
        return optional(Device, await self._session.row(_SQL["get"], device_id))

    async def hold(self, device_id: DeviceId) -> Device | None:
        """Return the device, which nobody saves until this transaction ends."""
        return optional(Device, await self._session.row(_SQL["hold"], device_id))

    async def lock(self, device_id: DeviceId) -> Device | None:
        """Return the device, which nobody else holds until this transaction ends."""
        return optional(Device, await self._session.row(_SQL["lock"], device_id))

    async def list(self, tenant_id: TenantId, page: Page) -> Sequence[Device]:
        """Return a page of an issuer's devices by id."""
        rows = await self._session.rows(_SQL["list"], tenant_id, *page_arguments(page))
        return [from_json(Device, row["document"]) for row in rows]

    async def save(self, device: Device) -> None:
        """Replace a device."""
        saved = await self._session.change(_SQL["save"], device.id, device.tenant_id, document(device))
        if not saved:
            raise self._session.spoiled(InvariantError(f"There is no device {device.id} to save."))

    async def add_session(self, session: DeviceSession) -> None:
        """Add a session, and drop long expired ones of the same device."""
        await self._session.change(
            _SQL["add_session"],
            session.digest,
            session.device_id,
            session.expires_at,
            document(session),
            self._world.now() - _GRACE,
            session.se_id,
        )

    async def session(self, digest: bytes) -> DeviceSession | None:
        """Return the session, or None; whether it has expired is for the caller to judge."""
        return optional(DeviceSession, await self._session.row(_SQL["session"], digest))

    async def save_session(self, session: DeviceSession) -> None:
        """Replace a session."""
        saved = await self._session.change(
            _SQL["save_session"], session.digest, session.device_id, session.expires_at, document(session)
        )
        if not saved:
            raise self._session.spoiled(InvariantError("There is no such device session to save."))

    async def end_sessions(self, device_id: DeviceId) -> int:
        """Remove all sessions of a device and return how many there were."""
        return await self._session.change(_SQL["end_sessions"], device_id)

    async def remember_assertion(self, device_id: DeviceId, jti: str, expires_at: datetime) -> bool:
        """Store the assertion's id; False when it was used before. Long expired ones are dropped."""
        added = await self._session.change(
            _SQL["remember_assertion"], device_id, jti, expires_at, self._world.now() - _GRACE
        )
        return added == 1
