"""Service instances: states and moves of BSI TR-03165 (TSM-API), and what the instance is made of."""

from datetime import datetime
from enum import Enum

import msgspec

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.arrangement import HandOverGrade
from opentsm.tsm.domain.card_content import ALL_STAGES, Goal, ServiceDescription, Stage
from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.ids import InstanceId, OperationId, SeId, TenantId
from opentsm.tsm.kernel.transitions import TransitionTable


class InstanceState(Enum):
    """Numbers of TR-03165; TERMINATED is ours, for the record that stays after the id died."""

    UNKNOWN = 0
    NOT_DEPLOYED = 1
    INITIALIZED = 10
    INSTALLED = 11
    PERSONALIZED = 12
    ACTIVATED = 14
    OPERATIONAL = 21
    SUSPENDED = 22
    IN_ERROR = 25
    TERMINATED = 99


class InstanceEvent(Enum):
    """What moves an instance."""

    BEGIN = "BEGIN"
    UPDATE = "UPDATE"
    INSTALL = "INSTALL"
    PERSONALIZE = "PERSONALIZE"
    ACTIVATE = "ACTIVATE"
    FINALIZE = "FINALIZE"
    SUSPEND = "SUSPEND"
    RESUME = "RESUME"
    BREAK = "BREAK"
    TERMINATE = "TERMINATE"


_S, _E = InstanceState, InstanceEvent
_LIVE = tuple(s for s in InstanceState if s not in (_S.UNKNOWN, _S.TERMINATED))

INSTANCE_STATES: TransitionTable[InstanceState, InstanceEvent] = TransitionTable(
    "service instance",
    {
        (_S.NOT_DEPLOYED, _E.BEGIN): _S.INITIALIZED,
        (_S.INITIALIZED, _E.BEGIN): _S.INITIALIZED,
        (_S.IN_ERROR, _E.BEGIN): _S.INITIALIZED,
        (_S.OPERATIONAL, _E.UPDATE): _S.INITIALIZED,
        (_S.SUSPENDED, _E.UPDATE): _S.INITIALIZED,
        (_S.INITIALIZED, _E.INSTALL): _S.INSTALLED,
        (_S.INSTALLED, _E.PERSONALIZE): _S.PERSONALIZED,
        (_S.INSTALLED, _E.ACTIVATE): _S.ACTIVATED,
        (_S.PERSONALIZED, _E.ACTIVATE): _S.ACTIVATED,
        (_S.ACTIVATED, _E.PERSONALIZE): _S.PERSONALIZED,
        (_S.PERSONALIZED, _E.FINALIZE): _S.OPERATIONAL,
        (_S.ACTIVATED, _E.FINALIZE): _S.OPERATIONAL,
        (_S.OPERATIONAL, _E.SUSPEND): _S.SUSPENDED,
        (_S.SUSPENDED, _E.SUSPEND): _S.SUSPENDED,
        (_S.SUSPENDED, _E.RESUME): _S.OPERATIONAL,
        (_S.OPERATIONAL, _E.RESUME): _S.OPERATIONAL,
        **{(state, _E.BREAK): _S.IN_ERROR for state in _LIVE},
        **{(state, _E.TERMINATE): _S.TERMINATED for state in _LIVE},
    },
)


class EndReason(Enum):
    """Why an instance ended without its card: the record stays, nothing was sent."""

    SECURE_ELEMENT_WIPED = "secure_element_wiped"
    SECURE_ELEMENT_RETIRED = "secure_element_retired"
    PROVIDER_WIPED = "provider_wiped"


class ServiceOperation(Enum):
    """Operations as an app sees them (TR-03165 §4.2.4.2)."""

    NO_OPERATION = 0
    DEPLOYMENT_INSTALLATION = 10
    DEPLOYMENT_PERSONALIZATION = 11
    DEPLOYMENT_ACTIVATION = 12
    DEPLOYMENT_FINALIZE = 13
    UPDATE_INSTALLATION = 20
    UPDATE_PERSONALIZATION = 21
    UPDATE_ACTIVATION = 22
    UPDATE_FINALIZE = 23
    SUSPENSION = 30
    RESUMPTION = 31
    TERMINATION = 40


class KeptAnswer(Record, frozen=True, kw_only=True):
    """A command of a recipe and its answer (hex), kept under the tag that the recipe gives (no secret)."""

    application: Aid
    tag: str
    command: str
    response: str


class Renewal(Record, frozen=True, kw_only=True):
    """What an operation is to make of an instance: another description, new personalisation data, or both.

    It becomes the instance's own when the operation ends and the card was changed for it, and is dropped
    when it was not. `sealed_data` is sealed by the provider's keystore.
    """

    operation_id: OperationId
    description: ServiceDescription
    sealed_data: bytes = b""


class ServiceInstance(Record, frozen=True, kw_only=True):
    """One service on one secure element.

    `suspended_by` is who asked for the suspension: what an issuer locked, its provider cannot unlock.
    `key_version` is the version of the provider's own key set that its security domain should hold.
    `end_reason` says of a TERMINATED one why it ended without its card; None: its card was cleared.
    `stages` are those of the description that were reached, or that a deployment as a whole is to reach.
    `keys_elsewhere` is True when the provider's own TSM keeps the keys of the domain, in no keystore of ours.
    `handover` is the grade in which its domain changed hands (None: it did not, or that is not known).
    `sealed_data` is the personalisation data, sealed by the provider's keystore; it is erased when the card
    has proved that it is personalised.
    """

    id: InstanceId
    provider_id: TenantId
    se_id: SeId
    description: ServiceDescription
    state: InstanceState = InstanceState.NOT_DEPLOYED
    goal: Goal = Goal.ACTIVE
    key_version: int
    stages: tuple[Stage, ...] = ALL_STAGES
    sealed_data: bytes = b""
    keys_elsewhere: bool = False
    suspended_by: TenantId | None = None
    renewal: Renewal | None = None
    last_operation: ServiceOperation = ServiceOperation.NO_OPERATION
    kept_answers: tuple[KeptAnswer, ...] = ()
    handover: HandOverGrade | None = None
    end_reason: EndReason | None = None
    created_at: datetime
    version: int = 0

    def keeping(self, answers: tuple[KeptAnswer, ...]) -> "ServiceInstance":
        """Return the instance with newer answers, each in the place of the one of its application and tag."""
        newer = {(one.application, one.tag) for one in answers}
        older = tuple(one for one in self.kept_answers if (one.application, one.tag) not in newer)
        return msgspec.structs.replace(self, kept_answers=(*older, *answers))

    def data_for(self, operation_id: OperationId) -> bytes:
        """Return the sealed data that an operation personalises with: its own, if it brought some."""
        renewal = self.renewal
        brought = renewal is not None and renewal.operation_id == operation_id and renewal.sealed_data
        return brought or self.sealed_data

    def description_for(self, operation_id: OperationId) -> ServiceDescription:
        """Return what the card is to hold when an operation has succeeded."""
        renewal = self.renewal
        renewed = renewal is not None and renewal.operation_id == operation_id
        return renewal.description if renewal is not None and renewed else self.description
