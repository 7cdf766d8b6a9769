"""The part of a software keystore that signs tokens and verifies receipts; see `ports.keystore`."""

from abc import ABC, abstractmethod

from opentsm.card.crypto.secret import Secret
from opentsm.card.gp.keys import AesLayout, StaticKeys
from opentsm.tsm.adapters.keystores import key_sets, proofs
from opentsm.tsm.domain.delegation import ProofKey
from opentsm.tsm.domain.secure_element import UsableKeys
from opentsm.tsm.kernel.errors import KeystoreError
from opentsm.tsm.kernel.ids import KeyHandle
from opentsm.tsm.ports.keystore import ChannelContext


class ProofKeyring(ABC):
    """Signs and verifies with the secrets under a keystore's handles."""

    @abstractmethod
    async def generate(self, handle: KeyHandle, *, length_bytes: int = 16) -> None:
        """Make a symmetric key under a new handle; an existing handle is left as it is."""

    @abstractmethod
    async def _keep(self, handle: KeyHandle, key: Secret) -> None:
        """Store a key under a new handle."""

    @abstractmethod
    async def _handle(self, handle: KeyHandle) -> Secret:
        """Return the secret under a handle."""

    @abstractmethod
    async def _static(self, source: UsableKeys) -> StaticKeys:
        """Return the keys that a source names."""

    async def make_proof_key(self, key: ProofKey) -> None:
        """Make the key of a token or receipt scheme under a new handle; an existing one stays as it is."""
        if key.scheme not in proofs.SECRET_BYTES:
            raise KeystoreError(f"A key of the scheme {key.scheme.value} is imported, not made.")
        await self.generate(key.handle, length_bytes=proofs.SECRET_BYTES[key.scheme])

    async def import_proof_key(self, key: ProofKey, secret: Secret) -> None:
        """Store such a key from a ceremony; refuse what is no key of the scheme."""
        with key_sets.no_key_told():
            proofs.signer(secret, key)
        await self._keep(key.handle, secret)

    async def sign_proof(self, key: ProofKey, message: bytes) -> bytes:
        """Sign what a token signs (GPCS 2.3.1 §C.4), by the scheme of Table C-1."""
        secret = await self._handle(key.handle)
        with key_sets.no_key_told():
            return proofs.signer(secret, key).sign(message)

    async def verify_proof(self, key: ProofKey, message: bytes, signature: bytes) -> None:
        """Check what a receipt signs (§C.5); raise SignatureError when it is not its signature."""
        secret = await self._handle(key.handle)
        with key_sets.no_key_told():
            verifier = proofs.verifier(secret, key)
        verifier.verify(message, signature)

    async def put_proof_key_field(
        self, source: UsableKeys, context: ChannelContext, key: ProofKey, *, layout: AesLayout
    ) -> bytes:
        """Return the PUT KEY data field of a proof key: the public one, or a symmetric one under the DEK."""
        static, secret = await self._static(source), await self._handle(key.handle)
        with key_sets.no_key_told():
            return proofs.put_field(secret, key, key_sets.dek_of(static, context), layout)
