"""Whom a party trusts for cards: what it put on record, or for a sandbox party the test authority."""

from opentsm.card.gp.certificates import PublicKey
from opentsm.tsm.domain.card_trust import SIGNING_KEY
from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.card_authorities import VirtualAuthority
from opentsm.tsm.ports.keystore import Keystore
from opentsm.tsm.ports.unit_of_work import Storage

_SUBJECT_BYTES = 20
_SECRET_BYTES = 32


class Trust(Record, frozen=True, kw_only=True):
    """An authority for cards, the party's own certificate of it, and whether weaker grades are refused."""

    authority: PublicKey
    certificate: bytes
    required: bool = False


class CardTrust:
    """What one party trusts."""

    def __init__(
        self, party_id: TenantId, storage: Storage, keystore: Keystore, virtual: VirtualAuthority | None
    ) -> None:
        """Say whose trust it is; `virtual` is what a sandbox party trusts by itself (None: nothing)."""
        self._party_id = party_id
        self._storage = storage
        self._keystore = keystore
        self._virtual = virtual

    async def in_cards_of(self, profile: str) -> Trust | None:
        """Return whom the party trusts for the cards of a profile; None: nobody."""
        async with self._storage.transaction() as tx:
            known = await tx.card_authorities.get(self._party_id, profile)
            party = await tx.tenants.get(self._party_id)
        if known is not None:
            return Trust(authority=known.public_key, certificate=known.certificate, required=known.required)
        if self._virtual is None or party is None or not party.sandbox:
            return None
        point = await self.own_key()
        subject = self._party_id.encode()[-_SUBJECT_BYTES:]
        certificate = self._virtual.certify(point, subject)
        return Trust(authority=self._virtual.public_key(), certificate=certificate)

    async def own_key(self) -> bytes:
        """Return the public key that the party signs agreements with; authorities certify it."""
        await self._keystore.generate(SIGNING_KEY, length_bytes=_SECRET_BYTES)
        return await self._keystore.verification_key(SIGNING_KEY)
