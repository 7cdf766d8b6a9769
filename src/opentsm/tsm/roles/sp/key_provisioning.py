"""The keys of a service's own security domain, as its flavor asks for them (BSI TR-03165 §4.1.4.6).

Mode 1 derives them from the provider's master key and random diversification data, mode 2 takes a key set
that the provider deposited, mode 3 makes them at random. `DomainKeyDesk` gives back mode 1's diversification
data, and mode 3's keys, wrapped under the provider's transport key.
"""

from dataclasses import dataclass

from opentsm.card.codec.aid import Aid
from opentsm.card.profiles import SeProfile
from opentsm.tsm.custody.holder import ProvisionedKeySet
from opentsm.tsm.domain.card_content import KeyProvisioning, KeyProvisioningMode
from opentsm.tsm.domain.key_handles import provider_master_handle, provider_transport_handle
from opentsm.tsm.domain.secure_element import (
    BoundKeys,
    DiversifiedKeys,
    WrappedKeys,
    key_set_context,
)
from opentsm.tsm.kernel.errors import InvalidInputError, NotFoundError, PlanRefusedError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.keystore import Keystore
from opentsm.tsm.ports.peer import SegmentRequest
from opentsm.tsm.ports.unit_of_work import Storage
from opentsm.tsm.ports.world import World
from opentsm.tsm.roles.sp import shelf
from opentsm.tsm.roles.sp.forms import Document

KDD_BYTES = 10
_SCP03 = 3


def derivation(scp: int) -> str:
    """Return the diversification method of mode 1 for a secure channel protocol."""
    return "KDF3" if scp == _SCP03 else "EMV"


@dataclass(frozen=True, slots=True)
class DomainKeyProvisioner:
    """Implements `custody.KeyProvisioner` for one provider."""

    provider_id: TenantId
    storage: Storage
    keystore: Keystore
    world: World

    async def provision(
        self, request: SegmentRequest, profile: SeProfile, sd_aid: Aid, kvn: int
    ) -> ProvisionedKeySet | None:
        """Return the key set that the instance's description asks for; None in modes 0 and 3.

        Raises:
            InvalidInputError: the master key has not the length of the card's keys.
            PlanRefusedError: no deposited key set is left that fits the card.
        """
        wanted = self._wanted(request)
        context = key_set_context(request.se_id, sd_aid, kvn)
        if wanted.mode is KeyProvisioningMode.DIVERSIFIED:
            return await self._diversified(wanted.key_index, profile, context)
        if wanted.mode is KeyProvisioningMode.GIVEN:
            return await self._given(wanted.key_index, profile, context)
        return None

    def _wanted(self, request: SegmentRequest) -> KeyProvisioning:
        service = request.service
        if service is None or service.description.provider_id != self.provider_id:
            raise NotFoundError("There is no such service instance to make keys for.")
        return service.description.key_provisioning

    async def _diversified(self, index: str, profile: SeProfile, context: str) -> ProvisionedKeySet:
        async with self.storage.transaction() as tx:
            key = await tx.catalogue.get(self.provider_id, shelf.DOMAIN_MASTER_KEY, index)
        if key is None or key["length"] != profile.key_size:
            raise InvalidInputError(
                f"The master key {index} is not there, or has not the {profile.key_size} bytes of this card's"
                " keys.",
                advice="Register a master key of this length, and name it as the flavor's keyIndex.",
            )
        source = DiversifiedKeys(
            master=provider_master_handle(self.provider_id, index),
            method=derivation(profile.scp),
            kdd=self.world.random(KDD_BYTES),
        )
        bound = BoundKeys(source=source, context=context)
        return ProvisionedKeySet(source, await self.keystore.key_check_values(bound, scp=profile.scp))

    async def _given(self, index: str, profile: SeProfile, context: str) -> ProvisionedKeySet:
        chosen = await self._assigned(index, profile, context)
        handle = provider_transport_handle(self.provider_id, index)
        wrapped = WrappedKeys(transport=handle, blob=bytes.fromhex(str(chosen["_wrapped"])))
        made = await self.keystore.adopt_key_set(wrapped, scp=profile.scp, context=context)
        return ProvisionedKeySet(made.source, made.kcvs)

    async def _assigned(self, index: str, profile: SeProfile, place: str) -> Document:
        """Return the key set deposited for this place: the one it has already, else the oldest that is free.

        It is written down before it is used, so that no set ever gets into two security domains.
        """
        async with self.storage.transaction() as tx:
            await tx.catalogue.lock(self.provider_id)
            deposits = await tx.catalogue.list(self.provider_id, shelf.DOMAIN_KEY_SET)
            taken = next((one for one in deposits if one["_place"] == place), None)
            if taken is not None:
                return taken
            wanted = (index, profile.scp, profile.key_size)
            free = [
                one
                for one in deposits
                if not one["_place"] and (one["keyIndex"], one["scp"], one["length"]) == wanted
            ]
            if not free:
                raise PlanRefusedError(
                    f"No key set under the transport key {index} is left for SCP{profile.scp:02} with keys of"
                    f" {profile.key_size} bytes.",
                    advice="Deposit key sets by POST /v1/domain-key-sets, then deploy again.",
                )
            oldest = min(free, key=lambda one: str(one["id"]))
            chosen = oldest | {"_place": place}
            await tx.catalogue.put(self.provider_id, shelf.DOMAIN_KEY_SET, str(chosen["id"]), chosen)
            await shelf.record(
                tx, self.provider_id, shelf.DOMAIN_KEY_SET, str(chosen["id"]), "used", place=place
            )
            await tx.commit()
            return chosen
