"""A provider's keys for its security domains: registered, deposited, and given back to it.

Whoever holds a domain's keys can personalise what is in it: only the provider's own token opens these doors,
and each answer that holds keys, wrapped, is in the audit.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from opentsm.card.codec.aid import Aid
from opentsm.card.crypto.secret import Secret
from opentsm.tsm.domain.card_content import KeyProvisioningMode
from opentsm.tsm.domain.key_handles import provider_master_handle, provider_transport_handle
from opentsm.tsm.domain.secure_element import (
    DiversifiedKeys,
    KeySet,
    KeySetState,
    SealedKeys,
    WrappedKeys,
)
from opentsm.tsm.domain.service import ServiceInstance
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.disclosure import may_be_secret
from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    KeyMaterialError,
    KeystoreError,
    NotFoundError,
)
from opentsm.tsm.kernel.ids import InstanceId, KeyHandle, TenantId
from opentsm.tsm.roles.sp import shelf
from opentsm.tsm.roles.sp.forms import Document
from opentsm.tsm.roles.sp.provisioning_rules import is_uuid
from opentsm.tsm.roles.sp.scripts import KeystoreOf
from opentsm.tsm.roles.sp.shelf import Shelf

replace = msgspec.structs.replace

_INDEX: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
KEY_LENGTHS: Final = (16, 24, 32)
_SCP02_KEY_BYTES, _SCP02 = 16, 2
_KEYS_OF_A_SET = 3
MAX_FREE_KEY_SETS: Final = 1000


class DomainKeys(Record, frozen=True, kw_only=True):
    """The key set of an instance's security domain, as its provider may know it.

    Mode 1: `key_index`, `derivation`, `diversification_data`. Mode 2: `key_set`, the deposit. Mode 3:
    `key_index` and `wrapped_keys`. Mode 0 says only which version and check values the set has.
    """

    security_domain: Aid
    mode: KeyProvisioningMode
    key_version: int
    scp: int
    check_values: tuple[bytes, ...]
    key_index: str = ""
    derivation: str = ""
    diversification_data: bytes = b""
    key_set: str = ""
    wrapped_keys: bytes = b""


@dataclass(frozen=True, slots=True)
class DomainKeyDesk:
    """Use cases about a provider's keys for security domains."""

    shelf: Shelf
    keystore_of: KeystoreOf

    # --- registering -----------------------------------------------------------------------------------

    async def import_master_key(self, principal: Principal, index: str, key: Secret) -> None:
        """Register a master key of mode 1 under its index; the same key again changes nothing.

        Args:
            principal: the provider.
            index: 1 to 64 letters, digits, `.`, `_`, `-`; a UUID where attestation tokens are to name it.
            key: 16, 24 or 32 bytes.

        Raises:
            ForbiddenError: the caller is no service provider.
            InvalidInputError: index or length is not possible.
            ConflictError: another key has this index.
        """
        owner = _provider(principal)
        await self._import(owner, shelf.DOMAIN_MASTER_KEY, index, provider_master_handle(owner, index), key)

    async def import_transport_key(self, principal: Principal, index: str, key: Secret) -> None:
        """Register a transport key (AES) of modes 2 and 3 under its index; see `import_master_key`."""
        owner = _provider(principal)
        await self._import(owner, shelf.TRANSPORT_KEY, index, provider_transport_handle(owner, index), key)

    async def _import(self, owner: TenantId, kind: str, index: str, handle: KeyHandle, key: Secret) -> None:
        if not _INDEX.fullmatch(index) or (may_be_secret(index) and not is_uuid(index)):
            raise InvalidInputError(
                "A key index has 1 to 64 letters, digits or . _ -, a letter or digit first, and looks like no"
                " key.",
                field="index",
            )
        if len(key) not in KEY_LENGTHS:
            raise InvalidInputError("A key has 16, 24 or 32 bytes.", field="/key")
        try:
            await self.keystore_of(owner).import_key(handle, key)
        except KeystoreError as error:
            raise ConflictError(
                f"The keystore did not take the key {index}: it holds another one of this index.",
                advice="Use a new index; a key in use is never replaced.",
            ) from error
        async with self.shelf.changing(owner) as tx:
            document: Document = {"id": index, "length": len(key)}
            await tx.catalogue.put(owner, kind, index, document)
            await shelf.record(tx, owner, kind, index, "imported")

    # --- deposits of mode 2 ----------------------------------------------------------------------------

    async def deposit(
        self, principal: Principal, *, index: str, scp: int, wrapped: bytes, check_values: tuple[bytes, ...]
    ) -> Document:
        """Keep a key set of the provider's own for one security domain.

        Args:
            principal: the provider.
            index: of the transport key.
            scp: 2 or 3.
            wrapped: ENC ‖ MAC ‖ DEK under the transport key (AES key wrap, RFC 3394).
            check_values: of ENC, MAC and DEK, 3 bytes each; they tell a wrong transport key.

        Raises:
            ForbiddenError: the caller is no service provider.
            NotFoundError: there is no such transport key.
            InvalidInputError: the set does not open, or has other check values or lengths.
            ConflictError: enough sets are waiting.
        """
        owner = _provider(principal)
        async with self.shelf.storage.transaction() as tx:
            if await tx.catalogue.get(owner, shelf.TRANSPORT_KEY, index) is None:
                raise NotFoundError(f"There is no transport key {index}.")
        length = await self._check_deposit(owner, index, scp, wrapped, check_values)
        id_ = self.shelf.world.new_id()
        document: Document = {"id": id_, "keyIndex": index, "scp": scp, "length": length}
        document |= {"checkValues": [one.hex().upper() for one in check_values]}
        async with self.shelf.changing(owner) as tx:
            waiting = [
                one for one in await tx.catalogue.list(owner, shelf.DOMAIN_KEY_SET) if not one["_place"]
            ]
            if len(waiting) >= MAX_FREE_KEY_SETS:
                raise ConflictError(f"{MAX_FREE_KEY_SETS} key sets are waiting to be used already.")
            kept = document | {"_place": "", "_wrapped": wrapped.hex()}
            await tx.catalogue.put(owner, shelf.DOMAIN_KEY_SET, id_, kept)
            await shelf.record(tx, owner, shelf.DOMAIN_KEY_SET, id_, "deposited", index=index)
        return document | {"used": False}

    async def _check_deposit(
        self, owner: TenantId, index: str, scp: int, wrapped: bytes, check_values: tuple[bytes, ...]
    ) -> int:
        length, rest = divmod(len(wrapped) - 8, _KEYS_OF_A_SET)
        if rest or length not in KEY_LENGTHS or (scp == _SCP02 and length != _SCP02_KEY_BYTES):
            raise InvalidInputError(
                "A wrapped key set holds three keys of 16, 24 or 32 bytes (SCP02: 16).", field="/keys"
            )
        source = WrappedKeys(transport=provider_transport_handle(owner, index), blob=wrapped)
        try:
            found = await self.keystore_of(owner).key_check_values(source, scp=scp)
        except KeyMaterialError:
            raise InvalidInputError(
                f"The key set does not open under the transport key {index}.", field="/keys"
            ) from None
        if found != check_values:
            raise InvalidInputError("The key set has other check values.", field="/check_values")
        return length

    async def deposits(self, principal: Principal) -> list[Document]:
        """Return the deposited key sets, without their keys, oldest first."""
        owner = _provider(principal)
        async with self.shelf.storage.transaction() as tx:
            found = await tx.catalogue.list(owner, shelf.DOMAIN_KEY_SET)
        ordered = sorted(found, key=lambda one: str(one["id"]))
        return [shelf.shown(one) | {"used": bool(one["_place"])} for one in ordered]

    # --- giving back -----------------------------------------------------------------------------------

    async def of_instance(self, principal: Principal, instance_id: InstanceId) -> DomainKeys:
        """Return the key set that an instance's security domain holds, as its mode allows.

        Raises:
            ForbiddenError: the caller is no service provider.
            NotFoundError: there is no such instance of this provider.
            ConflictError: its security domain holds no keys of the provider yet, or has none of its own.
        """
        owner = _provider(principal)
        async with self.shelf.storage.transaction() as tx:
            instance = await tx.instances.get(instance_id)
            if instance is None or instance.provider_id != owner:
                raise NotFoundError("There is no such service instance.")
            sets = await tx.key_sets.list(owner, instance.se_id, instance.description.sd_aid)
            held = [one for one in sets if one.state is KeySetState.CURRENT]
            deposits = await tx.catalogue.list(owner, shelf.DOMAIN_KEY_SET)
        keys = next((one for one in held if one.kvn == instance.key_version), None)
        if keys is None:
            raise ConflictError(
                "The instance's security domain does not hold its provider's keys yet.",
                advice="Deploy the instance first.",
            )
        answer = await self._answer(instance, keys, deposits)
        async with self.shelf.storage.transaction() as tx:
            details: dict[str, str | int] = {"mode": answer.mode.value, "key_version": keys.kvn}
            await tx.audit.append(
                owner, actor=owner, action="domain-keys.read", subject=str(instance_id), details=details
            )
            await tx.commit()
        return answer

    async def _answer(
        self, instance: ServiceInstance, keys: KeySet, deposits: Sequence[Document]
    ) -> DomainKeys:
        """Describe a key set; what it was made of decides, not what the flavor says today."""
        wanted = instance.description.key_provisioning
        common = DomainKeys(
            security_domain=keys.sd_aid,
            mode=KeyProvisioningMode.NONE,
            key_version=keys.kvn,
            scp=keys.scp,
            check_values=keys.kcvs,
        )
        if isinstance(keys.source, DiversifiedKeys):
            return replace(
                common,
                mode=KeyProvisioningMode.DIVERSIFIED,
                key_index=keys.source.master.rsplit("/", 1)[-1],
                derivation=keys.source.method,
                diversification_data=keys.source.kdd,
            )
        deposit = _deposit_at(deposits, keys.bound.context)
        if deposit is not None:
            index = str(deposit["keyIndex"])
            return replace(
                common, mode=KeyProvisioningMode.GIVEN, key_index=index, key_set=str(deposit["id"])
            )
        if wanted.mode is KeyProvisioningMode.RANDOM and isinstance(keys.source, SealedKeys):
            owner = instance.provider_id
            wrapped = await self.keystore_of(owner).export_key_set(
                keys.bound, provider_transport_handle(owner, wanted.key_index)
            )
            return replace(
                common,
                mode=KeyProvisioningMode.RANDOM,
                key_index=wanted.key_index,
                wrapped_keys=wrapped.blob,
            )
        return common


def _provider(principal: Principal) -> TenantId:
    if principal.kind is not TenantKind.SERVICE_PROVIDER or principal.device_id is not None:
        raise ForbiddenError("This needs the token of a service provider.")
    return principal.tenant_id


def _deposit_at(deposits: Sequence[Document], place: str) -> Document | None:
    return next((one for one in deposits if one["_place"] == place), None)
