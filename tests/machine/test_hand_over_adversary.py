"""Whole deployments in both grades, and the hub as the adversary: it reads the one, and not the other.

It has the whole database, the keystores of the hub, the issuer and the manager, and all traffic of the card.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.machine.adversary import Adversary, Tapped, values
from tests.machine.bench import DOMAIN, PURSE
from tests.machine.delegated_bench import DelegatedBench

from opentsm.card.crypto.key_agreement import KeyAgreementKey
from opentsm.card.crypto.secret import Secret
from opentsm.card.crypto.signature import Curve
from opentsm.card.gp.keys import StaticKeys
from opentsm.tsm.custody.plain import application_key_handle
from opentsm.tsm.domain.arrangement import ContentMode, HandOverGrade
from opentsm.tsm.domain.operation import OperationState
from opentsm.vse.certified_keys import CASD_AID, CASD_KVN, KID_CONFIDENTIALITY

CONFIDENTIAL, RELAY_TRUSTED = HandOverGrade.CONFIDENTIAL, HandOverGrade.RELAY_TRUSTED


@pytest.fixture(params=[ContentMode.CENTRALISED, ContentMode.DELEGATED], ids=["CM", "DM"])
async def bench(dsn: str, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[DelegatedBench]:
    made = DelegatedBench(dsn, tmp_path, request.param)
    yield made
    await made.close()


async def deployed(bench: DelegatedBench, grade: HandOverGrade) -> Tapped:
    """Deploy and personalise the purse, with somebody listening."""
    bench.handover = grade
    await bench.open()
    await bench.seed()
    tap = Tapped(bench.card)
    bench.device.card = tap  # type: ignore[assignment]
    operation = await bench.run((await bench.deploy()).id)
    assert operation.state is OperationState.SUCCEEDED, operation.failure
    return tap


async def adversary(bench: DelegatedBench, tap: Tapped) -> Adversary:
    parties = (bench.hub, bench.issuer, bench.manager)
    return await Adversary.of(bench.dsn, {one: bench.ring.of(one) for one in parties}, tap.traffic)


def keys_on_card(bench: DelegatedBench) -> StaticKeys:
    """Return the static keys of the provider's domain, as the card itself has them."""
    domain = bench.card.image().instance(bytes(DOMAIN))
    assert domain is not None
    kvn = max(key.kvn for key in domain.domain_data().keys)
    found = [domain.domain_data().find_key(kid, kvn) for kid in (1, 2, 3)]
    return StaticKeys(*(Secret(key.value) for key in found if key is not None))


async def personal_data(bench: DelegatedBench) -> list[bytes]:
    """Return the purse's keys: what its provider personalised it with."""
    purse = bench.card.image().instance(bytes(PURSE))
    assert purse is not None
    stored = b"".join(purse.store.values())
    found = []
    for name in ("purse-load", "purse-purchase", "purse-tac"):
        handle = application_key_handle(bench.provider, name)
        master = bench.ring.of(bench.provider)
        for value in purse.store.values():
            for at in range(len(value) - 7):
                key = await master.derive_application_key(handle, value[at : at + 8])
                if key.reveal() in stored:
                    found.append(key.reveal())
    return sorted(set(found))


async def test_hub_when_it_made_temporary_keys_reads_the_providers_keys_and_data(
    bench: DelegatedBench,
) -> None:
    """The adversary is a good one: in this grade it ends up with exactly what is on the card."""
    tap = await deployed(bench, RELAY_TRUSTED)
    hub, secrets = await adversary(bench, tap), await personal_data(bench)
    assert len(secrets) == 3
    hub.attack()
    assert hub.has_keys(keys_on_card(bench))
    assert all(hub.has_read(secret) for secret in secrets)


async def test_hub_when_keys_were_agreed_on_learns_neither_keys_nor_data(bench: DelegatedBench) -> None:
    tap = await deployed(bench, CONFIDENTIAL)
    hub, keys, secrets = await adversary(bench, tap), keys_on_card(bench), await personal_data(bench)
    assert len(secrets) == 3
    hub.attack()
    assert hub.sessions_opened and hub.private  # it did read its own sessions, and had keys to agree with
    assert not hub.has_keys(keys)
    assert not any(hub.has_read(secret) for secret in (*values(keys), *secrets))


async def test_hub_when_it_gets_the_cards_own_key_reads_all_that_was_agreed_with_it(
    bench: DelegatedBench,
) -> None:
    """It does try to agree: what it lacks is the CASD's private key, and nothing else protects scenario 3."""
    tap = await deployed(bench, CONFIDENTIAL)
    hub = await adversary(bench, tap)
    casd = bench.card.image().instance(CASD_AID)
    assert casd is not None
    private = casd.domain_data().find_key(KID_CONFIDENTIALITY, CASD_KVN)
    assert private is not None
    hub.private.append(KeyAgreementKey(Curve.P_256, Secret(private.value)))
    hub.attack()
    assert hub.has_keys(keys_on_card(bench))
    assert all(hub.has_read(secret) for secret in await personal_data(bench))
