"""Many cards for one campaign: each with its device, all served by one TSM."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import msgspec
from tests.machine.bench import Bench, Device
from tests.machine.two_versions import offer_all

from opentsm.tsm.domain.campaign import Campaign, Counts, Member, Selection
from opentsm.tsm.domain.operation import ENDED, Operation, OperationState, OperationType
from opentsm.tsm.domain.service import ServiceInstance
from opentsm.tsm.domain.tenant import Principal
from opentsm.tsm.kernel.ids import CampaignId, InstanceId, OperationId, SeId
from opentsm.tsm.roles.hub.campaigns.desk import Campaigns, NewCampaign
from opentsm.tsm.roles.hub.campaigns.ticking import Ticker
from opentsm.tsm.roles.hub.order_answers import Report
from opentsm.tsm.roles.hub.services import ADVANCE, CAMPAIGN_TICK
from opentsm.workers.outbox import OutboxWorker

SECOND = timedelta(seconds=1)


@dataclass
class Station:
    """One card in its device, with one instance of the service."""

    se_id: SeId
    instance_id: InstanceId
    device: Device
    principal: Principal
    session_id: str
    report: Report = field(default_factory=lambda: Report(polling=True))
    there: bool = True


class CampaignBench:
    """The TSM of a Bench with the campaigns' use cases, and any number of cards."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.stations: list[Station] = []
        self.campaigns = Campaigns(bench.conductor._s)
        self.ticker = Ticker(bench.conductor._s, bench.requests)
        self.failing: set[str] = set()

    @classmethod
    @asynccontextmanager
    async def open(cls, dsn: str, directory: Path, cards: int) -> AsyncIterator["CampaignBench"]:
        """Deploy version 1.0.0 on so many cards."""
        bench = Bench(dsn, directory)
        await bench.open()
        await bench.seed()
        await offer_all(bench)
        made = cls(bench)
        for number in range(cards):
            await made.add(first=number == 0)
        yield made
        await bench.close()

    async def add(self, *, first: bool = False) -> Station:
        """Put the service on another card."""
        bench = self.bench
        if not first:
            await bench.new_card()
        version = bench.catalogue.versions["1.0.0"]
        operation = await bench.run((await bench.deploy(version)).id)
        assert operation.state is OperationState.SUCCEEDED, operation.failure
        station = Station(
            bench.se_id, bench.instance_id, bench.device, bench.device_principal, bench.session_id
        )
        self.stations.append(station)
        return station

    # --- what a party does -------------------------------------------------------------------------------

    async def update(self, version: str = "2.0.0", **more: object) -> CampaignId:
        """Make a campaign of the provider for all instances of its service."""
        service = self.bench.catalogue.versions["1.0.0"].service_id
        given = {"data": {"some": "data"}, "selection": Selection(service_id=service), **more}
        new = NewCampaign(name="an update", type=OperationType.UPDATE, version=version, **given)  # type: ignore[arg-type]
        return (await self.campaigns.create(self.bench.principal, new)).campaign.id

    async def campaign(self, campaign_id: CampaignId) -> Campaign:
        """Return the campaign as it is."""
        return (await self.campaigns.standing(self.bench.principal, campaign_id)).campaign

    async def counts(self, campaign_id: CampaignId) -> Counts:
        """Return what is counted."""
        return (await self.campaigns.standing(self.bench.principal, campaign_id)).counts

    async def members(self, campaign_id: CampaignId) -> list[Member]:
        """Return all members."""
        found = await self.campaigns.members(self.bench.principal, campaign_id, 0, 200, None)
        return list(found)

    async def instance(self, station: Station) -> ServiceInstance:
        """Return a station's instance."""
        async with self.bench.storage.transaction() as tx:
            found = await tx.instances.get(station.instance_id)
        assert found is not None
        return found

    async def operations(self, campaign_id: CampaignId) -> list[Operation]:
        """Return the operations of all members."""
        ids = [one.operation_id for one in await self.members(campaign_id) if one.operation_id]
        return [await self.bench.operation(OperationId(one)) for one in ids]

    # --- time passes -------------------------------------------------------------------------------------

    def worker(self) -> OutboxWorker:
        """Return a worker that also ticks."""
        bench = self.bench
        handlers = {
            ADVANCE: lambda body: bench.conductor.advance(OperationId(body["operation"])),
            CAMPAIGN_TICK: self.ticker.handle,
        }
        return OutboxWorker(bench.storage, handlers, bench.world, bench.notifier, failures_raise=True)

    async def pass_time(self, seconds: float = 1) -> None:
        """Set the clock forward, and let the TSM do what is due."""
        self.bench.world.shift += SECOND * seconds
        await self.worker().drain()

    async def exchange(self) -> None:
        """Let every device that is there run one order, and report it."""
        for station in self.stations:
            if station.there:
                await self._exchange(station)

    async def _exchange(self, station: Station) -> None:
        bench = self.bench
        session = await bench.link.session(station.principal, station.session_id)
        delivery = await bench.link.exchange(session, station.report, wait_s=0.0)
        station.report = station.device.run(delivery) if delivery.commands else Report(polling=True)

    async def run(self, campaign_id: CampaignId, *, most_turns: int = 200) -> Campaign:
        """Let time pass and devices poll until the campaign needs a person, or has ended."""
        for _ in range(most_turns):
            await self.pass_time()
            campaign = await self.campaign(campaign_id)
            if campaign.state.value not in ("COLLECTING", "RUNNING"):
                return campaign
            await self.exchange()
        raise AssertionError(
            f"still {campaign.state} after {most_turns} turns: {await self.counts(campaign_id)}"
        )

    async def finish(self, operations: list[Operation]) -> None:
        """Let devices poll until operations have ended."""
        for _ in range(100):
            await self.pass_time()
            await self.exchange()
            if all([(await self.bench.operation(one.id)).state in ENDED for one in operations]):
                return


def changed(campaign: Campaign, **more: object) -> Campaign:
    """Return a campaign with other values."""
    return msgspec.structs.replace(campaign, **more)
