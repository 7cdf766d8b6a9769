"""Tenants, tokens, devices: what the storage port says about them."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from tests.contract.storage_records import NOW, a_tenant, new_id, new_se_id, new_tenant_id

from opentsm.tsm.adapters.storage.postgres import PostgresStorage
from opentsm.tsm.domain.device import Device, DeviceSession, EnrolmentCode
from opentsm.tsm.domain.tenant import AccessToken, Tenant, TenantKind, TokenKind
from opentsm.tsm.kernel.errors import ConflictError, InvariantError
from opentsm.tsm.kernel.ids import DeviceId, TenantId
from opentsm.tsm.ports.repositories import Page

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def a_token(tenant: Tenant, *, subject: str = "console", expires_at: datetime | None = None) -> AccessToken:
    digest = hashlib.sha256(new_id().encode()).digest()
    return AccessToken(
        digest=digest,
        tenant_id=tenant.id,
        kind=TokenKind.SHORT_TERM,
        subject=subject,
        expires_at=expires_at,
    )


def a_device(tenant_id: TenantId | None = None) -> Device:
    return Device(
        id=DeviceId(new_id()),
        tenant_id=tenant_id or new_tenant_id(),
        name="phone",
        public_key={"kty": "EC", "crv": "P-256", "x": "AA", "y": "BB"},
        created_at=NOW,
    )


def a_session(device: Device, expires_at: datetime = NOW + timedelta(days=9999)) -> DeviceSession:
    return DeviceSession(
        digest=hashlib.sha256(new_id().encode()).digest(),
        device_id=device.id,
        tenant_id=device.tenant_id,
        se_id=new_se_id(),
        expires_at=expires_at,
    )


async def test_tenant_when_added_then_found_by_id_and_name(storage: PostgresStorage) -> None:
    tenant = a_tenant(TenantKind.SE_ISSUER)
    async with storage.transaction() as work:
        await work.tenants.add(tenant)
        assert await work.tenants.get(tenant.id) == tenant
        assert await work.tenants.by_name(TenantKind.SE_ISSUER, tenant.name) == tenant
        assert await work.tenants.by_name(TenantKind.OPERATOR, tenant.name) is None
        assert await work.tenants.get(new_tenant_id()) is None


async def test_tenant_when_the_name_is_taken_then_conflict(storage: PostgresStorage) -> None:
    tenant = a_tenant()
    twin = Tenant(id=new_tenant_id(), kind=tenant.kind, name=tenant.name, created_at=NOW)
    async with storage.transaction() as work:
        await work.tenants.add(tenant)
        with pytest.raises(ConflictError):
            await work.tenants.add(twin)


async def test_tenants_when_listed_in_pages_then_each_comes_once_in_order(storage: PostgresStorage) -> None:
    added = [a_tenant() for _ in range(5)]
    async with storage.transaction() as work:
        for tenant in added:
            await work.tenants.add(tenant)
        before_all = min(tenant.id for tenant in added)[:-1]
        listed: list[Tenant] = []
        after = before_all
        while page := await work.tenants.list(Page(limit=2, after=after)):
            listed += page
            after = page[-1].id
    assert listed == sorted(added, key=lambda tenant: tenant.id)


async def test_token_when_added_then_found_with_its_tenant_by_digest_only(storage: PostgresStorage) -> None:
    tenant = a_tenant()
    token = a_token(tenant, expires_at=NOW)
    async with storage.transaction() as work:
        await work.tenants.add(tenant)
        await work.tenants.add_token(token)
        assert await work.tenants.find_token(token.digest) == (token, tenant)
        assert await work.tenants.find_token(bytes(32)) is None


async def test_tokens_when_revoked_then_only_those_of_the_subject_are_gone(storage: PostgresStorage) -> None:
    tenant = a_tenant()
    tokens = [a_token(tenant), a_token(tenant), a_token(tenant, subject="other")]
    async with storage.transaction() as work:
        await work.tenants.add(tenant)
        for token in tokens:
            await work.tenants.add_token(token)
        assert await work.tenants.revoke_tokens(tenant.id, "console") == 2
        found = [await work.tenants.find_token(token.digest) for token in tokens]
    assert found == [None, None, (tokens[2], tenant)]


async def test_token_when_another_is_added_then_only_long_expired_ones_go(storage: PostgresStorage) -> None:
    tenant = a_tenant()
    old, recent = a_token(tenant, expires_at=LONG_AGO), a_token(tenant, expires_at=datetime.now(UTC))
    async with storage.transaction() as work:
        await work.tenants.add(tenant)
        for token in (old, recent, a_token(tenant)):
            await work.tenants.add_token(token)
        assert await work.tenants.find_token(old.digest) is None
        assert await work.tenants.find_token(recent.digest) is not None


async def test_code_when_taken_then_it_is_spent(storage: PostgresStorage) -> None:
    code = EnrolmentCode(
        digest=hashlib.sha256(new_id().encode()).digest(),
        tenant_id=new_tenant_id(),
        expires_at=NOW,
        se_id=new_se_id(),
    )
    async with storage.transaction() as work:
        await work.devices.add_code(code)
        assert await work.devices.take_code(code.digest, NOW) is None  # expires now
        assert await work.devices.take_code(code.digest, NOW - timedelta(seconds=1)) == code
        assert await work.devices.take_code(code.digest, NOW - timedelta(seconds=1)) is None


async def test_code_when_the_taker_does_not_commit_then_it_is_not_spent(storage: PostgresStorage) -> None:
    code = EnrolmentCode(digest=new_id().encode(), tenant_id=new_tenant_id(), expires_at=NOW)
    earlier = NOW - timedelta(seconds=1)
    async with storage.transaction() as work:
        await work.devices.add_code(code)
        await work.commit()
    async with storage.transaction() as work:
        assert await work.devices.take_code(code.digest, earlier) == code
    async with storage.transaction() as work:
        assert await work.devices.take_code(code.digest, earlier) == code


async def test_device_when_saved_then_replaced(storage: PostgresStorage) -> None:
    device = a_device()
    moved = Device(
        id=device.id,
        tenant_id=device.tenant_id,
        name="new name",
        public_key=device.public_key,
        created_at=NOW,
        se_id=new_se_id(),
    )
    async with storage.transaction() as work:
        await work.devices.add(device)
        assert await work.devices.get(device.id) == device
        await work.devices.save(moved)
        assert await work.devices.get(device.id) == moved
        with pytest.raises(ConflictError):
            await work.devices.add(device)


async def test_device_when_unknown_then_save_refuses(storage: PostgresStorage) -> None:
    async with storage.transaction() as work:
        with pytest.raises(InvariantError):
            await work.devices.save(a_device())


async def test_device_session_when_saved_then_replaced(storage: PostgresStorage) -> None:
    session = a_session(a_device())
    ready = DeviceSession(
        digest=session.digest,
        device_id=session.device_id,
        tenant_id=session.tenant_id,
        se_id=session.se_id,
        expires_at=session.expires_at,
        extended=True,
        ready=True,
    )
    async with storage.transaction() as work:
        await work.devices.add_session(session)
        assert await work.devices.session(session.digest) == session
        await work.devices.save_session(ready)
        assert await work.devices.session(session.digest) == ready
        assert await work.devices.session(bytes(32)) is None


async def test_device_session_when_another_begins_then_long_expired_ones_go(storage: PostgresStorage) -> None:
    device = a_device()
    old, other = a_session(device, LONG_AGO), a_session(a_device(), LONG_AGO)
    async with storage.transaction() as work:
        for session in (old, other, a_session(device)):
            await work.devices.add_session(session)
        assert await work.devices.session(old.digest) is None
        assert await work.devices.session(other.digest) == other
        with pytest.raises(InvariantError):
            await work.devices.save_session(old)


async def test_assertion_when_used_twice_then_refused_the_second_time(storage: PostgresStorage) -> None:
    device, other = a_device(), a_device()
    async with storage.transaction() as work:
        assert await work.devices.remember_assertion(device.id, "jti", LONG_AGO)
        assert not await work.devices.remember_assertion(device.id, "jti", LONG_AGO)
        assert await work.devices.remember_assertion(other.id, "jti", NOW)
        assert await work.devices.remember_assertion(device.id, "another", NOW)


async def test_idempotency_key_when_put_then_found_for_its_tenant_only(storage: PostgresStorage) -> None:
    tenant_id = new_tenant_id()
    async with storage.transaction() as work:
        assert await work.idempotency.find(tenant_id, "key") is None
        await work.idempotency.put(tenant_id, "key", b"digest", 201, b'{"id": 1}')
        assert await work.idempotency.find(tenant_id, "key") == (b"digest", 201, b'{"id": 1}')
        assert await work.idempotency.find(new_tenant_id(), "key") is None
