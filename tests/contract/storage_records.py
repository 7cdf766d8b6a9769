"""Records for the storage suites, each with fresh ids and as many fields filled as it has."""

from datetime import UTC, datetime, timedelta

from opentsm.card.codec.aid import Aid
from opentsm.tsm.adapters.world import SystemWorld
from opentsm.tsm.domain.card_content import (
    ApplicationSpecification,
    CardObject,
    Claim,
    Goal,
    LoadFileReference,
    ObjectKind,
    ObservedContent,
    ServiceDescription,
)
from opentsm.tsm.domain.exchange import DeviceOrder, OrderState, Segment, SegmentState
from opentsm.tsm.domain.operation import Failure, Operation, OperationState, OperationType, Traffic
from opentsm.tsm.domain.secure_element import (
    KeySet,
    KeySetState,
    SealedKeys,
    SecureElement,
    SeIdentifier,
    SeIdentifierType,
)
from opentsm.tsm.domain.service import InstanceState, ServiceInstance
from opentsm.tsm.domain.tenant import Tenant, TenantKind
from opentsm.tsm.kernel.ids import DeviceId, InstanceId, OperationId, SegmentId, SeId, TenantId

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
ISD = Aid.from_hex("A000000151000000")
APPLET = Aid.from_hex("F04F54534D0101")
PACKAGE = Aid.from_hex("F04F54534D01")


def new_id() -> str:
    """Return an id that no other test uses."""
    return SystemWorld().new_id()


def new_tenant_id() -> TenantId:
    """Return the id of a tenant that no other test uses."""
    return TenantId(new_id())


def new_se_id() -> SeId:
    """Return the id of a secure element that no other test uses."""
    return SeId(new_id())


def a_tenant(kind: TenantKind = TenantKind.SERVICE_PROVIDER) -> Tenant:
    """Make a tenant."""
    id_ = new_tenant_id()
    return Tenant(id=id_, kind=kind, name=f"tenant {id_}", created_at=NOW)


def a_secure_element(issuer_id: TenantId | None = None, *values: str) -> SecureElement:
    """Make a secure element with these CIN values, or one of its own."""
    id_ = new_se_id()
    return SecureElement(
        id=id_,
        issuer_id=issuer_id or new_tenant_id(),
        identifiers=tuple(
            SeIdentifier(type=SeIdentifierType.CIN, value=value) for value in values or (f"CIN-{id_}",)
        ),
        profile="scp03-i70",
        isd_aid=ISD,
        isd_kvn=0x30,
    )


def some_content() -> ObservedContent:
    """Make an observation with every field filled."""
    return ObservedContent(
        objects=(
            CardObject(
                aid=APPLET,
                kind=ObjectKind.APPLICATION,
                state=7,
                privileges=0x800000,
                load_file=PACKAGE,
                security_domain=ISD,
                modules=(APPLET,),
                seen_through=ISD,
            ),
        ),
        fresh=True,
        keys={str(ISD): (0x30, 0x31)},
        personalization={str(APPLET): "1"},
        transactions={"0011223344556677": "applied"},
        free_memory=65_000,
        card_state=15,
        status_pages=2,
    )


def a_claim(instance_id: InstanceId) -> Claim:
    """Make a claim of one instance on an application."""
    return Claim(aid=APPLET, kind=ObjectKind.APPLICATION, instance_ids=(instance_id,))


def a_key_set(owner_id: TenantId, se_id: SeId, *, kvn: int = 0x30, sd_aid: Aid = ISD) -> KeySet:
    """Make a sealed key set."""
    return KeySet(
        owner_id=owner_id,
        se_id=se_id,
        sd_aid=sd_aid,
        kvn=kvn,
        scp=3,
        key_length=16,
        source=SealedKeys(blob=bytes(range(40))),
        state=KeySetState.CURRENT,
        counter=0xFFFFFF,
        kcvs=(b"\x01\x02\x03", b"\x04\x05\x06", b"\x07\x08\x09"),
    )


def an_operation(
    se_id: SeId | None = None,
    *,
    tenant_id: TenantId | None = None,
    instance_id: InstanceId | None = None,
    state: OperationState = OperationState.QUEUED,
    priority: int = 100,
    created_s: int = 0,
    valid_until: datetime | None = None,
) -> Operation:
    """Make an operation, `created_s` seconds after NOW."""
    return Operation(
        id=OperationId(new_id()),
        tenant_id=tenant_id or new_tenant_id(),
        se_id=se_id or new_se_id(),
        type=OperationType.DEPLOY,
        instance_id=instance_id,
        state=state,
        priority=priority,
        parameters={"amount": 500, "name": "Ämter 🚋"},
        plan=("install the security domain", "load"),
        plan_document=bytes(range(256)),
        plan_number=2,
        session=1,
        refused=Failure(code="card_refused", detail="no memory", status_word="6A84", step="load"),
        device_id=DeviceId("device"),
        traffic=Traffic(apdus=3, bytes=900, round_trips=1),
        created_at=NOW + timedelta(seconds=created_s),
        started_at=NOW,
        valid_until=valid_until,
    )


def an_instance(
    se_id: SeId | None = None,
    *,
    provider_id: TenantId | None = None,
    state: InstanceState = InstanceState.INSTALLED,
) -> ServiceInstance:
    """Make a service instance."""
    provider = provider_id or new_tenant_id()
    return ServiceInstance(
        id=InstanceId(new_id()),
        provider_id=provider,
        se_id=se_id or new_se_id(),
        description=ServiceDescription(
            service_id="transit",
            version_tag="1.0",
            flavor_id="default",
            provider_id=provider,
            sd_aid=ISD,
            load_files=(LoadFileReference(aid=PACKAGE, sha256="00" * 32, size=1234),),
            applications=(
                ApplicationSpecification(
                    instance_aid=APPLET,
                    load_file=PACKAGE,
                    module=APPLET,
                    privileges=4,
                    install_parameters=b"\xc9\x01",
                    personalization="1",
                    recipe_id="recipe",
                    probe=0x9F7F,
                ),
            ),
            extradite=True,
        ),
        state=state,
        goal=Goal.ACTIVE,
        key_version=0x20,
        sealed_data=bytes(300),
        created_at=NOW,
    )


def an_order(se_id: SeId, sequence: int, *, state: OrderState = OrderState.IN_FLIGHT) -> DeviceOrder:
    """Make an order."""
    return DeviceOrder(
        se_id=se_id,
        sequence=sequence,
        operation_id=OperationId(new_id()),
        state=state,
        sealed_commands=bytes(range(256)) * 40,
        body=3,
        sealed_answer=b"\x00\xff",
        delivered=2,
        device_id=DeviceId("device"),
    )


def a_segment(owner_id: TenantId) -> Segment:
    """Make a segment."""
    return Segment(
        id=SegmentId(new_id()),
        owner_id=owner_id,
        se_id=new_se_id(),
        operation_id=OperationId(new_id()),
        sd_aid=ISD,
        state=SegmentState.PREPARED,
        sealed=bytes(range(256)),
    )
