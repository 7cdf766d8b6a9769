"""Use cases about devices: enrolment by one-time code, tokens for assertions, sessions for their cards."""

import hashlib
import uuid
from base64 import b32encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from opentsm.tsm.domain.device import Device, DeviceSession, EnrolmentCode
from opentsm.tsm.domain.secure_element import SecureElement, SeState
from opentsm.tsm.domain.tenant import Principal, TenantKind, TokenKind
from opentsm.tsm.kernel.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnauthenticatedError,
)
from opentsm.tsm.kernel.ids import DeviceId, SeId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub import assertions
from opentsm.tsm.roles.hub.mandate import may_see, require
from opentsm.tsm.roles.hub.parties import Parties, digest_of

replace = msgspec.structs.replace

MAX_NAME = 100
_CODE_BYTES = 20
_SESSION_BYTES = 16


class EnrolmentCodeError(ForbiddenError):
    """The enrolment code is unknown, was used by another device, or has expired."""

    code = "enrolment_code_invalid"


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A short-term token and how long it is good for."""

    token: str = field(repr=False)
    expires_in_s: float


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """A device session and how long it is good for."""

    session_id: str = field(repr=False)
    expires_in_s: float


class Devices(Parties):
    """Devices of an issuer."""

    async def offer_enrolment(self, principal: Principal, se_id: SeId | None = None) -> tuple[str, datetime]:
        """Make a one-time code with which one device can enrol.

        Args:
            principal: the issuer.
            se_id: the only secure element that the device may work for; None: any of the issuer's.

        Returns:
            The code, which is shown only here, and its expiry.
        """
        require(principal, TenantKind.SE_ISSUER)
        code = b32encode(self._s.world.random(_CODE_BYTES)).decode()
        expires = self._s.world.now() + timedelta(seconds=self._s.lifetimes.enrolment_s)
        async with self._s.storage.transaction() as tx:
            if se_id is not None:
                se = await tx.secure_elements.get(se_id)
                if se is None or not may_see(principal, se):
                    raise NotFoundError("There is no such secure element.", field="/se_id")
            await tx.devices.add_code(
                EnrolmentCode(
                    digest=digest_of(code), tenant_id=principal.tenant_id, expires_at=expires, se_id=se_id
                )
            )
            await tx.audit.append(
                principal.tenant_id,
                actor=principal.tenant_id,
                action="device.enrolment-offered",
                subject=se_id or principal.tenant_id,
            )
            await tx.commit()
        return code, expires

    async def enrol_device(self, code: str, jwk: Mapping[str, str], name: str) -> Device:
        """Enrol a device with its public key; the same code and key again give the same device.

        Raises:
            EnrolmentCodeError: the code is not good, or no longer.
            InvalidInputError: the key or the name is not of the required form.
        """
        key, thumbprint = assertions.public_key(jwk)
        if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
            raise InvalidInputError(f"name must have 1 to {MAX_NAME} printable characters.", field="/name")
        digest = digest_of(code.strip())
        device_id = _device_id(digest, thumbprint)
        async with self._s.storage.transaction() as tx:
            known = await tx.devices.get(device_id)
            if known is not None and known.revoked_at is not None:
                raise EnrolmentCodeError("The device was revoked.", advice="Ask the issuer for a new code.")
            if known is not None:
                return known
            offer = await tx.devices.take_code(digest, self._s.world.now())
            if offer is None:
                raise EnrolmentCodeError(advice="Ask the issuer for a new code.")
            device = Device(
                id=device_id,
                tenant_id=offer.tenant_id,
                name=name,
                public_key=key,
                created_at=self._s.world.now(),
                se_id=offer.se_id,
            )
            await tx.devices.add(device)
            await self._audit_device(tx, device, "device.enrolled", device.id, {"name": name})
            if offer.se_id is not None:
                await self._reserve(tx, device, offer.se_id)
            await tx.commit()
        return device

    async def issue_device_token(self, assertion: str) -> IssuedToken:
        """Exchange a device's assertion for a short-term token.

        Raises:
            UnauthenticatedError: the assertion does not prove an enrolled device, or was used before.
        """
        device_id = DeviceId(assertions.key_id(assertion))
        async with self._s.storage.transaction() as tx:
            device = await tx.devices.hold(device_id)
            if device is None:
                raise UnauthenticatedError("No such device is enrolled.", advice="Enrol it with a new code.")
            proof = assertions.verify(assertion, device.public_key, device_id, self._s.world.now())
            _check_good(device)
            if not await tx.devices.remember_assertion(device_id, proof.jti, proof.expires_at):
                raise UnauthenticatedError("This assertion was used before.", advice="Sign a new one.")
            lifetime = self._s.lifetimes.token_s
            token = await self._add_token(tx, device.tenant_id, TokenKind.DEVICE, device_id, lifetime)
            await tx.commit()
        return IssuedToken(token=token, expires_in_s=lifetime)

    async def open_device_session(self, principal: Principal, identifier: str) -> OpenedSession:
        """Open a session of a device for a secure element, named by its first identifier.

        Raises:
            NotFoundError: the device's issuer has no such secure element.
            ForbiddenError: the device is enrolled for another one.
            ConflictError: the secure element is bound to another device.
        """
        if principal.device_id is None:
            raise ForbiddenError("This needs a device's token.")
        session_id = self._s.world.random(_SESSION_BYTES).hex()
        lifetime = self._s.lifetimes.session_s
        async with self._s.storage.transaction() as tx:
            device = await tx.devices.hold(DeviceId(principal.device_id))
            if device is None:
                raise UnauthenticatedError("No such device is enrolled.")
            _check_good(device)
            se = await tx.secure_elements.find(None, identifier, issuer_id=principal.tenant_id)
            if se is None or se.device_link_id != identifier or se.state is SeState.RETIRED:
                raise NotFoundError("There is no such secure element.", field="/se/id")
            _check_binding(device, se)
            await tx.devices.add_session(
                DeviceSession(
                    digest=digest_of(session_id),
                    device_id=device.id,
                    tenant_id=device.tenant_id,
                    se_id=se.id,
                    expires_at=self._s.world.now() + timedelta(seconds=lifetime),
                )
            )
            await tx.commit()
        return OpenedSession(session_id=session_id, expires_in_s=lifetime)

    async def _reserve(self, tx: UnitOfWork, device: Device, se_id: SeId) -> None:
        """Reserve a secure element for the device enrolled for it; an earlier one, perhaps stolen, is out.

        It is bound to the new device when a cryptogram verified through it, like any other.
        """
        se = await tx.secure_elements.get(se_id)
        if se is None:
            return
        await tx.secure_elements.save(replace(se, device_id=None, reserved_for=device.id))
        await tx.turns.clear(se_id)
        if se.device_id in (None, device.id):
            return
        details = {"from": str(se.device_id), "to": str(device.id)}
        await self._audit_device(tx, device, "secure-element.device-released", se_id, details)

    async def _audit_device(
        self, tx: UnitOfWork, device: Device, action: str, subject: str, details: Mapping[str, str]
    ) -> None:
        await tx.audit.append(
            device.tenant_id, actor=device.id, action=action, subject=subject, details={**details}
        )


def _device_id(code_digest: bytes, thumbprint: str) -> DeviceId:
    """Name a device by its code and key, so that a repeated enrolment finds it (UUID version 8, RFC 9562)."""
    value = hashlib.sha256(code_digest + thumbprint.encode()).digest()[:16]
    number = int.from_bytes(value, "big") & ~(0xF << 76) & ~(0b11 << 62) | 8 << 76 | 0b10 << 62
    return DeviceId(str(uuid.UUID(int=number)))


def _check_good(device: Device) -> None:
    if device.revoked_at is not None:
        raise UnauthenticatedError("The device was revoked.", advice="Enrol it with a new code and key.")


def _check_binding(device: Device, se: SecureElement) -> None:
    if device.se_id not in (None, se.id):
        raise ForbiddenError("This device is enrolled for another secure element.")
    if not se.admits(device.id):
        raise ConflictError(
            "The secure element is bound to another device, or reserved for it.",
            advice="Its issuer must enrol the new device for this secure element.",
        )
