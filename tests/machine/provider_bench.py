"""The bench with a real repository: a service provider's documents decide what gets into the card."""

import json
from pathlib import Path
from typing import Any

from tests.machine.bench import Bench
from tests.unit.vse.card_host import CardHost

from opentsm.card.codec.aid import Aid
from opentsm.card.gp.keys import StaticKeys
from opentsm.tsm.adapters.peers.local import LocalPeers
from opentsm.tsm.config.attestation import TSM_IDENTIFIER
from opentsm.tsm.custody.custodian import Custodian
from opentsm.tsm.custody.holder import Custody
from opentsm.tsm.custody.plain import PlainSessions
from opentsm.tsm.domain.operation import Operation
from opentsm.tsm.domain.service import ServiceInstance
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.peer import SegmentOwner
from opentsm.tsm.roles.hub.conductor import Conductor
from opentsm.tsm.roles.hub.device_link import DeviceLink
from opentsm.tsm.roles.hub.requests import Requests
from opentsm.tsm.roles.hub.services import HubServices
from opentsm.tsm.roles.sp.catalogue import SpCatalogue
from opentsm.tsm.roles.sp.key_provisioning import DomainKeyProvisioner
from opentsm.tsm.roles.sp.personalization import RecipePersonalization

SOURCE = Path(__file__).parents[2] / "src/opentsm"
BADGE = Aid.from_hex("F04F54534D030001")
Json = dict[str, Any]


class ProviderBench(Bench):
    """The TSM with the repository of its provider, one card, one device."""

    async def open(self) -> None:
        await super().open()
        self.repository = SpCatalogue(self.storage, self.world, self.profiles, self.ring.of, TSM_IDENTIFIER)
        services = HubServices(
            storage=self.storage,
            keystore=self.ring.of(self.hub),
            peers=LocalPeers(self._holder, self.repository),
            world=self.world,
            notifier=self.notifier,
            profiles=self.profiles,
        )
        self.conductor = Conductor(services)
        self.link = DeviceLink(services)
        self.requests = Requests(services)

    def _holder(self, tenant: TenantId) -> SegmentOwner:
        keystore = self.ring.of(tenant)
        return Custodian(
            Custody(
                tenant_id=tenant,
                storage=self.storage,
                keystore=keystore,
                world=self.world,
                profiles=self.profiles,
                personalization=RecipePersonalization(
                    tenant, self.storage, keystore, self.repository.attestation
                ),
                plain=PlainSessions(tenant),
                provisioner=DomainKeyProvisioner(tenant, self.storage, keystore, self.world),
            )
        )

    async def publish(
        self,
        *,
        features: Json | None = None,
        personalization: Json | None = None,
        recipe: Json | None = None,
        install: str = "",
        service: Json | None = None,
        flavor: Json | None = None,
        cap: str = "badge.cap",
    ) -> Json:
        """Publish a service with one application in version 1.0.0; return the documents by name."""
        desk, owner = self.repository, self.provider
        elf = await desk.load_files.upload(owner, cap, (SOURCE / "demo/caps" / cap).read_bytes())
        (module, *_) = await desk.load_files.modules(owner, str(elf["id"]))
        config: Json = {"instanceAid": BADGE.hex(), "personalizationConfig": personalization or {}}
        if install:
            config["installConfig"] = {"applicationSpecificInstallParameter": install}
        if recipe is not None:
            script = await desk.scripts.upload(owner, "recipe.json", json.dumps(recipe).encode())
            config["personalizationConfig"]["personalizationScriptId"] = script["id"]
        configured = await desk.configurations.create(owner, config)
        made = await desk.services.create(owner, {"name": "badges", **(service or {})})
        draft = {
            "executableLoadFileIds": [elf["id"]],
            "applicationInstantiationConfigs": [
                {"executableModuleId": module["id"], "applicationConfigId": configured["id"]}
            ],
            "featureConfig": features or {},
            **(flavor or {}),
        }
        created = await desk.flavors.create(owner, str(made["id"]), draft)
        await desk.flavors.publish(owner, str(made["id"]), str(created["id"]))
        profile = next(one for one in desk.profiles.all() if one["name"] == self.profile_name)
        body = {"tag": "1.0.0", "allowedDeployments": {created["id"]: [profile["id"]]}}
        await desk.versions.create(owner, str(made["id"]), body)
        return {"service": made, "flavor": created, "config": configured, "elf": elf}

    async def deploy_service(
        self, published: Json, data: dict[str, str] | None = None
    ) -> tuple[ServiceInstance, Operation]:
        """Deploy a published service to the card in the device, to the operation's end."""
        instance, operation = await self.requests.deploy(
            self.principal, se_id=self.se_id, service_id=str(published["service"]["id"]), data=data or {}
        )
        self.instance_id = instance.id
        ended = await self.run(operation.id)
        return await self.instance(), ended

    def open_session(self, aid: Aid, keys: StaticKeys, kvn: int) -> CardHost:
        """Open a session with a security domain, as its provider would with keys that it derived itself."""
        host = CardHost(self.card)
        assert host.select(aid).sw == 0x9000
        scp02 = self.profile_name.startswith("scp02")
        host.authenticate(keys, level=0x03 if scp02 else 0x33, kvn=kvn, i=self.profiles[self.profile_name].i)
        return host
