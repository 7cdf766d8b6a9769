"""Functions about secure elements: which one it is, what is known of it, what fits on it, what is on it."""

from typing import Annotated, Literal

from msgspec import Meta

from opentsm.api.messaging.finding import element_of
from opentsm.api.messaging.records import (
    AidText,
    GenericId,
    Message,
    OnElement,
    SecureElementName,
    ServiceIdentifier,
)
from opentsm.api.messaging.table import Call, Reply, reading
from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.secure_element import SecureElement
from opentsm.tsm.kernel.errors import ConflictError
from opentsm.tsm.roles.hub.conversations.looking import Component


class GetMobileSubscriptionSEIdentifiers(OnElement, frozen=True, kw_only=True):
    """Ask which secure element belongs to a subscription, or goes by another name."""


class SEIdentifiersAnswer(Message, frozen=True, kw_only=True):
    """The secure element by the id that later messages may name."""

    SecureElement: list[SecureElementName]


class GetSEData(OnElement, frozen=True, kw_only=True):
    """Ask what is known of a secure element; with a subscription's name it is looked up at once."""


class SEDataAnswer(Message, frozen=True, kw_only=True):
    """What is known of a secure element."""

    SecureElement: list[SecureElementName]
    SEState: str
    SECapabilityProfileId: str
    MobileNetworkOperator: str | None = None
    SEType: str | None = None
    MasterKeyIndex: str | None = None
    GlobalPlatformVersion: str | None = None
    JavaCardVersion: str | None = None
    CertificationLevel: str | None = None
    ExpiryDate: str | None = None
    SPData: str | None = None
    OwnKeySets: list[dict[str, str | int]] = []

    def __repr__(self) -> str:
        return "<SEDataAnswer>"


class GetSECapabilityProfileId(OnElement, frozen=True, kw_only=True):
    """Ask for the kind of a secure element."""


class ProfileAnswer(Message, frozen=True, kw_only=True):
    """The kind of a secure element, as flavors name it."""

    SECapabilityProfileId: str


class CheckGlobalEligibility(OnElement, frozen=True, kw_only=True):
    """Ask whether a service could be deployed on a secure element."""

    Service: ServiceIdentifier


class EligibilityAnswer(Message, frozen=True, kw_only=True):
    """Whether it could, or why not: the numbers of docs/reference/messaging.md."""

    Eligible: bool
    NonEligibilityReason: list[int] = []


class GetApplicationOrELFStatus(OnElement, frozen=True, kw_only=True):
    """Ask for the states of one's own domains, applications and load files."""

    AID: Annotated[list[AidText], Meta(min_length=1, max_length=50)]
    AuditType: Literal["LAST_KNOWN"] = "LAST_KNOWN"


class ComponentAnswer(Message, frozen=True, kw_only=True):
    """One component; without a state it is not on the secure element."""

    AID: str
    Kind: str
    LifeCycleState: int | None = None


class ComponentsAnswer(Message, frozen=True, kw_only=True):
    """The components in the order of the request."""

    ComponentStatus: list[ComponentAnswer]


class GetSDFreeMemory(OnElement, frozen=True, kw_only=True):
    """Ask for the free memory, or (with `RequestedAmount`, in bytes) whether so much is free."""

    SecurityDomainAID: AidText | None = None
    Service: ServiceIdentifier | None = None
    RequestedAmount: Annotated[int, Meta(ge=1, le=1 << 31)] | None = None


class FreeMemoryAnswer(Message, frozen=True, kw_only=True):
    """Bytes of non-volatile memory, or whether there are enough of them."""

    FreeMemory: int | None = None
    MemoryAvailable: bool | None = None


async def _identifiers(call: Call, body: OnElement) -> Reply:
    se = await call.container.naming.element(call.principal, await element_of(call, body))
    return Reply(SEIdentifiersAnswer(SecureElement=_names(se)))


def _names(se: SecureElement) -> list[SecureElementName]:
    return [SecureElementName(SEId_Generic=GenericId(Id=se.id, Type="OPENTSM"))]


async def _data(call: Call, body: GetSEData) -> Reply:
    found = await call.container.registry.se_data(call.principal, await element_of(call, body))
    se, data = found.se, found.data
    return Reply(
        SEDataAnswer(
            SecureElement=_names(se),
            SEState=se.state.value,
            SECapabilityProfileId=data.profile_id or se.profile,
            MobileNetworkOperator=data.network_operator_id,
            SEType=None if data.se_type is None else data.se_type.value,
            MasterKeyIndex=data.key_index or None,
            GlobalPlatformVersion=data.globalplatform or None,
            JavaCardVersion=data.java_card or None,
            CertificationLevel=data.certification or None,
            ExpiryDate=None if data.expires_on is None else data.expires_on.isoformat(),
            SPData=found.sp_data,
            OwnKeySets=[
                {"SecurityDomainAID": str(one.sd_aid), "KeyVersion": one.kvn, "SCP": one.scp}
                for one in found.key_sets
            ],
        )
    )


async def _profile(call: Call, body: OnElement) -> Reply:
    se = await call.container.naming.element(call.principal, await element_of(call, body))
    return Reply(ProfileAnswer(SECapabilityProfileId=se.profile))


async def _eligibility(call: Call, body: CheckGlobalEligibility) -> Reply:
    se_id = await element_of(call, body)
    reasons = await call.container.looking.ineligible(
        call.principal, se_id, body.Service.ServiceId, body.Service.ServiceVersion
    )
    return Reply(EligibilityAnswer(Eligible=not reasons, NonEligibilityReason=[one.value for one in reasons]))


async def _components(call: Call, body: GetApplicationOrELFStatus) -> Reply:
    se_id = await element_of(call, body)
    aids = [Aid.from_hex(one) for one in body.AID]
    found, fresh = await call.container.looking.components(call.principal, se_id, aids)
    data = ComponentsAnswer(ComponentStatus=[_component(one) for one in found])
    return Reply(data) if fresh else _stale(data)


def _component(found: Component) -> ComponentAnswer:
    return ComponentAnswer(AID=str(found.aid), Kind=found.kind.value, LifeCycleState=found.state)


async def _memory(call: Call, body: GetSDFreeMemory) -> Reply:
    se_id = await element_of(call, body)
    free, fresh = await call.container.looking.free_memory(
        call.principal,
        se_id,
        domain=None if body.SecurityDomainAID is None else Aid.from_hex(body.SecurityDomainAID),
        service_id=None if body.Service is None else body.Service.ServiceId,
    )
    if free is None:
        raise MemoryUnknownError(advice="It is known once the secure element was read: deploy something.")
    data = FreeMemoryAnswer(FreeMemory=free)
    if body.RequestedAmount is not None:
        data = FreeMemoryAnswer(MemoryAvailable=free >= body.RequestedAmount)
    return Reply(data) if fresh else _stale(data)


class MemoryUnknownError(ConflictError):
    """How much memory is free on this secure element is not known."""

    code = "memory_unknown"


def _stale(data: Message) -> Reply:
    message = "This was so when the secure element was last read; it may have changed since."
    return Reply(data, "Executed-WithWarning", "stale_picture", "", message)


FUNCTIONS = (
    reading(
        "GetMobileSubscriptionSEIdentifiers",
        "Ask which secure element belongs to a subscription",
        GetMobileSubscriptionSEIdentifiers,
        SEIdentifiersAnswer,
        _identifiers,
    ),
    reading("GetSEData", "Ask what is known of a secure element", GetSEData, SEDataAnswer, _data),
    reading(
        "GetSECapabilityProfileId",
        "Ask for the kind of a secure element",
        GetSECapabilityProfileId,
        ProfileAnswer,
        _profile,
    ),
    reading(
        "CheckGlobalEligibility",
        "Ask whether a service could be deployed",
        CheckGlobalEligibility,
        EligibilityAnswer,
        _eligibility,
    ),
    reading(
        "GetApplicationOrELFStatus",
        "Ask for the states of one's own components",
        GetApplicationOrELFStatus,
        ComponentsAnswer,
        _components,
    ),
    reading("GetSDFreeMemory", "Ask for free memory", GetSDFreeMemory, FreeMemoryAnswer, _memory),
)
