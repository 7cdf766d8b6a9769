"""Two services of two providers on one card: each security domain and application belongs to one of them."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from tests.machine.bench import DOMAIN, PURSE, Bench

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.card_content import ServiceDescription
from opentsm.tsm.domain.operation import Operation, OperationState
from opentsm.tsm.domain.service import ServiceInstance
from opentsm.tsm.domain.tenant import Principal, Tenant, TenantKind
from opentsm.tsm.kernel.errors import ConflictError
from opentsm.tsm.kernel.ids import InstanceId, TenantId

replace = msgspec.structs.replace
OTHER_DOMAIN, OTHER_PURSE = Aid.from_hex("F04F54534DF0000000000002"), Aid.from_hex("F04F54534D020102")


@pytest.fixture
async def bench(dsn: str, tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(dsn, tmp_path)
    await made.open()
    await made.seed()
    yield made
    await made.close()


class OneDescription:
    """A catalogue that has one description for everybody."""

    def __init__(self, description: ServiceDescription) -> None:
        self._description = description

    async def holds(self, description: ServiceDescription) -> bool:
        return True

    async def online_system(self, provider_id: TenantId, service_id: str) -> None:
        return None

    async def describe(
        self, provider_id: TenantId, service_id: str, version_tag: str | None, profile_id: str
    ) -> ServiceDescription:
        return self._description

    async def seal_personalization_data(
        self,
        provider_id: TenantId,
        description: ServiceDescription,
        instance_id: InstanceId,
        data: dict[str, str],
    ) -> bytes:
        return b""


async def neighbour(bench: Bench, description: ServiceDescription) -> tuple[ServiceInstance, Operation]:
    """Let another provider ask for a service of its own on the bench's card."""
    other = TenantId(bench.world.new_id())
    async with bench.storage.transaction() as tx:
        kind, now = TenantKind.SERVICE_PROVIDER, bench.world.now()
        await tx.tenants.add(Tenant(id=other, kind=kind, name=str(other), created_at=now))
        await tx.commit()
    theirs = replace(description, provider_id=other, service_id=bench.world.new_id(), applications=())
    catalogue = OneDescription(replace(theirs, load_files=()))
    bench.catalogue.describe = catalogue.describe  # type: ignore[method-assign]
    bench.catalogue.seal_personalization_data = (  # type: ignore[method-assign]
        catalogue.seal_personalization_data
    )
    principal = Principal(tenant_id=other, kind=TenantKind.SERVICE_PROVIDER)
    return await bench.requests.deploy(principal, se_id=bench.se_id, service_id=theirs.service_id)


async def test_deploy_when_another_tenants_domain_has_the_aid_then_refused_before_anything_is_sent(
    bench: Bench,
) -> None:
    assert (await bench.run((await bench.deploy()).id)).state is OperationState.SUCCEEDED
    sent = bench.device.sent
    with pytest.raises(ConflictError, match=str(DOMAIN)):
        await neighbour(bench, bench.description)
    assert bench.device.sent == sent


async def test_deploy_when_the_aids_differ_then_both_tenants_have_a_domain(bench: Bench) -> None:
    await bench.run((await bench.deploy()).id)
    _, operation = await neighbour(bench, replace(bench.description, sd_aid=OTHER_DOMAIN))
    assert operation.state is OperationState.REQUESTED


@pytest.mark.parametrize("same", ["domain", "application"])
async def test_deploy_when_an_object_of_another_instance_has_the_aid_then_the_plan_is_refused(
    bench: Bench, same: str
) -> None:
    """What two requests at once could still bring about, the planner refuses."""
    await bench.run((await bench.deploy()).id)
    first = bench.instance_id
    other = TenantId(bench.world.new_id())
    aid = OTHER_PURSE if same == "domain" else PURSE
    description = replace(
        bench.description,
        service_id=bench.world.new_id(),
        provider_id=other,
        sd_aid=DOMAIN if same == "domain" else OTHER_DOMAIN,
        applications=tuple(replace(app, instance_aid=aid) for app in bench.description.applications),
    )
    operation = await bench.run((await bench.deploy(description)).id)
    assert operation.state is OperationState.FAILED
    assert operation.failure is not None
    assert operation.failure.code == "plan_refused"
    assert not operation.changed_card
    async with bench.storage.transaction() as tx:
        claims = {claim.aid: claim.instance_ids for claim in await tx.secure_elements.claims(bench.se_id)}
    assert claims[DOMAIN] == claims[PURSE] == (first,)
