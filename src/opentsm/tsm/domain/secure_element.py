"""A secure element as the TSM knows it: identifiers, profile, key sets, who may speak to it."""

from enum import Enum

from opentsm.card.codec.aid import Aid
from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.ids import ArrangementId, DeviceId, KeyHandle, OperationId, SeId, TenantId
from opentsm.tsm.kernel.transitions import TransitionTable


class SeState(Enum):
    """Whether the secure element has proved itself."""

    REGISTERED = "REGISTERED"
    VERIFIED = "VERIFIED"
    QUARANTINED = "QUARANTINED"
    RETIRED = "RETIRED"


class SeEvent(Enum):
    """What can happen to a secure element's trust."""

    PROVE = "PROVE"
    SUSPECT = "SUSPECT"
    REINSTATE = "REINSTATE"
    RETIRE = "RETIRE"


SE_STATES: TransitionTable[SeState, SeEvent] = TransitionTable(
    "secure element",
    {
        (SeState.REGISTERED, SeEvent.PROVE): SeState.VERIFIED,
        (SeState.VERIFIED, SeEvent.PROVE): SeState.VERIFIED,
        (SeState.REGISTERED, SeEvent.SUSPECT): SeState.QUARANTINED,
        (SeState.VERIFIED, SeEvent.SUSPECT): SeState.QUARANTINED,
        (SeState.QUARANTINED, SeEvent.SUSPECT): SeState.QUARANTINED,
        (SeState.QUARANTINED, SeEvent.REINSTATE): SeState.REGISTERED,
        (SeState.REGISTERED, SeEvent.RETIRE): SeState.RETIRED,
        (SeState.VERIFIED, SeEvent.RETIRE): SeState.RETIRED,
        (SeState.QUARANTINED, SeEvent.RETIRE): SeState.RETIRED,
    },
)


class LossReport(Enum):
    """What was reported of a secure element that its owner does not have any more."""

    LOST = "LOST"
    STOLEN = "STOLEN"


class SeIdentifierType(Enum):
    """Kinds of names a secure element goes by."""

    CIN = "CIN"
    ICCID = "ICCID"
    CPLC = "CPLC"
    EID = "EID"
    GENERIC = "GENERIC"


class SeIdentifier(Record, frozen=True, kw_only=True):
    """One name of a secure element; (type, value) is unique for an issuer."""

    type: SeIdentifierType
    value: str


class SecureElement(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A secure element and where it stands.

    `profile` names the card's facts (protocol, layouts, limits); `isd_aid` is the issuer security domain
    that the manager's sessions open. `device_id` is the device through which its cryptogram verified last;
    `reserved_for` is the only device that may try, where the issuer enrolled one for this secure element.
    `sandbox` is its issuer's, and never changes. `arrangement_id` says who holds its security domains; None:
    its issuer all. `data` names what its issuer says about it (`SeData`), empty where it says nothing; `loss`
    is a report that it was lost or stolen. `key_versions` maps those domains of its arrangement (AID in hex)
    whose holders put other key sets there since to their versions.
    """

    id: SeId
    issuer_id: TenantId
    identifiers: tuple[SeIdentifier, ...]
    profile: str
    isd_aid: Aid
    isd_kvn: int
    sandbox: bool = False
    arrangement_id: ArrangementId | None = None
    state: SeState = SeState.REGISTERED
    device_id: DeviceId | None = None
    reserved_for: DeviceId | None = None
    active_operation_id: OperationId | None = None
    next_order: int = 1
    data: str = ""
    loss: LossReport | None = None
    key_versions: dict[str, int] = {}
    version: int = 0

    def admits(self, device_id: str | None) -> bool:
        """Say whether a device may have sessions with this secure element."""
        return self.device_id in (None, device_id) and self.reserved_for in (None, device_id)

    @property
    def device_link_id(self) -> str:
        """Return the identifier by which device agents name this secure element (SERAM `seId`)."""
        return self.identifiers[0].value


class DiversifiedKeys(Record, frozen=True, kw_only=True, tag="diversified"):
    """A key set derived from a master key in the keystore (`method`: EMV, VISA2, KDF3; `kdd`: 10 bytes)."""

    master: KeyHandle
    method: str
    kdd: bytes


class WrappedKeys(Record, frozen=True, kw_only=True, tag="wrapped"):
    """A key set that came wrapped under a transport key (AES key wrap, RFC 3394, of ENC ‖ MAC ‖ DEK)."""

    transport: KeyHandle
    blob: bytes


class SealedKeys(Record, frozen=True, kw_only=True, tag="sealed"):
    """A key set that this party's keystore sealed under its own key, for one place: see `BoundKeys`."""

    blob: bytes


KeySource = DiversifiedKeys | WrappedKeys | SealedKeys


def key_set_context(se_id: SeId, sd_aid: Aid, kvn: int) -> str:
    """Return the place of a key set: what is sealed for it opens nowhere else."""
    return f"keyset:{se_id}/{sd_aid}/{kvn}"


class BoundKeys(Record, frozen=True, kw_only=True):
    """A key set's source and the place where it was found; a blob that was sealed for another is refused."""

    source: KeySource
    context: str


UsableKeys = DiversifiedKeys | WrappedKeys | BoundKeys


class KeySetState(Enum):
    """PENDING: written down before it is sent to the card. CURRENT: the card proved that it holds it."""

    PENDING = "PENDING"
    CURRENT = "CURRENT"
    RETIRED = "RETIRED"


class KeySet(Record, frozen=True, kw_only=True):
    """A secure-channel key set of one security domain, held by its owner.

    `counter` is the last sequence counter seen (SCP03) or None; `kcvs` are the check values of ENC, MAC, DEK.
    A `temporary` set is one that two parties know: it is handed over with its domain, and nothing but the
    taker's own keys goes to the card under it.
    """

    owner_id: TenantId
    se_id: SeId
    sd_aid: Aid
    kvn: int
    scp: int
    key_length: int
    source: KeySource
    state: KeySetState = KeySetState.PENDING
    counter: int | None = None
    kcvs: tuple[bytes, ...] = ()
    temporary: bool = False

    @property
    def bound(self) -> BoundKeys:
        """Return the source together with this row's place: all that a keystore takes."""
        return BoundKeys(source=self.source, context=key_set_context(self.se_id, self.sd_aid, self.kvn))
