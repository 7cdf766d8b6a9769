"""A party's keystore in a sealed file: static keys live in this object's memory and leave it only wrapped.

Made so that an HSM can take its place: keys are handles, every operation that needs a static key happens
here, and a refusal never tells a key.
Source: Amendment D 1.1.1 §6.2; GPCS 2.3.1 Appendix E; RFC 3394 (AES key wrap); SP 800-108r1.
"""

import asyncio
import hmac
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from opentsm.card.codec.aid import Aid
from opentsm.card.crypto.kdf import sp800_108_cmac
from opentsm.card.crypto.secret import Secret
from opentsm.card.gp import keys as gp_keys
from opentsm.card.gp.diversification import diversify, option_a
from opentsm.card.gp.keys import AesLayout, StaticKeys
from opentsm.card.scp import scp02, scp03
from opentsm.card.scp.channel import SessionKeys
from opentsm.tsm.adapters.keystores import agreement, card_agreement, key_sets, signatures
from opentsm.tsm.adapters.keystores.proof_keyring import ProofKeyring
from opentsm.tsm.adapters.keystores.sealed_file import SealedFile, Unlock
from opentsm.tsm.domain.secure_element import (
    BoundKeys,
    DiversifiedKeys,
    SealedKeys,
    UsableKeys,
    WrappedKeys,
)
from opentsm.tsm.kernel.documents import Record, from_json, to_json
from opentsm.tsm.kernel.errors import KeyMaterialError, KeystoreError
from opentsm.tsm.kernel.ids import KeyHandle, TenantId
from opentsm.tsm.kernel.wording import quoted
from opentsm.tsm.ports.keystore import AgreedKeySet, CardAgreement, ChannelContext, GeneratedKeySet

APPLICATION_KEY_LABEL = b"OpenTSM app1"
_ROOT_BYTES = 32
_NONCE_BYTES = 12
_SEAL_VERSION = b"\x01"
# The first byte of a sealed key set. Another form gets another number; no older one is read.
_KEY_SET_VERSION = b"\x01"
_SCP02_KEY_BYTES = 16
_I_S16, _I_SCP03_PSEUDO_RANDOM, _I_SCP02_PSEUDO_RANDOM = 0x01, 0x10, 0x40
_EMPTY = Secret(b"")


class _Content(Record, frozen=True, kw_only=True):
    """What the file seals: the key under which everything else is sealed, and the keys by handle."""

    root: bytes
    keys: dict[str, bytes]

    def __repr__(self) -> str:
        return f"<keystore content, {len(self.keys)} keys>"


class SoftwareKeystore(ProofKeyring):
    """The keys of one party. Load it with `from_file`, or make it with `create`."""

    def __init__(self, party: TenantId, file: SealedFile, content: bytes) -> None:
        self._party = party
        self._file = file
        self._generation: tuple[int, int, int] | None = None  # the first use looks again
        self._load(content)

    @classmethod
    async def create(cls, path: Path, party: TenantId, unlock: Unlock) -> "SoftwareKeystore":
        """Make a new keystore with a sealing key of its own.

        Raises:
            KeystoreError: the file exists already, or cannot be written.
        """
        return await asyncio.to_thread(cls.make, path, party, unlock)

    @classmethod
    def make(cls, path: Path, party: TenantId, unlock: Unlock) -> "SoftwareKeystore":
        """Make a new keystore; blocks, see `create`."""
        content = to_json(_Content(root=secrets.token_bytes(_ROOT_BYTES), keys={}))
        return cls(party, SealedFile.create(path, party, unlock, content), content)

    @classmethod
    async def from_file(cls, path: Path, party: TenantId, unlock: Unlock) -> "SoftwareKeystore":
        """Open a keystore.

        Raises:
            KeystoreError: there is none, it is another party's, it was changed, or the passphrase is wrong.
        """
        file = await asyncio.to_thread(SealedFile.open, path, party, unlock)
        return cls(party, file, await asyncio.to_thread(file.read))

    @classmethod
    async def from_file_or_create(cls, path: Path, party: TenantId, unlock: Unlock) -> "SoftwareKeystore":
        """Open the keystore, which is made when there is none yet."""
        if await asyncio.to_thread(path.exists):
            return await cls.from_file(path, party, unlock)
        return await cls.create(path, party, unlock)

    def __repr__(self) -> str:
        return f"SoftwareKeystore(party={self._party!r}, handles={tuple(sorted(self._keys))!r})"

    async def generate(self, handle: KeyHandle, *, length_bytes: int = 16) -> None:
        """Make a symmetric key under a new handle; an existing handle is left as it is."""
        key_sets.require_length(length_bytes)
        await self._change(lambda keys: {handle: secrets.token_bytes(length_bytes)} | keys)

    async def import_key(self, handle: KeyHandle, key: Secret) -> None:
        """Store a key under a new handle; refuse an existing handle with another value."""
        key_sets.require_length(len(key))
        await self._keep(handle, key)

    async def _keep(self, handle: KeyHandle, key: Secret) -> None:
        await self._change(lambda keys: {handle: key.reveal()} | keys)
        if self._key(handle) != key:
            raise KeystoreError(
                f"The keystore holds another key under the handle {quoted(handle)}.",
                advice="Choose a new handle.",
            )

    async def has(self, handle: KeyHandle) -> bool:
        """Say whether the handle exists."""
        await self.refresh()
        return handle in self._keys

    async def refresh(self) -> None:
        """Read the file again when another process changed it: what was erased there is forgotten here.

        Raises:
            KeystoreError: the file was removed, or changed by somebody who has no key to it.
        """
        generation = self._file.generation()
        if generation != self._generation:
            content = await asyncio.to_thread(self._file.read)
            # taken before the reading: a change in between is seen next time
            self._generation = generation
            self._load(content)

    async def erase(self) -> int:
        """Forget the keys under all handles for good, and say how many there were.

        The root stays: another process may be sealing under it.
        """
        count = 0

        def erased(keys: dict[str, bytes]) -> dict[str, bytes]:
            nonlocal count
            count = len(keys)
            return {}

        await self._change(erased)
        return count

    async def agreement_key(self, handle: KeyHandle) -> bytes:
        """Return the public key with which others agree on transport keys (point of P-256, 65 bytes)."""
        await self.generate(handle, length_bytes=_ROOT_BYTES)
        return agreement.public_point(self._key(handle))

    async def agree_transport_key(self, transport: KeyHandle, own: KeyHandle, point: bytes) -> None:
        """Store the transport key that this keystore's `own` key and the other party's point agree on."""
        secret = await self._handle(own)
        await self.import_key(transport, Secret(agreement.transport_key(secret, point, transport)))

    async def generate_key_set(self, *, scp: int, key_length: int, context: str) -> GeneratedKeySet:
        """Make ENC, MAC and DEK of `key_length` bytes, sealed under this keystore's own key for a place."""
        key_sets.require_length(key_length)
        enc, mac, dek = (Secret(secrets.token_bytes(key_length)) for _ in range(3))
        return self._seal_key_set(StaticKeys(enc, mac, dek), scp, context)

    async def adopt_key_set(self, wrapped: WrappedKeys, *, scp: int, context: str) -> GeneratedKeySet:
        """Take a key set over from a transport key, sealed for a place under this keystore's own key."""
        return self._seal_key_set(await self._static(wrapped), scp, context)

    async def agree_card_keys(self, wanted: CardAgreement) -> AgreedKeySet:
        """Agree with a card on a new AES key set for one of its security domains, with a new key pair."""
        await self.generate(wanted.signer, length_bytes=_ROOT_BYTES)
        with key_sets.no_key_told():
            command, agreed = card_agreement.agree(self._key(wanted.signer), wanted)
        keys = self._seal_key_set(agreed.keys, key_sets.SCP03, wanted.context)
        return AgreedKeySet(keys=keys, command=command, receipt=agreed.receipt)

    def _seal_key_set(self, keys: StaticKeys, scp: int, context: str) -> GeneratedKeySet:
        if scp == key_sets.SCP02 and len(keys.enc) != _SCP02_KEY_BYTES:
            raise KeystoreError(f"An SCP02 key has {_SCP02_KEY_BYTES} bytes, not {len(keys.enc)}.")
        kcvs = key_sets.check_values(keys, scp)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._key_set_cipher(context).encrypt(nonce, key_sets.joined(keys), context.encode())
        blob = _KEY_SET_VERSION + nonce + sealed
        return GeneratedKeySet(source=SealedKeys(blob=blob), context=context, kcvs=kcvs)

    def _open_key_set(self, blob: bytes, context: str) -> StaticKeys:
        version, nonce, sealed = blob[:1], blob[1 : 1 + _NONCE_BYTES], blob[1 + _NONCE_BYTES :]
        try:
            if version != _KEY_SET_VERSION:
                raise InvalidTag
            clear = self._key_set_cipher(context).decrypt(nonce, sealed, context.encode())
        except (InvalidTag, ValueError):
            raise KeyMaterialError from None
        return key_sets.parted(clear)

    def _key_set_cipher(self, context: str) -> AESGCM:
        """Return the cipher of one place: a key of its own, so that random nonces are few under each."""
        return AESGCM(self._sealing_key(f"key set:{context}").reveal())

    async def key_check_values(self, source: UsableKeys, *, scp: int) -> tuple[bytes, bytes, bytes]:
        """Return the check values (3 bytes each) of a key set."""
        with key_sets.no_key_told():
            return key_sets.check_values(await self._static(source), scp)

    async def derive_session(self, source: UsableKeys, context: ChannelContext) -> SessionKeys:
        """Derive the session keys; the DEK in the result is empty, it stays inside."""
        with key_sets.no_key_told():
            return replace(key_sets.session_of(await self._static(source), context), dek=_EMPTY)

    async def predict_challenge(
        self, source: UsableKeys, *, scp: int, i: int, counter: int, aid: Aid
    ) -> bytes:
        """Return the pseudo-random card challenge for a counter value (Amendment D §6.2.2.1; E.4.2.3).

        Raises:
            KeystoreError: a card with this `i` has random challenges, or the keys or the counter do not fit.
        """
        keys = await self._static(source)
        with key_sets.no_key_told():
            if scp == key_sets.SCP03 and i & _I_SCP03_PSEUDO_RANDOM:
                return scp03.card_challenge(keys.enc, counter, aid, s16=bool(i & _I_S16))
            if scp == key_sets.SCP02 and i & _I_SCP02_PSEUDO_RANDOM:
                return scp02.card_challenge(scp02.derive_session_keys(keys, counter), aid)
        raise KeystoreError(f"The challenges of a card with SCP{scp:02} i={i:02X} cannot be known before.")

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
        static, fresh = await self._static(source), await self._static(new_keys)
        with key_sets.no_key_told():
            return gp_keys.put_key_fields(
                fresh, key_sets.key_type(new_scp), key_sets.dek_of(static, context), layout
            )

    async def store_data_key_set(
        self, source: UsableKeys, context: ChannelContext, new_keys: UsableKeys, *, new_scp: int, kvn: int
    ) -> bytes:
        """Return the data groupings (00B9, 3 × 8113) of a key set under the DEK of the session."""
        static, fresh = await self._static(source), await self._static(new_keys)
        with key_sets.no_key_told():
            return gp_keys.store_data_key_set(
                fresh, kvn, key_sets.key_type(new_scp), key_sets.dek_of(static, context)
            )

    async def encrypt_under_dek(
        self, source: UsableKeys, context: ChannelContext, plaintext: Secret
    ) -> bytes:
        """Encrypt one personalisation value, already padded to the block, under the DEK of the session."""
        static = await self._static(source)
        with key_sets.no_key_told():
            return key_sets.dek_of(static, context).encrypt(plaintext.reveal())

    async def derive_application_key(
        self, master: KeyHandle, diversifier: bytes, *, length_bytes: int = 16
    ) -> Secret:
        """Derive a card's application key from a provider's master key.

        SP 800-108 in counter mode with AES-CMAC: label "OpenTSM app1", context the diversifier.
        """
        key_sets.require_length(length_bytes)
        key = await self._handle(master)
        with key_sets.no_key_told():
            return Secret(sp800_108_cmac(key.reveal(), APPLICATION_KEY_LABEL, diversifier, 8 * length_bytes))

    async def derive_emv_card_key(self, master: KeyHandle, account: bytes) -> Secret:
        """Derive a bank card's key from an issuer master key by Option A (EMV Book 2 A1.4.1)."""
        key = await self._handle(master)
        with key_sets.no_key_told():
            return option_a(key, account)

    async def export_key_set(self, source: UsableKeys, transport: KeyHandle) -> WrappedKeys:
        """Wrap a key set for another party under a shared transport key (AES key wrap, RFC 3394)."""
        keys, transport_key = await self._static(source), await self._handle(transport)
        return WrappedKeys(transport=transport, blob=key_sets.wrapped(transport_key, keys))

    async def sign(self, handle: KeyHandle, message: bytes) -> bytes:
        """Sign with ES256 (RFC 7518 §3.4: ECDSA P-256 and SHA-256, R ‖ S, 64 bytes)."""
        await self.generate(handle, length_bytes=_ROOT_BYTES)
        return signatures.sign(self._key(handle), message)

    async def verification_key(self, handle: KeyHandle) -> bytes:
        """Return the public key of a signing handle (uncompressed point of P-256, 65 bytes)."""
        return signatures.verification_key(await self._handle(handle))

    async def seal(self, plaintext: bytes, *, context: str) -> bytes:
        """Encrypt with an AEAD; `context` (an operation or instance id) is bound as associated data.

        Each context has a key of its own, so that random nonces never come near their limit.
        """
        nonce = secrets.token_bytes(_NONCE_BYTES)
        cipher = AESGCM(self._sealing_key(f"seal:{context}").reveal())
        return _SEAL_VERSION + nonce + cipher.encrypt(nonce, plaintext, context.encode())

    async def open(self, sealed: bytes, *, context: str) -> bytes:
        """Decrypt what `seal` made with the same context."""
        version, nonce = sealed[:1], sealed[1 : 1 + _NONCE_BYTES]
        cipher = AESGCM(self._sealing_key(f"seal:{context}").reveal())
        try:
            if version != _SEAL_VERSION:
                raise InvalidTag
            return cipher.decrypt(nonce, sealed[1 + _NONCE_BYTES :], context.encode())
        except (InvalidTag, ValueError):
            raise KeystoreError(
                "Sealed data were changed, or sealed for something else or by another keystore."
            ) from None

    async def digest(self, value: bytes, *, context: str) -> bytes:
        """Return a keyed digest (HMAC-SHA256, RFC 2104, 32 bytes); each context has a key of its own."""
        return hmac.digest(self._sealing_key(f"digest:{context}").reveal(), value, "sha256")

    async def _static(self, source: UsableKeys) -> StaticKeys:
        """Return the keys that a source names."""
        match source:
            case DiversifiedKeys(master=master, method=method, kdd=kdd):
                key = await self._handle(master)
                with key_sets.no_key_told():
                    return diversify(key, kdd, key_sets.diversification_method(method))
            case WrappedKeys(transport=transport, blob=blob):
                return key_sets.unwrapped(await self._handle(transport), blob)
            case BoundKeys(source=SealedKeys(blob=blob), context=context):
                return self._open_key_set(blob, context)
            case BoundKeys(source=DiversifiedKeys() | WrappedKeys() as unsealed):
                return await self._static(unsealed)
        raise KeyMaterialError("A sealed key set opens only together with the place that it was found in.")

    async def _handle(self, handle: KeyHandle) -> Secret:
        await self.refresh()
        return self._key(handle)

    def _key(self, handle: KeyHandle) -> Secret:
        try:
            return self._keys[handle]
        except KeyError:
            raise KeystoreError(
                f"The keystore of {self._party} has no key {quoted(handle)}.",
                advice="Generate or import it first.",
            ) from None

    def _sealing_key(self, purpose: str) -> Secret:
        expand = HKDFExpand(algorithm=SHA256(), length=32, info=f"opentsm {purpose}".encode())
        return Secret(expand.derive(self._root.reveal()))

    async def _change(self, edit: Callable[[dict[str, bytes]], dict[str, bytes]]) -> None:
        """Change the stored keys; another process may have added some since they were read."""

        def edited(before: bytes) -> bytes | None:
            content = from_json(_Content, before)
            keys = edit(content.keys)
            return None if keys == content.keys else to_json(_Content(root=content.root, keys=keys))

        generation = self._file.generation()
        self._load(await asyncio.to_thread(self._file.change, edited))
        # that of before: the next use looks again, and no change of another process is missed
        self._generation = generation

    def _load(self, content: bytes) -> None:
        stored = from_json(_Content, content)
        self._root = Secret(stored.root)
        self._keys = {KeyHandle(handle): Secret(key) for handle, key in stored.keys.items()}
