"""Deliveries: what the TSM tells others by calling them, and to whom.

A delivery is written in the transaction of what it tells, and sent at least once. Each belongs to a target
(an endpoint that a party registered, or a service whose provider has an online system) and to one of the
target's lanes: a lane sends one delivery at a time, so the lanes bound how many calls a target gets at once.
"""

import hashlib
from datetime import datetime, timedelta
from enum import Enum

from opentsm.tsm.domain.campaign import CANARY_PASSED, TOLD
from opentsm.tsm.domain.operation import ENDED
from opentsm.tsm.domain.registry import RegistryEvent
from opentsm.tsm.domain.secure_element import SeState
from opentsm.tsm.domain.service import InstanceState
from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.ids import DeliveryId, InstanceId, TenantId, WebhookId

LANES = 4
MAX_ATTEMPTS_SHOWN = 20
PING = "ping"
PROCESS_RESULT = "process-result"

_FIRST_PAUSE_S = 5.0
_PAUSE_FACTOR = 4.0
_LONGEST_PAUSE_S = 6 * 3600.0
_JITTER = 0.2
_LONGEST_LANE_PAUSE_S = 60.0

_OPERATION_EVENTS = tuple(f"operation.{state.value.lower()}" for state in ENDED)
_NEVER_REACHED = (InstanceState.UNKNOWN, InstanceState.NOT_DEPLOYED)  # an instance begins there, or never is
_INSTANCE_EVENTS = tuple(
    f"instance.{state.name.lower()}" for state in InstanceState if state not in _NEVER_REACHED
)
_SE_EVENTS = tuple(f"secure-element.{state.value.lower()}" for state in SeState)
_CAMPAIGN_EVENTS = (CANARY_PASSED, *(f"campaign.{state.value.lower()}" for state in TOLD))
_CONVERSATION_EVENTS = ("conversation.opened", "conversation.script-ended")
# what happens around a service, outside any card (GlobalPlatform Messaging, service environment change)
_UNTOLD = (RegistryEvent.REGISTERED, RegistryEvent.SE_ASSIGNED, RegistryEvent.DATA_CHANGED)
_ENVIRONMENT_EVENTS = tuple(
    f"environment.{event.value.lower().replace('_', '-')}" for event in RegistryEvent if event not in _UNTOLD
)
EVENT_TYPES = tuple(
    sorted(
        (
            *_CAMPAIGN_EVENTS,
            *_CONVERSATION_EVENTS,
            *_ENVIRONMENT_EVENTS,
            *_INSTANCE_EVENTS,
            *_OPERATION_EVENTS,
            *_SE_EVENTS,
        )
    )
)
EVENT_GROUPS = (
    "campaign.*",
    "conversation.*",
    "environment.*",
    "instance.*",
    "operation.*",
    "secure-element.*",
)


class TargetKind(Enum):
    """WEBHOOK: an endpoint of a party. SPOS: a service provider's online system (TR-03165 §4.3)."""

    WEBHOOK = "WEBHOOK"
    SPOS = "SPOS"


class DeliveryState(Enum):
    """PENDING: the TSM sends it, now or later. SENT: it was taken. FAILED: the TSM gave up."""

    PENDING = "PENDING"
    SENT = "SENT"
    FAILED = "FAILED"


class Attempt(Record, frozen=True, kw_only=True):
    """One call: the status that came back, or in words of ours why there is none. What was answered is not
    kept."""

    at: datetime
    status: int | None = None
    error: str = ""
    took_ms: int = 0


class Delivery(Record, frozen=True, kw_only=True):
    """Something to tell.

    `target_id` is the webhook's or the service's id; `subject` what it is about (an operation, an instance, a
    secure element). `body` is sent byte for byte, so a signature holds for every attempt. `since` is when it
    was written, or asked to be sent again: from then on the time counts after which the TSM gives up.
    """

    id: DeliveryId
    tenant_id: TenantId
    kind: TargetKind
    target_id: str
    event: str
    subject: str
    instance_id: InstanceId | None = None
    body: bytes
    state: DeliveryState = DeliveryState.PENDING
    tries: int = 0
    attempts: tuple[Attempt, ...] = ()
    created_at: datetime
    since: datetime
    next_at: datetime | None
    ended_at: datetime | None = None
    version: int = 0

    @property
    def lane(self) -> int:
        """Return the lane (0 … LANES-1): what concerns one subject stays in one lane, and so in order."""
        return hashlib.sha256(self.subject.encode()).digest()[0] % LANES


class SealedSecret(Record, frozen=True, kw_only=True):
    """A signing secret, sealed; after a rotation the earlier one signs until `until`."""

    sealed: bytes
    until: datetime | None = None


class Webhook(Record, frozen=True, kw_only=True):
    """An endpoint of a party: where, which events, and what signs for us.

    `failing_since` is when its first failure after its last success was; `disabled` why nothing is sent.
    """

    id: WebhookId
    tenant_id: TenantId
    url: str
    events: tuple[str, ...]
    description: str = ""
    secrets: tuple[SealedSecret, ...]
    enabled: bool = True
    disabled: str = ""
    failing_since: datetime | None = None
    created_at: datetime
    version: int = 0

    def wants(self, event: str) -> bool:
        """Say whether an event is told to this endpoint; a ping always is."""
        group = f"{event.partition('.')[0]}.*"
        return self.enabled and (event == PING or event in self.events or group in self.events)


class Lane(Record, frozen=True, kw_only=True):
    """A lane that has something to send, leased to whoever claimed it."""

    kind: TargetKind
    target_id: str
    number: int
    failures: int
    lease_ends: datetime


def secret_context(webhook_id: WebhookId) -> str:
    """Return what a webhook's secrets are sealed for: they open nowhere else."""
    return f"webhook:{webhook_id}/secret"


def pause_after(tries: int, dice: bytes) -> timedelta:
    """Return how long a delivery waits after its attempt number `tries` failed: 5 s, four times that, … 6 h.

    Args:
        tries: from 1.
        dice: 2 random bytes: the pause is up to a fifth shorter or longer, so that what failed together does
            not come together again.
    """
    base = min(_FIRST_PAUSE_S * _PAUSE_FACTOR ** min(tries - 1, 32), _LONGEST_PAUSE_S)
    share = int.from_bytes(dice[:2], "big") / 0xFFFF
    return timedelta(seconds=base * (1 - _JITTER + 2 * _JITTER * share))


def lane_pause(failures: int) -> timedelta:
    """Return how long a lane rests after failures in a row: 2 s, 4 s, … 60 s; none after a success."""
    return timedelta(seconds=min(2.0**failures, _LONGEST_LANE_PAUSE_S) if failures else 0.0)
