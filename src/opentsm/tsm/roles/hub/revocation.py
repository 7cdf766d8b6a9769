"""Use cases that end an access for good: a token, or a device with all that it holds."""

import msgspec
import structlog

from opentsm.tsm.domain.approval import same_person
from opentsm.tsm.domain.device import Device
from opentsm.tsm.domain.tenant import AccessToken, Principal, Tenant, TenantKind
from opentsm.tsm.kernel.errors import ForbiddenError, NotFoundError
from opentsm.tsm.kernel.ids import DeviceId, TenantId
from opentsm.tsm.ports.repositories import Page
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.approvals.persons import checked_person
from opentsm.tsm.roles.hub.mandate import require
from opentsm.tsm.roles.hub.parties import Parties

_DIGEST_BYTES = 32
_log = structlog.get_logger(__name__)


class Revocation(Parties):
    """Devices and tokens, seen and revoked by whom they belong to, and by the operator."""

    async def devices(self, principal: Principal, page: Page) -> list[Device]:
        """Return a page of the issuer's devices, revoked ones too."""
        require(principal, TenantKind.SE_ISSUER)
        async with self._s.storage.transaction() as tx:
            return list(await tx.devices.list(principal.tenant_id, page))

    async def device(self, principal: Principal, device_id: DeviceId) -> Device:
        """Return a device.

        Raises:
            NotFoundError: there is no such device of the caller.
        """
        require(principal, TenantKind.SE_ISSUER, TenantKind.OPERATOR)
        async with self._s.storage.transaction() as tx:
            return await _own_device(tx, principal, device_id)

    async def revoke_device(self, principal: Principal, device_id: DeviceId) -> Device:
        """Shut a device out for good: its tokens and sessions end with this, and it gets no new ones.

        Its secure element stays bound to it until another device is enrolled for that element.

        Raises:
            NotFoundError: there is no such device of the caller.
        """
        require(principal, TenantKind.SE_ISSUER, TenantKind.OPERATOR)
        async with self._s.storage.transaction() as tx:
            device = await _own_device(tx, principal, device_id)
            if device.revoked_at is not None:
                return device
            revoked = msgspec.structs.replace(device, revoked_at=self._s.world.now())
            # first the device, whose row holds off whoever would give it a token or session just now
            await tx.devices.save(revoked)
            tokens = await tx.tenants.revoke_tokens(device.tenant_id, device_id)
            sessions = await tx.devices.end_sessions(device_id)
            await tx.audit.append(
                device.tenant_id,
                actor=principal.tenant_id,
                action="device.revoked",
                subject=device_id,
                details={"tokens": tokens, "sessions": sessions},
            )
            await tx.commit()
        _log.warning("device.revoked", device=device_id, of=device.tenant_id, by=principal.tenant_id)
        return revoked

    async def tokens(
        self, principal: Principal, page: Page, party_id: TenantId | None = None
    ) -> list[AccessToken]:
        """Return a page of the caller's tokens; the operator may ask for those of any party."""
        require(principal, *TenantKind)
        async with self._s.storage.transaction() as tx:
            owner = await _party(tx, principal, party_id or principal.tenant_id)
            return list(await tx.tenants.tokens(owner, page))

    async def issue_token(self, principal: Principal, party_id: TenantId, person: str = "") -> str:
        """Give a party a new long-term token, which is shown only here; earlier ones stay good.

        Who could name other people could decide in their place: only the operator names those of a party,
        and only an administrator of its machine those of the operator. A person may have further tokens.

        Args:
            principal: the party, or the operator.
            party_id: whose token.
            person: whose of the party; empty: the caller's own, else nobody's in particular.

        Raises:
            ForbiddenError: the caller may not name this person.
            NotFoundError: the caller is neither this party nor the operator, or there is no such party.
        """
        require(principal, *TenantKind)
        async with self._s.storage.transaction() as tx:
            tenant = await tx.tenants.get(await _party(tx, principal, party_id))
            if tenant is None:
                raise NotFoundError("There is no such party.")
            named = _person(principal, tenant, checked_person(person) if person else "")
            token = await self._issue(tx, tenant, actor=principal.tenant_id, person=named)
            await tx.commit()
        return token

    async def revoke_token(self, principal: Principal, token_id: str) -> None:
        """End a token of the caller, or for the operator of anybody; the one in use may be revoked too.

        Raises:
            NotFoundError: there is no such token of the caller.
        """
        require(principal, *TenantKind)
        async with self._s.storage.transaction() as tx:
            found = await tx.tenants.find_token(_digest(token_id))
            if found is None or not _may_touch(principal, found[1].id):
                raise NotFoundError("There is no such token.")
            token, tenant = found
            await tx.tenants.remove_token(token.digest)
            await tx.audit.append(
                tenant.id,
                actor=principal.tenant_id,
                action="token.revoked",
                subject=token_id,
                details={"kind": token.kind.value, "of": token.subject or tenant.id},
            )
            await tx.commit()
        _log.warning("token.revoked", kind=token.kind.value, of=tenant.id, by=principal.tenant_id)


async def _own_device(tx: UnitOfWork, principal: Principal, device_id: DeviceId) -> Device:
    device = await tx.devices.get(device_id)
    if device is None or not _may_touch(principal, device.tenant_id):
        raise NotFoundError("There is no such device.")
    return device


async def _party(tx: UnitOfWork, principal: Principal, party_id: TenantId) -> TenantId:
    if not _may_touch(principal, party_id) or await tx.tenants.get(party_id) is None:
        raise NotFoundError("There is no such party.")
    return party_id


def _person(principal: Principal, party: Tenant, person: str) -> str:
    """Return whose the new token is to be.

    Raises:
        ForbiddenError: the caller may not name this person.
    """
    own = principal.tenant_id == party.id
    if not person:
        return principal.person if own else ""
    myself = own and bool(principal.person) and same_person(person, principal.person)
    named_by_operator = principal.kind is TenantKind.OPERATOR and party.kind is not TenantKind.OPERATOR
    if not myself and not named_by_operator:
        raise ForbiddenError(
            "Only the operator names the people of a party, and only an administrator of its machine those of"
            " the operator.",
            advice="Ask the operator for a token of this person.",
        )
    return principal.person if myself else person


def _may_touch(principal: Principal, owner_id: TenantId) -> bool:
    return principal.kind is TenantKind.OPERATOR or principal.tenant_id == owner_id


def _digest(token_id: str) -> bytes:
    """Return the digest that a token is named by."""
    try:
        digest = bytes.fromhex(token_id)
    except ValueError:
        digest = b""
    if len(digest) != _DIGEST_BYTES:
        raise NotFoundError("There is no such token.")
    return digest
