"""A TSM in one process over a real database, and a device that can lose cards and answers on demand.

A crash is what it says: every object is dropped, the database is opened again.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

import opentsm.card.profiles as profiles_package
from opentsm.card.codec.aid import Aid
from opentsm.card.crypto.secret import Secret
from opentsm.card.gp.cap import read_load_file
from opentsm.card.gp.diversification import DiversificationMethod, diversify
from opentsm.card.profiles import SeProfile
from opentsm.tsm.adapters.bearers.virtual.authority import VirtualCardAuthority
from opentsm.tsm.adapters.keystores.ring import KeystoreRing
from opentsm.tsm.adapters.keystores.software import SoftwareKeystore
from opentsm.tsm.adapters.notifier import LocalNotifier
from opentsm.tsm.adapters.peers.local import LocalPeers
from opentsm.tsm.adapters.storage.postgres import PostgresStorage
from opentsm.tsm.adapters.world import SystemWorld
from opentsm.tsm.bootstrap import se_rights
from opentsm.tsm.custody.card_trust import CardTrust
from opentsm.tsm.custody.custodian import Custodian
from opentsm.tsm.custody.holder import Custody
from opentsm.tsm.custody.plain import PlainSessions, application_key_handle
from opentsm.tsm.domain.card_content import ApplicationSpecification, LoadFileReference, ServiceDescription
from opentsm.tsm.domain.device import Device as DeviceRecord
from opentsm.tsm.domain.device import DeviceSession
from opentsm.tsm.domain.exchange import Command, StopReason
from opentsm.tsm.domain.operation import ENDED, Operation, OperationType
from opentsm.tsm.domain.secure_element import (
    DiversifiedKeys,
    KeySet,
    SecureElement,
    SeIdentifier,
    SeIdentifierType,
)
from opentsm.tsm.domain.service import ServiceInstance
from opentsm.tsm.domain.tenant import Principal, Tenant, TenantKind
from opentsm.tsm.domain.user_form import UserForm
from opentsm.tsm.engine import steps as s
from opentsm.tsm.engine.compile import Grouping, PersonalizationCommand
from opentsm.tsm.kernel.errors import NotFoundError
from opentsm.tsm.kernel.ids import DeviceId, InstanceId, KeyHandle, OperationId, SeId, TenantId
from opentsm.tsm.ports.delegation import TokenIssuer
from opentsm.tsm.ports.keystore import ChannelContext
from opentsm.tsm.ports.peer import OnlineSystem, SegmentOwner, SegmentRequest, TechnicalInformation
from opentsm.tsm.ports.unit_of_work import Storage
from opentsm.tsm.roles.hub.conductor import Conductor
from opentsm.tsm.roles.hub.delegation.desk import TokenDesk
from opentsm.tsm.roles.hub.device_calls import DeviceCaller, DeviceCalls
from opentsm.tsm.roles.hub.device_link import Delivery, DeviceLink
from opentsm.tsm.roles.hub.expiry import sweep_expired
from opentsm.tsm.roles.hub.onboarding import Onboarding
from opentsm.tsm.roles.hub.order_answers import Report
from opentsm.tsm.roles.hub.requests import Requests
from opentsm.tsm.roles.hub.services import ADVANCE, HubServices
from opentsm.tsm.roles.hub.topology import first_key_version
from opentsm.vse.card import CardIdentity, KeyMaterial, VirtualCard
from opentsm.vse.faults import TornError
from opentsm.vse.nvm import MemoryNvm
from opentsm.vse.profiles import load_profile
from opentsm.workers.outbox import LEASE_S, OutboxWorker

MASTER = KeyHandle("isd-master")
PURSE_PACKAGE, PURSE_MODULE = Aid.from_hex("F04F54534D02"), Aid.from_hex("F04F54534D0201")
PURSE = Aid.from_hex("F04F54534D020101")
DOMAIN = Aid.from_hex("F04F54534DF0000000000001")
PERSONALIZATION = "v1"
RIGHTS = se_rights()
LOAD_FILE = Path(__file__).parents[2] / "src/opentsm/demo/caps/transit.ijc"


class PursePersonalization:
    """Personalises the transit purse as docs/reference/applets.md says (AES form)."""

    def __init__(self, provider_id: TenantId, keystore: SoftwareKeystore) -> None:
        self._provider_id = provider_id
        self._keystore = keystore

    async def groupings(
        self, request: SegmentRequest, step: s.Personalize, keys: KeySet, context: ChannelContext
    ) -> tuple[Grouping, ...]:
        purse_id = hashlib.sha256(str(request.instance_id).encode()).digest()[:8]
        clear = [(0x5001, bytes.fromhex("01010978")), (0x5002, purse_id), (0x5004, bytes.fromhex("000F4240"))]
        secret = []
        for tag, name in ((0x8001, "purse-load"), (0x8002, "purse-purchase"), (0x8003, "purse-tac")):
            handle = application_key_handle(self._provider_id, name)
            key = await self._keystore.derive_application_key(handle, purse_id)
            secret.append((tag, await self._keystore.encrypt_under_dek(keys.bound, context, key)))
        ending = [(0xDF01, step.personalization.encode()), (0x7FFF, b"")]
        return (
            *(Grouping(tag, value, encrypted=False) for tag, value in clear),
            *(Grouping(tag, value, encrypted=True) for tag, value in secret),
            *(Grouping(tag, value, encrypted=False) for tag, value in ending),
        )

    async def commands(
        self, request: SegmentRequest, step: s.RunCommands
    ) -> tuple[PersonalizationCommand, ...]:
        return ()


class NoCatalogue:
    """Instances are made by the bench itself; what they are of exists until a test says otherwise.

    `versions` are those that a card can get, by their tags; `sealed` what was given as personalisation data.
    """

    def __init__(self) -> None:
        self.deleted = False
        self.versions: dict[str, ServiceDescription] = {}
        self.sealed: list[dict[str, str]] = []
        self.online: OnlineSystem | None = None

    async def holds(self, description: ServiceDescription) -> bool:
        return not self.deleted

    async def online_system(self, provider_id: TenantId, service_id: str) -> OnlineSystem | None:
        return self.online

    async def load_file(self, provider_id: TenantId, sha256: str) -> bytes:
        raise NotFoundError("There is no such load file.")

    async def self_service(self, service_id: str) -> None:
        return None

    async def describe(
        self, provider_id: TenantId, service_id: str, version_tag: str | None, profile_id: str
    ) -> ServiceDescription:
        found = self.versions.get(version_tag or "")
        if found is None or (found.provider_id, found.service_id) != (provider_id, service_id):
            raise NotFoundError(f"The service has no version {version_tag}.")
        return found

    async def deployable_versions(
        self, provider_id: TenantId, service_id: str, profile_id: str
    ) -> tuple[str, ...]:
        mine = {tag for tag, one in self.versions.items() if one.provider_id == provider_id}
        mine &= {tag for tag, one in self.versions.items() if one.service_id == service_id}
        if not mine:
            raise NotFoundError("There is no such service.")
        return tuple(sorted(mine, reverse=True))

    async def technical_information(
        self, description: ServiceDescription, profile_id: str
    ) -> TechnicalInformation:
        return TechnicalInformation(
            service_id=description.service_id,
            service_version_tag=description.version_tag,
            flavor_id=description.flavor_id,
            flavor_name="",
            profile_id=profile_id,
        )

    async def seal_personalization_data(
        self,
        provider_id: TenantId,
        description: ServiceDescription,
        instance_id: InstanceId,
        data: dict[str, str],
    ) -> bytes:
        self.sealed.append(data)
        return b"sealed " + bytes([len(self.sealed)])

    async def user_form(self, provider_id: TenantId, description: ServiceDescription) -> UserForm:
        return UserForm(
            service_id=description.service_id,
            version=description.version_tag,
            flavor_id=description.flavor_id,
            fields=(),
            messages={},
            complete=True,
        )

    async def check_personalization_data(
        self, provider_id: TenantId, description: ServiceDescription, data: dict[str, str]
    ) -> None:
        """Take any data: these services have no recipes."""

    async def seal_prepared_data(self, provider_id: TenantId, record_id: str, data: dict[str, str]) -> bytes:
        return json.dumps(data).encode()

    async def open_prepared_data(
        self, provider_id: TenantId, record_id: str, sealed: bytes
    ) -> dict[str, str]:
        return dict(json.loads(sealed))


class CrashError(Exception):
    """The server is to die here."""


@dataclass
class Device:
    """A device with a card: runs orders as docs/reference/agent-protocol.md says.

    `before` is called with the number of the command (from 1, over all orders) before it is sent and
    `after` after it was answered; either may raise TornError (the card was lost; with `keeps_power` only the
    answer) or CrashError. `trace` holds INS and status word of every command that the card answered.
    """

    card: VirtualCard
    before: Callable[[int], None] = lambda _: None
    after: Callable[[int], None] = lambda _: None
    sent: int = 0
    reports_loss: bool = True
    keeps_power: bool = False
    trace: list[tuple[int, int]] = field(default_factory=list)
    answered: dict[int, Report] = field(default_factory=dict)

    def run(self, delivery: Delivery) -> Report:
        if delivery.sequence is not None and delivery.sequence in self.answered:
            return self.answered[delivery.sequence]
        responses: list[str] = []
        stopped, index = None, None
        for number, command in enumerate(delivery.commands):
            self.sent += 1
            try:
                self.before(self.sent)
                answer = self.card.transmit(bytes.fromhex(command.apdu)).hex().upper()
                responses.append(answer)
                self.trace.append((int(command.apdu[2:4], 16), int(answer[-4:], 16)))
                self.after(self.sent)
            except TornError:
                responses = responses[:number]
                if not self.keeps_power:
                    self.card.power_off()
                    self.card.power_on()
                stopped, index = StopReason.CARD_LOST, number
                break
            if delivery.sequence is not None and not fits(command, answer):
                stopped, index = StopReason.MISMATCH, number
                break
        if stopped is StopReason.CARD_LOST and not self.reports_loss:
            return Report(polling=True)
        report = Report(
            polling=False,
            responses=tuple(responses),
            sequence=delivery.sequence,
            stopped=stopped,
            index=index,
        )
        if delivery.sequence is not None:
            self.answered[delivery.sequence] = report
        return report


def fits(command: Command, answer: str) -> bool:
    patterns = command.expected.status_words
    return not patterns or any(
        all(p in ("?", ch) for p, ch in zip(pattern, answer[-4:], strict=True)) for pattern in patterns
    )


class ShiftedWorld(SystemWorld):
    """The real clock, set forward by `shift`."""

    def __init__(self) -> None:
        self.shift = timedelta()

    def now(self) -> datetime:
        return super().now() + self.shift


class Bench:
    """The TSM, one card, one device."""

    def __init__(
        self, dsn: str, directory: Path, profile: str = "scp03-i70", *, extended: bool = True
    ) -> None:
        self.dsn = dsn
        self.directory = directory
        self.profile_name = profile
        self.extended = extended
        self.sandbox = False
        self.world = ShiftedWorld()
        self.issuer = TenantId(self.world.new_id())
        self.provider = TenantId(self.world.new_id())
        self.hub = TenantId(self.world.new_id())
        self.se_id = SeId(self.world.new_id())
        self.device_id = DeviceId(self.world.new_id())
        self.session_id = self.world.random(16).hex()
        self.serial = int.from_bytes(self.world.random(4), "big")
        self.profiles = {profile: host_profile(profile)}
        self.principal = Principal(tenant_id=self.provider, kind=TenantKind.SERVICE_PROVIDER)
        self.issuer_principal = Principal(tenant_id=self.issuer, kind=TenantKind.SE_ISSUER)
        self.device_principal = Principal(
            tenant_id=self.issuer, kind=TenantKind.SE_ISSUER, device_id=self.device_id
        )
        self.master = Secret(self.world.random(16))
        self.catalogue = NoCatalogue()
        self.wrap_storage: Callable[[Storage], Storage] = lambda storage: storage

    @property
    def caller(self) -> DeviceCaller:
        """Return the provider's app on the device."""
        return DeviceCaller(self.provider, self.device_id, "ab" * 32)

    # --- life -------------------------------------------------------------------------------------------

    async def open(self) -> None:
        self.notifier = LocalNotifier()
        self.database = PostgresStorage(self.dsn, world=self.world, notifier=self.notifier, max_connections=4)
        await self.database.open()
        self.storage = self.wrap_storage(self.database)
        self.ring = KeystoreRing(self.directory)
        peers = LocalPeers(self._owner, self.catalogue, self._issuer_of)
        services = HubServices(
            storage=self.storage,
            keystore=self.ring.of(self.hub),
            peers=peers,
            world=self.world,
            notifier=self.notifier,
            profiles=self.profiles,
            rights=RIGHTS,
        )
        self.conductor = Conductor(services)
        self.link = DeviceLink(services)
        self.requests = Requests(services)
        self.calls = DeviceCalls(services)

    def _owner(self, tenant: TenantId) -> SegmentOwner:
        keystore = self.ring.of(tenant)
        return Custodian(
            Custody(
                tenant_id=tenant,
                storage=self.storage,
                keystore=keystore,
                world=self.world,
                profiles=self.profiles,
                personalization=PursePersonalization(tenant, keystore),
                plain=PlainSessions(tenant),
                issuer_of=self._issuer_of,
                trust=CardTrust(tenant, self.storage, keystore, VirtualCardAuthority()),
            )
        )

    def _issuer_of(self, tenant: TenantId) -> TokenIssuer:
        return TokenDesk(tenant, self.storage, self.ring.of(tenant), self.world, self.profiles)

    async def close(self) -> None:
        await self.database.close()

    async def crash(self) -> None:
        """Drop every object and open the database again, after the dead worker's leases ran out."""
        self.world.shift += timedelta(seconds=LEASE_S)
        await self.close()
        await self.open()

    # --- the world as it is before the story ------------------------------------------------------------

    async def seed(self) -> None:
        """Register the parties with their keys, and the first card."""
        now = self.world.now()
        issuer, provider = self.ring.of(self.issuer), self.ring.of(self.provider)
        await issuer.import_key(MASTER, self.master)
        for name in ("purse-load", "purse-purchase", "purse-tac"):
            await provider.generate(application_key_handle(self.provider, name))
        async with self.storage.transaction() as tx:
            for id_, kind in (
                (self.issuer, TenantKind.SE_ISSUER),
                (self.provider, TenantKind.SERVICE_PROVIDER),
            ):
                await tx.tenants.add(
                    Tenant(id=id_, kind=kind, name=str(id_), sandbox=self.sandbox, created_at=now)
                )
            await tx.commit()
        await self.new_card()

    async def new_card(self) -> None:
        """Put another new card into the device, as another secure element."""
        self.se_id = SeId(self.world.new_id())
        self.device_id = DeviceId(self.world.new_id())
        self.device_principal = msgspec.structs.replace(self.device_principal, device_id=self.device_id)
        self.session_id = self.world.random(16).hex()
        self.serial = int.from_bytes(self.world.random(4), "big")
        now, profile = self.world.now(), self.profiles[self.profile_name]
        identity = CardIdentity.from_serial(self.serial)
        self.card = self.made_card(identity)
        self.card.power_on()
        self.factory_instances = {i.aid for i in self.card.image().instances}
        self.factory_load_files = {f.aid for f in self.card.image().load_files}
        self.device = Device(self.card)
        file = read_load_file(LOAD_FILE.read_bytes())
        self.block = file.load_file_data_block()
        digest = hashlib.sha256(self.block).hexdigest()
        async with self.storage.transaction() as tx:
            await tx.secure_elements.add(
                SecureElement(
                    id=self.se_id,
                    issuer_id=self.issuer,
                    identifiers=(SeIdentifier(type=SeIdentifierType.CIN, value=self.number(identity)),),
                    profile=self.profile_name,
                    isd_aid=profile.isd_aid,
                    isd_kvn=profile.initial_kvn,
                )
            )
            await tx.key_sets.put(
                KeySet(
                    owner_id=self.issuer,
                    se_id=self.se_id,
                    sd_aid=profile.isd_aid,
                    kvn=profile.initial_kvn,
                    scp=profile.scp,
                    key_length=profile.key_size,
                    source=DiversifiedKeys(master=MASTER, method=method_of(profile).name, kdd=identity.kdd),
                )
            )
            await tx.load_files.put_block(digest, self.block)
            await tx.devices.add(
                DeviceRecord(
                    id=self.device_id, tenant_id=self.issuer, name="bench", public_key={}, created_at=now
                )
            )
            await tx.devices.add_session(
                DeviceSession(
                    digest=hashlib.sha256(self.session_id.encode()).digest(),
                    device_id=self.device_id,
                    tenant_id=self.issuer,
                    se_id=self.se_id,
                    expires_at=now + timedelta(days=1),
                    extended=self.extended,
                    ready=True,
                )
            )
            await tx.commit()
        self.description = ServiceDescription(
            service_id=self.world.new_id(),
            version_tag="1.0.0",
            flavor_id=self.world.new_id(),
            provider_id=self.provider,
            sd_aid=DOMAIN,
            load_files=(LoadFileReference(aid=PURSE_PACKAGE, sha256=digest, size=len(self.block)),),
            applications=(
                ApplicationSpecification(
                    instance_aid=PURSE,
                    load_file=PURSE_PACKAGE,
                    module=PURSE_MODULE,
                    personalization=PERSONALIZATION,
                    recipe_id="purse",
                    probe=0xDF01,
                ),
            ),
        )

    def made_card(self, identity: CardIdentity) -> VirtualCard:
        """Return a new card as it leaves the factory."""
        return VirtualCard.issue(load_profile(self.profile_name), identity, self.issuer_keys(), MemoryNvm())

    def number(self, identity: CardIdentity) -> str:
        """Return the card image number under which the secure element is registered."""
        return str(self.se_id)

    def issuer_keys(self) -> KeyMaterial:
        """Return the card's factory keys, as derived from the issuer's master key."""
        kdd = CardIdentity.from_serial(self.serial).kdd
        keys = diversify(self.master, kdd, method_of(self.profiles[self.profile_name]))
        return KeyMaterial(keys.enc, keys.mac, keys.dek)

    def onboarding(self) -> Onboarding:
        """Return the use cases beside the operations."""
        return Onboarding(
            storage=self.storage,
            world=self.world,
            profiles=self.profiles,
            keystore_of=self.ring.of,
            catalogue=self.catalogue,
        )

    async def sweep(self) -> None:
        """Look for operations whose validity is over."""
        await sweep_expired(self.storage, self.world)

    async def deploy(self, description: ServiceDescription | None = None) -> Operation:
        """Create an instance and ask for its deployment."""
        self.instance_id = InstanceId(self.world.new_id())
        instance = ServiceInstance(
            id=self.instance_id,
            provider_id=self.provider,
            se_id=self.se_id,
            description=description or self.description,
            key_version=first_key_version(self.profiles[self.profile_name]),
            created_at=self.world.now(),
        )
        async with self.storage.transaction() as tx:
            await tx.instances.add(instance)
            await tx.commit()
        return await self.requests.change(self.principal, self.instance_id, OperationType.DEPLOY)

    async def negotiate(self) -> None:
        """Make the handshake again, with or without our extension."""
        session = await self.link.session(self.device_principal, self.session_id)
        await self.link.handshake(session, extended=self.extended)

    # --- running ----------------------------------------------------------------------------------------

    async def work(self) -> None:
        """Let the TSM do all that is its turn to do."""
        worker = OutboxWorker(
            self.storage,
            {ADVANCE: lambda body: self.conductor.advance(OperationId(body["operation"]))},
            self.world,
            self.notifier,
            failures_raise=True,
        )
        await worker.drain()

    async def exchange(self, report: Report) -> Delivery:
        session = await self.link.session(self.device_principal, self.session_id)
        return await self.link.exchange(session, report, wait_s=0.0)

    async def run(self, operation_id: OperationId, *, most_orders: int = 60) -> Operation:
        """Exchange orders until the operation has ended; when the server dies, start it again and go on."""
        report = Report(polling=True)
        for _ in range(most_orders):
            try:
                operation = await self.operation(operation_id)
                if operation.state in ENDED:
                    return operation
                report = await self._turn(report)
            except CrashError:
                await self.crash()
        raise AssertionError(f"still {operation.state} after {most_orders} exchanges: {operation}")

    async def run_once(self, operation_id: OperationId) -> Operation:
        """Exchange one order; the device's report waits for whoever goes on."""
        report = await self._turn(Report(polling=True))
        if not report.polling:
            await self.exchange(report)
        await self.work()
        return await self.operation(operation_id)

    async def _turn(self, report: Report) -> Report:
        await self.work()
        delivery = await self.exchange(report)
        return self.device.run(delivery) if delivery.commands else Report(polling=True)

    async def operation(self, operation_id: OperationId) -> Operation:
        async with self.storage.transaction() as tx:
            found = await tx.operations.get(operation_id)
        assert found is not None
        return found

    async def instance(self) -> ServiceInstance:
        async with self.storage.transaction() as tx:
            found = await tx.instances.get(self.instance_id)
        assert found is not None
        return found


def host_profile(name: str) -> SeProfile:
    path = Path(profiles_package.__file__).parent / "profiles_data" / f"{name}.json"
    return SeProfile.from_dict(json.loads(path.read_text()))


def method_of(profile: SeProfile) -> DiversificationMethod:
    return DiversificationMethod.KDF3 if profile.scp == 3 else DiversificationMethod.EMV
