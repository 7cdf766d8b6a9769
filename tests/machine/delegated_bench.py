"""A bench with a card of configuration 700: a central domain, and a provider in one of the three modes.

The issuer holds the issuer security domain, which verifies tokens and makes receipts; the hub holds the
central domain, which manages content.
"""

from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from tests.machine.bench import MASTER, Bench
from tests.unit.vse.card_host import CardHost

from opentsm.card.codec.aid import Aid
from opentsm.card.crypto.secret import Secret
from opentsm.card.gp import commands as gp
from opentsm.card.gp.diversification import DiversificationMethod
from opentsm.card.gp.keys import StaticKeys
from opentsm.tsm.domain.arrangement import (
    ArrangedDomain,
    Arrangement,
    ContentMode,
    HandOverGrade,
    ProviderPlace,
)
from opentsm.tsm.domain.audit import AuditEntry
from opentsm.tsm.domain.delegation import Token
from opentsm.tsm.domain.operation import Operation
from opentsm.tsm.domain.secure_element import (
    DiversifiedKeys,
    KeySet,
    KeySetState,
    WrappedKeys,
    key_set_context,
)
from opentsm.tsm.kernel.ids import ArrangementId, KeyHandle, TenantId
from opentsm.tsm.ports.delegation import TokenIssuer
from opentsm.tsm.ports.keystore import ChannelContext
from opentsm.tsm.ports.repositories import Page
from opentsm.tsm.roles.hub.configuring import Configuring
from opentsm.tsm.roles.hub.delegation.desk import TokenDesk
from opentsm.tsm.roles.hub.delegation.proof_keys import receipt_key, token_key
from opentsm.vse.card import CardIdentity, KeyMaterial, VirtualCard
from opentsm.vse.nvm import MemoryNvm
from opentsm.vse.profiles import load_profile

ISD = Aid.from_hex("A000000151000000")
CENTRAL = Aid.from_hex("F04F545344000001")
CENTRAL_KVN, TOKEN_KVN, RECEIPT_KVN = 0x30, 0x70, 0x71
_KEYS = KeyHandle("central/ceremony")


class DelegatedBench(Bench):
    """One provider, whose content gets on the card in one mode."""

    def __init__(self, dsn: str, directory: Path, mode: ContentMode = ContentMode.DELEGATED) -> None:
        super().__init__(dsn, directory, "se-700")
        self.mode = mode
        self.sandbox = True  # whose parties trust the authority of virtual cards
        self.handover = HandOverGrade.RELAY_TRUSTED
        self.quota_bytes: int | None = None
        self.card_profile: str | dict[str, object] = "se-700"
        self.receipt_owner: TenantId | None = None
        self.stands_in: TokenIssuer | None = None
        self.has_proof_keys = True
        self.central = StaticKeys(*(Secret(self.world.random(16)) for _ in range(3)))

    @property
    def manager(self) -> TenantId:
        """Return who holds the domain that the provider's domains hang under."""
        return self.provider if self.mode is ContentMode.AUTHORIZED else self.hub

    def arrangement(self) -> Arrangement:
        """Return who holds the domains of the card, and where the provider's hang."""
        delegated = self.mode is ContentMode.DELEGATED
        return Arrangement(
            id=ArrangementId(self.world.new_id()),
            issuer_id=self.issuer,
            name=self.mode.value,
            configuration=700,
            handover=self.handover,
            domains=(
                ArrangedDomain(
                    name="ISD", role="ISD", aid=ISD, holder_id=self.issuer, kvn=0x30, privileges=0x9AFC80
                ),
                ArrangedDomain(
                    name="Central SD",
                    role="Central SD",
                    aid=CENTRAL,
                    holder_id=self.manager,
                    kvn=CENTRAL_KVN,
                    parent="ISD",
                    privileges=0x80C000,
                ),
            ),
            place=ProviderPlace(
                mode=self.mode,
                under="Central SD",
                role="SP SD with DM" if delegated else "SP SD",
                privileges=0xA08000 if delegated else 0x808000,
                quota_bytes=self.quota_bytes,
            ),
        )

    # --- the card ---------------------------------------------------------------------------------------

    def made_card(self, identity: CardIdentity) -> VirtualCard:
        keys = self.central
        central = KeyMaterial(keys.enc, keys.mac, keys.dek)
        return VirtualCard.issue(
            load_profile(self.card_profile),
            identity,
            self.issuer_keys(),
            MemoryNvm(),
            domain_keys={bytes(CENTRAL): central},
        )

    def number(self, identity: CardIdentity) -> str:
        return identity.cin.hex().upper()

    async def new_card(self) -> None:
        await super().new_card()
        arrangement = self.arrangement()
        async with self.storage.transaction() as tx:
            await tx.arrangements.add(arrangement)
            se = await tx.secure_elements.get(self.se_id)
            assert se is not None
            await tx.secure_elements.save(msgspec.structs.replace(se, arrangement_id=arrangement.id))
            await tx.commit()
        await self._record_central_keys()
        if self.mode is ContentMode.DELEGATED and self.has_proof_keys:
            await self._put_proof_keys()
        self.device.sent = 0

    async def _record_central_keys(self) -> None:
        """The holder of the central domain got its keys in a ceremony."""
        keystore, holder = self.ring.of(self.manager), self.manager
        ceremony = Secret(bytes(range(32)))
        await keystore.import_key(_KEYS, ceremony)
        context = key_set_context(self.se_id, CENTRAL, CENTRAL_KVN)
        wrapped = WrappedKeys(transport=_KEYS, blob=wrap(ceremony, self.central))
        adopted = await keystore.adopt_key_set(wrapped, scp=3, context=context)
        async with self.storage.transaction() as tx:
            await tx.key_sets.put(
                KeySet(
                    owner_id=holder,
                    se_id=self.se_id,
                    sd_aid=CENTRAL,
                    kvn=CENTRAL_KVN,
                    scp=3,
                    key_length=16,
                    source=adopted.source,
                    state=KeySetState.CURRENT,
                    kcvs=adopted.kcvs,
                )
            )
            await tx.commit()

    async def _put_proof_keys(self) -> None:
        """The issuer puts the keys for tokens and receipts into its security domain."""
        keystore, profile = self.ring.of(self.issuer), self.profiles[self.profile_name]
        async with self.storage.transaction() as tx:
            se = await tx.secure_elements.get(self.se_id)
        assert se is not None
        host = CardHost(self.card)
        keys = self.issuer_keys()
        host.authenticate(StaticKeys(keys.enc, keys.mac, keys.dek))
        assert host.init is not None
        context = ChannelContext(
            scp=3, i=profile.i, host_challenge=host.host_challenge, initialize_update=host.init.to_bytes()
        )
        source = DiversifiedKeys(
            master=MASTER,
            method=DiversificationMethod.KDF3.name,
            kdd=CardIdentity.from_serial(self.serial).kdd,
        )
        for kvn, key in (
            (TOKEN_KVN, token_key(self.issuer, se, profile)),
            (RECEIPT_KVN, receipt_key(self.receipt_owner or self.issuer, se, profile)),
        ):
            await keystore.make_proof_key(key)
            field = await keystore.put_proof_key_field(source, context, key, layout=profile.aes_layout)
            host.ok(gp.put_key(kvn, [field]))
        self.card.power_off()
        self.card.power_on()

    def _issuer_of(self, tenant: TenantId) -> TokenIssuer:
        return self.stands_in or super()._issuer_of(tenant)

    async def configure(self) -> Operation:
        """Build the arrangement on the card."""
        desk = Configuring(self.conductor._s)
        return await self.run((await desk.configure(self.issuer_principal, self.se_id)).id)

    def desk(self) -> TokenDesk:
        """Return the issuer's own token desk."""
        return TokenDesk(self.issuer, self.storage, self.ring.of(self.issuer), self.world, self.profiles)

    async def audited(self, action: str) -> list[AuditEntry]:
        """Return the issuer's audit entries of one kind, about this card."""
        async with self.storage.transaction() as tx:
            entries = await tx.audit.list(self.issuer, Page(limit=200), subject=str(self.se_id))
        return [entry for entry in entries if entry.action == action]

    async def tokens(self) -> list[Token]:
        """Return the tokens that were issued for the card, oldest first."""
        async with self.storage.transaction() as tx:
            found = await tx.tokens.on_secure_element(self.issuer, self.se_id, 200)
        return sorted(found, key=lambda token: token.number)


def wrap(key: Secret, keys: StaticKeys) -> bytes:
    """Wrap a key set as a ceremony does (RFC 3394)."""
    clear = b"".join(one.reveal() for one in (keys.enc, keys.mac, keys.dek))
    return aes_key_wrap(key.reveal(), clear)
