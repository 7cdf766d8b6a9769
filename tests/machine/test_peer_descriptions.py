"""What another TSM describes and sends: what is no service, or leaves its session, gets on no card."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.machine.peer_bench import PeerBench, make_elsewhere

from opentsm.card.gp.privileges import Privilege
from opentsm.card.profiles import SeProfile
from opentsm.tsm.domain.card_content import ServiceDescription
from opentsm.tsm.domain.exchange import Command
from opentsm.tsm.domain.foreign_services import SERVICE_PRIVILEGES, objection
from opentsm.tsm.domain.operation import OperationState
from opentsm.tsm.kernel.errors import PeerFaultError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.roles.hub.device_link import Delivery
from opentsm.tsm.roles.hub.order_answers import Report
from opentsm.tsm.roles.sp.card_settings import PRIVILEGES

Change = Callable[[ServiceDescription, SeProfile], ServiceDescription]
POWER = sorted(set(Privilege) - set(SERVICE_PRIVILEGES))


@pytest.fixture(scope="session", autouse=True)
def elsewhere(dsn: str) -> None:
    make_elsewhere(dsn)


@pytest.fixture
async def bench(dsn: str, tmp_path: Path) -> AsyncIterator[PeerBench]:
    made = PeerBench(dsn, tmp_path)
    await made.open()
    await made.seed()
    await made.meet()
    yield made
    await made.close()


def with_privileges(description: ServiceDescription, privileges: Privilege) -> ServiceDescription:
    (first, *others) = description.applications
    return replace(description, applications=(replace(first, privileges=int(privileges)), *others))


def manager(description: ServiceDescription, profile: SeProfile) -> ServiceDescription:
    """Let the issuer make a domain with Authorized Management, under the name of an application."""
    whole = with_privileges(description, Privilege.SECURITY_DOMAIN | Privilege.AUTHORIZED_MANAGEMENT)
    app = replace(whole.applications[0], load_file=profile.ssd_package, module=profile.ssd_module)
    return replace(whole, load_files=(), applications=(app,))


def plain_from_package(description: ServiceDescription, profile: SeProfile) -> ServiceDescription:
    return with_privileges(manager(description, profile), Privilege.NONE)


def terminator(description: ServiceDescription, profile: SeProfile) -> ServiceDescription:
    return with_privileges(description, Privilege.CARD_TERMINATE)


def of_somebody_else(description: ServiceDescription, profile: SeProfile) -> ServiceDescription:
    return replace(description, provider_id=TenantId("other"))


@pytest.mark.parametrize("change", [manager, plain_from_package, terminator, of_somebody_else])
async def test_description_when_it_is_of_no_service_then_nothing_is_asked_of_the_card(
    bench: PeerBench, monkeypatch: pytest.MonkeyPatch, change: Change
) -> None:
    published = await bench.publish()
    described = bench.elsewhere.catalogue.describe

    async def changed(
        provider_id: TenantId, service_id: str, version_tag: str | None, profile_id: str
    ) -> ServiceDescription:
        found = await described(provider_id, service_id, version_tag, profile_id)
        return change(found, bench.profiles[profile_id])

    monkeypatch.setattr(bench.elsewhere.catalogue, "describe", changed)
    with pytest.raises(PeerFaultError, match="The other TSM described"):
        await bench.deploy_service(published, {})
    async with bench.storage.transaction() as tx:
        assert not await tx.instances.on_secure_element(bench.se_id)


async def test_description_when_it_is_a_services_then_deployed(bench: PeerBench) -> None:
    _, operation = await bench.deploy_service(await bench.publish(), {})
    assert operation.state is OperationState.SUCCEEDED, operation.failure


async def test_privilege_when_it_is_power_over_other_content_then_objected(bench: PeerBench) -> None:
    published = await bench.publish()
    service_id = str(published["service"]["id"])
    described = await bench.repository.describe(bench.provider, service_id, None, "scp03-i70")
    assert objection(described, 0xFFFFFF) is None
    for power in POWER:
        assert objection(with_privileges(described, power), 0xFFFFFF) is not None, power


def test_privileges_when_a_provider_can_name_them_here_then_a_foreign_one_can_too() -> None:
    named = Privilege.NONE
    for one in PRIVILEGES.values():
        named |= one
    assert named == SERVICE_PRIVILEGES


@pytest.mark.parametrize("method", ["prepare_segment", "wrap_segment"])
async def test_commands_when_they_leave_the_partys_session_then_the_card_never_sees_them(
    bench: PeerBench, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    owner = bench.elsewhere.peer_counter._local.segment_owner(bench.provider)
    asked, stray = getattr(owner, method), "00A4040008A000000151000000"

    async def changed(*arguments: object, **named: object) -> tuple[Command, ...]:
        found: tuple[Command, ...] = await asked(*arguments, **named)
        return (*found, replace(found[0], apdu=stray))

    monkeypatch.setattr(owner, method, changed)
    seen: list[str] = []
    run = bench.device.run

    def noted(delivery: Delivery) -> Report:
        seen.extend(one.apdu for one in delivery.commands)
        return run(delivery)

    monkeypatch.setattr(bench.device, "run", noted)
    published = await bench.publish()
    _, operation = await bench.requests.deploy(
        bench.principal, se_id=bench.se_id, service_id=str(published["service"]["id"]), data={}
    )
    with pytest.raises(AssertionError, match="still"):  # the party is asked again, later
        await bench.run(operation.id, most_orders=8)
    assert seen
    assert stray not in seen
