"""Puts the TSM together: ports, adapters, the roles of every party, and how they reach each other."""

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib.resources import files

import httpx

from opentsm.card.crypto.secret import Secret
from opentsm.card.gp.se_configurations import SeConfiguration
from opentsm.card.gp.se_rights import Rights
from opentsm.card.profiles import SeProfile
from opentsm.tsm.adapters.bearers.virtual.authority import VirtualCardAuthority
from opentsm.tsm.adapters.deliveries.http_sender import HttpSender, SenderRules
from opentsm.tsm.adapters.deliveries.trust import Identity
from opentsm.tsm.adapters.keystores.ring import KeystoreRing
from opentsm.tsm.adapters.notifier import LocalNotifier
from opentsm.tsm.adapters.peers.local import LocalPeers
from opentsm.tsm.adapters.peers.remote import RemotePeers
from opentsm.tsm.adapters.peers.routing import PeerDirectory, RoutedPeers
from opentsm.tsm.adapters.storage.postgres import PostgresStorage
from opentsm.tsm.adapters.world import SystemWorld
from opentsm.tsm.config import RetentionSettings, Settings
from opentsm.tsm.config.deliveries import DeliverySettings
from opentsm.tsm.config.peers import PeerSettings
from opentsm.tsm.custody.card_trust import CardTrust
from opentsm.tsm.custody.custodian import Custodian
from opentsm.tsm.custody.holder import Custody
from opentsm.tsm.custody.plain import PlainSessions
from opentsm.tsm.domain.approval import Act
from opentsm.tsm.domain.audit import Checkpoint
from opentsm.tsm.domain.tenant import HUB
from opentsm.tsm.kernel.ids import ImportId, OperationId, TenantId
from opentsm.tsm.ports.notifier import Notifier
from opentsm.tsm.ports.unit_of_work import Storage
from opentsm.tsm.ports.world import World
from opentsm.tsm.roles.hub.approvals.acts import Performer
from opentsm.tsm.roles.hub.approvals.card_acts import CardActs
from opentsm.tsm.roles.hub.approvals.desk import Approvals, ApprovalServices
from opentsm.tsm.roles.hub.arrangements.desk import ArrangementDesk, ArrangementServices
from opentsm.tsm.roles.hub.audit_checkpoints import AuditVerdict, verify_audit, write_checkpoint
from opentsm.tsm.roles.hub.campaigns.desk import Campaigns
from opentsm.tsm.roles.hub.campaigns.ticking import Ticker
from opentsm.tsm.roles.hub.conductor import Conductor
from opentsm.tsm.roles.hub.conversations.deploying import Deploying
from opentsm.tsm.roles.hub.conversations.desk import Conversations
from opentsm.tsm.roles.hub.conversations.looking import Looking
from opentsm.tsm.roles.hub.conversations.naming import Naming
from opentsm.tsm.roles.hub.conversations.tokens import DelegatedTokens
from opentsm.tsm.roles.hub.delegation.desk import TokenDesk
from opentsm.tsm.roles.hub.device_calls import DeviceCalls
from opentsm.tsm.roles.hub.device_link import DeviceLink
from opentsm.tsm.roles.hub.dispatch import Dispatch, Patience
from opentsm.tsm.roles.hub.onboarding import Onboarding
from opentsm.tsm.roles.hub.once import Claim
from opentsm.tsm.roles.hub.parties import Lifetimes
from opentsm.tsm.roles.hub.peers.counter import PeerCounter
from opentsm.tsm.roles.hub.peers.desk import PeeringDesk
from opentsm.tsm.roles.hub.peers.identity import PeerIdentity
from opentsm.tsm.roles.hub.prepared import PreparedDesk
from opentsm.tsm.roles.hub.registry.door import Registry
from opentsm.tsm.roles.hub.registry.import_jobs import IMPORT, Imports, ImportServices
from opentsm.tsm.roles.hub.registry.import_work import ImportWork
from opentsm.tsm.roles.hub.releases.demands import ReleaseServices
from opentsm.tsm.roles.hub.releases.desk import Submissions
from opentsm.tsm.roles.hub.releases.releasing import Releasing
from opentsm.tsm.roles.hub.requests import Requests
from opentsm.tsm.roles.hub.retention import RetentionPolicy
from opentsm.tsm.roles.hub.self_service import SelfServiceTokens
from opentsm.tsm.roles.hub.services import ADVANCE, CAMPAIGN_TICK, WIPE, HubServices
from opentsm.tsm.roles.hub.space.desk import SpaceDesk
from opentsm.tsm.roles.hub.unchanged import Unchanged
from opentsm.tsm.roles.hub.webhooks import DeliveryServices, Webhooks
from opentsm.tsm.roles.sei.master_keys import MasterKeys
from opentsm.tsm.roles.sp.card_authorities import CardAuthorities
from opentsm.tsm.roles.sp.catalogue import SpCatalogue
from opentsm.tsm.roles.sp.key_provisioning import DomainKeyProvisioner
from opentsm.tsm.roles.sp.personalization import RecipePersonalization


@dataclass(frozen=True, slots=True)
class Container:
    """Everything that entry points use."""

    settings: Settings
    storage: Storage
    world: World
    notifier: Notifier
    profiles: Mapping[str, SeProfile]
    requests: Requests
    conversations: Conversations
    naming: Naming
    looking: Looking
    delegated_tokens: DelegatedTokens
    deploying: Deploying
    device_calls: DeviceCalls
    peerings: PeeringDesk
    peer_counter: PeerCounter
    device_link: DeviceLink
    self_service: SelfServiceTokens
    onboarding: Onboarding
    arrangements: ArrangementDesk
    prepared_data: PreparedDesk
    catalogue: SpCatalogue
    master_keys: MasterKeys
    card_authorities: CardAuthorities
    registry: Registry
    imports: Imports
    webhooks: Webhooks
    campaigns: Campaigns
    approvals: Approvals
    card_acts: CardActs
    space: SpaceDesk
    submissions: Submissions
    dispatch: Dispatch
    handlers: Mapping[str, Callable[[dict[str, str]], Awaitable[None]]]
    write_checkpoint: Callable[[], Awaitable[Checkpoint | None]]
    verify_audit: Callable[[], Awaitable[AuditVerdict]]
    refresh_keystores: Callable[[], Awaitable[None]]
    close: Callable[[], Awaitable[None]]

    def once(self, claim: Claim) -> "Container":
        """Return the same for one request that has an idempotency key: its transaction writes the key."""
        return replace(
            self,
            requests=self.requests.once(claim),
            conversations=self.conversations.once(claim),
            naming=self.naming.once(claim),
            deploying=self.deploying.once(claim),
            device_calls=self.device_calls.once(claim),
            onboarding=self.onboarding.once(claim),
            self_service=self.self_service.once(claim),
            arrangements=self.arrangements.once(claim),
            registry=self.registry.once(claim),
            imports=self.imports.once(claim),
            webhooks=self.webhooks.once(claim),
            campaigns=self.campaigns.once(claim),
            approvals=self.approvals.once(claim),
            card_acts=self.card_acts.once(claim),
            space=self.space.once(claim),
            submissions=self.submissions.once(claim),
        )

    def on_condition(self, condition: Unchanged) -> "Container":
        """Return the same for one request about an object that must not have changed."""
        return replace(self, requests=self.requests.on_condition(condition))


@asynccontextmanager
async def container(settings: Settings, dsn: str) -> AsyncIterator[Container]:
    """Open everything over a migrated database, and close it again.

    Args:
        settings: all settings.
        dsn: the database's connection URI.

    Raises:
        KeystoreError: the keystores do not open with the passphrase.
    """
    world, notifier = SystemWorld(), LocalNotifier()
    storage = PostgresStorage(dsn, world=world, notifier=notifier)
    await storage.open()
    try:
        made = assemble(settings, storage, world, notifier)
        try:
            yield made
        finally:
            await made.close()
    finally:
        await storage.close()


def assemble(
    settings: Settings,
    storage: Storage,
    world: World,
    notifier: LocalNotifier,
    peer_transport: httpx.AsyncBaseTransport | None = None,
) -> Container:
    """Put the roles together over open ports; `peer_transport` reaches other TSMs (None: the network)."""
    passphrase = settings.keystore.passphrase
    ring = KeystoreRing(settings.keystore.directory, Secret(passphrase.encode()) if passphrase else None)
    profiles, rights = card_profiles(), se_rights()
    catalogue = SpCatalogue(
        storage=storage,
        world=world,
        profiles=profiles,
        keystore_of=ring.of,
        tsm_identifier=settings.attestation.tsm_identifier,
    )

    def token_issuer(tenant_id: TenantId) -> TokenDesk:
        return TokenDesk(tenant_id, storage, ring.of(tenant_id), world, profiles)

    def custodian(tenant_id: TenantId) -> Custodian:
        keystore = ring.of(tenant_id)
        return Custodian(
            Custody(
                tenant_id=tenant_id,
                storage=storage,
                keystore=keystore,
                world=world,
                profiles=profiles,
                personalization=RecipePersonalization(tenant_id, storage, keystore, catalogue.attestation),
                plain=PlainSessions(tenant_id),
                provisioner=DomainKeyProvisioner(tenant_id, storage, keystore, world),
                issuer_of=token_issuer,
                trust=CardTrust(tenant_id, storage, keystore, VirtualCardAuthority()),
            )
        )

    local = LocalPeers(custodian, catalogue, token_issuer)
    identity = PeerIdentity(ring.of(HUB))
    client = peer_client(settings.peers, peer_transport)
    remote = RemotePeers(client, identity, world, settings.peers.timeout_s)
    hub = HubServices(
        storage=storage,
        keystore=ring.of(HUB),
        peers=RoutedPeers(local, PeerDirectory(storage, world), storage, remote.ask, profiles),
        world=world,
        notifier=notifier,
        profiles=profiles,
        rights=rights,
    )
    conductor, requests = Conductor(hub), Requests(hub)
    onboarding = Onboarding(
        storage=storage,
        world=world,
        profiles=profiles,
        keystore_of=ring.of,
        catalogue=catalogue,
        lifetimes=Lifetimes(
            token_s=settings.device.token_lifetime_s, session_s=settings.device.session_lifetime_s
        ),
        self_service_of=catalogue.self_service,
    )
    calls = DeliveryServices(
        storage=storage,
        keystore=hub.keystore,
        world=world,
        sender=HttpSender(rules_of(settings.deliveries)),
    )
    imports = ImportServices(storage=storage, keystore=hub.keystore, world=world, registration=onboarding)
    releases = ReleaseServices(storage, world, profiles, ring.of)
    return Container(
        settings=settings,
        storage=storage,
        world=world,
        notifier=notifier,
        profiles=profiles,
        requests=requests,
        conversations=Conversations(hub),
        naming=Naming(hub),
        looking=Looking(hub),
        delegated_tokens=DelegatedTokens(hub),
        deploying=Deploying(hub),
        device_calls=DeviceCalls(hub),
        peerings=PeeringDesk(storage, world, identity, allow_http=settings.peers.allow_http),
        peer_counter=PeerCounter(storage, world, identity, local),
        prepared_data=PreparedDesk(hub, timedelta(days=settings.retention.prepared_days)),
        device_link=DeviceLink(hub),
        self_service=SelfServiceTokens(hub),
        onboarding=onboarding,
        arrangements=ArrangementDesk(
            ArrangementServices(
                storage=storage,
                world=world,
                profiles=profiles,
                configurations=se_configurations(),
                rights=rights,
            )
        ),
        catalogue=catalogue,
        master_keys=MasterKeys(storage, ring.of),
        card_authorities=CardAuthorities(storage, ring.of, profiles),
        registry=Registry(hub),
        imports=Imports(imports),
        webhooks=Webhooks(calls),
        campaigns=Campaigns(hub),
        approvals=Approvals(ApprovalServices(storage, world, performers(hub, releases))),
        card_acts=CardActs(hub),
        space=SpaceDesk(hub),
        submissions=Submissions(releases),
        dispatch=Dispatch(calls, hub.peers.catalogue, patience_of(settings.deliveries)),
        handlers={
            ADVANCE: lambda body: conductor.advance(OperationId(body["operation"])),
            IMPORT: lambda body: ImportWork(imports).advance(ImportId(body["import"]), int(body["batch"])),
            WIPE: lambda body: onboarding.go_on_wiping(TenantId(body["party"]), TenantId(body["by"])),
            CAMPAIGN_TICK: Ticker(hub, requests).handle,
        },
        write_checkpoint=lambda: write_checkpoint(storage, hub.keystore, world),
        verify_audit=lambda: verify_audit(storage, hub.keystore),
        refresh_keystores=ring.refresh,
        close=client.aclose,
    )


def peer_client(
    settings: PeerSettings, transport: httpx.AsyncBaseTransport | None = None
) -> httpx.AsyncClient:
    """Return what calls other TSMs: nothing of the environment, no redirects."""
    trust: ssl.SSLContext | bool = True
    if settings.authorities is not None:
        trust = ssl.create_default_context(cafile=settings.authorities)
    return httpx.AsyncClient(
        transport=transport,
        verify=trust,
        timeout=settings.timeout_s,
        trust_env=False,
        follow_redirects=False,
    )


def performers(hub: HubServices, releases: ReleaseServices) -> dict[Act, Performer]:
    """Return who carries out the acts that need two people."""
    cards: dict[Act, Performer] = dict.fromkeys(Act, CardActs(hub))
    return {**cards, Act.RELEASE_APPLET: Releasing(releases)}


def policy_of(settings: RetentionSettings) -> RetentionPolicy:
    """Return how long things are kept."""
    return RetentionPolicy(
        exchange_days=settings.exchange_days,
        idempotency_days=settings.idempotency_days,
        credential_days=settings.credential_days,
        delivery_days=settings.delivery_days,
    )


def rules_of(settings: DeliverySettings) -> SenderRules:
    """Return whom the TSM may call."""
    certificate, key = settings.client_certificate, settings.client_key
    identity = Identity(certificate, key) if certificate and key else None
    return SenderRules(
        allowed=settings.allowed_networks,
        allow_http=settings.allow_http,
        timeout_s=settings.timeout_s,
        identity=identity,
    )


def patience_of(settings: DeliverySettings) -> Patience:
    """Return how long deliveries are tried."""
    return Patience(
        give_up=timedelta(seconds=settings.give_up_s), disable=timedelta(seconds=settings.disable_after_s)
    )


def card_profiles() -> dict[str, SeProfile]:
    """Return the card profiles that come with the package, by name."""
    packaged = files("opentsm.card").joinpath("profiles_data")
    read = (
        SeProfile.from_dict(json.loads(entry.read_text()))
        for entry in packaged.iterdir()
        if entry.name.endswith(".json")
    )
    return {profile.name: profile for profile in sorted(read, key=lambda p: p.name)}


def se_configurations() -> dict[int, SeConfiguration]:
    """Return the configurations of secure elements that come with the package, by number."""
    read = [SeConfiguration.from_dict(one) for one in _configuration_data("se-")]
    return {one.number: one for one in read}


def se_rights() -> dict[int, Rights]:
    """Return who may do what in these configurations, by number."""
    read = [Rights.from_dict(one) for one in _configuration_data("rights-")]
    return {one.configuration: one for one in read}


def _configuration_data(prefix: str) -> list[dict[str, object]]:
    packaged = files("opentsm.card").joinpath("configurations_data").iterdir()
    found = sorted((entry for entry in packaged if entry.name.startswith(prefix)), key=lambda one: one.name)
    return [json.loads(entry.read_text()) for entry in found]
