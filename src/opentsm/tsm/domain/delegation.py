"""Delegated management as records: keys that prove, tokens and what became of them.

GPCS 2.3.1 §9.2.3 (tokens), §9.1.3.6 and §C.5 (receipts), Table C-1 (schemes).
"""

from datetime import datetime
from enum import Enum

from opentsm.card.codec.aid import Aid
from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.ids import KeyHandle, OperationId, SeId, TenantId


class ProofScheme(Enum):
    """How a key signs tokens or receipts; its kind decides (Table C-1)."""

    EC_P256 = "EC-P256"
    AES = "AES"
    DES = "DES"
    RSA = "RSA"


class ProofKey(Record, frozen=True, kw_only=True):
    """A key of the party that issues tokens, in its keystore.

    `diversifier` names the card for which a symmetric key is derived from the one under the handle; without
    one the key under the handle is used as it is. An asymmetric key is the same for all cards.
    """

    handle: KeyHandle
    scheme: ProofScheme
    diversifier: bytes = b""


class ProofUse(Enum):
    """What a key proves: `value` is the version that OpenTSM gives it, with identifier 01 (GPCS §C.1)."""

    TOKEN = 0x70
    RECEIPT = 0x71
    DAP = 0x73


_SYMMETRIC = (ProofScheme.AES, ProofScheme.DES)


def proof_key(owner_id: TenantId, use: ProofUse, scheme: ProofScheme, number: bytes) -> ProofKey:
    """Return the key of a party for one use; a symmetric one is the card's whose number this is."""
    handle = KeyHandle(f"{use.name.lower()}/{owner_id}/{scheme.value}")
    return ProofKey(handle=handle, scheme=scheme, diversifier=number if scheme in _SYMMETRIC else b"")


class TokenState(Enum):
    """What became of a token.

    ISSUED: nothing was heard of it. CONFIRMED: the card's receipt was verified. UNUSED: the card refused the
    command. UNANSWERED: the answer was lost, and a receipt with it. DISPUTED: the card carried the command
    out, and its receipt is missing or wrong.
    """

    ISSUED = "ISSUED"
    CONFIRMED = "CONFIRMED"
    UNUSED = "UNUSED"
    UNANSWERED = "UNANSWERED"
    DISPUTED = "DISPUTED"


class Token(Record, frozen=True, kw_only=True):
    """A token that was issued: `number` is its identifier on the card, `digest` (hex) names what it signs.

    `meaning` is the command in words; the whole command with its token is kept sealed. `context` is what its
    receipt signs behind the confirmation data (§C.5), `counter` the confirmation counter of that receipt.
    """

    number: int
    owner_id: TenantId
    request_id: str
    position: int
    se_id: SeId
    provider_id: TenantId
    operation_id: OperationId
    security_domain: Aid
    meaning: str
    digest: str
    context: bytes
    sealed_command: bytes
    state: TokenState = TokenState.ISSUED
    counter: int | None = None
    issued_at: datetime

    @property
    def identifier(self) -> bytes:
        """Return the token identifier (tag 93): the number in 8 bytes."""
        return self.number.to_bytes(8, "big")
