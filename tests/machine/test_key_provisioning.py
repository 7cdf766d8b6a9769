"""Key provisioning modes of TR-03165 on a card: a provider opens its domain with keys that it made itself.

The derivations here are the provider's own: they use nothing of the TSM but what its API gives.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_wrap
from tests.machine.provider_bench import Json, ProviderBench

from opentsm.card.crypto.cipher import tdes_ecb_encrypt
from opentsm.card.crypto.kcv import kcv_aes, kcv_des
from opentsm.card.crypto.mac import cmac
from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import CardCryptogramError
from opentsm.card.gp import commands
from opentsm.card.gp.keys import StaticKeys
from opentsm.tsm.domain.card_content import KeyProvisioningMode
from opentsm.tsm.domain.operation import OperationState, OperationType
from opentsm.tsm.domain.service import InstanceState
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from opentsm.tsm.kernel.ids import DeviceId, TenantId
from opentsm.tsm.roles.sp.errors import CatalogueError, Category

MASTER_INDEX = "7390f811-f27f-412c-a4ff-e792d073f41f"
MASTER = bytes.fromhex("404142434445464748494A4B4C4D4E4F")
TRANSPORT = bytes.fromhex("000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F")
DIVERSIFIED = {"keyProvisioningMode": 1, "keyIndex": MASTER_INDEX}
GIVEN = {"keyProvisioningMode": 2, "keyIndex": "t-1"}
RANDOM = {"keyProvisioningMode": 3, "keyIndex": "t-1"}


async def opened(dsn: str, directory: Path, profile: str = "scp03-i70") -> ProviderBench:
    made = ProviderBench(dsn, directory, profile)
    await made.open()
    await made.seed()
    keys = made.repository.domain_keys
    await keys.import_master_key(made.principal, MASTER_INDEX, Secret(MASTER))
    await keys.import_transport_key(made.principal, "t-1", Secret(TRANSPORT))
    return made


@pytest.fixture
async def bench(dsn: str, tmp_path: Path) -> AsyncIterator[ProviderBench]:
    made = await opened(dsn, tmp_path)
    yield made
    await made.close()


def kdf3(master: bytes, kdd: bytes) -> StaticKeys:
    """SP 800-108 in counter mode with AES-CMAC, one block: counter 01, 000000 and key number, 00, KDD.

    Source: the KDF3 template of GlobalPlatformPro, `$_ 00 00 00 k 00 $0..$9`, where `$_` is the counter.
    """
    keys = [cmac(master, bytes((1, 0, 0, 0, number, 0)) + kdd) for number in (1, 2, 3)]
    return StaticKeys(*map(Secret, keys))


def parted(clear: bytes) -> StaticKeys:
    size = len(clear) // 3
    return StaticKeys(*(Secret(clear[at : at + size]) for at in range(0, len(clear), size)))


async def test_mode_1_when_deployed_then_the_provider_derives_the_domains_keys(bench: ProviderBench) -> None:
    instance, operation = await bench.deploy_service(await bench.publish(features=DIVERSIFIED))
    assert operation.state is OperationState.SUCCEEDED, operation.failure
    found = await bench.repository.domain_keys.of_instance(bench.principal, instance.id)
    assert (found.mode, found.key_index) == (KeyProvisioningMode.DIVERSIFIED, MASTER_INDEX)
    assert (found.wrapped_keys, len(found.diversification_data)) == (b"", 10)
    keys = kdf3(MASTER, found.diversification_data)
    assert [kcv_aes(one.reveal()) for one in (keys.enc, keys.mac, keys.dek)] == [*found.check_values]
    host = bench.open_session(found.security_domain, keys, found.key_version)
    assert host.ok(commands.get_data(0xE0))


async def test_mode_1_when_keys_are_rotated_then_new_data_derive_the_new_ones(bench: ProviderBench) -> None:
    instance, _ = await bench.deploy_service(await bench.publish(features=DIVERSIFIED))
    desk = bench.repository.domain_keys
    before = await desk.of_instance(bench.principal, instance.id)
    rotation = await bench.requests.change(bench.principal, instance.id, OperationType.ROTATE_KEYS)
    assert (await bench.run(rotation.id)).state is OperationState.SUCCEEDED
    after = await desk.of_instance(bench.principal, instance.id)
    assert after.key_version != before.key_version
    assert after.diversification_data != before.diversification_data
    bench.open_session(after.security_domain, kdf3(MASTER, after.diversification_data), after.key_version)
    with pytest.raises(AssertionError, match="6A88"):
        bench.open_session(
            after.security_domain, kdf3(MASTER, before.diversification_data), before.key_version
        )


async def test_mode_3_when_deployed_then_keys_come_back_under_the_transport_key(bench: ProviderBench) -> None:
    instance, operation = await bench.deploy_service(await bench.publish(features=RANDOM))
    assert operation.state is OperationState.SUCCEEDED, operation.failure
    found = await bench.repository.domain_keys.of_instance(bench.principal, instance.id)
    assert (found.mode, found.key_index) == (KeyProvisioningMode.RANDOM, "t-1")
    keys = parted(aes_key_unwrap(TRANSPORT, found.wrapped_keys))
    assert [kcv_aes(one.reveal()) for one in (keys.enc, keys.mac, keys.dek)] == [*found.check_values]
    bench.open_session(found.security_domain, keys, found.key_version)


async def deposit(bench: ProviderBench, seed: int, scp: int = 3) -> bytes:
    clear = b"".join(bytes((seed + n,)) * 16 for n in range(3))
    kcv = kcv_aes if scp == 3 else kcv_des
    await bench.repository.domain_keys.deposit(
        bench.principal,
        index="t-1",
        scp=scp,
        wrapped=aes_key_wrap(TRANSPORT, clear),
        check_values=tuple(kcv(clear[at : at + 16]) for at in (0, 16, 32)),
    )
    return clear


async def test_mode_2_when_deployed_then_the_domain_holds_the_deposited_keys_once(
    bench: ProviderBench,
) -> None:
    first, second = await deposit(bench, 0x10), await deposit(bench, 0x20)
    published = await bench.publish(features=GIVEN)
    for clear in (first, second):
        instance, operation = await bench.deploy_service(published)
        assert operation.state is OperationState.SUCCEEDED, operation.failure
        found = await bench.repository.domain_keys.of_instance(bench.principal, instance.id)
        assert (found.mode, found.wrapped_keys) == (KeyProvisioningMode.GIVEN, b"")
        bench.open_session(found.security_domain, parted(clear), found.key_version)
        await bench.new_card()
    assert [one["used"] for one in await bench.repository.domain_keys.deposits(bench.principal)] == [True] * 2


async def test_mode_2_when_no_key_set_is_left_then_fails_and_goes_on_after_a_deposit(
    bench: ProviderBench,
) -> None:
    await deposit(bench, 0x30, scp=2)  # of another protocol than the card's
    instance, operation = await bench.deploy_service(await bench.publish(features=GIVEN))
    assert (operation.state, operation.failure and operation.failure.code) == (
        OperationState.FAILED,
        "plan_refused",
    )
    assert instance.state is InstanceState.IN_ERROR
    clear = await deposit(bench, 0x40)
    again = await bench.requests.change(bench.principal, instance.id, OperationType.DEPLOY)
    assert (await bench.run(again.id)).state is OperationState.SUCCEEDED
    found = await bench.repository.domain_keys.of_instance(bench.principal, instance.id)
    bench.open_session(found.security_domain, parted(clear), found.key_version)


async def test_mode_0_when_deployed_then_nobody_is_told_the_keys(bench: ProviderBench) -> None:
    instance, _ = await bench.deploy_service(await bench.publish())
    found = await bench.repository.domain_keys.of_instance(bench.principal, instance.id)
    assert found.mode is KeyProvisioningMode.NONE
    assert (found.wrapped_keys, found.diversification_data, found.key_index) == (b"", b"", "")
    with pytest.raises(CardCryptogramError):
        bench.open_session(found.security_domain, kdf3(MASTER, bytes(10)), found.key_version)


@pytest.mark.parametrize("mode", [1, 2, 3])
async def test_modes_when_the_card_has_scp02_then_the_domain_is_opened_too(
    dsn: str, tmp_path: Path, mode: int
) -> None:
    bench = await opened(dsn, tmp_path, "scp02-i55")
    try:
        given = await deposit(bench, 0x50, scp=2)
        features: Json = {"keyProvisioningMode": mode, "keyIndex": MASTER_INDEX if mode == 1 else "t-1"}
        instance, operation = await bench.deploy_service(await bench.publish(features=features))
        assert operation.state is OperationState.SUCCEEDED, operation.failure
        found = await bench.repository.domain_keys.of_instance(bench.principal, instance.id)
        keys = {
            1: lambda: emv(MASTER, found.diversification_data),
            2: lambda: parted(given),
            3: lambda: parted(aes_key_unwrap(TRANSPORT, found.wrapped_keys)),
        }[mode]()
        bench.open_session(found.security_domain, keys, found.key_version)
    finally:
        await bench.close()


def emv(master: bytes, kdd: bytes) -> StaticKeys:
    """EMV CPS 1.1: 3DES over the last 6 bytes of the KDD, F0 k, the same, 0F k."""

    def key(number: int) -> Secret:
        data = kdd[4:] + bytes((0xF0, number)) + kdd[4:] + bytes((0x0F, number))
        return Secret(tdes_ecb_encrypt(master, data))

    return StaticKeys(key(1), key(2), key(3))


async def test_domain_keys_when_asked_for_by_others_then_refused(bench: ProviderBench) -> None:
    instance, _ = await bench.deploy_service(await bench.publish(features=RANDOM))
    desk = bench.repository.domain_keys
    stranger = Principal(tenant_id=TenantId(bench.world.new_id()), kind=TenantKind.SERVICE_PROVIDER)
    with pytest.raises(NotFoundError):
        await desk.of_instance(stranger, instance.id)
    operator = Principal(tenant_id=bench.provider, kind=TenantKind.OPERATOR)
    device = Principal(tenant_id=bench.provider, kind=TenantKind.SERVICE_PROVIDER, device_id=DeviceId("d"))
    for principal in (bench.issuer_principal, operator, device):
        with pytest.raises(ForbiddenError):
            await desk.of_instance(principal, instance.id)
        with pytest.raises(ForbiddenError):
            await desk.deposits(principal)
        with pytest.raises(ForbiddenError):
            await desk.import_transport_key(principal, "t-2", Secret(TRANSPORT))


async def test_key_when_its_index_is_taken_or_impossible_then_refused(bench: ProviderBench) -> None:
    desk = bench.repository.domain_keys
    await desk.import_master_key(bench.principal, MASTER_INDEX, Secret(MASTER))
    with pytest.raises(ConflictError):
        await desk.import_master_key(bench.principal, MASTER_INDEX, Secret(bytes(16)))
    for index, key in (("../x", bytes(16)), ("", bytes(16)), ("A1" * 16, bytes(16)), ("ok", bytes(15))):
        with pytest.raises(InvalidInputError):
            await desk.import_master_key(bench.principal, index, Secret(key))


async def test_deposit_when_it_is_not_what_it_says_then_refused(bench: ProviderBench) -> None:
    clear = bytes(48)
    good = aes_key_wrap(TRANSPORT, clear)
    right = (kcv_aes(bytes(16)),) * 3
    for index, wrapped, values, error in (
        ("t-9", good, right, NotFoundError),
        ("t-1", aes_key_wrap(bytes(32), clear), right, InvalidInputError),
        ("t-1", good, (b"\0\0\0",) * 3, InvalidInputError),
        ("t-1", good[:-8], right, InvalidInputError),
    ):
        with pytest.raises(error):
            await bench.repository.domain_keys.deposit(
                bench.principal, index=index, scp=3, wrapped=wrapped, check_values=values
            )
    assert await bench.repository.domain_keys.deposits(bench.principal) == []


TOKEN = {"provideAttestationToken": True}
FULL = {**TOKEN, "includeSecurityDomainDiversificationData": True}


@pytest.mark.parametrize(
    ("features", "personalization", "category"),
    [
        ({"keyProvisioningMode": 1}, {}, Category.MISSING_ATTRIBUTE),
        ({"keyProvisioningMode": 4, "keyIndex": "x"}, {}, Category.INVALID_FORMAT),
        ({"keyProvisioningMode": 0, "keyIndex": "t-1"}, {}, Category.INVALID_FORMAT),
        ({"keyIndex": "t-1"}, {}, Category.INVALID_FORMAT),
        ({"keyProvisioningMode": 1, "keyIndex": "t-1"}, {}, Category.NOT_EXISTING),
        ({"keyProvisioningMode": 3, "keyIndex": MASTER_INDEX}, {}, Category.NOT_EXISTING),
        ({}, TOKEN, Category.INVALID_FORMAT),
        (DIVERSIFIED, {"includeSecurityDomainDiversificationData": True}, Category.INVALID_FORMAT),
        (RANDOM, FULL, Category.INVALID_FORMAT),
        ({"keyProvisioningMode": 1, "keyIndex": "m-1"}, FULL, Category.INVALID_FORMAT),
        ({**RANDOM, "genericOptions": {"underIssuerDomain": True}}, {}, Category.INVALID_FORMAT),
    ],
)
async def test_flavor_when_mode_index_and_token_do_not_fit_then_its_category(
    bench: ProviderBench, features: Json, personalization: Json, category: Category
) -> None:
    await bench.repository.domain_keys.import_master_key(bench.principal, "m-1", Secret(MASTER))
    with pytest.raises(CatalogueError) as refused:
        await bench.publish(features=features, personalization=dict(personalization))
    assert refused.value.category is category, refused.value


async def test_flavor_when_changed_to_a_mode_without_index_then_1006(bench: ProviderBench) -> None:
    published = await bench.publish(features=RANDOM)
    ids = str(published["service"]["id"]), str(published["flavor"]["id"])
    with pytest.raises(CatalogueError) as refused:
        body = {"featureConfig": {"keyProvisioningMode": 2}}
        await bench.repository.flavors.modify(bench.provider, *ids, body)
    assert refused.value.category is Category.MISSING_ATTRIBUTE_IN_PUT
    changed = await bench.repository.flavors.modify(bench.provider, *ids, {"featureConfig": DIVERSIFIED})
    assert changed["featureConfig"] == DIVERSIFIED
