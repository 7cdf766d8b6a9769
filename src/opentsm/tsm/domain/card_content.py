"""What is on a card and what should be: the two sides of the reconciliation, as values."""

from datetime import datetime
from enum import Enum

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.arrangement import HandOverGrade
from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.ids import InstanceId, SeId, TenantId


class ObjectKind(Enum):
    """Kinds of registry entries."""

    ISSUER_SECURITY_DOMAIN = "ISD"
    SECURITY_DOMAIN = "SSD"
    APPLICATION = "APPLICATION"
    LOAD_FILE = "LOAD_FILE"


class CardObject(Record, frozen=True, kw_only=True):
    """One entry of the card's registry as the card reported it.

    `state` is the life-cycle byte, `privileges` the 24-bit field, `seen_through` the security domain whose
    GET STATUS showed the entry.
    """

    aid: Aid
    kind: ObjectKind
    state: int
    privileges: int = 0
    load_file: Aid | None = None
    security_domain: Aid | None = None
    modules: tuple[Aid, ...] = ()
    seen_through: Aid | None = None


UNKNOWN = "?"
STALE = "!"
CARD_STATE_IN_DOUBT = 0x00  # no state of a card: it was to be changed, and the answer is missing
ACTIVATED, DEACTIVATED, NON_ACTIVATABLE = "ACTIVATED", "DEACTIVATED", "NON_ACTIVATABLE"


class Access(Record, frozen=True, kw_only=True):
    """One access rule of the card: what a device application may do with applications whose AID begins so.

    `device` is the hash of the device application's certificate; empty: any. None: the rule does not say.
    `limited` says that it has conditions that are not shown here. `rule` is the whole REF-AR-DO.
    """

    aid: bytes
    device: bytes
    apdu: bool | None
    nfc: bool | None
    limited: bool = False
    rule: bytes


class ObservedContent(Record, frozen=True, kw_only=True):
    """What is known to be on a card.

    `fresh` is False when the registry must be read before anything is planned; `readers` are then the domains
    through which it was read, where none of them sees everything (empty: one did). `keys` maps a security
    domain (hex AID) to the key versions it holds; a domain that is missing is not known. `personalization`
    maps an application (hex AID) to its personalisation version, to UNKNOWN, or to STALE: it holds other
    data than it should, or a part of them, and must be made anew. `built` maps a load file to the digest of
    its content, an application to that of all it was built from, or either to UNKNOWN; one that is missing
    is what its claim and its description say. `transactions` maps a value transaction id to "applied",
    "absent" or UNKNOWN, and `credits` to what was to be credited where: both hold the transaction of the
    operation in work only, all are kept as `Credit`. `free_memory` is in bytes of non-volatile memory.
    `contactless` maps an application (hex AID) to its state in the contactless
    registry; that of one that is missing is not known. `access` are the card's access rules, None when they
    must be read; `proof_keys` are the versions of keys for tokens and receipts that this TSM put on it;
    `own_access` maps the rules (hex) that this TSM caused to be there to their instances.
    `read_at` is when the registry and the free memory were read last.
    `restricted` maps a security domain (hex AID) to what was taken away from it (GPCS Table 11-53).
    `certificate` is what the card's CASD showed (empty: not asked), and proves nothing to whoever has not
    verified it. `grades` maps a security domain (hex AID) to how its keys got into its owner's hands.
    """

    objects: tuple[CardObject, ...] = ()
    fresh: bool = False
    keys: dict[str, tuple[int, ...]] = {}
    unproven: tuple[str, ...] = ()
    personalization: dict[str, str] = {}
    built: dict[str, str] = {}
    transactions: dict[str, str] = {}
    credits: dict[str, str] = {}
    free_memory: int | None = None
    card_state: int | None = None
    status_pages: int = 1
    contactless: dict[str, str] = {}
    access: tuple[Access, ...] | None = None
    own_access: dict[str, InstanceId] = {}
    commands: dict[str, str] = {}
    proof_keys: tuple[int, ...] = ()
    readers: tuple[Aid, ...] = ()
    restricted: dict[str, int] = {}
    certificate: bytes = b""
    grades: dict[str, HandOverGrade] = {}
    read_at: datetime | None = None

    def fresh_through(self, domain: Aid) -> bool:
        """Say whether all that a domain sees is known as it is: it was read through it, or through all."""
        return self.fresh and (not self.readers or domain in self.readers)

    def find(self, aid: Aid) -> CardObject | None:
        """Return the entry with this AID, or None."""
        return next((entry for entry in self.objects if entry.aid == aid), None)


class Credit(Record, frozen=True, kw_only=True):
    """A value transaction on a secure element: its id is good for one credit, of one amount, for ever.

    `outcome` is "applied", "absent" or UNKNOWN. `instance_id` is empty where it was not recorded.
    """

    se_id: SeId
    transaction: str
    application: Aid
    amount: int
    outcome: str
    instance_id: str = ""


class Claim(Record, frozen=True, kw_only=True):
    """An object on a card that an instance caused to be there, or uses.

    `sha256` names the content of a load file: the card tells only its AID.
    """

    aid: Aid
    kind: ObjectKind
    instance_ids: tuple[InstanceId, ...]
    sha256: str = ""


class LoadFileReference(Record, frozen=True, kw_only=True):
    """A load file by its content: `sha256` names the load-file data block, `size` is its length in bytes.

    `imports` are the packages that it needs on the card.
    """

    aid: Aid
    sha256: str
    size: int
    imports: tuple[Aid, ...] = ()


class MemoryNeeds(Record, frozen=True, kw_only=True):
    """Limits and reservations of an application's memory, in bytes; None: as the card has it (GPCS 9.7)."""

    nonvolatile_quota: int | None = None
    volatile_quota: int | None = None
    nonvolatile_reserved: int | None = None
    volatile_reserved: int | None = None


class KeyProvisioningMode(Enum):
    """Where the keys of a service's security domain come from (BSI TR-03165 §4.1.4.6).

    NONE: random, known to the provider's keystore alone. DIVERSIFIED: derived from the provider's master key.
    GIVEN (BASIC_CREATE): key sets that the provider deposited. RANDOM: random, and given to the provider
    wrapped under its transport key.
    """

    NONE = 0
    DIVERSIFIED = 1
    GIVEN = 2
    RANDOM = 3


class KeyProvisioning(Record, frozen=True, kw_only=True):
    """How a security domain gets its keys: `key_index` names a master key (mode 1) or a transport key."""

    mode: KeyProvisioningMode = KeyProvisioningMode.NONE
    key_index: str = ""


class Attestation(Enum):
    """Whether an application gets an attestation token when it is personalised, and what the token holds."""

    NONE = "none"
    PLAIN = "plain"
    DIVERSIFICATION = "diversification"


class ApplicationSpecification(Record, frozen=True, kw_only=True):
    """One application of a service: what to install and how it is personalised.

    `install_parameters` is the value of C9. `personalization` is the version of the recipe run (None: no
    personalisation); `probe` is the data object to read after SELECT that answers that version. `accessible`
    says whether the service's device applications get access rules, `contactless` whether the application is
    activated on the contactless interface; `protocols` are further objects of its protocol parameters there.
    """

    instance_aid: Aid
    load_file: Aid
    module: Aid
    privileges: int = 0
    install_parameters: bytes = b""
    make_selectable: bool = True
    personalization: str | None = None
    recipe_id: str | None = None
    probe: int | None = None
    attestation: Attestation = Attestation.NONE
    commands: bool = False
    accessible: bool = False
    contactless: bool = False
    protocols: bytes = b""
    memory: MemoryNeeds = MemoryNeeds()


class ServiceDescription(Record, frozen=True, kw_only=True):
    """What one flavor of a service puts on a card; fixed when an instance is created.

    `device_apps` are the hashes of the device applications that may use the accessible applications.
    `sp_parameters` are the service's, with what the flavor replaces of them.
    """

    service_id: str
    version_tag: str
    flavor_id: str
    provider_id: TenantId
    sd_aid: Aid
    load_files: tuple[LoadFileReference, ...]
    applications: tuple[ApplicationSpecification, ...]
    extradite: bool = False
    dedicated_sd: bool = True
    device_apps: tuple[bytes, ...] = ()
    key_provisioning: KeyProvisioning = KeyProvisioning()
    sp_parameters: dict[str, str] = {}


class Goal(Enum):
    """What an instance should be on its card."""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    ABSENT = "ABSENT"


class Stage(Enum):
    """What of a description should be on the card: the commands of TR-03165 (TSM-API).

    INSTALL: domain, load files, instances. PERSONALIZE: the recipes are run. ACTIVATE: applications can be
    selected.
    """

    INSTALL = "INSTALL"
    PERSONALIZE = "PERSONALIZE"
    ACTIVATE = "ACTIVATE"


ALL_STAGES = (Stage.INSTALL, Stage.PERSONALIZE, Stage.ACTIVATE)


class ValueTransaction(Record, frozen=True, kw_only=True):
    """A top-up that should have happened exactly once: `id` 8 bytes in hex, `amount` in minor units."""

    id: str
    application: Aid
    amount: int


class DesiredContent(Record, frozen=True, kw_only=True):
    """What should be on the card for one instance.

    `stages` are those of the description that should be there, INSTALL always among them; `final` is False
    when the instance is to be completed by a later operation: then nothing is locked or unlocked. With
    `keys_elsewhere` nobody here has the keys of the instance's domain. `over_provider` says that the secure
    element's issuer wants it locked or unlocked: the domain above does that.
    """

    instance_id: InstanceId
    description: ServiceDescription
    goal: Goal
    key_version: int
    stages: frozenset[Stage] = frozenset(ALL_STAGES)
    final: bool = True
    keys_elsewhere: bool = False
    over_provider: bool = False
    transaction: ValueTransaction | None = None
