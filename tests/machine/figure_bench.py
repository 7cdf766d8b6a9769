"""A bench whose card belongs to several parties: an arrangement of one of the configurations 500 to 800."""

from pathlib import Path

from msgspec.structs import replace
from tests.machine.bench import RIGHTS, Bench

from opentsm.card.codec.aid import Aid
from opentsm.tsm.bootstrap import card_profiles, se_configurations
from opentsm.tsm.custody.plain import application_key_handle
from opentsm.tsm.domain.arrangement import (
    ArrangedDomain,
    Arrangement,
    ContentMode,
    HandOverGrade,
    ProviderPlace,
)
from opentsm.tsm.domain.operation import Operation
from opentsm.tsm.domain.tenant import HUB, Tenant, TenantKind
from opentsm.tsm.kernel.ids import ArrangementId, TenantId
from opentsm.tsm.roles.hub.arrangements.desk import ArrangementDesk, ArrangementServices, NewArrangement

ISD, CENTRAL, MNO, MDPH, THIRD, CA = (
    Aid.from_hex(aid)
    for aid in (
        "A000000151000000",
        "F04F545344000001",
        "F04F545344000002",
        "F04F545344000003",
        "F04F545344000004",
        "A00000015153504341534400",
    )
)
CENTRAL_PLACE = ProviderPlace(under="Central SD", role="SP SD")
PROFILES = {500: "se-500", 600: "se-600-blank", 700: "se-700-blank", 800: "se-800-blank"}


class FigureBench(Bench):
    """The TSM, a card of one figure, and its parties: `third` and `mno` hold domains of their own.

    `services` says whether the card has the dispensable domains (MDPH SD, CA SD) too.
    """

    def __init__(self, dsn: str, directory: Path, number: int, *, services: bool = False) -> None:
        super().__init__(dsn, directory, PROFILES[number])
        self.configuration = number
        self.services = services
        self.third, self.mno = TenantId(self.world.new_id()), TenantId(self.world.new_id())

    async def seed(self) -> None:
        """Register the parties, the arrangement and the first card."""
        async with self.storage.transaction() as tx:
            for party in (self.third, self.mno):
                kind = TenantKind.SERVICE_PROVIDER
                await tx.tenants.add(
                    Tenant(id=party, kind=kind, name=str(party), created_at=self.world.now())
                )
            await tx.commit()
        await super().seed()
        desk = ArrangementDesk(
            ArrangementServices(self.storage, self.world, card_profiles(), se_configurations(), RIGHTS)
        )
        self.arrangement: Arrangement = await desk.create(self.issuer_principal, self.figure())

    def figure(self) -> NewArrangement:
        """Describe the arrangement."""
        if self.configuration == 500:
            top = ArrangedDomain(name="Central SD", role="Central SD", aid=ISD, holder_id=HUB, kvn=0x21)
            return NewArrangement(name="figure", configuration=500, domains=(top,), place=CENTRAL_PLACE)
        own = ProviderPlace(mode=ContentMode.AUTHORIZED, under="Third-party SD", role="SP SD")
        holders = {CENTRAL: ("Central SD", HUB)}
        if self.configuration != 700:
            holders[MNO] = ("MNO SD", self.mno)
        if self.configuration != 600:
            holders[THIRD] = ("Third-party SD", self.third)
        if self.services:
            holders |= {MDPH: ("MDPH SD", self.issuer), CA: ("CA SD", self.mno)}
        top = ArrangedDomain(name="ISD", role="ISD", aid=ISD, holder_id=self.issuer, kvn=0x30)
        below = tuple(
            ArrangedDomain(name=role, role=role, aid=aid, holder_id=holder, kvn=0x31, parent="ISD")
            for aid, (role, holder) in holders.items()
        )
        return NewArrangement(
            name="figure",
            configuration=self.configuration,
            domains=(top, *below),
            place=CENTRAL_PLACE,
            handover=HandOverGrade.RELAY_TRUSTED,  # the blank cards have no certified key
            places={} if self.configuration == 600 else {self.third: own},
        )

    async def configure(self) -> Operation:
        """Ask for the arrangement on the card."""
        return await self.requests.configure(
            self.issuer_principal, self.se_id, ArrangementId(self.arrangement.id)
        )

    async def built(self) -> Operation:
        """Build the arrangement on the card."""
        return await self.run((await self.configure()).id)

    async def become(self, provider: TenantId) -> None:
        """Let another party be the provider of what is deployed next."""
        for name in ("purse-load", "purse-purchase", "purse-tac"):
            await self.ring.of(provider).generate(application_key_handle(provider, name))
        self.provider = provider
        self.principal = replace(self.principal, tenant_id=provider)
        self.description = replace(self.description, provider_id=provider)
