"""The steps that a plan is made of. Each says in words what it does, and whether it changes the card."""

from typing import ClassVar

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.card_content import (
    ApplicationSpecification,
    LoadFileReference,
    MemoryNeeds,
    ObjectKind,
)
from opentsm.tsm.domain.delegation import ProofScheme, ProofUse
from opentsm.tsm.engine import activation_steps as a
from opentsm.tsm.engine import card_steps as k
from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.ids import TenantId

_PROOFS = {
    ProofUse.TOKEN: "verifies tokens",
    ProofUse.RECEIPT: "makes receipts",
    ProofUse.DAP: "verifies load files",
}


class ReadRegistry(Record, frozen=True, kw_only=True, tag="read_registry"):
    """Read registry and free memory through the session's domain, at most `pages` answers a list."""

    changes: ClassVar[bool] = False
    pages: int = 1

    def describe(self) -> str:
        return "read the card's registry and free memory"


class CreateSecurityDomain(Record, frozen=True, kw_only=True, tag="create_security_domain"):
    """Install a supplementary security domain and make it selectable."""

    changes: ClassVar[bool] = True
    aid: Aid
    load_file: Aid
    module: Aid
    privileges: int
    parameters: bytes
    memory: MemoryNeeds = MemoryNeeds()

    def describe(self) -> str:
        return f"create security domain {self.aid}"


class PutFirstKeys(Record, frozen=True, kw_only=True, tag="put_first_keys"):
    """Give a new security domain its first, temporary key set.

    `handed_over` is False when its owner itself does that: then nobody else knows the keys.
    """

    changes: ClassVar[bool] = True
    domain: Aid
    kvn: int
    forwarded: bool
    handed_over: bool = True

    def describe(self) -> str:
        how = "through its parent" if self.forwarded else "under its parent's keys"
        return f"give {self.domain} temporary keys (version {self.kvn:02X}) {how}"


class OfferKeys(Record, frozen=True, kw_only=True, tag="offer_keys"):
    """Show a new security domain the certificate of its owner; what follows is `AgreeKeys`."""

    changes: ClassVar[bool] = False
    domain: Aid
    owner_id: TenantId

    def describe(self) -> str:
        return f"show {self.domain} its owner's certificate"


class AgreeKeys(Record, frozen=True, kw_only=True, tag="agree_keys"):
    """Let a security domain agree on keys with its owner: nobody who carries the commands learns them.

    `certificate` is the card's, as it was read from its CASD: the owner trusts it only once it has verified
    it. Source: Amendment A, scenario 3.
    """

    changes: ClassVar[bool] = True
    domain: Aid
    kvn: int
    owner_id: TenantId
    certificate: bytes

    def describe(self) -> str:
        return f"agree on keys of {self.domain} (version {self.kvn:02X}) with its owner, unread on the way"


class ReplaceKeys(Record, frozen=True, kw_only=True, tag="replace_keys"):
    """Replace a security domain's key set by one that its owner made.

    `master` names the owner's master key that the new set is derived from; empty: random keys.
    """

    changes: ClassVar[bool] = True
    domain: Aid
    old_kvn: int
    new_kvn: int
    master: str = ""

    def describe(self) -> str:
        old, new = f"{self.old_kvn:02X}", f"{self.new_kvn:02X}"
        return f"replace keys {old} of {self.domain} by its owner's own (version {new})"


class PutProofKey(Record, frozen=True, kw_only=True, tag="put_proof_key"):
    """Put the key that verifies tokens, or makes receipts, into a security domain, or replace it.

    `number` is the card's, for which a symmetric key is derived.
    """

    changes: ClassVar[bool] = True
    domain: Aid
    use: ProofUse
    scheme: ProofScheme
    number: bytes
    replaces: bool = False

    def describe(self) -> str:
        what = _PROOFS[self.use]
        return f"give {self.domain} the key that {what} (version {self.use.value:02X}, {self.scheme.value})"


class ProveKeys(Record, frozen=True, kw_only=True, tag="prove_keys"):
    """Open a session under the new key set: the card proves that it holds it."""

    changes: ClassVar[bool] = False
    domain: Aid
    kvn: int

    def describe(self) -> str:
        return f"prove keys {self.kvn:02X} of {self.domain}"


class Dap(Record, frozen=True, kw_only=True):
    """A signature over a load file's hash, and the domain on the card that verifies it (GPCS §9.2.1)."""

    domain: Aid
    signature: bytes


class Load(Record, frozen=True, kw_only=True, tag="load"):
    """Load a load file into a security domain, with the signatures that domains on the card demand."""

    changes: ClassVar[bool] = True
    load_file: LoadFileReference
    security_domain: Aid
    daps: tuple[Dap, ...] = ()

    def describe(self) -> str:
        return f"load {self.load_file.aid} ({self.load_file.size} bytes) into {self.security_domain}"


class Install(Record, frozen=True, kw_only=True, tag="install"):
    """Create an instance of a module; `build` is the digest of all it is built from (`engine.identity`)."""

    changes: ClassVar[bool] = True
    application: ApplicationSpecification
    make_selectable: bool
    build: str = ""

    def describe(self) -> str:
        app = self.application
        more = " and make it selectable" if self.make_selectable else ""
        return f"install {app.instance_aid} from {app.load_file}{more}"


class Extradite(Record, frozen=True, kw_only=True, tag="extradite"):
    """Move an application to another security domain."""

    changes: ClassVar[bool] = True
    application: Aid
    security_domain: Aid

    def describe(self) -> str:
        return f"extradite {self.application} to {self.security_domain}"


class Personalize(Record, frozen=True, kw_only=True, tag="personalize"):
    """Run a personalisation recipe on an application, through its security domain."""

    changes: ClassVar[bool] = True
    application: Aid
    recipe_id: str
    personalization: str

    def describe(self) -> str:
        return f"personalise {self.application} (version {self.personalization})"


class RunCommands(Record, frozen=True, kw_only=True, tag="run_commands"):
    """Send a recipe's commands to an application that is selected."""

    changes: ClassVar[bool] = True
    application: Aid
    recipe_id: str
    personalization: str

    def describe(self) -> str:
        return f"send commands to {self.application} (version {self.personalization})"


class MakeSelectable(Record, frozen=True, kw_only=True, tag="make_selectable"):
    """Make an installed application selectable."""

    changes: ClassVar[bool] = True
    application: Aid

    def describe(self) -> str:
        return f"make {self.application} selectable"


class Lock(Record, frozen=True, kw_only=True, tag="lock"):
    """Lock an application."""

    changes: ClassVar[bool] = True
    application: Aid

    def describe(self) -> str:
        return f"lock {self.application}"


class Unlock(Record, frozen=True, kw_only=True, tag="unlock"):
    """Unlock an application: it returns to the state before the lock."""

    changes: ClassVar[bool] = True
    application: Aid

    def describe(self) -> str:
        return f"unlock {self.application}"


class Delete(Record, frozen=True, kw_only=True, tag="delete"):
    """Delete an application, a load file or an empty security domain."""

    changes: ClassVar[bool] = True
    aid: Aid
    kind: ObjectKind

    def describe(self) -> str:
        return f"delete {self.kind.value.lower().replace('_', ' ')} {self.aid}"


class RestrictDomain(Record, frozen=True, kw_only=True, tag="restrict_domain"):
    """Take functions away from a security domain (Restrict parameter, GPCS 2.3.1 Table 11-53), for good."""

    changes: ClassVar[bool] = True
    domain: Aid
    functions: int

    def describe(self) -> str:
        return f"restrict {self.domain} (functions {self.functions:02X})"


class TopUp(Record, frozen=True, kw_only=True, tag="top_up"):
    """Credit a purse, once: `transaction` is 8 bytes in hex, `amount` in minor units."""

    changes: ClassVar[bool] = True
    application: Aid
    transaction: str
    amount: int

    def describe(self) -> str:
        return f"top up {self.application} by {self.amount} (transaction {self.transaction})"


class ProbeKeys(Record, frozen=True, kw_only=True, tag="probe_keys"):
    """Ask a security domain which key versions it holds (GET DATA E0)."""

    changes: ClassVar[bool] = False
    domain: Aid

    def describe(self) -> str:
        return f"ask {self.domain} which keys it holds"


class ReadCardCertificate(Record, frozen=True, kw_only=True, tag="read_card_certificate"):
    """Ask a card's CASD for the certificate of the key that keys are agreed with (GET DATA 7F21)."""

    changes: ClassVar[bool] = False
    casd: Aid

    def describe(self) -> str:
        return f"ask {self.casd} for the card's certificate"


class ProbePersonalization(Record, frozen=True, kw_only=True, tag="probe_personalization"):
    """Ask an application which personalisation it has."""

    changes: ClassVar[bool] = False
    application: Aid
    data_object: int

    def describe(self) -> str:
        return f"ask {self.application} for its personalisation version"


class ProbeTransaction(Record, frozen=True, kw_only=True, tag="probe_transaction"):
    """Ask a purse whether it holds a transaction in its log."""

    changes: ClassVar[bool] = False
    application: Aid
    transaction: str

    def describe(self) -> str:
        return f"ask {self.application} whether transaction {self.transaction} happened"


Step = (
    ReadRegistry
    | CreateSecurityDomain
    | PutFirstKeys
    | OfferKeys
    | AgreeKeys
    | ReplaceKeys
    | PutProofKey
    | ProveKeys
    | Load
    | Install
    | Extradite
    | Personalize
    | RunCommands
    | MakeSelectable
    | Lock
    | Unlock
    | Delete
    | RestrictDomain
    | TopUp
    | ProbeKeys
    | ReadCardCertificate
    | ProbePersonalization
    | ProbeTransaction
    | a.GrantAccess
    | a.RevokeAccess
    | a.SetContactless
    | a.ReadAccess
    | a.ReadContactless
    | k.SetCardState
    | k.ProbeTermination
)

# What a domain with Delegated Management does with a token only (GPCS 2.3.1 §9.2.3, Table 11-1)
DELEGATED = (Load, Install, Extradite, MakeSelectable, Delete, a.SetContactless)
