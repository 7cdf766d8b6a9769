"""Keys as handles. One keystore belongs to one party; static keys never leave it in clear."""

from typing import Protocol

from opentsm.card.codec.aid import Aid
from opentsm.card.crypto.secret import Secret
from opentsm.card.gp.certificates import PublicKey
from opentsm.card.gp.keys import AesLayout
from opentsm.card.scp.channel import SessionKeys
from opentsm.tsm.domain.delegation import ProofKey
from opentsm.tsm.domain.secure_element import BoundKeys, SealedKeys, UsableKeys, WrappedKeys
from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.ids import KeyHandle


class ChannelContext(Record, frozen=True, kw_only=True):
    """What a session's keys are derived from, besides the static keys.

    `initialize_update` is the card's whole response data; `i` the protocol's option byte of the profile.
    """

    scp: int
    i: int
    host_challenge: bytes
    initialize_update: bytes


class GeneratedKeySet(Record, frozen=True, kw_only=True):
    """A sealed key set: how to find it again, and the check values (3 bytes each) of ENC, MAC and DEK."""

    source: SealedKeys
    context: str
    kcvs: tuple[bytes, ...]

    @property
    def bound(self) -> BoundKeys:
        """Return the source together with the place that it was sealed for."""
        return BoundKeys(source=self.source, context=self.context)


class CardAgreement(Record, frozen=True, kw_only=True):
    """Keys that a security domain is to agree on with its owner (Amendment A, scenario 3).

    `casd` is the card's key, of a certificate that was verified; `signer` the handle of the key that the
    owner's own certificate is for. `context` is the place of the key set.
    """

    casd: PublicKey
    signer: KeyHandle
    challenge: bytes
    kvn: int
    key_length: int
    context: str


class AgreedKeySet(Record, frozen=True, kw_only=True):
    """The key set that an agreement makes, before the card has answered: sealed, as `generate_key_set`'s.

    `command` is what the card must get for it (C-APDU), `receipt` what it then proves to have it with. Of the
    key pair that agreed on it only the public key is left, in the command.
    """

    keys: GeneratedKeySet
    command: bytes
    receipt: bytes


class Keystore(Protocol):
    """What a party's keys can do. Every method raises `KeystoreError` and uses no key when it refuses.

    A key set that does not open where it was found raises `KeyMaterialError`: it was changed, moved from
    another place, or wrapped under another key. No method is called inside a database transaction.
    """

    async def generate(self, handle: KeyHandle, *, length_bytes: int = 16) -> None:
        """Make a symmetric key under a new handle; an existing handle is left as it is."""
        ...

    async def import_key(self, handle: KeyHandle, key: Secret) -> None:
        """Store a key under a new handle (ceremonies, demo); refuse an existing handle with another value."""
        ...

    async def has(self, handle: KeyHandle) -> bool:
        """Say whether the handle exists."""
        ...

    async def erase(self) -> int:
        """Forget the keys under all handles for good, and say how many there were.

        The key under which the keystore itself seals stays.
        """
        ...

    async def agreement_key(self, handle: KeyHandle) -> bytes:
        """Return the public key with which others agree on transport keys (point of P-256, 65 bytes).

        The key is made when the handle is new.
        """
        ...

    async def agree_transport_key(self, transport: KeyHandle, own: KeyHandle, point: bytes) -> None:
        """Store the transport key that this keystore's `own` key and the other party's point agree on.

        Both sides get the same key (32 bytes, for AES key wrap) under the same handle, which goes into the
        derivation. An existing handle with another value is refused; a bad point is a `PeerFaultError`.

        Source: SP 800-56A r3 §6.2.2.2; ANSI X9.63 §5.6.3.
        """
        ...

    async def generate_key_set(self, *, scp: int, key_length: int, context: str) -> GeneratedKeySet:
        """Make ENC, MAC and DEK of `key_length` bytes, sealed under this keystore's own key.

        `context` (`key_set_context`) is bound as associated data: the set opens in that place only.
        """
        ...

    async def adopt_key_set(self, wrapped: WrappedKeys, *, scp: int, context: str) -> GeneratedKeySet:
        """Take a key set over from a transport key, sealed for a place under this keystore's own key."""
        ...

    async def agree_card_keys(self, wanted: CardAgreement) -> AgreedKeySet:
        """Agree with a card on a new AES key set for one of its security domains, with a new key pair.

        Raises:
            KeystoreError: the card's key is of a curve that this keystore does not agree on.
        """
        ...

    async def key_check_values(self, source: UsableKeys, *, scp: int) -> tuple[bytes, bytes, bytes]:
        """Return the check values (3 bytes each) of a key set."""
        ...

    async def derive_session(self, source: UsableKeys, context: ChannelContext) -> SessionKeys:
        """Derive the session keys; the DEK in the result is empty, it stays inside.

        Does not check the card's cryptogram: the channel does, before anything is sent.
        """
        ...

    async def predict_challenge(
        self, source: UsableKeys, *, scp: int, i: int, counter: int, aid: Aid
    ) -> bytes:
        """Return the pseudo-random card challenge for a counter value (Amendment D §6.2.2.1; E.4.2.3)."""
        ...

    async def put_key_fields(
        self,
        source: UsableKeys,
        context: ChannelContext,
        new_keys: UsableKeys,
        *,
        new_scp: int,
        layout: AesLayout,
    ) -> tuple[bytes, ...]:
        """Return the PUT KEY data fields of a key set (ENC, MAC, DEK) under the DEK of the session."""
        ...

    async def store_data_key_set(
        self, source: UsableKeys, context: ChannelContext, new_keys: UsableKeys, *, new_scp: int, kvn: int
    ) -> bytes:
        """Return the data groupings (00B9, 3 × 8113) of a key set under the DEK of the session."""
        ...

    async def encrypt_under_dek(
        self, source: UsableKeys, context: ChannelContext, plaintext: Secret
    ) -> bytes:
        """Encrypt one personalisation value, already padded to the block, under the DEK of the session."""
        ...

    async def derive_application_key(
        self, master: KeyHandle, diversifier: bytes, *, length_bytes: int = 16
    ) -> Secret:
        """Derive a card's application key from a provider's master key (SP 800-108 over the diversifier).

        The result goes to the card under a DEK, or serves one value transaction; it is never stored.
        """
        ...

    async def derive_emv_card_key(self, master: KeyHandle, account: bytes) -> Secret:
        """Derive a bank card's key from an issuer master key by Option A (EMV Book 2 A1.4.1).

        `account` is the last 16 digits of card number and sequence number, 8 bytes BCD. The result goes to
        the card under a DEK; it is never stored.
        """
        ...

    async def export_key_set(self, source: UsableKeys, transport: KeyHandle) -> WrappedKeys:
        """Wrap a key set for another party under a shared transport key (AES key wrap, RFC 3394)."""
        ...

    async def sign(self, handle: KeyHandle, message: bytes) -> bytes:
        """Sign with ES256 (RFC 7518 §3.4: ECDSA P-256 and SHA-256, R ‖ S, 64 bytes).

        The key is made when the handle is new: nobody but this keystore ever knew it.
        """
        ...

    async def verification_key(self, handle: KeyHandle) -> bytes:
        """Return the public key of a signing handle (uncompressed point of P-256, 65 bytes)."""
        ...

    async def make_proof_key(self, key: ProofKey) -> None:
        """Make the key of a token or receipt scheme under a new handle; an existing one stays as it is.

        Raises:
            KeystoreError: keys of this scheme (RSA) are imported, not made.
        """
        ...

    async def import_proof_key(self, key: ProofKey, secret: Secret) -> None:
        """Store such a key from a ceremony: EC-P256 its number, AES and DES the key, RSA PKCS #8 in DER.

        Raises:
            KeystoreError: the secret is no key of the scheme, or another one is under the handle.
        """
        ...

    async def sign_proof(self, key: ProofKey, message: bytes) -> bytes:
        """Sign what a token signs (GPCS 2.3.1 §C.4), by the scheme of Table C-1."""
        ...

    async def verify_proof(self, key: ProofKey, message: bytes, signature: bytes) -> None:
        """Check what a receipt signs (§C.5).

        Raises:
            SignatureError: it is not the signature of `message`.
        """
        ...

    async def put_proof_key_field(
        self, source: UsableKeys, context: ChannelContext, key: ProofKey, *, layout: AesLayout
    ) -> bytes:
        """Return the PUT KEY data field of a proof key: the public one, or a symmetric one under the DEK."""
        ...

    async def seal(self, plaintext: bytes, *, context: str) -> bytes:
        """Encrypt with an AEAD; `context` (an operation or instance id) is bound as associated data."""
        ...

    async def open(self, sealed: bytes, *, context: str) -> bytes:
        """Decrypt what `seal` made with the same context."""
        ...

    async def digest(self, value: bytes, *, context: str) -> bytes:
        """Return a keyed digest (HMAC-SHA256, 32 bytes): equal values of a context are found by it.

        The key follows from this keystore's own and never leaves it.
        """
        ...
